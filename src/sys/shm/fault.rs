//! Accesses to a mapping whose file another process may cut short: instead of ending this one by
//! SIGBUS, they find zeros, and the mapping knows that it is lost.
//!
//! The handler needs no list of mappings: a fault can only come in the middle of [`Region::access`],
//! which says before it what it is about to touch.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

thread_local! {
    /// The region that this thread is touching, or null. Neither lazily made nor dropped, so the handler
    /// may use it.
    static TOUCHED: Cell<*const Region> = const { Cell::new(std::ptr::null()) };
}

static INSTALLED: Once = Once::new();
/// What to do about a SIGBUS that is none of ours: written once, before the handler can run.
static mut BEFORE: MaybeUninit<libc::sigaction> = MaybeUninit::uninit();

/// Whole pages that are mapped from a file.
#[derive(Debug)]
pub(super) struct Region {
    start: usize,
    len: usize,
    lost: AtomicBool,
}

impl Region {
    /// The pages from `start`, `len` bytes, which must belong to one mapping as long as the region
    /// lives. From now on this process has a handler for SIGBUS.
    pub(super) fn new(start: usize, len: usize) -> Self {
        INSTALLED.call_once(install);
        Self { start, len, lost: AtomicBool::new(false) }
    }

    /// Whether an access found the file cut short. What is read has been zeros since then, and what is
    /// written is seen by nobody.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Runs `access`, which touches this region and does nothing else.
    pub(super) fn access<T>(&self, access: impl FnOnce() -> T) -> T {
        TOUCHED.set(self);
        compiler_fence(Ordering::SeqCst);
        let result = access();
        compiler_fence(Ordering::SeqCst);
        TOUCHED.set(std::ptr::null());
        result
    }

    /// Puts pages of zeros in the place of the file's, once. Called by the signal handler.
    fn replace(&self) -> bool {
        if self.lost.swap(true, Ordering::Relaxed) {
            return false;
        }
        let (read_write, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
        // SAFETY: replaces exactly the pages of a mapping that is used by nothing but `access`; a system
        // call, which a signal handler may make.
        unsafe { mmap_anonymous(self.start as *mut _, self.len, read_write, flags) }.is_ok()
    }
}

fn install() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: every field of a zeroed sigaction is valid, the handler has the signature that SA_SIGINFO
    // asks for, and the place for the old action is written here only, before the handler exists.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, action, (&raw mut BEFORE).cast());
    }
}

/// The handler: only loads, stores and system calls. It does not ask for the fault's address: while a region is
/// touched, nothing else is, and some versions of qemu tell it with its halves swapped.
extern "C" fn handle(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: null, or a region that `access` borrows on this very thread.
    let touched = unsafe { TOUCHED.get().as_ref() };
    if touched.is_some_and(Region::replace) {
        // The access is tried again, and succeeds.
        return;
    }
    // SAFETY: the old action was stored before this handler was installed. The access is tried again, and
    // its fault goes there.
    unsafe { libc::sigaction(libc::SIGBUS, (&raw const BEFORE).cast(), std::ptr::null_mut()) };
}
