//! Standard error, written without ever waiting for who reads it: lines that it does not take are
//! dropped and counted.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::write;
use rustix::net::{SendFlags, send};
use rustix::time::Timespec;

use super::Errno;

/// The longest line. A pipe takes this much at once or not at all.
pub const LONGEST_LINE: usize = 4096;

/// Standard error for whole lines.
#[derive(Debug)]
pub struct Stderr {
    /// The pipe or terminal behind descriptor 2, opened again: the "non-blocking" of descriptor 2
    /// itself is shared with whoever started us, and is not ours to change.
    reopened: Option<OwnedFd>,
    dropped: u64,
}

impl Stderr {
    /// Whatever descriptor 2 is.
    pub fn new() -> Self {
        Self { reopened: reopen(), dropped: 0 }
    }

    /// Writes a line, which ends with a newline.
    pub fn line(&mut self, line: &[u8]) {
        if self.dropped > 0 {
            let notice =
                format!("warning: {} lines were dropped: standard error was not read\n", self.dropped);
            if self.try_line(notice.as_bytes()).is_err() {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        if self.try_line(line).is_err() {
            self.dropped += 1;
        }
    }

    fn try_line(&self, line: &[u8]) -> Result<(), Errno> {
        let line = line.get(..LONGEST_LINE).unwrap_or(line);
        match &self.reopened {
            Some(fd) => write(fd, line).map(drop),
            None => write_now(rustix::stdio::stderr(), line),
        }
    }
}

impl Default for Stderr {
    fn default() -> Self {
        Self::new()
    }
}

/// From now on standard error is what standard output is.
pub fn join_stdout() {
    let _ = rustix::stdio::dup2_stderr(rustix::stdio::stdout());
}

/// Writes without allocating, for a process that is about to end.
pub(super) fn write_last_words(text: &[u8]) {
    let _ = write_now(rustix::stdio::stderr(), text);
}

/// Only pipes and terminals are opened again: of a file it would be another position, and a socket
/// cannot be opened.
fn reopen() -> Option<OwnedFd> {
    const STDERR: &CStr = c"/proc/self/fd/2";
    let stat = rustix::fs::fstat(rustix::stdio::stderr()).ok()?;
    if !matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::CharacterDevice) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(STDERR, flags, Mode::empty()).ok()
}

/// Writes to a descriptor that may be blocking: a socket can be told not to wait, a pipe that polls
/// as writable takes [`LONGEST_LINE`] bytes, and a file has to be trusted.
fn write_now(fd: impl AsFd, line: &[u8]) -> Result<(), Errno> {
    match send(&fd, line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::NOTSOCK) => {}
        result => return result.map(drop),
    }
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&now)) {
        Ok(1) => write(fd, line).map(drop),
        Ok(_) => Err(Errno::AGAIN),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::isolated;
    use rustix::io::read;
    use rustix::pipe::pipe;

    fn fill_and_read(socket: bool) {
        isolated(move || {
            let (read_end, write_end) = if socket {
                use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
                socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None).unwrap()
            } else {
                pipe().unwrap()
            };
            rustix::stdio::dup2_stderr(&write_end).unwrap();
            drop(write_end);
            let mut stderr = Stderr::new();
            assert_eq!(stderr.reopened.is_some(), !socket);
            let line = [b"0123456789".repeat(100), b"\n".to_vec()].concat();
            for _ in 0..1000 {
                stderr.line(&line);
            }
            let dropped = stderr.dropped;
            assert!(dropped > 0 && dropped < 1000, "{dropped}");
            let mut buffer = vec![0; 1 << 20];
            let count = read(&read_end, &mut buffer).unwrap();
            assert_eq!(buffer[..line.len()], line);
            assert!(count > line.len());
            rustix::io::ioctl_fionbio(&read_end, true).unwrap();
            while read(&read_end, &mut buffer).is_ok() {}
            stderr.line(b"after\n");
            let count = read(&read_end, &mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let notice = format!("warning: {dropped} lines were dropped: standard error was not read\n");
            assert!(notice.starts_with(&text) || text == format!("{notice}after\n"), "{text}");
            assert_eq!(stderr.dropped, 0);
        });
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nothing() {
        fill_and_read(false);
    }

    #[test]
    fn a_socket_that_nobody_reads_stops_nothing() {
        fill_and_read(true);
    }
}
