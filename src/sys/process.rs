//! What the daemon does to its own process when it starts, and how a panic ends it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::mem::MaybeUninit;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::{Errno, signal, stderr, syslog};

/// The kernel's file for a process's own badness.
pub(super) const OOM_SCORE_ADJ: &CStr = c"/proc/self/oom_score_adj";
/// Killing the daemon frees one megabyte and gets the node fenced.
const OWN_OOM_SCORE_ADJ: &[u8] = b"-1000";
/// Stock's (daemon-lifecycle.md section 4); agents inherit it.
const UMASK: Mode = Mode::from_raw_mode(0o026);
/// How many descriptors are enough for thousands of agents at once: each takes two.
const DESCRIPTORS: u64 = 16384;

/// The system log's prefix of what a panic says: facility "daemon", level "crit".
const LAST_WORDS: &str = "<26>pacemaker-remoted: ";

/// What the daemon changed about itself and each child gets back.
#[derive(Debug, Default)]
pub struct Restore {
    pub(super) oom_score_adj: Option<CString>,
    pub(super) descriptors: Option<Rlimit>,
}

/// Sets up the daemon's own process. Nothing in it is worth not starting for.
pub fn prepare() -> Restore {
    rustix::process::umask(UMASK);
    let _ = signal::ignore(libc::SIGPIPE);
    // No core and no debugger: the key is in our memory.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    Restore { oom_score_adj: protect_from_oom(), descriptors: raise_descriptors() }
}

/// The score as it was, if it was changed.
fn protect_from_oom() -> Option<CString> {
    let file = rustix::fs::open(OOM_SCORE_ADJ, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut before = [0; 16];
    let count = rustix::io::pread(&file, &mut before, 0).ok()?;
    let before = CString::new(before.get(..count)?).ok()?;
    rustix::io::pwrite(&file, OWN_OOM_SCORE_ADJ, 0).ok()?;
    Some(before)
}

/// The limits as they were, if they were changed.
fn raise_descriptors() -> Option<Rlimit> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let current = before.current?;
    let wanted = before.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    if current >= wanted {
        return None;
    }
    let raised = Rlimit { current: Some(wanted), maximum: before.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).ok()?;
    Some(before)
}

/// Makes a panic say where it was, on stderr and in the system log, without allocating and without
/// what outside may have put into its message. What follows is up to the profile: `abort`.
pub fn install_panic_hook(build: &'static str) {
    std::panic::set_hook(Box::new(move |info| {
        let mut text = heapless::String::<250>::new();
        let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
        // A text that is too long is cut.
        let _ = writeln!(text, "{LAST_WORDS}crit: panic at {file}:{line} in {build}; please report this");
        syslog::write_last_words(text.trim_end().as_bytes());
        stderr::write_last_words(text.get(LAST_WORDS.len()..).unwrap_or_default().as_bytes());
    }));
}

/// Gives this process another name in process lists: the kernel's own, and the command line's. What does
/// not fit is cut.
pub fn retitle(name: &str) {
    rename(name);
    let Some(arguments) = own_arguments() else { return };
    let length = arguments.len();
    // The last byte stays NUL: so the kernel knows the end.
    let title = name.as_bytes().iter().chain(std::iter::repeat(&0)).take(length.saturating_sub(1));
    for (address, &byte) in arguments.zip(title.chain([&0])) {
        // SAFETY: the kernel put the arguments there, at the stack's far end, where they are writable as long as
        // the process lives. Nobody holds references to them: what the standard library gives are copies.
        unsafe { std::ptr::write_volatile(address as *mut u8, byte) };
    }
}

/// Gives this process another name in process lists, as [`retitle`], but leaves the command line's.
pub fn rename(name: &str) {
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// What the machine calls itself.
pub fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where this process has its arguments, if the kernel says so.
pub(super) fn own_arguments() -> Option<std::ops::Range<usize>> {
    let file = rustix::fs::open(c"/proc/self/stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 1024];
    let count = rustix::io::read(&file, &mut buffer).ok()?;
    let text = std::str::from_utf8(buffer.get(..count)?).ok()?;
    // The name before it may hold spaces and parentheses. Fields 48 and 49 of proc_pid_stat(5).
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(45).map(|field| field.parse::<usize>().ok());
    let (start, end) = (fields.next()??, fields.next()??);
    (start > 0 && end > start && end - start < 1024 * 1024).then_some(start..end)
}

/// Whether a process has this name: at most 15 bytes, as the kernel cuts longer ones.
///
/// # Errors
/// What kept from looking: for lack of descriptors or memory it is not known; ENOTDIR or ENOENT where there is no /proc.
pub fn is_running(name: &str) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let all = rustix::fs::open(c"/proc", flags, Mode::empty())?;
    let mut unknown = Ok(false);
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(&all, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        // Of what /proc tells of a process this needs no lock that a process may hold which hangs.
        let path = [entry.file_name().to_bytes(), b"/comm"].concat();
        let mut told = [0; 32];
        let count = rustix::fs::openat(&all, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::read(&file, &mut told));
        match count {
            Ok(count) if told.get(..count).unwrap_or_default().trim_ascii_end() == name.as_bytes() => {
                return Ok(true);
            }
            // It may have been this one.
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => unknown = Err(errno),
            // It has another name, has just ended, or is no process.
            _ => {}
        }
    }
    unknown
}

/// Goes to `directory`, which becomes the working directory of agents, too.
///
/// # Errors
/// What `chdir` says.
pub fn change_directory(directory: &CStr) -> Result<(), Errno> {
    rustix::process::chdir(directory)
}

/// The user as whom this process acts.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a directory (mode 0755 less the umask), with those above it. One that is there is left alone.
///
/// # Errors
/// What `mkdir` says.
pub fn make_directory(path: &str) -> Result<(), Errno> {
    let above = path.match_indices('/').map(|(end, _)| path.split_at(end).0).filter(|path| !path.is_empty());
    for directory in above.chain([path]) {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_by_name() {
        // A thread's name is its own; /proc has the first one's for the process.
        let own = std::fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
        assert_eq!(is_running(own.trim_end()), Ok(true), "{own}");
        assert_eq!(is_running("nobody-is-called-that"), Ok(false));
    }

    #[test]
    fn what_cannot_be_looked_for_is_not_said_to_be_missing() {
        crate::sys::testing::isolated(|| {
            let last = rustix::fs::open(c"/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
            let number = std::os::fd::AsRawFd::as_raw_fd(&last) as u64;
            let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
            // First for none more, then for the directory alone.
            for room in [0, 1] {
                let current = Some(number + 1 + room);
                rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
                assert_eq!(is_running("nobody-is-called-that"), Err(Errno::MFILE), "{room}");
            }
        });
    }
}
