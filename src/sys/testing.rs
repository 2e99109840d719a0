//! Tests that need a process of their own: signals, children and limits belong to the process.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::task::{Context, Poll, Wake, Waker};

use smol::LocalExecutor;

use super::reactor::Reactor;

/// How long such a process may take; it ends by SIGALRM after that, and its test fails.
const SECONDS: libc::c_uint = 120;

static ISOLATED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Runs `test` in a forked process with one thread, and fails if it fails there.
pub fn isolated(test: impl FnOnce()) {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if ISOLATED.load(Ordering::Relaxed) {
                let text = format!("{info}\n");
                let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            } else {
                usual(info);
            }
        }));
    });
    // SAFETY: what other tests' threads hold at this moment (standard output, the place of the panic
    // hook) is not asked for by the child, and every libc we support makes its allocator usable after a fork.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: alarm has no preconditions.
        unsafe { libc::alarm(SECONDS) };
        ISOLATED.store(true, Ordering::Relaxed);
        let failed = catch_unwind(AssertUnwindSafe(test)).is_err();
        // SAFETY: _exit has no preconditions; exit would run what belongs to the parent.
        unsafe { libc::_exit(failed.into()) };
    }
    let mut status = 0;
    // SAFETY: the status is a valid place, and the pid is our child's.
    while unsafe { libc::waitpid(pid, &mut status, 0) } < 0 {
        assert_eq!(std::io::Error::last_os_error().kind(), std::io::ErrorKind::Interrupted);
    }
    assert_eq!(status, 0, "the isolated test failed: wait status {status:#x}");
}

/// From now on this process gets no IPv6 sockets, as on a kernel without IPv6. To be called in [`isolated`] only.
/// On this CPU only: i686 makes sockets by a call whose arguments no filter sees, and emulators have no filters.
#[cfg(target_arch = "x86_64")]
pub fn refuse_ipv6() {
    const fn statement(code: u32, jump_if_false: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: 0, jf: jump_if_false, k }
    }
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // Offsets in `struct seccomp_data`: 0 is the call's number, 16 the lower half of its first argument.
    let mut program = [
        statement(LOAD, 0, 0),
        statement(EQUAL, 3, libc::SYS_socket as u32),
        statement(LOAD, 0, 16),
        statement(EQUAL, 1, libc::AF_INET6 as u32),
        statement(RETURN, 0, libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32),
        statement(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is valid for the call, which copies it.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter),
        ]
    };
    assert_eq!(results, [0, 0], "{}", std::io::Error::last_os_error());
}

/// Runs a future to its end on a loop, and the executor's tasks meanwhile.
pub fn block_on<T>(reactor: &Reactor, executor: &LocalExecutor<'_>, future: impl Future<Output = T>) -> T {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        reactor.run(executor, || woken.0.swap(false, Ordering::Relaxed)).expect("epoll_wait");
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
