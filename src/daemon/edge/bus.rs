//! The system bus's socket, which one task looks after while it is open, and the files that mark units.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};

use smol::future::yield_now;

use super::{Edge, Event};
use crate::agent::DropIn;
use crate::daemon::units::{BusEffect, BusEvent};
use crate::log::Escaped;
use crate::sys::local::Connection;
use crate::sys::reactor::Notifier;
use crate::sys::{Errno, drop_in, process};

/// Where the bus is, and the connection to it.
#[derive(Debug)]
pub(super) struct Bus {
    path: PathBuf,
    open: RefCell<Option<Rc<Open>>>,
}

#[derive(Debug)]
struct Open {
    socket: Connection,
    /// The socket did not take everything: the task is to go on.
    unsent: Cell<bool>,
    /// That has changed.
    changed: Notifier,
}

impl Bus {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: RefCell::default() }
    }

    fn is(&self, bus: &Rc<Open>) -> bool {
        self.open.borrow().as_ref().is_some_and(|open| Rc::ptr_eq(open, bus))
    }
}

impl Open {
    /// Whether there is something to do.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let changed = self.changed.poll_notified(cx);
        let readable = self.socket.source().poll_readable(cx);
        let writable = if self.unsent.get() { self.socket.source().poll_writable(cx) } else { Poll::Pending };
        if changed.is_ready() || readable.is_ready() || writable.is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Edge {
    pub(super) fn bus(self: &Rc<Self>, effect: BusEffect) {
        match effect {
            BusEffect::Open => self.open_bus(),
            BusEffect::Transmit => self.transmit_to_bus(),
            BusEffect::Close => {
                if let Some(bus) = self.bus.open.take() {
                    bus.socket.hang_up();
                }
            }
            BusEffect::Mark(child, DropIn { directory, path, text }) => {
                // In memory, as all of /run: it cannot hang.
                let changed = match text {
                    Some(text) => drop_in::write(&directory, &path, &text),
                    None => drop_in::remove(&directory, &path),
                };
                let changed = changed.map_err(Errno::raw_os_error);
                self.handle(Event::Bus(BusEvent::Marked(child, changed)));
            }
        }
    }

    fn open_bus(self: &Rc<Self>) {
        let path = &self.bus.path;
        match Connection::open(&self.reactor, path) {
            Ok(socket) => {
                let bus = Rc::new(Open { socket, unsent: Cell::new(false), changed: Notifier::default() });
                self.bus.open.replace(Some(bus.clone()));
                self.executor.spawn(self.clone().serve_bus(bus)).detach();
                self.handle(Event::Bus(BusEvent::Opened(process::user())));
            }
            Err((step, errno)) => {
                let path = Escaped(path.as_os_str().as_encoded_bytes());
                let reason = format!("{path}: {step}: {}", io::Error::from(errno));
                let is_absent = matches!(errno, Errno::NOENT | Errno::NOTDIR);
                self.handle(Event::Bus(BusEvent::Refused { reason, is_absent }));
            }
        }
    }

    fn transmit_to_bus(&self) {
        let bus = self.bus.open.borrow().clone();
        let Some(bus) = bus else { return };
        loop {
            let sent = match self.core.borrow().bus_outgoing() {
                [] => Ok(Some(0)),
                bytes => bus.socket.send(bytes),
            };
            match sent {
                Ok(Some(count)) if count > 0 => self.handle(Event::Bus(BusEvent::Sent(count))),
                Ok(None) => {
                    bus.unsent.set(true);
                    return bus.changed.notify();
                }
                Ok(Some(_)) => return bus.unsent.set(false),
                // Whatever it is, what is left would never be sent. The end shows when the task reads: what came
                // before goes first.
                Err(_) => {
                    bus.socket.hang_up();
                    return bus.unsent.set(false);
                }
            }
        }
    }

    async fn serve_bus(self: Rc<Self>, bus: Rc<Open>) {
        loop {
            poll_fn(|cx| bus.poll_ready(cx)).await;
            if !self.bus.is(&bus) {
                return;
            }
            if bus.unsent.get() {
                self.transmit_to_bus();
            }
            let received = {
                let mut buffer = self.buffer.borrow_mut();
                let received = bus.socket.receive(&mut buffer);
                if let Ok(Some(count @ 1..)) = received {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    self.handle(Event::Bus(BusEvent::Received(bytes)));
                }
                received
            };
            let end = match received {
                Ok(Some(0)) => Some(None),
                Err(errno) => Some(Some(errno.raw_os_error())),
                Ok(_) => None,
            };
            if let Some(errno) = end {
                self.bus.open.take();
                return self.tell(Event::Bus(BusEvent::Lost(errno)));
            }
            self.pump();
            yield_now().await;
        }
    }
}
