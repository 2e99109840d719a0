//! All policy of the daemon behind one pair of calls: [`Core::handle`] takes an event, and after it
//! [`Core::poll`] gives effects until there are none; then [`Core::deadline`] says when to send
//! [`Event::Wake`] if nothing else happens before.
//!
//! The edge and the simulation drive it in the same way. No timeout, order, retry or limit lives
//! outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use rand_core::CryptoRngCore;

use crate::agent::{ChildId, Command, Ending, Place, Stream};
use crate::executor::Executor;
use crate::line;
use crate::log::{Escaped, Line};
use crate::proxy::{Asked, Client, Delivery, Errand, Limits, Name, Outgoing, Proxy, ToolId};
use crate::remote::{ConnId, Connection, Fault};
use crate::time::{Instant, Now};
use crate::tls::Psk;
use crate::trial::{self, Mutant};

use super::cluster::end_line;
use super::names::Names;
use super::port::{Obstacle, PATIENCE, Port};
use super::shutdown::Shutdown;
use super::units::{BusEffect, BusEvent, Units};

/// For how many effects the queue keeps room while it is empty.
const EFFECTS_KEPT: usize = 16;

/// What the daemon's exit status says (daemon-lifecycle.md section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// A normal end.
    Ok = 0,
    /// The kernel refused something without which the daemon cannot be.
    OsError = 71,
    /// Do not respawn: the next try would fail in the same way.
    Fatal = 100,
}

/// What [`Core`] needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where agents are.
    pub place: Place,
    /// `PCMK_node_start_state`, told to the cluster at registration.
    pub node_start_state: Option<String>,
    /// What sessions of local tools may take; `None`: there are none.
    pub tools: Option<Limits>,
    /// `SBD_WATCHDOG_TIMEOUT` in milliseconds, 0 without; `None` in a container, which its host fences.
    pub watchdog: Option<u64>,
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Event<'a> {
    /// The daemon starts. Sent once, first.
    Start,
    /// The key file was read: raw bytes, 1 to 65535. Or it cannot be used, and why, for people.
    Key(Result<&'a [u8], &'a str>),
    /// The listener asked for by [`Effect::Listen`] accepts connections.
    Listening,
    /// It could not be opened.
    ListenFailed {
        /// Address, port and error.
        reason: String,
        /// What is in the way.
        obstacle: Obstacle,
    },
    /// A TCP connection was accepted.
    Accepted {
        /// Its number.
        conn: ConnId,
        /// The other end.
        peer: SocketAddr,
    },
    /// Bytes came from a connection's socket; never empty, at most 64 KiB.
    Received {
        /// Its number.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The socket took the first `count` bytes of [`Core::outgoing`].
    Sent {
        /// Its number.
        conn: ConnId,
        /// How many.
        count: usize,
    },
    /// The connection ended, by the peer or by an error; the edge has forgotten it.
    Lost {
        /// Its number.
        conn: ConnId,
        /// The errno, `None` for an orderly end of stream.
        errno: Option<i32>,
    },
    /// A child wrote to one of its pipes.
    Output {
        /// Its number.
        child: ChildId,
        /// Which pipe.
        stream: Stream,
        /// What it wrote; never empty.
        bytes: &'a [u8],
    },
    /// A child ended and was reaped; all its output has been told before.
    Ended {
        /// Its number.
        child: ChildId,
        /// How.
        ending: Ending,
    },
    /// What [`Effect::Examine`] asked for.
    Examined {
        /// Its number.
        child: ChildId,
        /// The function of the kernel in which it waits, if that can be told: a name in ASCII.
        place: Option<&'a str>,
    },
    /// Something of the system bus.
    Bus(BusEvent<'a>),
    /// Tools can connect to a name: [`Effect::Serve`] was carried out.
    Serving(Name),
    /// A name could not be had.
    ServeFailed {
        /// Which.
        name: Name,
        /// The step, the error, and who has it, if that can be told.
        reason: String,
        /// Somebody else has it.
        taken: bool,
    },
    /// A tool asks to be connected.
    ToolAsks {
        /// Its number.
        tool: ToolId,
        /// To what.
        name: Name,
        /// Who it is.
        client: Client,
        /// How long its messages may become, in bytes: any number.
        longest: u32,
    },
    /// A request came from a tool that [`Core::wants_request`]; with Pacemaker's header, at most as long as agreed on.
    ToolRequest {
        /// Its number.
        tool: ToolId,
        /// The bytes.
        message: &'a [u8],
    },
    /// What became of [`Core::tool_outgoing`].
    ToolDelivery {
        /// Its number.
        tool: ToolId,
        /// What became of it.
        delivery: Delivery,
    },
    /// A tool hung up, or broke the rules of its rings; the edge has forgotten it.
    ToolGone {
        /// Its number.
        tool: ToolId,
        /// What it or the system did wrong, if that was it.
        fault: Option<String>,
    },
    /// Whether sbd runs, which feeds the watchdog: what [`Effect::FindSbd`] asked for.
    SbdFound(bool),
    /// SIGTERM.
    Terminate,
    /// [`Core::is_reading`], and others have had their turn.
    Resume,
    /// [`Core::deadline`] has come.
    Wake,
}

/// Something for the edge to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open the listener.
    Listen,
    /// Close the listener; connections stay.
    Unlisten,
    /// [`Core::outgoing`] has bytes for this connection: write them as the socket takes them, tell each
    /// portion by [`Event::Sent`], and go on until there are none.
    Transmit(ConnId),
    /// Write what [`Core::outgoing`] still has as far as the socket takes it at once, then close.
    /// It is forgotten at the next [`Core::poll`], and no [`Event::Lost`] follows.
    Close(ConnId),
    /// Run a child; its end is told by [`Event::Ended`], always and once.
    Spawn(ChildId, Command),
    /// Send SIGKILL to a child that has not been reaped yet; to its whole process group if `group`.
    Kill {
        /// Its number.
        child: ChildId,
        /// The group, or only the process.
        group: bool,
    },
    /// A child was killed and has not been reaped for long: tell by [`Event::Examined`] what keeps it. If it
    /// has ended meanwhile, [`Event::Ended`] tells that instead.
    Examine(ChildId),
    /// Something for the system bus.
    Bus(BusEffect),
    /// Let tools connect to a name; what came of it is told by [`Event::Serving`] or [`Event::ServeFailed`].
    Serve(Name),
    /// Do something with a tool's connection. What it wants is at [`Core::tool_outgoing`] and [`Core::wants_request`]; what
    /// came of it is told by [`Event::ToolDelivery`], [`Event::ToolRequest`] and [`Event::ToolGone`].
    Tool(Errand),
    /// Find out whether sbd runs, and tell it by [`Event::SbdFound`].
    FindSbd,
    /// Write a line to the log.
    Log(Line),
    /// End the process. Children that still run are left alone.
    Exit(ExitCode),
}

/// A connection that is to be closed.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) connection: Box<Connection>,
    /// Why, of a stranger's: said only when the connection has ended, so that the stranger cannot tell by the clock
    /// what was said.
    pub(super) fault: Option<Fault>,
}

/// The daemon's whole state.
///
/// What its maps hold is boxed, here and in the executor, so that they differ in nothing but their
/// types, and the linker keeps one of their code.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: Settings,
    pub(super) executor: Executor,
    pub(super) units: Units,
    pub(super) proxy: Proxy,
    /// Tools that are clients of the executor and have sent something.
    pub(super) locals: BTreeSet<ToolId>,
    pub(super) connections: BTreeMap<ConnId, Box<Connection>>,
    /// Those whose [`Effect::Close`] has not been carried out.
    pub(super) closing: BTreeMap<ConnId, Box<Closing>>,
    /// The one whose [`Effect::Close`] was given out last.
    closed: Option<ConnId>,
    /// Connections that can serve the node's tools, newest first.
    pub(super) providers: VecDeque<ConnId>,
    pub(super) shutdown: Shutdown,
    pub(super) key: Option<Psk>,
    pub(super) effects: VecDeque<Effect>,
    pub(super) started: Instant,
    pub(super) last_call: u32,
    pub(super) last_message: u64,
    port: Port,
    pub(super) names: Names,
    /// The time-out that [`Effect::FindSbd`] was asked for, in milliseconds and as it came.
    pub(super) watchdog_limit: Option<(u64, String)>,
    /// The port was closed for lack of a key.
    key_was_gone: bool,
    /// All is over, but alerts are in flight: until when their end is waited for.
    leaving: Option<Instant>,
    /// [`Effect::Exit`] is on its way or has been told: the last effect.
    has_ended: bool,
}

impl Core {
    /// A daemon that has not started yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            executor: Executor::new(settings.place.clone()),
            units: Units::default(),
            proxy: Proxy::new(settings.tools.unwrap_or_default()),
            locals: BTreeSet::new(),
            settings,
            connections: BTreeMap::new(),
            closing: BTreeMap::new(),
            closed: None,
            providers: VecDeque::new(),
            shutdown: Shutdown::default(),
            key: None,
            effects: VecDeque::new(),
            started: Instant::default(),
            last_call: 0,
            last_message: 0,
            port: Port::default(),
            names: Names::default(),
            watchdog_limit: None,
            key_was_gone: false,
            leaving: None,
            has_ended: false,
        }
    }

    /// Takes note of an event. Events of connections that have been closed meanwhile are ignored, and all
    /// after the end.
    pub fn handle(&mut self, event: Event<'_>, now: Now, entropy: &mut dyn CryptoRngCore) {
        if self.has_ended {
            return;
        }
        // Then nothing else begins, and whoever was connected is not any more.
        let is_left = matches!(event, Event::Output { .. } | Event::Ended { .. } | Event::Wake);
        if self.is_leaving() && !is_left {
            return;
        }
        match event {
            Event::Start => {
                self.started = now.mono;
                self.log(line!(Notice, "Starting Pacemaker remote executor"));
                self.serve_names(now);
            }
            Event::Key(key) => self.key_changed(key, now),
            Event::Listening if std::mem::take(&mut self.key_was_gone) => {
                self.log(line!(Notice, "There is a key again: accepting connections"));
            }
            Event::Listening => self.listening(),
            Event::ListenFailed { reason, obstacle } => self.not_listening(&reason, obstacle, now),
            Event::Accepted { conn, peer } => self.accepted(conn, peer, now),
            Event::Received { conn, bytes } => self.received(conn, bytes, now, entropy),
            Event::Sent { conn, count } => {
                let closing = self.closing.get_mut(&conn).map(|closing| &mut closing.connection);
                if let Some(connection) = self.connections.get_mut(&conn).or(closing) {
                    connection.sent(count, now.mono);
                }
                self.weigh(conn);
            }
            Event::Lost { conn, errno } => self.lost(conn, errno, now, entropy),
            Event::Output { child, stream, bytes } => self.executor.output(child, stream, bytes),
            Event::Ended { child, ending } => self.executor.ended(child, ending, now),
            Event::Examined { child, place } => self.executor.examined(child, place, now),
            Event::Bus(event) => self.units.handle(event, now),
            Event::Serving(name) => self.name_served(name),
            Event::ServeFailed { name, reason, taken } => self.name_refused(name, &reason, taken, now),
            Event::ToolAsks { tool, name, client, longest } => {
                let provider = self.provider_for_tools();
                let asked = Asked { name, client: &client, longest };
                self.proxy.asks(tool, &asked, provider, now.mono, entropy);
            }
            Event::ToolRequest { tool, message } => self.proxy.request(tool, message, now.mono),
            Event::ToolDelivery { tool, delivery } => self.proxy.delivered(tool, delivery, now.mono),
            Event::ToolGone { tool, fault } => {
                self.proxy.gone(tool, fault.as_deref(), now.mono);
                self.local_gone(tool, now);
            }
            Event::SbdFound(runs) => self.sbd_found(runs),
            Event::Terminate => self.terminate(now),
            Event::Resume => self.resume(now, entropy),
            Event::Wake => self.wake(now),
        }
        if !self.is_leaving() {
            self.executor.dispatch(now);
        }
        self.carry_out(now);
        self.serve_tools(now, entropy);
        if self.leaving.is_some_and(|until| until <= now.mono || self.executor.alerts_end().is_none()) {
            self.end(ExitCode::Ok);
        }
    }

    /// The next thing to do, `None` when all has been told.
    pub fn poll(&mut self) -> Option<Effect> {
        if let Some(closing) = self.closed.take().and_then(|conn| self.closing.remove(&conn))
            && let Some(fault) = &closing.fault
        {
            return Some(Effect::Log(end_line(&closing.connection, true, &fault.to_string())));
        }
        let Some(effect) = self.effects.pop_front() else {
            self.effects.shrink_to(EFFECTS_KEPT);
            return None;
        };
        match effect {
            Effect::Close(conn) => self.closed = Some(conn),
            // What else the last event led to has nobody left to carry it out.
            Effect::Exit(_) => self.effects.clear(),
            _ => {}
        }
        Some(effect)
    }

    /// When to send [`Event::Wake`] if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        if let Some(until) = self.leaving {
            return Some(self.executor.deadline().map_or(until, |at| at.min(until)));
        }
        let connections = self.connections.values().filter_map(|connection| connection.deadline());
        let own = self.port.deadline().into_iter().chain(self.names.deadline());
        let own = own.chain(self.shutdown.deadline()).chain(self.proxy.deadline());
        connections.chain(self.executor.deadline()).chain(self.units.deadline()).chain(own).min()
    }

    /// Whether a big message, of a cluster or a tool, has been looked at in part only: [`Event::Resume`] is due as soon
    /// as others had a turn.
    pub fn is_reading(&self) -> bool {
        self.proxy.is_reading() || self.connections.values().any(|connection| connection.is_reading())
    }

    /// The bytes that wait for a connection's socket; empty when none do or it is unknown.
    pub fn outgoing(&self, conn: ConnId) -> &[u8] {
        let closing = self.closing.get(&conn).map(|closing| &closing.connection);
        let connection = self.connections.get(&conn).or(closing);
        connection.map_or(&[], |connection| connection.outgoing())
    }

    /// The bytes that wait for the system bus's socket.
    pub fn bus_outgoing(&self) -> &[u8] {
        self.units.outgoing()
    }

    /// The next message for a tool's ring.
    pub fn tool_outgoing(&self, tool: ToolId) -> Option<Outgoing<'_>> {
        self.proxy.outgoing(tool)
    }

    /// Whether a tool's next request may be taken from its ring.
    pub fn wants_request(&self, tool: ToolId) -> bool {
        self.proxy.wants(tool)
    }

    /// Without a key no handshake can succeed, and a failed one is never tried again by the cluster node
    /// that made it (remote-protocol.md section 5.3): the port is closed as long as there is none. Who is connected
    /// stays so, and handshakes under way end with the key that was there last.
    fn key_changed(&mut self, key: Result<&[u8], &str>, now: Now) {
        let missing = match key.map(Psk::new) {
            Ok(Ok(key)) => {
                self.key = Some(key);
                if !self.shutdown.has_begun() && self.port.ask(now.mono) {
                    self.effects.push_back(Effect::Listen);
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(reason) => reason.to_owned(),
        };
        if trial::is(Mutant::AcceptsWithoutKey) {
            self.key = None;
            return;
        }
        if self.port.close() {
            self.key_was_gone = true;
            self.effects.push_back(Effect::Unlisten);
            self.log(line!(
                Warning,
                "The port is closed for new connections until there is a key again: {missing}"
            ));
        } else if self.key.is_none() {
            self.log(line!(
                Warning,
                "A cluster connection will not be possible until the key is available: the port stays closed: {missing}"
            ));
        }
    }

    fn listening(&mut self) {
        self.log(line!(Notice, "Pacemaker remote executor successfully started and accepting connections"));
        let path: Vec<_> = self.settings.place.agent_path.iter().map(|path| path.as_bytes()).collect();
        let path = path.join(&b':');
        self.log(line!(Notice, "OCF resource agent search path is {}", Escaped(&path)));
    }

    fn not_listening(&mut self, reason: &str, obstacle: Obstacle, now: Now) {
        match (self.port.refused(obstacle, now.mono), obstacle) {
            (Some(1), Obstacle::Missing) => {
                self.log(line!(Warning, "{reason}: trying again until it is there"));
            }
            (Some(1), _) => self.log(line!(Info, "{reason}: trying again for {} s", PATIENCE / 1000)),
            (Some(_), _) => {}
            (None, _) => {
                self.log(line!(
                    Crit,
                    "Failed to create TLS listener: shutting down and staying down: {reason}"
                ));
                self.exit(ExitCode::Fatal);
            }
        }
    }

    /// The next step of each message that has been looked at in part.
    fn resume(&mut self, now: Now, entropy: &mut dyn CryptoRngCore) {
        let reading = self.connections.iter().filter(|(_, connection)| connection.is_reading());
        let reading: Vec<_> = reading.map(|(&conn, _)| conn).collect();
        for conn in reading {
            self.messages(conn, now, entropy);
        }
        self.proxy.resume(now.mono);
    }

    fn wake(&mut self, now: Now) {
        self.executor.wake(now);
        if self.is_leaving() {
            return;
        }
        self.units.wake(now.mono);
        self.proxy.wake(now.mono);
        let overdue: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(&conn, connection)| Some((conn, connection.overdue(now.mono)?)))
            .collect();
        for (conn, fault) in overdue {
            self.fail(conn, fault, now);
        }
        if self.port.is_due(now.mono) && !self.shutdown.has_begun() {
            self.effects.push_back(Effect::Listen);
        }
        self.ask_for_names(now);
        if self.shutdown.deadline().is_some_and(|at| at <= now.mono) {
            self.shutdown_unanswered();
        }
    }

    pub(super) fn exit(&mut self, code: ExitCode) {
        self.log(line!(Info, "Terminating with {} clients", self.connections.len()));
        while let Some((conn, mut connection)) = self.connections.pop_first() {
            connection.close();
            self.closing.insert(conn, Box::new(Closing { connection, fault: None }));
            self.effects.push_back(Effect::Close(conn));
        }
        match self.executor.alerts_end() {
            Some(until) if code == ExitCode::Ok => self.leaving = Some(until),
            _ => self.end(code),
        }
    }

    /// Whether only the last alerts are waited for.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    fn end(&mut self, code: ExitCode) {
        self.effects.push_back(Effect::Exit(code));
        self.has_ended = true;
    }

    pub(super) fn log(&mut self, line: Line) {
        self.effects.push_back(Effect::Log(line));
    }
}
