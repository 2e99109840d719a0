//! Files in shared memory: made without a moment in which another user could swap them, and used
//! without a Rust reference into them (ipc.md section A.3).
//!
//! Small files whose words both sides change are a [`Mapping`]; what is copied in bulk is a [`File`].
#![allow(unsafe_code)]

mod fault;
mod sweep;

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{self, AtFlags, FallocateFlags, FlockOperation, Gid, Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex;

use self::fault::Region;
pub use self::sweep::Sweep;
use super::Errno;

/// Bytes of a page of memory, as the kernel has them: they differ even between kernels of one CPU.
pub use rustix::param::page_size;

/// A system call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub step: &'static str,
    /// To what.
    pub path: CString,
    /// Why it failed.
    pub errno: Errno,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, path, errno } = self;
        write!(f, "cannot {step} {}: {}", path.to_string_lossy(), std::io::Error::from(*errno))
    }
}

impl std::error::Error for Failure {}

/// For `map_err`.
fn failure(step: &'static str, path: &CStr) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure { step, path: path.to_owned(), errno }
}

/// Who else may use a new file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its group.
    pub group: u32,
    /// Its permissions.
    pub mode: u32,
}

/// How many bytes a file system still has for files; `None` if it cannot be asked.
pub fn free_space(place: &CStr) -> Option<u64> {
    let space = fs::statvfs(place).ok()?;
    space.f_bavail.checked_mul(space.f_frsize)
}

/// A new directory of our own, for files of our own. Dropping it removes them and it. As long as it lives it is
/// locked (flock), by which a [`Sweep`] knows that it is in use.
#[derive(Debug)]
pub struct Directory {
    parent: OwnedFd,
    name: CString,
    own: OwnedFd,
    files: Vec<CString>,
}

impl Directory {
    /// Makes the directory `name` in `parent`, which others may write to only if it is sticky, like
    /// `/dev/shm`: then nobody else can rename or remove what is made there.
    ///
    /// # Errors
    /// EEXIST if the name is taken, else what went wrong on the way; nothing stays behind.
    pub fn create(parent: &CStr, name: &CStr, share: Share) -> Result<Self, Failure> {
        let directory = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent_fd = fs::open(parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failure("open the directory", parent))?;
        fs::mkdirat(&parent_fd, name, Mode::RWXU).map_err(failure("make the directory", name))?;
        let own = match fs::openat(&parent_fd, name, directory, Mode::empty()) {
            Ok(own) => own,
            Err(errno) => {
                let _ = fs::unlinkat(&parent_fd, name, AtFlags::REMOVEDIR);
                return Err(failure("open the directory", name)(errno));
            }
        };
        let new = Self { parent: parent_fd, name: name.to_owned(), own, files: Vec::new() };
        // Nobody else can open it yet. Without locks it is only swept if this process seems to be dead.
        let _ = fs::flock(&new.own, FlockOperation::NonBlockingLockExclusive);
        hand_over(&new.own, share).map_err(failure("set group and mode of", name))?;
        Ok(new)
    }

    /// Makes a file in the directory: `content`, then zeros up to `len` bytes, which all have their
    /// place in memory from the start.
    ///
    /// # Errors
    /// What failed; ENOSPC when memory for such files is used up.
    pub fn file(&mut self, name: &CStr, content: &[u8], len: usize, share: Share) -> Result<File, Failure> {
        let at = |step| failure(step, name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.own, name, flags, Mode::RUSR | Mode::WUSR).map_err(at("make the file"))?;
        self.files.push(name.to_owned());
        let file = File { fd };
        let len = len.max(content.len()) as u64;
        fs::ftruncate(&file.fd, len).map_err(at("set the length of"))?;
        match fs::fallocate(&file.fd, FallocateFlags::empty(), 0, len) {
            // A memory file system that does not know of this finds no end of space, either.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(at("get memory for")(errno)),
        }
        file.write(0, content).map_err(at("write to"))?;
        hand_over(&file.fd, share).map_err(at("set group and mode of"))?;
        Ok(file)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for name in &self.files {
            // Clients that believe the server is gone remove files themselves.
            let _ = fs::unlinkat(&self.own, name, AtFlags::empty());
        }
        let _ = fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}

/// Lets others at a file that until now was its owner's alone.
fn hand_over(fd: &OwnedFd, share: Share) -> Result<(), Errno> {
    let stat = fs::fstat(fd)?;
    if stat.st_gid != share.group {
        fs::fchown(fd, None, Some(Gid::from_raw(share.group)))?;
    }
    fs::fchmod(fd, Mode::from_raw_mode(share.mode))
}

/// An open file that others can change, and cut short, at any time.
#[derive(Debug)]
pub struct File {
    fd: OwnedFd,
}

impl File {
    /// Copies from byte `at` on. `Ok(false)`: the file ends before `into` is full.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, at: usize, mut into: &mut [u8]) -> Result<bool, Errno> {
        let mut at = at as u64;
        while !into.is_empty() {
            match rustix::io::pread(&self.fd, &mut *into, at) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    into = into.get_mut(count..).unwrap_or_default();
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    /// Copies to byte `at` and on.
    ///
    /// # Errors
    /// What the kernel says; ENOSPC also when the file was cut short and cannot grow again.
    pub fn write(&self, at: usize, mut bytes: &[u8]) -> Result<(), Errno> {
        let mut at = at as u64;
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.fd, bytes, at) {
                // Never for a file; without this a kernel that does it would hold us for ever.
                Ok(0) => return Err(Errno::NOSPC),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// The start of a file as 32-bit words that other processes change, too.
///
/// They can cut the file short as well. That is noticed at the next access: see [`Mapping::is_lost`].
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<AtomicU32>,
    len: usize,
    region: Region,
}

impl Mapping {
    /// Maps the first `len` bytes of a file. From now on this process has a handler for SIGBUS.
    ///
    /// # Errors
    /// What `mmap` says; EINVAL if `len` is 0.
    pub fn new(file: &File, len: usize) -> Result<Self, Errno> {
        let pages = len.next_multiple_of(page_size());
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so nothing that exists is replaced. No Rust reference to
        // plain data in it is ever made: it is only used through atomics.
        let start = unsafe { mmap(std::ptr::null_mut(), pages, protection, MapFlags::SHARED, &file.fd, 0) }?;
        // A mapping is never at 0 unless asked to be; and it is aligned to a page.
        let start = NonNull::new(start.cast()).ok_or(Errno::INVAL)?;
        Ok(Self { start, len, region: Region::new(start.as_ptr() as usize, pages) })
    }

    /// Whether an access found that the file was cut short. From then on every word is private, and
    /// was 0 at first.
    pub fn is_lost(&self) -> bool {
        self.region.is_lost()
    }

    /// Reads the word at byte `offset`, with acquire order.
    pub fn load(&self, offset: usize) -> u32 {
        self.region.access(|| self.word(offset).load(Ordering::Acquire))
    }

    /// Writes the word at byte `offset`, with release order.
    pub fn store(&self, offset: usize, value: u32) {
        self.region.access(|| self.word(offset).store(value, Ordering::Release));
    }

    /// Adds to the word at byte `offset`, wrapping.
    pub fn add(&self, offset: usize, value: u32) {
        self.region.access(|| self.word(offset).fetch_add(value, Ordering::AcqRel));
    }

    /// Wakes one process that waits on the word at byte `offset`; whether there was one.
    pub fn wake(&self, offset: usize) -> bool {
        // Fails for a bad address only. Shared, without the flag for a futex of one process.
        futex::wake(self.word(offset), futex::Flags::empty(), 1).is_ok_and(|woken| woken > 0)
    }

    /// The only way to the memory. The type has interior mutability, so a reference to it says nothing
    /// about who else writes there.
    fn word(&self, offset: usize) -> &AtomicU32 {
        // A mistake of our own, since offsets come from constants: better an end than a stray write.
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "no word at {offset}");
        // SAFETY: inside the mapping, by the assertion, and aligned, since the mapping is to a page and the
        // offset to a word; the mapping lives as long as `self`. All accesses of this process are atomic,
        // those of others are beyond Rust's rules as writes of a device are.
        unsafe { self.start.byte_add(offset).as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nothing borrowed from it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len.next_multiple_of(page_size())) };
    }
}

#[cfg(test)]
mod tests;
