use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};

use super::*;

/// A sticky directory, as `/dev/shm` is, on whatever file system the tests' own files go to.
struct Parent(PathBuf);

impl Parent {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pacelet-shm-{test}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o1777)).unwrap();
        Self(path)
    }

    fn path(&self) -> CString {
        CString::new(self.0.to_str().unwrap()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A group that files can be given to: any one if we are root.
fn group() -> u32 {
    if geteuid().is_root() { 12_345 } else { getegid().as_raw() }
}

fn attributes(path: &Path) -> (u32, u32, u32) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o7777)
}

#[test]
fn owner_group_and_mode_are_as_asked_and_all_goes_at_the_end() {
    let parent = Parent::new("modes");
    let (own, group) = (geteuid().as_raw(), group());
    let mut directory = Directory::create(&parent.path(), c"qb", Share { group, mode: 0o750 }).unwrap();
    let file = directory.file(c"file", b"content", 10_000, Share { group, mode: 0o660 }).unwrap();
    let path = parent.0.join("qb");
    assert_eq!(attributes(&path), (own, group, 0o750));
    assert_eq!(attributes(&path.join("file")), (own, group, 0o660));
    let bytes = std::fs::read(path.join("file")).unwrap();
    assert_eq!((&bytes[..7], bytes.len()), (&b"content"[..], 10_000));
    assert!(bytes[7..].iter().all(|&byte| byte == 0));
    // All of it has its place already, whatever is written where later.
    assert!(path.join("file").metadata().unwrap().blocks() * 512 >= 10_000);

    drop(directory);
    assert_eq!(parent.names(), [] as [String; 0]);
    // Who has it open keeps it.
    let mut bytes = [0; 7];
    assert_eq!(file.read(0, &mut bytes), Ok(true));
    assert_eq!(&bytes, b"content");
}

#[test]
fn what_is_there_already_is_not_touched() {
    let parent = Parent::new("taken");
    let share = Share { group: group(), mode: 0o750 };
    std::os::unix::fs::symlink("/tmp", parent.0.join("link")).unwrap();
    std::fs::create_dir(parent.0.join("theirs")).unwrap();
    for name in [c"link", c"theirs"] {
        let failure = Directory::create(&parent.path(), name, share).unwrap_err();
        assert_eq!(failure.errno, Errno::EXIST, "{failure}");
    }
    let before = attributes(&parent.0.join("theirs"));
    assert_ne!(before.2, 0o750);

    let mut directory = Directory::create(&parent.path(), c"ours", share).unwrap();
    let planted = parent.0.join("ours/file");
    std::os::unix::fs::symlink("/etc/passwd", &planted).unwrap();
    let failure = directory.file(c"file", b"x", 1, share).unwrap_err();
    assert_eq!((failure.step, failure.errno), ("make the file", Errno::EXIST));
    assert_eq!(failure.to_string(), "cannot make the file file: File exists (os error 17)");
    drop(directory);
    // It was not made by us, so it was not removed, and keeps its directory.
    assert!(planted.is_symlink());
    assert_eq!(Directory::create(c"/nonexistent", c"a", share).unwrap_err().errno, Errno::NOENT);
}

#[test]
fn a_file_that_went_meanwhile_does_not_keep_the_directory() {
    let parent = Parent::new("gone");
    let share = Share { group: group(), mode: 0o700 };
    let mut directory = Directory::create(&parent.path(), c"qb", share).unwrap();
    directory.file(c"one", b"", 1, share).unwrap();
    directory.file(c"two", b"", 1, share).unwrap();
    std::fs::remove_file(parent.0.join("qb/one")).unwrap();
    drop(directory);
    assert_eq!(parent.names(), [] as [String; 0]);
}

#[test]
fn a_file_cut_short_ends_a_read_and_is_grown_by_a_write() {
    let parent = Parent::new("cut");
    let share = Share { group: group(), mode: 0o600 };
    let mut directory = Directory::create(&parent.path(), c"qb", share).unwrap();
    let file = directory.file(c"file", b"0123456789", 4096, share).unwrap();
    let other = std::fs::OpenOptions::new().write(true).open(parent.0.join("qb/file")).unwrap();
    let mut bytes = [0; 4];
    assert_eq!(file.read(4092, &mut bytes), Ok(true));
    other.set_len(6).unwrap();
    assert_eq!(file.read(4, &mut bytes), Ok(false));
    assert_eq!(file.read(2, &mut bytes), Ok(true));
    assert_eq!(&bytes, b"2345");
    assert_eq!(file.write(8, b"89"), Ok(()));
    assert_eq!(file.read(6, &mut bytes), Ok(true));
    assert_eq!(&bytes, b"\0\x0089");
}

#[test]
fn a_word_is_the_same_for_all_who_map_it() {
    let parent = Parent::new("words");
    let share = Share { group: group(), mode: 0o600 };
    let mut directory = Directory::create(&parent.path(), c"qb", share).unwrap();
    let file = directory.file(c"file", &7_u32.to_ne_bytes(), 8252, share).unwrap();
    let (one, two) = (Mapping::new(&file, 8252).unwrap(), Mapping::new(&file, 8252).unwrap());
    assert_eq!(one.load(0), 7);
    one.store(8248, 5);
    one.add(8248, u32::MAX);
    assert_eq!(two.load(8248), 4);
    let mut bytes = [0; 4];
    assert_eq!(file.read(8248, &mut bytes), Ok(true));
    assert_eq!(u32::from_ne_bytes(bytes), 4);
    // And files are changed under it.
    std::fs::File::options()
        .write(true)
        .open(parent.0.join("qb/file"))
        .unwrap()
        .write_all_at(&9_u32.to_ne_bytes(), 0)
        .unwrap();
    assert_eq!(two.load(0), 9);
    assert_eq!(Mapping::new(&file, 0).unwrap_err(), Errno::INVAL);
}

#[test]
#[should_panic(expected = "no word at 8252")]
fn a_word_outside_is_never_touched() {
    let parent = Parent::new("outside");
    let share = Share { group: group(), mode: 0o600 };
    let mut directory = Directory::create(&parent.path(), c"qb", share).unwrap();
    let file = directory.file(c"file", b"", 8252, share).unwrap();
    Mapping::new(&file, 8252).unwrap().load(8252);
}

/// Whoever waits on a word in another mapping of the same file is woken: the futex is a shared one.
#[test]
fn a_wake_reaches_who_waits() {
    let parent = Parent::new("wake");
    let share = Share { group: group(), mode: 0o600 };
    let mut directory = Directory::create(&parent.path(), c"qb", share).unwrap();
    let file = directory.file(c"file", b"", 8252, share).unwrap();
    let ours = Mapping::new(&file, 8252).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let theirs = Mapping::new(&file, 8252).unwrap();
            while theirs.load(8208) == 0 {
                match futex::wait(theirs.word(8208), futex::Flags::empty(), 0, None) {
                    Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => panic!("futex: {errno}"),
                }
            }
        });
        while !ours.wake(8208) {
            std::thread::yield_now();
        }
        ours.store(8208, 1);
        ours.wake(8208);
        waiting.join().unwrap();
    });
}

#[test]
fn a_file_cut_under_its_mapping_leaves_zeros() {
    let parent = Parent::new("bus");
    let share = Share { group: group(), mode: 0o600 };
    let mut directory = Directory::create(&parent.path(), c"qb", share).unwrap();
    let file = directory.file(c"file", b"", 8252, share).unwrap();
    let whole = directory.file(c"whole", b"", 8252, share).unwrap();
    let (mapping, other) = (Mapping::new(&file, 8252).unwrap(), Mapping::new(&whole, 8252).unwrap());
    mapping.store(8208, 7);
    other.store(8208, 8);
    assert!(!mapping.is_lost());
    std::fs::OpenOptions::new().write(true).open(parent.0.join("qb/file")).unwrap().set_len(0).unwrap();
    assert_eq!(mapping.load(8208), 0);
    assert!(mapping.is_lost());
    mapping.store(0, 5);
    mapping.add(0, 1);
    assert!(!mapping.wake(0));
    assert_eq!(mapping.load(0), 6);
    assert!(!other.is_lost());
    assert_eq!(other.load(8208), 8);
    for access in [|mapping: &Mapping| mapping.store(0, 1), |mapping: &Mapping| mapping.add(0, 1)] {
        let cut = Mapping::new(&file, 8252).unwrap();
        access(&cut);
        assert!(cut.is_lost());
        assert_eq!(cut.load(0), 1);
    }
}

/// Any other SIGBUS still ends the process: it is a mistake of ours or a broken machine.
#[test]
fn a_fault_elsewhere_is_not_hidden() {
    let parent = Parent::new("elsewhere");
    let share = Share { group: group(), mode: 0o600 };
    let mut directory = Directory::create(&parent.path(), c"qb", share).unwrap();
    let file = directory.file(c"file", b"", 4, share).unwrap();
    let mapping = Mapping::new(&file, 4).unwrap();
    std::fs::OpenOptions::new().write(true).open(parent.0.join("qb/file")).unwrap().set_len(0).unwrap();
    // SAFETY: the child makes one access and ends, by the signal or by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        mapping.word(0).load(Ordering::Relaxed);
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the status is a valid place, and the pid is our child's.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "wait status {status:#x}");
    assert!(!mapping.is_lost());
}
