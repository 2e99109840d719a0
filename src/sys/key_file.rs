//! The key file (remote-protocol.md section 5.2): its raw bytes are the key.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::fmt;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, stat};
use zeroize::Zeroizing;

use super::Errno;

/// The longest key that TLS can take: it has a length of 16 bits.
pub const LONGEST: usize = 65535;

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file that `path` leads to.
    ///
    /// # Errors
    /// What `stat` says.
    pub fn of(path: &CStr) -> Result<Self, Errno> {
        Ok(Self::from(&stat(path)?))
    }
}

impl From<&Stat> for Stamp {
    #[allow(clippy::unnecessary_cast, reason = "the types differ from machine to machine")]
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as i64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// A key that was read.
#[derive(Debug)]
pub struct Key {
    /// 1 to [`LONGEST`] bytes.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether every user of the machine may read or change the file.
    pub open_to_all: bool,
    /// What it was read from.
    pub stamp: Stamp,
}

/// Why a file is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A system call failed.
    Sys(&'static str, Errno),
    /// It is a directory, a device or a pipe.
    NotAFile,
    /// It has no bytes.
    Empty,
    /// It has more than [`LONGEST`] bytes.
    TooLong,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sys(step, errno) => write!(f, "cannot {step} it: {}", std::io::Error::from(*errno)),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {LONGEST} bytes"),
        }
    }
}

/// Reads a key. Links are followed (container managers mount secrets as links), but only a regular
/// file is read, and a device or pipe is not even waited for.
///
/// # Errors
/// See [`Refusal`].
pub fn read(path: &CStr) -> Result<Key, Refusal> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open(path, flags, Mode::empty()).map_err(|errno| Refusal::Sys("open", errno))?;
    let stat = fstat(&file).map_err(|errno| Refusal::Sys("examine", errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Refusal::NotAFile);
    }
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    if size > LONGEST {
        return Err(Refusal::TooLong);
    }
    // One byte more than the size, to see the end; the buffer must not move, or a copy would stay behind.
    let mut bytes = Zeroizing::new(vec![0; size + 1]);
    let mut filled = 0;
    loop {
        match rustix::io::read(&file, bytes.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Refusal::Sys("read", errno)),
        }
    }
    if filled == 0 {
        return Err(Refusal::Empty);
    }
    if filled > LONGEST {
        return Err(Refusal::TooLong);
    }
    bytes.truncate(filled);
    let open_to_all = Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXO);
    Ok(Key { bytes, open_to_all, stamp: Stamp::from(&stat) })
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pacelet-key-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn c(path: &Path) -> CString {
        CString::new(path.to_str().unwrap()).unwrap()
    }

    #[test]
    fn every_byte_counts() {
        let directory = Directory::new("bytes");
        let path = directory.path("key");
        for length in [1, 256, 4096, LONGEST] {
            let key: Vec<u8> = (0..length).map(|index| (index * 7) as u8).chain([b'\n']).collect();
            let key = &key[key.len() - length..];
            std::fs::write(&path, key).unwrap();
            assert_eq!(*read(&c(&path)).unwrap().bytes, key);
        }
        std::fs::write(&path, vec![1; LONGEST + 1]).unwrap();
        assert_eq!(read(&c(&path)).unwrap_err(), Refusal::TooLong);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(read(&c(&path)).unwrap_err(), Refusal::Empty);
    }

    #[test]
    fn a_link_leads_to_a_file_but_nothing_else_is_read() {
        let directory = Directory::new("kinds");
        std::fs::write(directory.path("key"), b"secret").unwrap();
        symlink("key", directory.path("link")).unwrap();
        assert_eq!(**read(&c(&directory.path("link"))).unwrap().bytes, *b"secret");
        assert_eq!(read(&c(&directory.0)).unwrap_err(), Refusal::NotAFile);
        assert_eq!(read(c"/dev/zero").unwrap_err(), Refusal::NotAFile);
        let pipe = c(&directory.path("pipe"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read(&pipe).unwrap_err(), Refusal::NotAFile);
        let missing = read(&c(&directory.path("missing"))).unwrap_err();
        assert_eq!(missing, Refusal::Sys("open", Errno::NOENT));
        assert!(missing.to_string().starts_with("cannot open it: No such file"), "{missing}");
    }

    #[test]
    fn a_change_shows_in_the_stamp() {
        let directory = Directory::new("stamp");
        let path = directory.path("key");
        std::fs::write(&path, b"one").unwrap();
        let first = read(&c(&path)).unwrap().stamp;
        assert_eq!(Stamp::of(&c(&path)), Ok(first));
        std::fs::write(directory.path("new"), b"two").unwrap();
        std::fs::rename(directory.path("new"), &path).unwrap();
        assert_ne!(Stamp::of(&c(&path)), Ok(first));
    }

    #[test]
    fn a_key_for_everybody_is_told() {
        let directory = Directory::new("mode");
        let path = directory.path("key");
        std::fs::write(&path, b"key").unwrap();
        for (mode, told) in [(0o640, false), (0o644, true), (0o600, false), (0o602, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(read(&c(&path)).unwrap().open_to_all, told, "{mode:o}");
        }
    }
}
