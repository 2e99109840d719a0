//! What a child does between fork and exec (executor-semantics.md section 6.2).
//!
//! Only async-signal-safe calls: no allocation, no lock, nothing that may panic. A step that fails
//! is written to the report pipe, and the child exits.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::agent::Step;
use crate::agent::secret::{Secret, is_signed, trimmed};
use crate::sys::Errno;
use crate::sys::process::{OOM_SCORE_ADJ, Restore};
use crate::sys::signal::{check, default_disposition, last_errno, mask_of, set_mask};
use crate::sys::users::Ids;

/// The exit status of a child that has written a [`Report`]; programs may use it as well.
pub const FAILED: u8 = 127;
/// Where the report pipe is until exec closes it.
const REPORT: RawFd = 3;
/// What executes a script that does not say what executes it, as `execvp` does.
const SHELL: &CStr = c"/bin/sh";
/// Up to where descriptors are closed one by one if neither `close_range` nor /proc is there.
const LAST_DESCRIPTOR: u64 = 65536;
/// For how many pointers an array keeps room between children.
const KEPT: usize = 128;

/// Everything the child needs, made before the fork.
pub struct Plan<'a> {
    /// The program's possible paths.
    pub candidates: &'a [CString],
    /// Filled.
    pub arrays: &'a mut Arrays,
    /// Descriptors that become 0, 1 and 2.
    pub stdin: RawFd,
    /// See `stdin`.
    pub stdout: RawFd,
    /// See `stdin`.
    pub stderr: RawFd,
    /// Where to report a failure.
    pub report: RawFd,
    /// Signals that are ignored; handlers end by themselves at exec.
    pub ignored: &'a [libc::c_int],
    /// Entries of the environment to replace by what files say.
    pub secrets: &'a [Secret],
    /// Whether the program is not to run without all secrets.
    pub needs_secrets: bool,
    /// As whom it runs, if not as the daemon.
    pub user: Option<Ids>,
    /// What is to be as it was before the daemon changed it.
    pub restore: &'a Restore,
    /// This process, if the kernel is to kill the program when it ends.
    pub dies_with: Option<Pid>,
}

/// What `execve` takes. The arrays are used again for each child: allocated anew, each may be the only one of its
/// size, for which libc asks the kernel each time.
#[derive(Debug, Default)]
pub struct Arrays {
    /// The arguments, with two places before them, and a null pointer after.
    argv: Vec<*const libc::c_char>,
    /// The environment, and a null pointer after.
    envp: Vec<*const libc::c_char>,
    /// Of the entries of both environments, one after the other, the numbers by name.
    order: Vec<usize>,
}

impl Arrays {
    /// Points to a command's arguments, and to the base environment with the command's own entries: those replace
    /// what has the same name, and the last of the same name counts.
    pub fn fill(&mut self, arguments: &[CString], base: &[CString], own: &[CString]) {
        self.argv.clear();
        // Place 0 is for the shell, place 1 for the program.
        self.argv.extend([SHELL.as_ptr(), SHELL.as_ptr()]);
        self.argv.extend(arguments.iter().map(|argument| argument.as_ptr()));
        self.argv.push(std::ptr::null());

        let entry =
            |at: usize| base.get(at).or_else(|| own.get(at - base.len())).map_or(c"", CString::as_c_str);
        let name = |at: usize| entry(at).to_bytes().split(|&byte| byte == b'=').next();
        self.order.clear();
        for at in 0..base.len() + own.len() {
            match self.order.binary_search_by(|&other| name(other).cmp(&name(at))) {
                Ok(place) => self.order[place] = at,
                Err(place) => self.order.insert(place, at),
            }
        }
        self.envp.clear();
        self.envp.extend(self.order.iter().map(|&at| entry(at).as_ptr()));
        self.envp.push(std::ptr::null());
    }

    /// Puts another entry of the environment in the place of the one that begins so, in a forked child.
    fn replace(&mut self, beginning: &CStr, entry: *const libc::c_char) {
        let beginning = beginning.to_bytes();
        for place in self.envp.iter_mut().filter(|place| !place.is_null()) {
            // SAFETY: all but the last are strings that live as long as the child does before it executes.
            if unsafe { CStr::from_ptr(*place) }.to_bytes().starts_with(beginning) {
                *place = entry;
            }
        }
    }

    /// Forgets all pointers, and what an uncommon command has taken.
    pub fn clear(&mut self) {
        for array in [&mut self.argv, &mut self.envp] {
            array.clear();
            array.shrink_to(KEPT);
        }
        self.order.clear();
        self.order.shrink_to(KEPT);
    }
}

impl Plan<'_> {
    /// Becomes the program, or reports why not and exits.
    ///
    /// # Safety
    /// To be called in a forked child only. All pointers in the arrays are valid, and both end with null.
    pub unsafe fn run(&mut self) -> ! {
        // SAFETY: handed on.
        let (step, errno) = match unsafe { self.try_to_run() } {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let report =
            Report { pid: rustix::process::getpid().as_raw_pid(), step, errno: errno.raw_os_error() };
        // SAFETY: the descriptor is open until this process ends: only `execve` closes it.
        let pipe = unsafe { BorrowedFd::borrow_raw(self.report) };
        let _ = rustix::io::write(pipe, &report.to_bytes());
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(FAILED.into()) }
    }

    /// # Safety
    /// As [`Plan::run`].
    unsafe fn try_to_run(&mut self) -> Result<std::convert::Infallible, (Step, Errno)> {
        self.set_up().map_err(|errno| (Step::SetUp, errno))?;
        let path = look_up(self.candidates).map_err(|errno| (Step::Lookup, errno))?;
        self.fill_in_secrets().map_err(|errno| (Step::Secrets, errno))?;
        // Before it, files and the nice level still need root.
        self.user.map_or(Ok(()), become_user).map_err(|errno| (Step::User, errno))?;
        // Last, because a signal that comes from here on ends the child.
        set_mask(&mask_of(&[])).map_err(|errno| (Step::SetUp, errno))?;
        // SAFETY: handed on.
        Err((Step::Exec, unsafe { self.execute(path) }))
    }

    fn set_up(&mut self) -> Result<(), Errno> {
        move_to(self.stdout, 1)?;
        move_to(self.stderr, 2)?;
        move_to(self.stdin, 0)?;
        if self.report != REPORT {
            // Whatever was number 3 has been moved or is of no use to the child.
            // SAFETY: dup3 has no preconditions, and no OwnedFd of this process image is dropped any more.
            check(unsafe { libc::dup3(self.report, REPORT, libc::O_CLOEXEC) })?;
            self.report = REPORT;
        }
        close_from(REPORT + 1);
        for &signal in self.ignored {
            default_disposition(signal)?;
        }
        normal_scheduling()?;
        rustix::process::setpgid(None, None)?;
        if let Some(parent) = self.dies_with {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have ended before that.
            if rustix::process::getppid() != Some(parent) {
                return Err(Errno::SRCH);
            }
        }
        self.give_back();
        Ok(())
    }

    /// Undoes what the daemon did for itself. What cannot be undone must not keep an agent from running.
    fn give_back(&self) {
        if let Some(limit) = &self.restore.descriptors {
            let limit = Rlimit { current: limit.current, maximum: limit.maximum };
            let _ = rustix::process::setrlimit(Resource::Nofile, limit);
        }
        if let Some(score) = &self.restore.oom_score_adj
            && let Ok(file) = rustix::fs::open(OOM_SCORE_ADJ, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        {
            let _ = rustix::io::write(&file, score.as_bytes());
        }
    }

    /// Replaces the values that are secrets. The program may be one that runs without: then such a value stays.
    fn fill_in_secrets(&mut self) -> Result<(), Errno> {
        for secret in self.secrets {
            match read_secret(secret) {
                Ok(entry) => self.arrays.replace(&secret.entry, entry),
                Err(errno) if self.needs_secrets => return Err(errno),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`Plan::run`].
    unsafe fn execute(&mut self, path: *const libc::c_char) -> Errno {
        let [_, program, ..] = self.arrays.argv.as_mut_slice() else { return Errno::INVAL };
        *program = path;
        let argv = self.arrays.argv.as_ptr();
        let envp = self.arrays.envp.as_ptr();
        // SAFETY: `path` and all pointers in the arrays are valid strings, and the arrays end with null.
        unsafe { libc::execve(path, argv.add(1), envp) };
        let errno = last_errno();
        if errno == Errno::NOEXEC {
            // SAFETY: as before.
            unsafe { libc::execve(SHELL.as_ptr(), argv, envp) };
        }
        errno
    }
}

/// What a child that failed tells.
pub struct Report {
    /// Whose it is.
    pub pid: i32,
    /// Where it failed.
    pub step: Step,
    /// Why.
    pub errno: i32,
}

impl Report {
    /// Its length in bytes, well below PIPE_BUF.
    pub const SIZE: usize = 12;

    fn to_bytes(&self) -> [u8; Self::SIZE] {
        let step = match self.step {
            Step::Lookup => 0,
            Step::Exec => 1,
            Step::Secrets => 2,
            Step::User => 3,
            _ => 4,
        };
        let mut bytes = [0; Self::SIZE];
        for (place, number) in bytes.chunks_exact_mut(4).zip([self.pid, step, self.errno]) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// What a child wrote.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, step @ .., e, f, g, h] = bytes;
        let step = match i32::from_ne_bytes(step) {
            0 => Step::Lookup,
            1 => Step::Exec,
            2 => Step::Secrets,
            3 => Step::User,
            _ => Step::SetUp,
        };
        Self { pid: i32::from_ne_bytes([a, b, c, d]), step, errno: i32::from_ne_bytes([e, f, g, h]) }
    }
}

/// The first candidate that is there, whatever it is. Of several errors the first counts that says
/// more than "no such file".
fn look_up(candidates: &[CString]) -> Result<*const libc::c_char, Errno> {
    let mut failure = Errno::NOENT;
    for path in candidates {
        match rustix::fs::stat(path.as_c_str()) {
            Ok(_) => return Ok(path.as_ptr()),
            Err(errno) if failure == Errno::NOENT => failure = errno,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// The entry of the environment with a secret in it, in memory that was never the daemon's.
fn read_secret(secret: &Secret) -> Result<*const libc::c_char, Errno> {
    let beginning = secret.entry.to_bytes();
    // One byte more than may be there tells what is too long; the last one ends the string.
    let length = beginning.len() + Secret::LIMIT + 2;
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping, which nobody else knows, is in the place of no other.
    let place = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, protection, flags) }?;
    // SAFETY: it is that long and holds zeroes, and no other reference to it is there; it stays until the child
    // executes.
    let entry = unsafe { std::slice::from_raw_parts_mut(place.cast::<u8>(), length) };
    let (name, value) = entry.split_at_mut_checked(beginning.len()).ok_or(Errno::INVAL)?;
    name.copy_from_slice(beginning);
    let value = value.get_mut(..=Secret::LIMIT).ok_or(Errno::INVAL)?;
    let count = trimmed(read_file(&secret.file, value)?).len();
    let (value, rest) = value.split_at_mut_checked(count).ok_or(Errno::INVAL)?;
    rest.fill(0);
    let mut signature = [0; Secret::SIGNATURE_LIMIT];
    let signature = trimmed(read_file(&secret.signature, &mut signature)?);
    // What comes after a NUL would not be in the variable.
    if value.contains(&0) || !is_signed(value, signature) {
        return Err(Errno::BADMSG);
    }
    Ok(place.cast())
}

/// A file's content, which must leave room in the buffer.
fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let mut count = 0;
    while let Some(room) = buffer.get_mut(count..)
        && let more @ 1.. = rustix::io::read(&file, room)?
    {
        count += more;
    }
    if count >= buffer.len() { Err(Errno::FBIG) } else { Ok(buffer.get(..count).unwrap_or_default()) }
}

/// Takes the user's and the group's number for all purposes, and gives up all other groups; looks whether it
/// was so.
fn become_user(ids: Ids) -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(ids.user), Gid::from_raw(ids.group));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    let (mut users, mut groups) = ([0; 3], [0; 3]);
    let [real, effective, saved] = &mut users;
    // SAFETY: three valid places for numbers.
    check(unsafe { libc::getresuid(real, effective, saved) })?;
    let [real, effective, saved] = &mut groups;
    // SAFETY: as before.
    check(unsafe { libc::getresgid(real, effective, saved) })?;
    if users != [ids.user; 3] || groups != [ids.group; 3] { Err(Errno::PERM) } else { Ok(()) }
}

/// Makes `from` the descriptor `to`, open across exec.
fn move_to(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: dup2 has no preconditions, and no OwnedFd of this process image is dropped any more.
    check(unsafe { libc::dup2(from, to) })
}

/// The daemon may run with a real-time policy or a nice level; no agent shall.
fn normal_scheduling() -> Result<(), Errno> {
    // musl's own functions for this only fail.
    // SAFETY: both system calls take numbers and, the second, a valid `sched_param`.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    if policy > libc::c_long::from(libc::SCHED_OTHER) {
        // SAFETY: an all-zero `sched_param` is valid: priority 0.
        let parameter: libc::sched_param = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: as above.
        let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &parameter) };
        check(if result < 0 { -1 } else { 0 })?;
    }
    // A daemon that is not root may not get out of a nice level; then its agents stay there, too.
    let _ = rustix::process::setpriority_process(None, 0);
    Ok(())
}

/// Closes all descriptors from `first` on: what the daemon opens closes itself at exec, but not
/// what its starter left open.
pub fn close_from(first: RawFd) {
    // SAFETY: takes numbers; no OwnedFd of this process image is used any more.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    if close_listed(first).is_ok() {
        return;
    }
    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(LAST_DESCRIPTOR);
    for fd in first..limit.min(LAST_DESCRIPTOR) as RawFd {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// Closes what /proc lists, for Linux before 5.9.
fn close_listed(first: RawFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(fd) = number(entry.file_name().to_bytes()) else { continue };
        if fd >= first && fd != directory.as_raw_fd() {
            // SAFETY: no OwnedFd of this process image is used any more, except the directory's.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

fn number(digits: &[u8]) -> Option<RawFd> {
    digits.iter().try_fold(0 as RawFd, |number, digit| {
        let digit = RawFd::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?);
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::isolated;

    #[test]
    fn reports_survive_the_pipe() {
        for step in [Step::Lookup, Step::SetUp, Step::Secrets, Step::User, Step::Exec] {
            let bytes = Report { pid: 12345, step, errno: 13 }.to_bytes();
            let report = Report::from_bytes(bytes);
            assert_eq!((report.pid, report.step, report.errno), (12345, step, 13));
        }
    }

    #[test]
    fn only_numbers_are_descriptors() {
        assert_eq!(number(b"42"), Some(42));
        assert_eq!(number(b"."), None);
        assert_eq!(number(b"99999999999"), None);
    }

    #[test]
    fn an_error_that_says_more_than_missing_counts() {
        let path = |text: &str| CString::new(text).unwrap();
        let missing = path("/nonexistent/agent");
        let under_a_file = path("/proc/self/status/agent");
        assert_eq!(look_up(&[]), Err(Errno::NOENT));
        assert_eq!(look_up(std::slice::from_ref(&missing)), Err(Errno::NOENT));
        assert_eq!(look_up(&[missing.clone(), under_a_file.clone(), missing.clone()]), Err(Errno::NOTDIR));
        let there = path("/");
        let paths = [missing, under_a_file, there];
        assert_eq!(look_up(&paths), Ok(paths[2].as_ptr()));
    }

    /// `close_range` hides this on any machine that builds pacelet.
    #[test]
    fn what_proc_lists_is_closed() {
        isolated(|| {
            let open = || (3..200).filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0).count();
            for _ in 0..100 {
                assert!(unsafe { libc::dup(0) } >= 0);
            }
            assert!(open() >= 100);
            close_listed(3).unwrap();
            assert_eq!(open(), 0);
        });
    }
}
