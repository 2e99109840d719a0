//! A process that writes what the daemon must not wait for: see [`start`], and [`restart`] for when it was ended.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, ioctl_fionread};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::child::close_from;
use super::process::retitle;
use super::signal::{ignore, last_errno, mask_of, set_mask};
use super::{Errno, image};

/// How the process is called. Whoever looks for the daemon by its name must find one process only.
pub const NAME: &str = "pacelet-scribe";
/// The same, as the first of the program's arguments.
const ARGUMENT: &CStr = c"pacelet-scribe";
/// This program, whatever has become of its file.
const PROGRAM: &CStr = c"/proc/self/exe";
/// The longest line: a pipe takes this much at once or not at all.
pub const LONGEST_LINE: usize = 4096;
/// How many bytes wait while the disk stalls, if the kernel grants it (or 64 KiB).
const WAITING: usize = 256 * 1024;
/// Less than this in the pipe, in bytes, is a trickle…
const TRICKLE: u64 = 4096;
/// …and lets the process rest this long, in milliseconds, after what it has written: else the daemon would wake it
/// for each line, which takes longer than all else that becomes of one.
const REST: u64 = 10;
/// Where the process has its end of the pipe.
const INPUT: i32 = 3;
/// What a starter sends to all its processes. The scribe ends when the last line is written, and by
/// nothing else; SIGXFSZ says that a file is as long as it may be.
const IGNORED: [libc::c_int; 5] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGXFSZ];

/// What came of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It will be written.
    Yes,
    /// Too many lines wait already: it was lost.
    Full,
    /// The process is not there any more: it was lost, and so is what follows.
    Gone,
}

/// The daemon's end.
#[derive(Debug)]
pub struct Scribe {
    pipe: OwnedFd,
}

impl Scribe {
    /// Hands over a line, without ever waiting.
    pub fn send(&self, line: &[u8]) -> Taken {
        match rustix::io::write(&self.pipe, line.get(..LONGEST_LINE).unwrap_or(line)) {
            Ok(_) => Taken::Yes,
            Err(Errno::AGAIN) => Taken::Full,
            Err(_) => Taken::Gone,
        }
    }
}

/// Forks the process, in which `work` reads lines from a pipe until its end, and may wait for whatever it
/// likes. To be called early: it keeps a copy of all that this process has in memory, and none of what comes
/// later. Of its descriptors it keeps the pipe and standard error.
///
/// # Errors
/// What `pipe2` and `fork` say.
pub fn start(work: impl FnOnce(OwnedFd)) -> Result<Scribe, Errno> {
    let (read, write) = pipe()?;
    // SAFETY: this process has one thread, so the child's memory is whole.
    match unsafe { libc::fork() } {
        0 => {}
        pid if pid < 0 => return Err(last_errno()),
        _ => return Ok(Scribe { pipe: write }),
    }
    drop(write);
    work(settle(read));
    // SAFETY: _exit has no preconditions; exit would run what belongs to the daemon.
    unsafe { libc::_exit(0) }
}

/// Starts another one: this program again under the name [`NAME`], which is to call [`resume`]. Unlike a fork alone it
/// gets nothing of what this process has in its memory by now, the key above all. If it cannot be executed (there is
/// no /proc, say) that shows in [`Taken::Gone`].
///
/// # Errors
/// What `pipe2` and `fork` say.
pub fn restart(arguments: &[CString]) -> Result<Scribe, Errno> {
    let (read, write) = pipe()?;
    let mut argv = vec![ARGUMENT.as_ptr()];
    argv.extend(arguments.iter().map(|argument| argument.as_ptr()));
    argv.push(std::ptr::null());
    // SAFETY: what the child calls is async-signal-safe, and it uses no memory that was not there before.
    match unsafe { libc::fork() } {
        0 => {}
        pid if pid < 0 => return Err(last_errno()),
        _ => return Ok(Scribe { pipe: write }),
    }
    let read = move_to_input(read);
    let _ = rustix::io::fcntl_setfd(&read, FdFlags::empty());
    close_from(INPUT + 1);
    // SAFETY: all pointers in the array are valid strings, and it ends with null.
    unsafe { libc::execv(PROGRAM.as_ptr(), argv.as_ptr()) };
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(127) }
}

/// What the program that [`restart`] runs has to do first; gives its end of the pipe, if there is one.
pub fn resume() -> Option<OwnedFd> {
    // SAFETY: fcntl has no preconditions.
    if unsafe { libc::fcntl(INPUT, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, and nothing in this program owns it: it has just started.
    Some(settle(unsafe { OwnedFd::from_raw_fd(INPUT) }))
}

/// The reading and the writing end.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    // Beyond what users get, only root has more.
    let _ = fcntl_setpipe_size(&write, WAITING);
    Ok((read, write))
}

/// Makes the process one of its own; gives its end of the pipe.
fn settle(read: OwnedFd) -> OwnedFd {
    retitle(NAME);
    for signal in IGNORED {
        let _ = ignore(signal);
    }
    let _ = set_mask(&mask_of(&[]));
    // It must keep no file system busy.
    let _ = rustix::process::chdir(c"/");
    if let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    let read = move_to_input(read);
    close_from(INPUT + 1);
    image::forget_code();
    read
}

fn move_to_input(read: OwnedFd) -> OwnedFd {
    use std::os::fd::IntoRawFd;
    if read.as_raw_fd() == INPUT {
        return read;
    }
    // SAFETY: dup2 has no preconditions. What was number 3 is used by nobody: the daemon opens nothing before the
    // first fork that it uses in `work`, and after another there is nothing but exec.
    if unsafe { libc::dup2(read.as_raw_fd(), INPUT) } != INPUT {
        return read;
    }
    // Closed with all the others.
    let _ = read.into_raw_fd();
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(INPUT) }
}

/// The lines that come through a pipe, as long as its other end is open. **Waits for them.**
#[derive(Debug)]
pub struct Lines<'a> {
    pipe: &'a OwnedFd,
    buffer: Vec<u8>,
    filled: usize,
    /// How much at the start of the buffer was given out.
    given: usize,
}

impl<'a> Lines<'a> {
    /// At most `room` bytes at once, which must be more than [`LONGEST_LINE`].
    pub fn new(pipe: &'a OwnedFd, room: usize) -> Self {
        Self { pipe, buffer: vec![0; room], filled: 0, given: 0 }
    }

    /// One or more whole lines; `None` when there will be none any more.
    pub fn wait(&mut self) -> Option<&str> {
        // After a disk that has stalled the pipe is full, and what comes would be lost.
        if self.given > 0 && ioctl_fionread(self.pipe).is_ok_and(|waiting| waiting < TRICKLE) {
            std::thread::sleep(Duration::from_millis(REST));
        }
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        while self.given == 0 {
            let count = rustix::io::read(self.pipe, self.buffer.get_mut(self.filled..)?).ok()?;
            if count == 0 {
                return None;
            }
            self.filled += count;
            let filled = self.buffer.get(..self.filled)?;
            self.given = filled.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        }
        // The daemon writes text only.
        std::str::from_utf8(self.buffer.get(..self.given)?).ok()
    }
}

/// Writes to a file: how much it took. **Waits for the disk.**
///
/// # Errors
/// What `write` says.
pub fn write(file: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::io::write(file, bytes)? {
        0 => Err(Errno::IO),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::own_arguments;
    use crate::sys::testing::isolated;
    use rustix::io::read;

    #[test]
    fn nobody_waits_for_who_does_not_read() {
        isolated(|| {
            let (hold, release) = rustix::pipe::pipe().unwrap();
            // The child keeps a duplicate of neither end: it waits for a file to go.
            drop(hold);
            drop(release);
            let mark = std::env::temp_dir().join(format!("pacelet-scribe-{}", std::process::id()));
            std::fs::write(&mark, "").unwrap();
            let copy = mark.with_extension("copy");
            let (wait_for, result) = (mark.clone(), copy.clone());
            let scribe = start(move |input| {
                while wait_for.exists() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                let mut all = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = read(&input, &mut buffer) {
                    all.extend_from_slice(&buffer[..count]);
                }
                std::fs::write(&result, &all).unwrap();
                std::fs::rename(&result, result.with_extension("done")).unwrap();
            })
            .unwrap();
            let line = [vec![b'x'; 999], b"\n".to_vec()].concat();
            let mut taken = 0;
            while scribe.send(&line) == Taken::Yes {
                taken += 1;
                assert!(taken < 10_000, "a pipe has an end");
            }
            assert_eq!(scribe.send(&line), Taken::Full);
            std::fs::remove_file(&mark).unwrap();
            drop(scribe);
            let done = copy.with_extension("done");
            while !done.exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            assert_eq!(std::fs::read(&done).unwrap().len(), taken * line.len());
            std::fs::remove_file(&done).unwrap();
        });
    }

    #[test]
    fn its_end_is_told() {
        isolated(|| {
            ignore(libc::SIGPIPE).unwrap();
            let scribe = start(drop).unwrap();
            while scribe.send(b"one\n") == Taken::Yes {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            assert_eq!(scribe.send(b"two\n"), Taken::Gone);
        });
    }

    #[test]
    fn it_has_a_name_and_descriptors_of_its_own() {
        isolated(|| {
            let path = std::env::temp_dir().join(format!("pacelet-scribe-name-{}", std::process::id()));
            let report = path.clone();
            let scribe = start(move |_input| {
                let mut names: Vec<_> = std::fs::read_dir("/proc/self/fd")
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
                let cmdline = std::fs::read("/proc/self/cmdline").unwrap();
                let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
                std::fs::write(&report, format!("{comm}{cmdline}\n{}", names.join(" "))).unwrap();
                std::fs::rename(&report, report.with_extension("done")).unwrap();
            })
            .unwrap();
            let done = path.with_extension("done");
            while !done.exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            drop(scribe);
            let text = std::fs::read_to_string(&done).unwrap();
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some(NAME));
            let title = lines.next().unwrap().trim_end_matches('\0');
            // An emulator shows its own command line, and does not say where the program's is.
            assert!(title == NAME || own_arguments().is_none(), "{title:?}");
            // 4 is the directory that is being read.
            assert_eq!(lines.next(), Some("0 1 2 3 4"));
            std::fs::remove_file(&done).unwrap();
        });
    }
}
