//! Turns descriptors into events and effects into system calls.
//!
//! One short task for each listener, connection, child and tool, for the system bus, for signals and for the deadline. Each tells [`Core`] what has happened and then calls [`Edge::pump`], which carries out
//! all effects at once: most replies leave in the same turn of the loop in which their requests came.
//! Nothing is decided here, but for how long to wait before something that failed for lack of
//! room is tried again.
//!
//! Tasks share [`Edge`] behind an [`Rc`], and its parts behind `RefCell`s that are borrowed for
//! one call only: never across an `.await`, and [`Edge::carry_out`] never calls [`Edge::pump`].

mod bus;
mod children;
mod tools;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};

use smol::future::yield_now;
use smol::{LocalExecutor, Task};

use crate::agent::ChildId;
use crate::line;
use crate::log::Line;
use crate::remote::ConnId;
use crate::sys::child::{Children, Handle};
use crate::sys::entropy::{self, Entropy};
use crate::sys::process;
use crate::sys::reactor::{Notifier, Reactor, Timer, sleep_until};
use crate::sys::signal::{Signal, Signals};
use crate::sys::socket::{self, Host, ListenFailure, Listener};
use crate::sys::{Errno, clock, image};
use crate::time::Instant;

use super::core::{Core, Effect, Event, ExitCode};
use super::key::KeyFile;
use super::log::Log;
use super::port::Obstacle;
use bus::Bus;
pub use tools::SHARED_MEMORY;
use tools::Tools;

/// What one read takes at most.
const READ: usize = 64 * 1024;
/// What one connection may send before others have their turn.
const SEND_PER_TURN: usize = 256 * 1024;
/// What a connection may send while it is closed.
const SEND_AT_CLOSE: usize = 1024 * 1024;
/// How many closed connections may wait for their peer to read what it was sent last; others are closed at once…
const LINGERING: usize = 64;
/// …for how long, in milliseconds…
const LINGER: u64 = 2_000;
/// …and how much they may send meanwhile.
const LINGER_BYTES: usize = 256 * 1024;
/// How many connections are accepted before others have their turn.
const ACCEPTS_PER_TURN: usize = 16;
/// How long nothing is accepted after there was no room, in milliseconds.
const ACCEPT_PAUSE: u64 = 100;
/// How often the key file and silent tools are looked at, in milliseconds.
const SECOND: u64 = 1000;
/// The process that feeds the hardware watchdog of a node that fences itself.
const SBD: &str = "sbd";
/// How often the kernel is asked whether it has random bytes by now, in milliseconds.
const ENTROPY_PAUSE: u64 = 100;

/// Everything the tasks share.
#[derive(Debug)]
pub struct Edge {
    reactor: Rc<Reactor>,
    executor: LocalExecutor<'static>,
    core: RefCell<Core>,
    entropy: RefCell<Entropy>,
    log: RefCell<Log>,
    /// What was read is handled before anything else is read, so one buffer is enough for all.
    buffer: RefCell<Box<[u8]>>,
    deadline: Timer,
    children: Children,
    running: RefCell<BTreeMap<ChildId, Handle>>,
    connections: RefCell<BTreeMap<ConnId, Rc<Open>>>,
    last_number: Cell<u64>,
    lingering: Cell<usize>,
    user_timeout_millis: Option<u32>,
    /// Where to listen, or why that is unknown.
    host: Result<Host, String>,
    accepting: RefCell<Option<Task<()>>>,
    tools: Tools,
    bus: Bus,
    key: RefCell<KeyFile>,
    exit: Cell<Option<ExitCode>>,
}

/// What an [`Edge`] is made from.
#[derive(Debug)]
pub struct Parts {
    /// The loop.
    pub reactor: Rc<Reactor>,
    /// The policy.
    pub core: Core,
    /// Where its lines go.
    pub log: Log,
    /// Who runs its commands.
    pub children: Children,
    /// Where to listen, or why that is unknown.
    pub host: Result<Host, String>,
    /// Where tools look for sockets that are files; `None`: they are abstract.
    pub socket_directory: Option<PathBuf>,
    /// Where the system bus is.
    pub bus: PathBuf,
    /// The key file.
    pub key: KeyFile,
    /// See [`socket::Connection::new`].
    pub user_timeout_millis: Option<u32>,
}

impl Edge {
    /// An edge at which nothing happens yet.
    pub fn new(parts: Parts) -> Rc<Self> {
        Rc::new(Self {
            deadline: Timer::new(&parts.reactor),
            reactor: parts.reactor,
            executor: LocalExecutor::new(),
            core: RefCell::new(parts.core),
            entropy: RefCell::default(),
            log: RefCell::new(parts.log),
            buffer: RefCell::new(vec![0; READ].into_boxed_slice()),
            children: parts.children,
            running: RefCell::default(),
            connections: RefCell::default(),
            last_number: Cell::new(0),
            lingering: Cell::new(0),
            user_timeout_millis: parts.user_timeout_millis,
            host: parts.host,
            accepting: RefCell::default(),
            tools: Tools::new(parts.socket_directory),
            bus: Bus::new(parts.bus),
            key: RefCell::new(parts.key),
            exit: Cell::new(None),
        })
    }

    /// Runs until [`Core`] ends it.
    ///
    /// # Errors
    /// What the event loop says: see [`Reactor::run`].
    pub fn run(self: &Rc<Self>, signals: Signals) -> Result<ExitCode, Errno> {
        self.executor.spawn(self.clone().start()).detach();
        self.executor.spawn(self.clone().watch_signals(signals)).detach();
        self.executor.spawn(self.clone().watch_deadline()).detach();
        self.reactor.run(&self.executor, || self.exit.get().is_some())?;
        Ok(self.exit.get().unwrap_or(ExitCode::Ok))
    }

    /// Writes a line of the edge's own.
    pub fn log(&self, line: &Line) {
        self.log.borrow_mut().write(line);
    }

    /// Tells what has happened, and carries out what follows from it.
    fn tell(self: &Rc<Self>, event: Event<'_>) {
        self.handle(event);
        self.pump();
    }

    fn handle(&self, event: Event<'_>) {
        self.core.borrow_mut().handle(event, clock::now(), &mut *self.entropy.borrow_mut());
    }

    fn pump(self: &Rc<Self>) {
        loop {
            let effect = self.core.borrow_mut().poll();
            match effect {
                Some(effect) => self.carry_out(effect),
                None => break,
            }
        }
        let core = self.core.borrow();
        // At once, but after all others that have something to do.
        self.deadline.set(if core.is_reading() { Some(Instant::default()) } else { core.deadline() });
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Listen => self.listen(),
            Effect::Unlisten => drop(self.accepting.take()),
            Effect::Transmit(conn) => self.transmit(conn),
            Effect::Close(conn) => self.close(conn),
            Effect::Spawn(child, command) => self.spawn(child, &command),
            Effect::Kill { child, group } => {
                if let Some(handle) = self.running.borrow().get(&child) {
                    handle.kill(group);
                }
            }
            Effect::Examine(child) => self.examine(child),
            Effect::Bus(effect) => self.bus(effect),
            Effect::Serve(name) => self.serve_tools(name),
            Effect::Tool(errand) => self.do_errand(errand),
            Effect::FindSbd => self.find_sbd(),
            Effect::Log(line) => self.log(&line),
            Effect::Exit(code) => {
                self.tools.close();
                self.exit.set(Some(code));
            }
        }
    }

    async fn start(self: Rc<Self>) {
        self.tell(Event::Start);
        self.wait_for_entropy().await;
        self.check_key();
        self.sweep().await;
        loop {
            image::forget_code();
            sleep_until(&self.reactor, clock::monotonic().after(SECOND)).await;
            self.check_key();
            self.tools.expire();
        }
    }

    /// A node that only lacks descriptors for a moment must not end for that; the cluster asks again.
    fn find_sbd(&self) {
        let runs = match process::is_running(SBD) {
            Err(errno) if !matches!(errno, Errno::NOENT | Errno::NOTDIR) => {
                let error = io::Error::from(errno);
                self.log(&line!(
                    Warning,
                    "Cannot look in /proc whether {SBD} runs: {error}; taking it that it does"
                ));
                true
            }
            result => result.unwrap_or(false),
        };
        self.handle(Event::SbdFound(runs));
    }

    /// Soon after boot the kernel may not have random bytes yet, and then asking it for some would wait.
    async fn wait_for_entropy(&self) {
        let mut told = false;
        while entropy::is_ready() == Ok(false) {
            if !std::mem::replace(&mut told, true) {
                self.log(&line!(Notice, "Waiting for the kernel to gather random numbers"));
            }
            sleep_until(&self.reactor, clock::monotonic().after(ENTROPY_PAUSE)).await;
        }
    }

    /// Reads the key file if it has changed.
    fn check_key(self: &Rc<Self>) {
        let (change, lines) = self.key.borrow_mut().check();
        for line in &lines {
            self.log(line);
        }
        if let Some(key) = change {
            self.tell(Event::Key(key.as_ref().map(|key| key.as_slice()).map_err(String::as_str)));
        }
    }

    async fn watch_signals(self: Rc<Self>, signals: Signals) {
        loop {
            let came = match signals.next().await {
                Ok(came) => came,
                Err(errno) => {
                    // Without signals no child would ever end: better to be started anew.
                    self.log(&line!(Crit, "Cannot read signals: {}", io::Error::from(errno)));
                    return self.exit.set(Some(ExitCode::OsError));
                }
            };
            for signal in came {
                match signal {
                    Signal::Child => self.children.reap(),
                    Signal::Terminate => self.tell(Event::Terminate),
                }
            }
        }
    }

    async fn watch_deadline(self: Rc<Self>) {
        loop {
            self.deadline.expired().await;
            let is_reading = self.core.borrow().is_reading();
            if is_reading {
                self.tell(Event::Resume);
            }
            let is_due = self.core.borrow().deadline().is_some_and(|at| at <= clock::monotonic());
            if is_due || !is_reading {
                self.tell(Event::Wake);
            }
        }
    }
}

/// The listener.
impl Edge {
    fn listen(self: &Rc<Self>) {
        let unknown = |reason: &String| ListenFailure { reason: reason.clone(), ..ListenFailure::default() };
        match self.host.as_ref().map_err(unknown).and_then(|host| Listener::open(&self.reactor, host)) {
            Ok(listener) => {
                let address = listener.address();
                if listener.is_absent() {
                    self.log(&line!(
                        Warning,
                        "Listening on {address}, which no interface has: nobody can connect before one has it"
                    ));
                } else {
                    self.log(&line!(Info, "Listening on {address}"));
                }
                let task = self.executor.spawn(self.clone().accept(listener));
                self.accepting.replace(Some(task));
                self.handle(Event::Listening);
            }
            Err(ListenFailure { reason, taken, missing }) => {
                let obstacle = match (taken, missing) {
                    (true, _) => Obstacle::Taken,
                    (_, true) => Obstacle::Missing,
                    _ => Obstacle::Lasting,
                };
                self.handle(Event::ListenFailed { reason, obstacle });
            }
        }
    }

    async fn accept(self: Rc<Self>, listener: Listener) {
        let mut no_room = false;
        loop {
            for _ in 0..ACCEPTS_PER_TURN {
                let full = self.core.borrow().full_until(clock::monotonic());
                if let Some(until) = full {
                    sleep_until(&self.reactor, until).await;
                }
                match listener.accept() {
                    Ok(Some((fd, peer))) => {
                        no_room = false;
                        self.accepted(fd, peer);
                    }
                    Ok(None) => listener.ready().await,
                    Err(errno) => {
                        // The connection stays in the backlog, so an immediate try would spin.
                        if !std::mem::replace(&mut no_room, true) {
                            let error = io::Error::from(errno);
                            self.log(&line!(Error, "Cannot accept connections for now: {error}"));
                        }
                        sleep_until(&self.reactor, clock::monotonic().after(ACCEPT_PAUSE)).await;
                    }
                }
            }
            listener.pass_turn().await;
        }
    }

    /// Connections and tools are counted together.
    fn next_number(&self) -> u64 {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        number
    }

    fn accepted(self: &Rc<Self>, fd: OwnedFd, peer: SocketAddr) {
        // A key that was replaced counts from the next connection on.
        self.check_key();
        if self.accepting.borrow().is_none() {
            return;
        }
        let socket = match socket::Connection::new(&self.reactor, fd, self.user_timeout_millis) {
            Ok(socket) => socket,
            Err((step, errno)) => {
                let error = io::Error::from(errno);
                return self.log(&line!(Error, "Cannot serve the connection from {peer}: {step}: {error}"));
            }
        };
        let conn = ConnId(self.next_number());
        let open = Rc::new(Open {
            socket: RefCell::new(Some(socket)),
            unsent: Cell::new(false),
            unanswered: Cell::new(false),
            failure: Cell::new(None),
            changed: Notifier::default(),
        });
        self.connections.borrow_mut().insert(conn, open.clone());
        self.tell(Event::Accepted { conn, peer });
        self.executor.spawn(self.clone().serve(conn, open)).detach();
    }
}

/// A connection that has not ended.
#[derive(Debug)]
struct Open {
    /// `None` once it was closed from our side.
    socket: RefCell<Option<socket::Connection>>,
    /// The socket did not take everything: the task is to go on.
    unsent: Cell<bool>,
    /// Something was received, and nothing sent since.
    unanswered: Cell<bool>,
    /// What the socket said when it was written to. What the peer sent before that is read first.
    failure: Cell<Option<Errno>>,
    /// One of the above has changed.
    changed: Notifier,
}

impl Open {
    /// Acknowledges what was received, unless something that was sent since has done so.
    fn acknowledge(&self) {
        if self.unanswered.replace(false)
            && let Some(socket) = &*self.socket.borrow()
        {
            socket.acknowledge();
        }
    }

    /// Whether there is something to do.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let changed = self.changed.poll_notified(cx);
        let socket = self.socket.borrow();
        let Some(socket) = &*socket else { return Poll::Ready(()) };
        let readable = socket.source().poll_readable(cx);
        let writable = if self.unsent.get() { socket.source().poll_writable(cx) } else { Poll::Pending };
        if changed.is_ready() || readable.is_ready() || writable.is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// What came of a read.
enum Input {
    Some,
    None,
    End(Option<Errno>),
}

/// Connections.
impl Edge {
    async fn serve(self: Rc<Self>, conn: ConnId, open: Rc<Open>) {
        loop {
            if open.unsent.get() {
                open.unsent.set(!self.send(conn, &open, SEND_PER_TURN));
                self.pump();
                yield_now().await;
            }
            let Some(input) = self.receive(conn, &open) else { return };
            match input {
                Input::Some => {
                    self.pump();
                    open.acknowledge();
                    yield_now().await;
                }
                Input::None => poll_fn(|cx| open.poll_ready(cx)).await,
                Input::End(errno) => {
                    self.connections.borrow_mut().remove(&conn);
                    self.tell(Event::Lost { conn, errno: errno.map(Errno::raw_os_error) });
                    return;
                }
            }
        }
    }

    /// Reads once and tells it. `None`: the connection was closed.
    fn receive(&self, conn: ConnId, open: &Open) -> Option<Input> {
        let socket = open.socket.borrow();
        let socket = socket.as_ref()?;
        let mut buffer = self.buffer.borrow_mut();
        Some(match socket.receive(&mut buffer) {
            Ok(Some(0)) => Input::End(open.failure.get()),
            Ok(Some(count)) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                open.unanswered.set(true);
                self.handle(Event::Received { conn, bytes });
                Input::Some
            }
            Ok(None) if open.failure.get().is_some() => Input::End(open.failure.get()),
            Ok(None) => Input::None,
            Err(errno) => Input::End(Some(errno)),
        })
    }

    /// Writes what waits as far as the socket takes it, and tells it. The rest is left to the task.
    fn transmit(&self, conn: ConnId) {
        let Some(open) = self.connections.borrow().get(&conn).cloned() else { return };
        let unsent = !self.send(conn, &open, SEND_PER_TURN);
        open.unsent.set(unsent);
        if unsent || open.failure.get().is_some() {
            open.changed.notify();
        }
    }

    /// Whether everything is written, or nothing can be written any more.
    fn send(&self, conn: ConnId, open: &Open, limit: usize) -> bool {
        let socket = open.socket.borrow();
        let Some(socket) = &*socket else { return true };
        let mut total = 0;
        while total < limit && open.failure.get().is_none() {
            let sent = {
                let core = self.core.borrow();
                match core.outgoing(conn) {
                    [] => return true,
                    bytes => socket.send(bytes),
                }
            };
            match sent {
                Ok(Some(count)) => {
                    total += count;
                    open.unanswered.set(false);
                    self.handle(Event::Sent { conn, count });
                }
                Ok(None) => return false,
                Err(errno) => open.failure.set(Some(errno)),
            }
        }
        open.failure.get().is_some()
    }

    fn close(self: &Rc<Self>, conn: ConnId) {
        let Some(open) = self.connections.borrow_mut().remove(&conn) else { return };
        self.send(conn, &open, SEND_AT_CLOSE);
        let socket = open.socket.take();
        open.changed.notify();
        let Some(socket) = socket.and_then(|socket| socket.close(&mut self.buffer.borrow_mut())) else {
            return;
        };
        if self.lingering.get() < LINGERING {
            self.lingering.set(self.lingering.get() + 1);
            self.executor.spawn(self.clone().linger(socket)).detach();
        }
    }

    /// Takes what a peer that has not read our last words yet still sends: closing the socket before would make
    /// the kernel throw them away.
    async fn linger(self: Rc<Self>, socket: socket::Connection) {
        let taken = async {
            let mut room = LINGER_BYTES;
            loop {
                socket.source().readable().await;
                match socket.receive(&mut self.buffer.borrow_mut()) {
                    Ok(None) => {}
                    Ok(Some(count)) if count > 0 && count < room => room -= count,
                    Ok(Some(_)) | Err(_) => return,
                }
            }
        };
        smol::future::or(taken, sleep_until(&self.reactor, clock::monotonic().after(LINGER))).await;
        self.lingering.set(self.lingering.get() - 1);
    }
}
