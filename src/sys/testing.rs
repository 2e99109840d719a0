//! What tests of the event loop need.
#![forbid(unsafe_code)]

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use smol::LocalExecutor;

use super::reactor::Reactor;

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
