//! Signals as input: a signalfd, so that they arrive in the loop and never in the middle of something.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::rc::Rc;

use super::Errno;
use super::reactor::{Class, Interest, Reactor, Source};

/// The size of the kernel's `signalfd_siginfo`, the same everywhere; the signal's number is its first `u32`.
const RECORD: usize = 128;
/// How many signals are taken at once.
const RECORDS: usize = 4;

/// A signal that the daemon handles. All others keep the disposition they were started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGCHLD: one or more children have ended.
    Child,
    /// SIGTERM: end in an orderly way.
    Terminate,
}

/// The signals that have come.
#[derive(Debug)]
pub struct Signals {
    source: Source,
}

impl Signals {
    /// Blocks SIGCHLD and SIGTERM (and unblocks all others, whatever the starter left blocked) and
    /// takes them from a descriptor. To be called while the process has one thread.
    ///
    /// # Errors
    /// What `signalfd` and `epoll_ctl` say.
    pub fn new(reactor: &Rc<Reactor>) -> Result<Self, Errno> {
        // A starter that ignores SIGCHLD bequeaths that, and then no child could ever be waited for.
        default_disposition(libc::SIGCHLD)?;
        let mask = mask_of(&[libc::SIGCHLD, libc::SIGTERM]);
        set_mask(&mask)?;
        // SAFETY: the mask is initialised, and -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: the call has just made this descriptor, so nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { source: Source::new(reactor, fd, Class::Urgent, Interest::Read)? })
    }

    /// Waits for signals and tells which have come. Of the same one several may have become one.
    ///
    /// # Errors
    /// What `read` says: none that a working kernel would.
    pub async fn next(&self) -> Result<heapless::Vec<Signal, RECORDS>, Errno> {
        let mut buffer = [0; RECORD * RECORDS];
        loop {
            let read = self.source.attempt_read(buffer.len(), |fd| rustix::io::read(fd, &mut buffer[..]))?;
            let Some(count) = read else {
                self.source.readable().await;
                continue;
            };
            let records = buffer.get(..count).unwrap_or_default();
            return Ok(records.chunks_exact(RECORD).filter_map(signal_of).collect());
        }
    }
}

fn signal_of(record: &[u8]) -> Option<Signal> {
    let number = u32::from_ne_bytes(*record.first_chunk()?);
    match i32::try_from(number).ok()? {
        libc::SIGCHLD => Some(Signal::Child),
        libc::SIGTERM => Some(Signal::Terminate),
        _ => None,
    }
}

/// Sets the calling thread's signal mask.
pub(super) fn set_mask(mask: &libc::sigset_t) -> Result<(), Errno> {
    // SAFETY: the mask is initialised; the former one is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, ptr::null_mut()) })
}

/// A mask of these signals. Async-signal-safe.
pub(super) fn mask_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set, sigaddset takes an initialised one.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(mask.as_mut_ptr(), signal);
        }
        mask.assume_init()
    }
}

/// Gives a signal its default disposition. Async-signal-safe.
///
/// # Errors
/// EINVAL for a number that is no signal, or one that cannot be handled.
pub(super) fn default_disposition(signal: libc::c_int) -> Result<(), Errno> {
    disposition(signal, libc::SIG_DFL)
}

/// Makes the process ignore a signal.
///
/// # Errors
/// Like [`default_disposition`].
pub(super) fn ignore(signal: libc::c_int) -> Result<(), Errno> {
    disposition(signal, libc::SIG_IGN)
}

/// The signals that the process ignores, apart from those that libc keeps for itself.
pub(super) fn ignored() -> Vec<libc::c_int> {
    (1..=libc::SIGRTMAX()).filter(|&signal| is_ignored(signal)).collect()
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: an all-zero sigaction is a valid value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: no new action is given, and the place for the present one is valid.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

fn disposition(signal: libc::c_int, handler: libc::sighandler_t) -> Result<(), Errno> {
    // SAFETY: an all-zero sigaction is a valid value: no flags, an empty mask, no restorer.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    // SAFETY: the new action is initialised and names no handler; the former one is not asked for.
    check(unsafe { libc::sigaction(signal, &action, ptr::null_mut()) })
}

/// The result of a libc call that returns -1 and sets errno when it fails.
pub(super) fn check(result: libc::c_int) -> Result<(), Errno> {
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// What libc's last call that failed said.
pub(super) fn last_errno() -> Errno {
    let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Errno::from_raw_os_error(number)
}
