//! The event loop: one thread, one epoll instance, one set of deadlines, and the executor's tasks.
//!
//! A turn of [`Reactor::run`] is:
//!
//! 1. run at most [`TICKS_PER_TURN`] ready tasks;
//! 2. ask epoll what has happened, and wait for it only if no task is ready;
//! 3. wake every task whose [`Class::Urgent`] descriptor became ready or whose deadline has come;
//! 4. wake one task whose [`Class::Patient`] descriptor is ready.
//!
//! The executor's queue is first in, first out. So within a turn urgent work goes first, and
//! however much urgent work there is, one patient task goes on in each turn.
//!
//! Descriptors are registered once, edge-triggered, and never modified: a [`Source`] remembers that
//! its descriptor is ready until a call on it says otherwise. No `RefCell` of this file is borrowed
//! while a waker runs, because a waker may come back in here.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;
use smol::LocalExecutor;
use smol::future::yield_now;

use super::{Errno, clock};
use crate::time::Instant;

/// How many tasks run before epoll is asked again.
pub const TICKS_PER_TURN: usize = 64;
/// How many descriptors epoll reports at once.
const EVENTS_PER_TURN: usize = 64;
/// The longest wait, so that a deadline in the far future fits epoll's `int` of milliseconds.
const LONGEST_WAIT_MILLIS: u64 = 3_600_000;

/// Which descriptors go first when several are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Cluster connections, signals and the pipes of children. Deadlines count as urgent, too.
    Urgent,
    /// The listener and local IPC.
    Patient,
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Only input: pipes, listeners, signals.
    Read,
    /// Input and output: connections.
    ReadWrite,
}

/// The event loop. All its parts share one, behind an [`Rc`].
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
    slots: RefCell<Slots>,
    /// By moment and number: two timers may be set to the same moment.
    timers: RefCell<BTreeMap<(Instant, u64), Rc<TimerSlot>>>,
    next_timer: Cell<u64>,
    /// Readiness of patient descriptors that has not been told to their tasks yet.
    patient: RefCell<VecDeque<Rc<Slot>>>,
}

impl Reactor {
    /// A loop that watches nothing yet.
    ///
    /// # Errors
    /// What `epoll_create1` says.
    pub fn new() -> Result<Rc<Self>, Errno> {
        Ok(Rc::new(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            slots: RefCell::default(),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            patient: RefCell::default(),
        }))
    }

    /// Runs the executor's tasks until `stop` says so. It is asked after every task.
    ///
    /// # Errors
    /// What `epoll_wait` says, apart from EINTR: none that a working kernel would.
    pub fn run(&self, executor: &LocalExecutor<'_>, stop: impl Fn() -> bool) -> Result<(), Errno> {
        loop {
            let mut ticks = 0;
            while ticks < TICKS_PER_TURN && executor.try_tick() {
                ticks += 1;
                if stop() {
                    return Ok(());
                }
            }
            if stop() {
                return Ok(());
            }
            self.turn(ticks == TICKS_PER_TURN)?;
        }
    }

    /// Steps 2 to 4.
    fn turn(&self, busy: bool) -> Result<(), Errno> {
        let idle = !busy && self.patient.borrow().is_empty();
        self.collect(if idle { self.longest_wait() } else { Some(0) })?;
        self.expire();
        let next = self.patient.borrow_mut().pop_front();
        if let Some(slot) = next {
            slot.queued.set(false);
            slot.tell(slot.held.take());
        }
        Ok(())
    }

    /// Asks epoll, wakes urgent tasks and queues patient ones.
    fn collect(&self, wait_millis: Option<u64>) -> Result<(), Errno> {
        let timeout = wait_millis.map(|millis| Timespec {
            // At most `LONGEST_WAIT_MILLIS`, so it fits any time_t and any c_long.
            tv_sec: (millis / 1000) as _,
            tv_nsec: (millis % 1000 * 1_000_000) as _,
        });
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS_PER_TURN];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        for event in events {
            let ready = Ready::from(event.flags);
            let Some(slot) = self.slots.borrow().find(event.data) else { continue };
            match slot.class {
                Class::Urgent => slot.tell(ready),
                Class::Patient => self.queue(slot, ready),
            }
        }
        Ok(())
    }

    /// Keeps a patient descriptor's readiness until its turn has come.
    fn queue(&self, slot: Rc<Slot>, ready: Ready) {
        slot.held.set(slot.held.get() | ready);
        if !slot.queued.replace(true) {
            self.patient.borrow_mut().push_back(slot);
        }
    }

    /// Milliseconds until the first deadline, `None` without one.
    fn longest_wait(&self) -> Option<u64> {
        let (first, _) = *self.timers.borrow().first_key_value()?.0;
        Some(first.since(clock::monotonic()).min(LONGEST_WAIT_MILLIS))
    }

    /// Wakes what waits for a deadline that has come, the earliest first.
    fn expire(&self) {
        if self.timers.borrow().is_empty() {
            return;
        }
        let now = clock::monotonic();
        loop {
            let timer = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            timer.at.set(None);
            timer.expired.set(true);
            timer.waker.wake();
        }
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ready(u8);

impl Ready {
    const READ: Self = Self(1);
    const WRITE: Self = Self(2);
    /// The other end is gone: reading stays worth a try until it gave end of file.
    const HANGUP: Self = Self(4);

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl std::ops::BitOr for Ready {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<EventFlags> for Ready {
    fn from(flags: EventFlags) -> Self {
        let mut ready = Self::default();
        if flags.intersects(EventFlags::IN) {
            ready = ready | Self::READ;
        }
        if flags.intersects(EventFlags::OUT) {
            ready = ready | Self::WRITE;
        }
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            ready = ready | Self::READ | Self::WRITE | Self::HANGUP;
        }
        ready
    }
}

/// One registered descriptor.
#[derive(Debug)]
struct Slot {
    class: Class,
    ready: Cell<Ready>,
    /// Whether this slot is in [`Reactor::patient`], and what is kept for it there.
    queued: Cell<bool>,
    held: Cell<Ready>,
    reader: Waiting,
    writer: Waiting,
}

impl Slot {
    fn new(class: Class) -> Self {
        Self {
            class,
            ready: Cell::default(),
            queued: Cell::default(),
            held: Cell::default(),
            reader: Waiting::default(),
            writer: Waiting::default(),
        }
    }

    fn tell(&self, ready: Ready) {
        self.ready.set(self.ready.get() | ready);
        if ready.has(Ready::READ) {
            self.reader.wake();
        }
        if ready.has(Ready::WRITE) {
            self.writer.wake();
        }
    }

    fn poll(&self, wanted: Ready, waiting: &Waiting, cx: &Context<'_>) -> Poll<()> {
        if self.ready.get().has(wanted) { Poll::Ready(()) } else { waiting.pending(cx) }
    }
}

/// The task that waits for something, if one does.
#[derive(Default)]
struct Waiting(Cell<Option<Waker>>);

impl Waiting {
    fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    /// Lets the task of `cx` wait, and no other.
    fn pending(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

/// The registered descriptors. An index is used again; its generation tells an event that was
/// meant for its former owner.
#[derive(Debug, Default)]
struct Slots {
    entries: Vec<(u32, Option<Rc<Slot>>)>,
    free: Vec<u32>,
}

impl Slots {
    fn insert(&mut self, slot: Rc<Slot>) -> u64 {
        if let Some(index) = self.free.pop()
            && let Some((generation, entry)) = self.entries.get_mut(index as usize)
        {
            *generation = generation.wrapping_add(1);
            *entry = Some(slot);
            return key(index, *generation);
        }
        // There are fewer descriptors than 2^32.
        let index = self.entries.len() as u32;
        self.entries.push((0, Some(slot)));
        key(index, 0)
    }

    fn find(&self, data: EventData) -> Option<Rc<Slot>> {
        let (generation, slot) = self.entries.get(data.u64() as u32 as usize)?;
        if u64::from(*generation) == data.u64() >> 32 { slot.clone() } else { None }
    }

    fn remove(&mut self, key: u64) {
        let index = key as u32;
        if let Some((_, entry)) = self.entries.get_mut(index as usize) {
            *entry = None;
            self.free.push(index);
        }
    }
}

const fn key(index: u32, generation: u32) -> u64 {
    (generation as u64) << 32 | index as u64
}

/// A non-blocking descriptor that the loop watches; closed when dropped.
///
/// One task may wait for input and one for output at a time.
#[derive(Debug)]
pub struct Source {
    reactor: Rc<Reactor>,
    fd: OwnedFd,
    slot: Rc<Slot>,
    key: u64,
}

impl Source {
    /// Watches `fd`, which must be in non-blocking mode.
    ///
    /// # Errors
    /// What `epoll_ctl` says: ENOMEM, or ENOSPC when the user watches too many descriptors.
    pub fn new(reactor: &Rc<Reactor>, fd: OwnedFd, class: Class, interest: Interest) -> Result<Self, Errno> {
        let slot = Rc::new(Slot::new(class));
        let flags = match interest {
            Interest::Read => EventFlags::IN,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP,
        };
        let key = reactor.slots.borrow_mut().insert(slot.clone());
        if let Err(error) = epoll::add(&reactor.epoll, &fd, EventData::new_u64(key), flags | EventFlags::ET) {
            reactor.slots.borrow_mut().remove(key);
            return Err(error);
        }
        Ok(Self { reactor: reactor.clone(), fd, slot, key })
    }

    /// Waits until [`Source::attempt_read`] is worth a call.
    pub async fn readable(&self) {
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// Like [`Source::readable`], for a task that waits for more than this.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.slot.poll(Ready::READ, &self.slot.reader, cx)
    }

    /// Waits until [`Source::attempt_write`] is worth a call.
    pub async fn writable(&self) {
        poll_fn(|cx| self.poll_writable(cx)).await;
    }

    /// Like [`Source::writable`], for a task that waits for more than this.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.slot.poll(Ready::WRITE, &self.slot.writer, cx)
    }

    /// Calls `read`, which is to take at most `wanted` bytes (or calls, or whatever `read` counts)
    /// from the descriptor, unless it is known that there is nothing. `None`: nothing is there
    /// now, wait for [`Source::readable`].
    ///
    /// # Errors
    /// What `read` says, apart from EAGAIN and EINTR.
    pub fn attempt_read(
        &self,
        wanted: usize,
        mut read: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Result<Option<usize>, Errno> {
        if !self.slot.ready.get().has(Ready::READ) {
            return Ok(None);
        }
        let result = retry(|| read(self.fd.as_fd()));
        match result {
            // Less than asked for: the next byte comes with an edge of its own (epoll(7), question 9), unless the
            // edge that says "end" has come already.
            Ok(Some(count)) if count < wanted && !self.slot.ready.get().has(Ready::HANGUP) => {
                self.clear(Ready::READ);
            }
            Ok(None) => self.clear(Ready::READ),
            _ => {}
        }
        result
    }

    /// Calls `write`. `None`: the descriptor takes nothing now, wait for [`Source::writable`].
    ///
    /// # Errors
    /// What `write` says, apart from EAGAIN and EINTR.
    pub fn attempt_write(
        &self,
        mut write: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Result<Option<usize>, Errno> {
        let result = retry(|| write(self.fd.as_fd()));
        if result == Ok(None) {
            self.clear(Ready::WRITE);
        }
        result
    }

    /// For a task that could read on: lets everything go first that is as urgent as this.
    pub async fn pass_turn(&self) {
        match self.slot.class {
            Class::Urgent => yield_now().await,
            Class::Patient => {
                self.clear(Ready::READ);
                self.reactor.queue(self.slot.clone(), Ready::READ);
                self.readable().await;
            }
        }
    }

    fn clear(&self, ready: Ready) {
        self.slot.ready.set(self.slot.ready.get().without(ready));
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A child that has not executed its program yet still holds the descriptor, so closing would not be enough.
        let _ = epoll::delete(&self.reactor.epoll, &self.fd);
        self.reactor.slots.borrow_mut().remove(self.key);
    }
}

fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<Option<usize>, Errno> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A deadline that one task waits for and anyone may move.
#[derive(Debug)]
pub struct Timer {
    reactor: Rc<Reactor>,
    number: u64,
    slot: Rc<TimerSlot>,
}

#[derive(Debug, Default)]
struct TimerSlot {
    at: Cell<Option<Instant>>,
    expired: Cell<bool>,
    waker: Waiting,
}

impl Timer {
    /// A timer without a deadline.
    pub fn new(reactor: &Rc<Reactor>) -> Self {
        let number = reactor.next_timer.get();
        reactor.next_timer.set(number + 1);
        Self { reactor: reactor.clone(), number, slot: Rc::default() }
    }

    /// Moves the deadline, or takes it away. An expiry that was not waited for is forgotten.
    pub fn set(&self, deadline: Option<Instant>) {
        self.slot.expired.set(false);
        let before = self.slot.at.replace(deadline);
        if before == deadline {
            return;
        }
        let mut timers = self.reactor.timers.borrow_mut();
        if let Some(before) = before {
            timers.remove(&(before, self.number));
        }
        if let Some(deadline) = deadline {
            timers.insert((deadline, self.number), self.slot.clone());
        }
    }

    /// Waits until the deadline has come. The timer has none after that.
    pub async fn expired(&self) {
        poll_fn(|cx| {
            if self.slot.expired.replace(false) {
                return Poll::Ready(());
            }
            self.slot.waker.pending(cx)
        })
        .await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.set(None);
    }
}

/// Waits until the monotonic clock has reached `deadline`.
pub async fn sleep_until(reactor: &Rc<Reactor>, deadline: Instant) {
    let timer = Timer::new(reactor);
    timer.set(Some(deadline));
    timer.expired().await;
}

/// A flag that one task waits for and any other raises.
#[derive(Debug, Default)]
pub struct Notifier {
    raised: Cell<bool>,
    waker: Waiting,
}

impl Notifier {
    /// Raises the flag. It stays raised until it was waited for.
    pub fn notify(&self) {
        self.raised.set(true);
        self.waker.wake();
    }

    /// Waits until the flag is raised, and lowers it.
    pub async fn notified(&self) {
        poll_fn(|cx| self.poll_notified(cx)).await;
    }

    /// Like [`Notifier::notified`], for a task that waits for more than this.
    pub fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.raised.replace(false) {
            return Poll::Ready(());
        }
        self.waker.pending(cx)
    }
}

#[cfg(test)]
mod tests;
