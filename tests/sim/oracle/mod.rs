//! The judge: knows from the specification's pages alone what the daemon owes whom, and is told everything that
//! goes in and comes out. It shares no code with the daemon's `executor` and `remote`.
//!
//! Going in: connections, requests when their last byte is handed over, the ends of processes, time. Coming
//! out: processes started and killed, connections closed, the daemon's end, and every message when its client
//! has decrypted it. From the first it makes a list, for each connection, of what must be told; each message
//! must be on it, and right, and not overtake what was caused before it.
//!
//! The harness says `settled` after each event, when the daemon has nothing more to do: whatever it could and
//! should have done must have happened by then.

mod bus;
mod due;
mod resources;
mod results;
#[cfg(test)]
mod tests;
mod tools;
mod violation;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;

use pacelet::agent::{ChildId, Command, Ending, Place, Stream};
use pacelet::daemon::{ExitCode, Settings};
use pacelet::proxy::Limits;
use pacelet::remote::ConnId;
use pacelet::time::{Instant, Now};

use self::due::{Due, Extra, What};
use self::resources::Resources;
pub use self::resources::SERIAL;
use self::tools::Tools;
pub use self::violation::{Checked, Rule, violation};
use super::request::{Ask, Request};
use super::xml::Element;

/// Where agents are looked up.
pub const AGENTS: [&CStr; 2] = [c"/usr/lib/ocf/resource.d", c"/usr/local/lib/ocf/resource.d"];
/// The value of `OCF_ROOT`.
pub const OCF_ROOT: &CStr = c"/usr/lib/ocf";

/// A daemon that answers at once is heard within so many milliseconds on any way here that is not slow. A
/// client waits 10 s for a reply (remote-protocol.md section 3.1).
const PATIENCE: u64 = 3_000;
/// How long a handshake may take (section 3.1).
const HANDSHAKE: u64 = 10_000;
/// After so long without progress a connection is given up (section 3.1 and 3.2).
const STALL: u64 = 60_000;
/// How long a cluster that does not know the shutdown request is waited for (daemon-lifecycle.md section 6).
const UNANSWERED: u64 = 20_000;

/// The settings that the oracle expects the daemon to have.
pub fn settings() -> Settings {
    let place = Place { agent_path: AGENTS.map(Into::into).into(), ocf_root: OCF_ROOT.into() };
    let tools = Some(Limits::default());
    Settings { place, node_start_state: Some("online".into()), tools, watchdog: Some(5000) }
}

/// What of a message has been handed to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Nothing: the last one was complete.
    None,
    /// Bytes of its first record.
    Begun,
    /// A whole record.
    Certain,
}

/// What one connection is owed.
#[derive(Debug)]
struct Connection {
    accepted: Instant,
    is_authenticated: bool,
    is_named: bool,
    is_provider: bool,
    version: &'static str,
    /// Whether the daemon has it still.
    is_open: bool,
    may_be_closed: bool,
    /// Why it must be closed at once.
    doomed: Option<&'static str>,
    heard: Instant,
    partial: Partial,
    /// Since when bytes wait and the socket takes none.
    waiting_since: Option<Instant>,
    /// It does not read at present, or not fast: what it is told may take long.
    is_slow: bool,
    due: VecDeque<Due>,
}

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    moment: u64,
    last_call: u32,
    started: Instant,
    connections: BTreeMap<ConnId, Connection>,
    /// Newest first.
    providers: VecDeque<ConnId>,
    resources: Resources,
    tools: Tools,
    /// Since when the daemon is told in time that its time has come; `None` while it is not.
    on_time: Option<Instant>,
    drain: Option<Drain>,
    /// The daemon must end now.
    must_exit: bool,
    /// And not in order.
    is_fatal: bool,
    exited: bool,
    /// How many requests for operations there were.
    pub operations: u64,
    /// How many messages were judged.
    pub messages: u64,
}

#[derive(Debug)]
struct Drain {
    asked: ConnId,
    until: Option<Instant>,
}

// What goes in: connections.
impl Oracle {
    pub fn new(started: Instant) -> Self {
        Self { started, on_time: Some(started), ..Self::default() }
    }

    pub fn accepted(&mut self, conn: ConnId, now: Now) {
        let connection = Connection {
            accepted: now.mono,
            is_authenticated: false,
            is_named: false,
            is_provider: false,
            version: "0",
            is_open: true,
            may_be_closed: false,
            doomed: None,
            heard: now.mono,
            partial: Partial::None,
            waiting_since: None,
            is_slow: false,
            due: VecDeque::new(),
        };
        self.connections.insert(conn, connection);
    }

    /// The last byte of the client's handshake is handed over.
    pub fn authenticated(&mut self, conn: ConnId, now: Now) {
        self.next_moment(now);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.is_authenticated = true;
        }
        self.tell_all(0, Some(conn), now, || What::NewClient);
    }

    /// Bytes are handed over, and leave the daemon with so much of a message.
    pub fn heard(&mut self, conn: ConnId, partial: Partial, now: Now) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.heard = now.mono;
            connection.partial = partial;
        }
    }

    /// The connection is one of too many strangers: it may be closed, and what it says goes unheard.
    pub fn may_be_closed(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.may_be_closed = true;
        }
    }

    /// Something that the daemon must close the connection for is handed over.
    pub fn doomed(&mut self, conn: ConnId, why: &'static str) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.doomed = Some(why);
        }
    }

    /// Whether bytes wait for a socket that has no room for them; `moved` says that it has just taken some.
    pub fn waiting(&mut self, conn: ConnId, waits: bool, moved: bool, now: Now) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if !waits || moved {
            connection.waiting_since = None;
        }
        if waits {
            connection.waiting_since.get_or_insert(now.mono);
        }
    }

    /// Whether what the client is told may take its time.
    pub fn slow(&mut self, conn: ConnId, is_slow: bool) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.is_slow = is_slow;
        }
    }

    /// The edge tells that the connection has ended.
    pub fn lost(&mut self, conn: ConnId, now: Now) {
        self.next_moment(now);
        self.gone(conn, now);
    }

    fn gone(&mut self, conn: ConnId, now: Now) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if !std::mem::replace(&mut connection.is_open, false) || !connection.is_authenticated {
            return;
        }
        self.providers.retain(|&provider| provider != conn);
        self.tools_lose(conn);
        if !self.connections.values().any(|other| other.is_open && other.is_authenticated) {
            self.resources.clients_gone(now);
            self.distribute(now);
        }
        if self.drain.is_none() {
            return;
        }
        match (self.providers.front().copied(), &self.drain) {
            (None, _) => self.must_exit = true,
            (Some(next), Some(drain)) if drain.asked == conn => self.ask_to_drain(next, now),
            _ => {}
        }
    }

    /// What a dead client is told needs not arrive.
    pub fn client_gone(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.is_slow = true;
            connection.due.clear();
        }
    }
}

// What goes in: requests.
impl Oracle {
    /// The last byte of a request is handed over.
    pub fn arrived(&mut self, conn: ConnId, request: &Request, now: Now) {
        self.next_moment(now);
        let Some(connection) = self.connections.get_mut(&conn).filter(|connection| connection.is_open) else {
            return;
        };
        connection.is_named |= request.name.is_some();
        self.last_call += 1;
        let call = self.last_call;
        let mut reply = Some((0, Vec::new(), Extra::None));
        let mut after = None;
        match &request.ask {
            Ask::Register { version, provider } => {
                let token = vec![
                    ("lrmd_op", "register".to_owned()),
                    ("lrmd_protocol_version", "1.2".into()),
                    ("uptime", (now.mono.since(self.started) / 1000).to_string()),
                    ("node_start_state", "online".into()),
                ];
                let accepted = !version.starts_with('0');
                reply = Some((if accepted { 0 } else { -71 }, token, Extra::Token));
                if accepted {
                    connection.version = version;
                    connection.is_provider |= provider;
                    if *provider {
                        self.providers.retain(|&other| other != conn);
                        self.providers.push_front(conn);
                    }
                }
            }
            Ask::RegisterResource { resource, agent, drop_recurring } => {
                self.resources.register(resource, agent, *drop_recurring, now);
                after = Some(("lrmd_rsc_register", 0, Some(resource.clone())));
            }
            Ask::Unregister(resource) => {
                let rc = self.resources.unregister(resource, now);
                reply = Some((rc, Vec::new(), Extra::None));
                after = Some(("lrmd_rsc_unregister", rc, Some(resource.clone())));
            }
            Ask::Info(resource) => {
                reply = Some(match self.resources.agent(resource) {
                    None => (-19, Vec::new(), Extra::None),
                    Some(agent) => {
                        let mut known = vec![
                            ("lrmd_rsc_id", resource.clone()),
                            ("lrmd_class", agent.class.clone()),
                            ("lrmd_type", agent.kind.clone()),
                        ];
                        known.extend(agent.provider.clone().map(|provider| ("lrmd_provider", provider)));
                        (0, known, Extra::None)
                    }
                });
            }
            Ask::Execute(execute) => {
                self.operations += 1;
                let result = self.resources.execute(execute, call, conn, now);
                let rc = result.map_or_else(|refusal| refusal, |()| call.into());
                reply = Some((rc, Vec::new(), Extra::None));
            }
            Ask::Cancel { resource, action, interval } => {
                let rc = self.resources.cancel(resource, action, *interval, now);
                reply = Some((rc, Vec::new(), Extra::None));
            }
            Ask::Recurring(only) => {
                let mut all = self.resources.recurring();
                reply = Some(match only {
                    Some(name) if !all.contains_key(name) => (-19, Vec::new(), Extra::None),
                    Some(name) => {
                        all.retain(|present, _| present == name);
                        (0, Vec::new(), Extra::Recurring(all))
                    }
                    None => (0, Vec::new(), Extra::Recurring(all)),
                });
            }
            Ask::Poke => after = Some(("lrmd_rsc_poke", 0, None)),
            Ask::Check => reply = None,
            Ask::Forward { operation, session, request, content } => {
                self.forwarded(conn, operation, session.as_deref(), *request, content.as_ref(), now);
            }
            Ask::Refused(_, rc) => reply = Some((*rc, Vec::new(), Extra::None)),
        }
        if let Some((rc, mut attributes, extra)) = reply {
            attributes.extend([
                ("lrmd_rc", rc.to_string()),
                ("lrmd_callid", call.to_string()),
                ("lrmd_remote_msg_id", request.id.to_string()),
                ("lrmd_remote_msg_type", "reply".into()),
            ]);
            self.tell(conn, call, What::Reply { id: request.id, attributes, extra }, now);
        }
        if let Some((operation, rc, resource)) = after {
            self.tell_all(call, None, now, || What::Generic { operation, rc, resource: resource.clone() });
        }
        self.resources.dispatch(now, false);
        self.distribute(now);
    }

    fn forwarded(
        &mut self,
        conn: ConnId,
        operation: &str,
        session: Option<&str>,
        request: Option<i32>,
        content: Option<&Element>,
        now: Now,
    ) {
        match (operation, session) {
            ("response" | "event" | "destroy", Some(session)) => {
                let is_known = self.tool_told(conn, operation, session, request, content, now);
                if !is_known && operation != "destroy" {
                    self.tell(conn, 0, What::Destroy(session.into()), now);
                }
            }
            ("shutdown_ack", _) => {
                if let Some(drain) = &mut self.drain {
                    drain.until = None;
                }
            }
            ("shutdown_nack", _) => self.must_exit |= self.drain.is_some(),
            _ => {}
        }
    }
}

// What goes in: time, processes, signals.
impl Oracle {
    /// The daemon is told that the time it waits for has come.
    pub fn woken(&mut self, now: Now) {
        self.on_time.get_or_insert(now.mono);
        self.next_moment(now);
        self.resources.fire(now);
        self.must_exit |= self.drain.as_ref().and_then(|drain| drain.until).is_some_and(|at| at <= now.mono);
    }

    /// The next time the daemon waits for is told late.
    pub fn clock_stops(&mut self) {
        self.on_time = None;
    }

    pub fn output(&mut self, child: ChildId, stream: Stream, bytes: &[u8]) {
        self.resources.output(child, stream, bytes);
    }

    pub fn ended(&mut self, child: ChildId, ending: Ending, now: Now) {
        self.next_moment(now);
        self.resources.ended(child, ending, now);
        self.resources.dispatch(now, false);
        self.distribute(now);
    }

    /// The daemon is told what keeps a process that was killed, and reports it.
    pub fn examined(&mut self, child: ChildId, now: Now) {
        self.next_moment(now);
        self.resources.examined(child, now);
        self.resources.dispatch(now, false);
        self.distribute(now);
    }

    /// The daemon is about to learn that it cannot do its work.
    pub fn cannot_listen(&mut self) {
        self.must_exit = true;
        self.is_fatal = true;
    }

    /// SIGTERM.
    pub fn terminated(&mut self, now: Now) {
        self.next_moment(now);
        if self.drain.is_some() {
            return;
        }
        match self.providers.front().copied() {
            Some(provider) => self.ask_to_drain(provider, now),
            None => self.must_exit = true,
        }
    }

    fn ask_to_drain(&mut self, provider: ConnId, now: Now) {
        let is_old = self.connections.get(&provider).is_some_and(|connection| connection.version == "1.0");
        self.drain = Some(Drain { asked: provider, until: is_old.then(|| now.mono.after(UNANSWERED)) });
        self.tell(provider, 0, What::ShutdownRequest, now);
    }

    fn next_moment(&mut self, now: Now) {
        self.moment += 1;
        // What came before in the same bytes has taken effect.
        self.resources.dispatch(now, true);
        self.distribute(now);
        self.resources.next_moment();
    }
}

// What comes out, besides messages.
impl Oracle {
    pub fn spawned(&mut self, child: ChildId, command: &Command, now: Now) -> Checked {
        self.resources.dispatch(now, false);
        self.distribute(now);
        self.resources.spawned(child, command, now)
    }

    pub fn killed(&mut self, child: ChildId, group: bool, now: Now) -> Checked {
        self.resources.killed(child, group, now)
    }

    /// The daemon asks what keeps a process that was killed.
    pub fn examine(&mut self, child: ChildId, now: Now) -> Checked {
        self.resources.examine(child, now)
    }

    /// The daemon closes a connection.
    pub fn closed(&mut self, conn: ConnId, now: Now) -> Checked {
        let Some(connection) = self.connections.get(&conn) else {
            return violation(Rule::Connection, format!("connection {} is closed, which is unknown", conn.0));
        };
        let may = self.must_exit || connection.may_be_closed;
        if !may && connection.reason_to_close(now, Partial::Begun).is_none() {
            let text = format!("connection {} is closed without need: {connection:?}", conn.0);
            return violation(Rule::Connection, text);
        }
        self.gone(conn, now);
        Ok(())
    }

    pub fn exited(&mut self, code: ExitCode) -> Checked {
        self.exited = true;
        let expected = if self.is_fatal { ExitCode::Fatal } else { ExitCode::Ok };
        if !self.must_exit || code != expected {
            return violation(Rule::Shutdown, format!("the daemon ends with {code:?}: {:?}", self.drain));
        }
        Ok(())
    }

    /// The daemon has nothing more to do; `timers`: it does not wait for a time that has passed already.
    pub fn settled(&mut self, now: Now, timers: bool) -> Checked {
        if timers {
            self.must_exit |=
                self.drain.as_ref().and_then(|drain| drain.until).is_some_and(|at| at <= now.mono);
        }
        if self.must_exit && !self.exited {
            return violation(Rule::Shutdown, format!("the daemon does not end: {:?}", self.drain));
        }
        if self.exited {
            return Ok(());
        }
        self.resources.settled(now, timers)?;
        self.tools_settled()?;
        self.distribute(now);
        for (conn, connection) in self.connections.iter().filter(|(_, connection)| connection.is_open) {
            let reason = connection.reason_to_close(now, Partial::Certain);
            if let Some(reason) = reason.filter(|_| timers || connection.doomed.is_some()) {
                let text = format!("connection {} is kept: {reason}", conn.0);
                return violation(Rule::Connection, text);
            }
        }
        Ok(())
    }

    /// Looks for what was not told in time.
    pub fn overdue(&self, now: Now) -> Checked {
        self.tools_overdue(now)?;
        for (conn, connection) in &self.connections {
            let listens = connection.is_open && !connection.is_slow;
            let Some(due) = connection.due.front().filter(|_| listens) else { continue };
            if now.mono.since(due.at) > PATIENCE {
                let rule = if matches!(due.what, What::Reply { .. }) { Rule::OneReply } else { Rule::Lost };
                let text = format!("connection {} has not been told {due:?}, now {now:?}", conn.0);
                return violation(rule, text);
            }
        }
        Ok(())
    }

    /// Whether nothing is owed, and nothing runs.
    pub fn is_idle(&self) -> bool {
        let told = |connection: &Connection| !connection.is_open || connection.due.is_empty();
        self.connections.values().all(told) && self.resources.is_idle()
    }

    /// How many operations the daemon must know of.
    pub fn known_operations(&self) -> usize {
        self.resources.len()
    }
}

impl Connection {
    fn reason_to_close(&self, now: Now, partial: Partial) -> Option<&'static str> {
        if self.doomed.is_some() {
            return self.doomed;
        }
        if !self.is_authenticated && now.mono.since(self.accepted) >= HANDSHAKE {
            return Some("its handshake has not been completed in time");
        }
        let is_partial = match partial {
            Partial::Certain => self.partial == Partial::Certain,
            Partial::Begun | Partial::None => self.partial != Partial::None,
        };
        if is_partial && now.mono.since(self.heard) >= STALL {
            return Some("a message has begun and not gone on");
        }
        let stalled = self.waiting_since.is_some_and(|since| now.mono.since(since) >= STALL);
        stalled.then_some("it has taken nothing")
    }
}

// Messages.
impl Oracle {
    fn tell(&mut self, conn: ConnId, call: u32, what: What, now: Now) {
        let due = Due { moment: self.moment, at: now.mono, call, what };
        if let Some(connection) = self.connections.get_mut(&conn).filter(|connection| connection.is_open) {
            connection.due.push_back(due);
        }
    }

    fn tell_all(&mut self, call: u32, except: Option<ConnId>, now: Now, what: impl Fn() -> What) {
        let named = self.connections.iter().filter(|(_, connection)| connection.is_named);
        let all: Vec<_> = named.map(|(&conn, _)| conn).filter(|&conn| Some(conn) != except).collect();
        for conn in all {
            self.tell(conn, call, what(), now);
        }
    }

    fn distribute(&mut self, now: Now) {
        for (only, completion) in std::mem::take(&mut self.resources.told) {
            let what = || What::Completion(Box::new(completion.clone()));
            match only {
                Some(conn) => self.tell(conn, completion.call, what(), now),
                None => self.tell_all(completion.call, None, now, what),
            }
        }
    }

    /// A client has received a message.
    pub fn received(&mut self, conn: ConnId, message: &Element, now: Now) -> Checked {
        self.messages += 1;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return violation(Rule::Unasked, format!("connection {} is told {message}", conn.0));
        };
        let is_reply = message.get("lrmd_remote_msg_type") == Some("reply");
        let Some(place) = connection.due.iter().position(|due| due.is_about(message)) else {
            let rule = if is_reply { Rule::OneReply } else { Rule::Unasked };
            let text = format!("connection {} is told {message}; due: {:?}", conn.0, connection.due);
            return violation(rule, text);
        };
        // In bounds: it was found there.
        let due = connection.due.remove(place).expect("found");
        let overtaken = connection.due.iter().find(|other| {
            other.moment < due.moment
                || !is_reply && other.call == due.call && matches!(other.what, What::Reply { .. })
        });
        if let Some(overtaken) = overtaken {
            let text = format!("connection {} is told {message} before {overtaken:?}", conn.0);
            return violation(Rule::Order, text);
        }
        let wrong = due.differences(message);
        if !wrong.is_empty() {
            return violation(Rule::Content, format!("{}, in {message}", wrong.join("; ")));
        }
        if now.mono.since(due.at) > PATIENCE && !connection.is_slow {
            let text =
                format!("connection {} is told {message} only after {} ms", conn.0, now.mono.since(due.at));
            return violation(Rule::Lost, text);
        }
        Ok(())
    }
}
