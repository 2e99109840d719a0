//! Opening the log file (daemon-lifecycle.md section 12). It is in a directory that the cluster's user owns, who
//! must not lead root to another file: no link is followed, and what was opened is checked and given away by
//! its descriptor.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::fmt;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, fchmod, fchown, fstat, open as open_file};
use rustix::process::{Gid, Uid};

use super::Errno;
use super::users::Ids;

/// Group members may read and write.
const GROUP_READ_WRITE: u32 = 0o060;

/// Why a file is no place for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A system call failed.
    Sys(&'static str, Errno),
    /// It is a directory, a device or a pipe.
    NotAFile,
    /// It has another name, so it may be anything.
    HasOtherNames,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sys("open", Errno::LOOP) => f.write_str("it is a symbolic link, which is not followed"),
            Self::Sys(step, errno) => write!(f, "cannot {step} it: {}", std::io::Error::from(*errno)),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::HasOtherNames => f.write_str("it has a second name (a hard link)"),
        }
    }
}

/// Opens a log file to append to, and makes it if it is missing. Root gives it to `owner`, unless that group can
/// use it already, and gives it `mode`.
///
/// # Errors
/// See [`Refusal`].
pub fn open(path: &CStr, owner: Option<Ids>, mode: u32) -> Result<OwnedFd, Refusal> {
    let sys = |step| move |errno| Refusal::Sys(step, errno);
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file = match open_file(path, flags, Mode::RUSR | Mode::WUSR) {
        // A pipe that nobody reads, and a directory.
        Err(Errno::NXIO | Errno::ISDIR) => return Err(Refusal::NotAFile),
        result => result.map_err(sys("open"))?,
    };
    let stat = fstat(&file).map_err(sys("examine"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::NotAFile);
    }
    if stat.st_nlink > 1 {
        return Err(Refusal::HasOtherNames);
    }
    if rustix::process::geteuid().is_root() {
        if let Some(owner) = owner
            && (stat.st_gid != owner.group || stat.st_mode & GROUP_READ_WRITE != GROUP_READ_WRITE)
        {
            let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
            fchown(&file, Some(user), Some(group)).map_err(sys("give away"))?;
        }
        fchmod(&file, Mode::from_raw_mode(mode as _)).map_err(sys("change the mode of"))?;
    }
    Ok(file)
}

/// Whether `path` still leads to the file that was opened: it may have been deleted or replaced.
pub fn is_at(file: &OwnedFd, path: &CStr) -> bool {
    let (Ok(there), Ok(ours)) = (rustix::fs::lstat(path), fstat(file)) else { return false };
    (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pacelet-log-file-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn c(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }

    #[test]
    fn only_a_plain_file_is_taken() {
        let place = place("kinds");
        let target = place.join("target");
        fs::write(&target, "").unwrap();
        symlink(&target, place.join("link")).unwrap();
        let refusal = open(&c(&place.join("link")), None, 0o660).unwrap_err();
        assert_eq!(refusal.to_string(), "it is a symbolic link, which is not followed");
        fs::hard_link(&target, place.join("hard")).unwrap();
        assert_eq!(open(&c(&target), None, 0o660).unwrap_err(), Refusal::HasOtherNames);
        assert_eq!(open(&c(&place), None, 0o660).unwrap_err(), Refusal::NotAFile);
        assert_eq!(open(c"/dev/null", None, 0o660).unwrap_err(), Refusal::NotAFile);
        let pipe = c(&place.join("pipe"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(open(&pipe, None, 0o660).unwrap_err(), Refusal::NotAFile);
        let missing = open(&c(&place.join("no/file")), None, 0o660).unwrap_err();
        assert!(missing.to_string().starts_with("cannot open it: No such file"), "{missing}");
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn root_gives_the_file_to_the_clusters_user() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let place = place("owner");
        let path = place.join("log");
        let owner = Some(Ids { user: 90, group: 91 });
        let facts = || {
            let stat = fs::metadata(&path).unwrap();
            (stat.uid(), stat.gid(), stat.mode() & 0o7777)
        };
        open(&c(&path), owner, 0o640).unwrap();
        assert_eq!(facts(), (90, 91, 0o640));
        // Whoever owns it: the group can use it.
        std::os::unix::fs::chown(&path, Some(7), None).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o660)).unwrap();
        open(&c(&path), owner, 0o660).unwrap();
        assert_eq!(facts(), (7, 91, 0o660));
        std::os::unix::fs::chown(&path, None, Some(8)).unwrap();
        open(&c(&path), owner, 0o660).unwrap();
        assert_eq!(facts(), (90, 91, 0o660));
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_file_that_was_replaced_shows() {
        let place = place("replaced");
        let path = place.join("log");
        let file = open(&c(&path), None, 0o660).unwrap();
        assert!(is_at(&file, &c(&path)));
        fs::rename(&path, place.join("log.1")).unwrap();
        assert!(!is_at(&file, &c(&path)));
        fs::write(&path, "").unwrap();
        assert!(!is_at(&file, &c(&path)));
        fs::remove_dir_all(place).unwrap();
    }
}
