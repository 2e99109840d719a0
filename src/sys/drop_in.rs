//! A file in a directory of its own, by which the service manager is told more of a unit.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use rustix::fs::{self, Mode, OFlags};

use super::Errno;

/// What the service manager, and everybody, may read. Whatever the daemon's mask says.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
/// The same.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// Writes the file at `path`, in `directory`, which is made if it is not there: changed.
///
/// # Errors
/// What mkdir, open or write says: ENOENT if what is above the directory is not there.
pub fn write(directory: &CStr, path: &CStr, text: &str) -> Result<bool, Errno> {
    match fs::mkdir(directory, DIRECTORY_MODE) {
        Ok(()) => fs::chmod(directory, DIRECTORY_MODE)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::open(path, flags, FILE_MODE)?;
    fs::fchmod(&file, FILE_MODE)?;
    // A file in memory takes a few hundred bytes at once, or has no room.
    match rustix::io::write(&file, text.as_bytes())? {
        count if count == text.len() => Ok(true),
        _ => Err(Errno::NOSPC),
    }
}

/// Removes the file at `path`, and `directory` if nothing else is in it. Whether it was there.
///
/// # Errors
/// What unlink says.
pub fn remove(directory: &CStr, path: &CStr) -> Result<bool, Errno> {
    match fs::unlink(path) {
        Ok(()) => {
            // Others may have their files there.
            let _ = fs::rmdir(directory);
            Ok(true)
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn written_and_removed() {
        let place = std::env::temp_dir().join(format!("pacelet-drop-in-{}.d", std::process::id()));
        let c_string = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
        let (directory, path) = (c_string(&place), c_string(&place.join("50.conf")));
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(remove(&directory, &path), Ok(false));
        for text in ["[Unit]\nsomething long\n", "[Unit]\n"] {
            assert_eq!(write(&directory, &path, text), Ok(true));
            assert_eq!(std::fs::read_to_string(place.join("50.conf")).unwrap(), text);
        }
        assert_eq!((mode(&place), mode(&place.join("50.conf"))), (0o755, 0o644));

        std::fs::write(place.join("other"), "").unwrap();
        assert_eq!(remove(&directory, &path), Ok(true));
        assert!(place.is_dir());
        std::fs::remove_file(place.join("other")).unwrap();
        std::os::unix::fs::symlink("/dev/null", place.join("50.conf")).unwrap();
        assert_eq!(write(&directory, &path, "x"), Err(Errno::LOOP));
        assert_eq!(remove(&directory, &path), Ok(true));
        assert!(!place.exists());
        assert_eq!(write(&c_string(&place.join("a")), &c_string(&place.join("a/b")), "x"), Err(Errno::NOENT));
    }
}
