//! Directories of sessions that their server left behind when it was killed (ipc.md section A.4).
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::process::{self, Pid};

use super::super::{Errno, clock};

/// How many entries of the parent are looked at: others can make as many as they like.
const ENTRIES: usize = 4096;
/// How many of them in one step.
const PER_STEP: usize = 64;
/// How many files a session's directory has at most.
const FILES: usize = 6;
/// How long a directory must have been left alone, in seconds. A server in another process namespace seems to be
/// dead; its client, which needs the names for a moment only, is not disturbed.
const AGE: u64 = 10;

/// A walk over a directory such as `/dev/shm`, in steps. What goes is a directory
///
/// * called `qb-PID-…`, where no process has that number, or this one has;
/// * that belongs to this process's user, is no link, and has been left alone for ten seconds;
/// * that nobody holds a lock on, as a living [`Directory`](super::Directory) does;
/// * in which nothing is but what the caller knows, or nothing at all.
#[derive(Debug)]
pub struct Sweep {
    parent: OwnedFd,
    entries: Dir,
    looked_at: usize,
    removed: usize,
}

impl Sweep {
    /// A walk that has not begun.
    ///
    /// # Errors
    /// What opening the directory says.
    pub fn open(parent: &CStr) -> Result<Self, Errno> {
        let parent = fs::open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { entries: Dir::read_from(&parent)?, parent, looked_at: 0, removed: 0 })
    }

    /// Looks at some more entries; `is_known` tells from its name whether a file may go. `false` at the end.
    pub fn step(&mut self, is_known: &dyn Fn(&[u8]) -> bool) -> bool {
        for _ in 0..PER_STEP {
            let Some(Ok(entry)) = self.entries.read() else { return false };
            self.looked_at += 1;
            if self.looked_at > ENTRIES {
                return false;
            }
            let name = entry.file_name();
            if is_abandoned(name) && remove(&self.parent, name, is_known) == Ok(true) {
                self.removed += 1;
            }
        }
        true
    }

    /// How many directories it has removed.
    pub fn removed(&self) -> usize {
        self.removed
    }
}

/// Whether it is called like a session's directory whose server does not live. What this very process made is
/// locked; in a container all have the same number, one after the other.
fn is_abandoned(name: &CStr) -> bool {
    let pid = (|| {
        let rest = name.to_bytes().strip_prefix(b"qb-")?;
        let digits = rest.split(|&byte| byte == b'-').next().filter(|digits| digits.len() < rest.len())?;
        Pid::from_raw(std::str::from_utf8(digits).ok()?.parse().ok()?)
    })();
    pid.is_some_and(|pid| pid == process::getpid() || process::test_kill_process(pid) == Err(Errno::SRCH))
}

/// Whether it could be removed, all by descriptor: nobody can put another directory in its place meanwhile.
fn remove(parent: &OwnedFd, name: &CStr, is_known: &dyn Fn(&[u8]) -> bool) -> Result<bool, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let own = fs::openat(parent, name, flags, Mode::empty())?;
    let stat = fs::fstat(&own)?;
    let age = clock::now().epoch.saturating_sub(u64::try_from(stat.st_mtime).unwrap_or(0));
    if stat.st_uid != process::geteuid().as_raw() || age < AGE {
        return Ok(false);
    }
    fs::flock(&own, FlockOperation::NonBlockingLockExclusive)?;
    let mut files = Vec::<CString>::new();
    for entry in Dir::read_from(own.as_fd())? {
        let entry = entry?;
        let file = entry.file_name();
        if file == c"." || file == c".." {
            continue;
        }
        if files.len() == FILES || !is_known(file.to_bytes()) {
            return Ok(false);
        }
        files.push(file.to_owned());
    }
    for file in &files {
        // A directory is not removed by this.
        fs::unlinkat(&own, file, AtFlags::empty())?;
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::{self as std_fs, FileTimes};
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use super::super::{Directory, Share};
    use super::*;

    /// No kernel gives a process such a number.
    const DEAD: u32 = 1_999_999_999;

    fn is_known(name: &[u8]) -> bool {
        name == b"qb-event-ours-data"
    }

    struct Parent(PathBuf);

    impl Parent {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pacelet-sweep-{test}-{}", std::process::id()));
            std_fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn name(&self) -> CString {
            CString::new(self.0.to_str().unwrap()).unwrap()
        }

        /// A directory with files in it, as if nobody had touched it for an hour.
        fn make(&self, name: &str, files: &[&str]) -> PathBuf {
            let path = self.0.join(name);
            std_fs::create_dir(&path).unwrap();
            for file in files {
                std_fs::write(path.join(file), "").unwrap();
            }
            self.age(&path);
            path
        }

        fn age(&self, path: &Path) {
            let then = SystemTime::now() - Duration::from_secs(3600);
            std_fs::File::open(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
        }

        /// What is left after a sweep.
        fn sweep(&self) -> (usize, Vec<String>) {
            let mut sweep = Sweep::open(&self.name()).unwrap();
            while sweep.step(&is_known) {}
            let entries = std_fs::read_dir(&self.0).unwrap();
            let mut left: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            left.sort();
            (sweep.removed(), left)
        }
    }

    impl Drop for Parent {
        fn drop(&mut self) {
            let _ = std_fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_dead_server_left_goes_and_nothing_else() {
        let parent = Parent::new("all");
        let ours = ["qb-event-ours-data"];
        let own = std::process::id();
        parent.make(&format!("qb-{DEAD}-1-2-aaaaaa"), &ours);
        parent.make(&format!("qb-{DEAD}-1-2-empty"), &[]);
        parent.make(&format!("qb-{own}-1-2-before"), &ours);

        let share = Share { group: rustix::process::getegid().as_raw(), mode: 0o700 };
        let held = CString::new(format!("qb-{own}-1-2-held")).unwrap();
        let held = Directory::create(&parent.name(), &held, share).unwrap();
        parent.age(&parent.0.join(format!("qb-{own}-1-2-held")));
        // The parent of this process lives.
        let alive = rustix::process::getppid().map_or(1, |pid| pid.as_raw_pid());
        parent.make(&format!("qb-{alive}-1-2-lives"), &ours);
        parent.make(&format!("qb-{DEAD}-1-2-other"), &["qb-event-cmap-data"]);
        parent.make(&format!("qb-{DEAD}-1-2-mixed"), &["qb-event-ours-data", "x"]);
        parent.make(&format!("qb-{DEAD}"), &ours);
        parent.make("qb-x-1", &ours);
        parent.make(&format!("xqb-{DEAD}-1"), &ours);
        std_fs::create_dir(parent.0.join(format!("qb-{DEAD}-1-2-young"))).unwrap();
        std_fs::write(parent.0.join(format!("qb-{DEAD}-1-2-file")), "").unwrap();
        let target = parent.make("target", &ours);
        symlink(&target, parent.0.join(format!("qb-{DEAD}-1-2-link"))).unwrap();
        let deep = parent.make(&format!("qb-{DEAD}-1-2-deep"), &[]);
        std_fs::create_dir(deep.join("qb-event-ours-data")).unwrap();
        parent.age(&deep);

        let (removed, left) = parent.sweep();
        let mut expected = [
            format!("qb-{own}-1-2-held"),
            format!("qb-{alive}-1-2-lives"),
            format!("qb-{DEAD}-1-2-other"),
            format!("qb-{DEAD}-1-2-mixed"),
            format!("qb-{DEAD}"),
            "qb-x-1".to_owned(),
            format!("xqb-{DEAD}-1"),
            format!("qb-{DEAD}-1-2-young"),
            format!("qb-{DEAD}-1-2-file"),
            format!("qb-{DEAD}-1-2-link"),
            format!("qb-{DEAD}-1-2-deep"),
            "target".to_owned(),
        ];
        expected.sort();
        assert_eq!((removed, left), (3, expected.to_vec()));
        assert!(target.join("qb-event-ours-data").is_file());
        drop(held);
    }

    /// A trap: what stands in the directory under a known name is a link to something precious.
    #[test]
    fn links_are_removed_and_not_followed() {
        let parent = Parent::new("links");
        let precious = parent.0.join("precious");
        std_fs::write(&precious, "kept").unwrap();
        let trap = parent.make(&format!("qb-{DEAD}-1-2-trap"), &[]);
        symlink(&precious, trap.join("qb-event-ours-data")).unwrap();
        parent.age(&trap);
        assert_eq!(parent.sweep(), (1, vec!["precious".to_owned()]));
        assert_eq!(std_fs::read_to_string(&precious).unwrap(), "kept");
    }

    /// Root's daemon leaves the directories of other users alone; only root can make some.
    #[test]
    fn other_users_keep_theirs() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give directories away");
            return;
        }
        let parent = Parent::new("owner");
        let path = parent.make(&format!("qb-{DEAD}-1-2-theirs"), &["qb-event-ours-data"]);
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        parent.age(&path);
        assert_eq!(parent.sweep().0, 0);
        assert!(path.join("qb-event-ours-data").exists());
    }

    #[test]
    fn a_walk_has_an_end() {
        let parent = Parent::new("end");
        let mut steps = 0;
        for number in 0..ENTRIES + 10 {
            std_fs::write(parent.0.join(number.to_string()), "").unwrap();
        }
        let mut sweep = Sweep::open(&parent.name()).unwrap();
        while sweep.step(&is_known) {
            steps += 1;
        }
        assert_eq!(steps, ENTRIES / PER_STEP);
    }
}
