//! Local tools: their sessions, and what goes between them and the cluster connection that serves them
//! (ipc.md sections C and D).
//!
//! A tool connects to one of eight [`Name`]s. Two of them this daemon answers by itself: `lrmd` takes the
//! executor's own requests ([`Action::Execute`]), `pacemakerd` refuses everybody, by which tools know that they run on a
//! remote node. The others are channels to the cluster: a session on one is bound for its life to the provider that
//! was the newest when it began.
//!
//! # The life of a session
//!
//! | event                          | unknown               | of a provider                  | of the executor            |
//! |--------------------------------|-----------------------|--------------------------------|----------------------------|
//! | a tool asks                    | refuse, or new, admit | -                              | -                          |
//! | a good request                 | -                     | request to the provider        | to the executor            |
//! | a request nobody can read      | -                     | said, nothing else             | said, nothing else         |
//! | a breach of the tool's         | -                     | dismiss, destroy: unknown      | dismiss: unknown           |
//! | a response or event            | destroy goes back     | to the tool                    | to the tool                |
//! | the same from somebody else    | destroy goes back     | destroy goes back              | destroy goes back          |
//! | the cluster's destroy          | -                     | dismiss, destroy: unknown      | -                          |
//! | the same from somebody else    | -                     | -                              | -                          |
//! | too much waits for the tool    | -                     | dismiss, destroy: unknown      | dismiss: unknown           |
//! | the tool is gone               | -                     | destroy: unknown               | unknown                    |
//! | its provider is gone           | -                     | dismiss: unknown               | -                          |
//!
//! *New*, *request* and *destroy* are messages to the provider; *new* goes before the tool is answered. A session of
//! the executor's has no number that a cluster could know.
//!
//! # What is bounded
//!
//! Sessions and the memory of their rings ([`Limits`], and per user); what is held of requests, and of what waits
//! for tools. Who holds most pays for it. A tool's next request is taken only when the one before has been
//! passed on and the provider's connection has room ([`Proxy::wants`]).
#![forbid(unsafe_code)]

mod action;
mod budget;
mod incoming;
mod name;
mod outgoing;
mod session;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use rand_core::CryptoRngCore;

use self::budget::{Seldom, Usage};
use self::incoming::{Incoming, Refusal};
use self::outgoing::{Outbox, Verdict};
use self::session::{Session, Who, Whole};
use self::words::{End, ending, refusal, too_long};
use crate::line;
use crate::log::{Escaped, Line};
use crate::remote::{self, ConnId};
use crate::time::Instant;
use crate::trial::{self, Mutant};
use crate::wire::uuid;

pub use self::action::{Action, Asked, Delivery, Errand, Outgoing, Ring, ToolId};
pub use self::budget::Limits;
pub use self::name::{Client, Name};

/// What a tool is told that nobody can serve: EREMOTEIO, by which it knows that it runs on a remote node.
const NOBODY: i32 = 121;

/// What a tool is told that there is no room for: ENOMEM.
const NO_ROOM: i32 = 12;
/// What a tool is told whose user may not use sessions: EACCES, as from opening a session's files.
const NOT_ALLOWED: i32 = 13;

/// How many bytes may wait for one tool.
const TOOL_LIMIT: usize = 32 * 1024 * 1024;
/// How many bytes may wait for all tools.
const ALL_LIMIT: usize = 64 * 1024 * 1024;
/// How many bytes of requests may wait for their last part.
const JOINED_LIMIT: usize = 64 * 1024 * 1024;
/// While so many bytes of requests are being checked, no more are taken: with one more, and what makes a provider busy,
/// they fit its connection's queue.
const CHECKED_LIMIT: usize = 24 * 1024 * 1024;

/// For how many actions the queue keeps room while it is empty.
const ACTIONS_KEPT: usize = 16;

/// The sessions of all tools.
#[derive(Debug)]
pub struct Proxy {
    limits: Limits,
    /// Boxed as what [`Core`](crate::daemon::Core)'s maps hold.
    sessions: BTreeMap<ToolId, Box<Session>>,
    /// Providers for which too much waits to be sent.
    busy: Vec<ConnId>,
    /// Of the last event.
    last_event: i32,
    /// Whose request was taken last, and whose was looked at last: the others come first.
    taken: ToolId,
    looked_at: ToolId,
    refused: Seldom,
    dropped: Seldom,
    ended: Seldom,
    actions: VecDeque<Action>,
}

impl Proxy {
    /// No session yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            busy: Vec::new(),
            last_event: 0,
            taken: ToolId(0),
            looked_at: ToolId(0),
            refused: Seldom::default(),
            dropped: Seldom::default(),
            ended: Seldom::default(),
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do, `None` when all has been told.
    pub fn poll(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            self.actions.shrink_to(ACTIONS_KEPT);
        }
        action
    }

    /// A tool asks to be connected; `provider` is the newest cluster connection that can serve it.
    pub fn asks(
        &mut self,
        tool: ToolId,
        asked: &Asked<'_>,
        provider: Option<ConnId>,
        now: Instant,
        entropy: &mut dyn CryptoRngCore,
    ) {
        let &Asked { name, client, longest } = asked;
        let channel = name.channel();
        if channel.is_some() && provider.is_none() || name == Name::Pacemakerd {
            self.log(line!(Debug, "Refused {}: no cluster connection serves it", Who(name, client)));
            return self.actions.push_back(Action::Tool(Errand::Refuse { tool, errno: NOBODY }));
        }
        if !client.may_open {
            self.log(line!(Debug, "Refused {}: neither root nor in the group haclient", Who(name, client)));
            return self.actions.push_back(Action::Tool(Errand::Refuse { tool, errno: NOT_ALLOWED }));
        }
        let longest = self.limits.negotiate(longest);
        let memory = self.limits.memory_of(longest);
        let (mut all, mut own) = (Usage::default(), Usage::default());
        for session in self.sessions.values() {
            all.add(session.memory);
            if session.client.uid == client.uid {
                own.add(session.memory);
            }
        }
        if let Err(over) = self.limits.check(client, memory, all, own) {
            let lines = self.refused.say(now, || refusal(asked, memory, over));
            self.say(lines);
            return self.actions.push_back(Action::Tool(Errand::Refuse { tool, errno: NO_ROOM }));
        }
        let id = uuid::random(entropy);
        let provider = provider.filter(|_| channel.is_some());
        if let (Some(provider), Some(channel)) = (provider, channel) {
            self.actions.push_back(Action::Send(provider, remote::new_session(channel, &id)));
        }
        self.log(line!(Debug, "Accepted {}: session {id}", Who(name, client)));
        let session = Session {
            name,
            client: client.clone(),
            id,
            provider,
            memory,
            incoming: Incoming::new(),
            outbox: Outbox::new(longest, now),
            is_wanted: true,
        };
        self.sessions.insert(tool, Box::new(session));
        self.actions.push_back(Action::Tool(Errand::Admit { tool, longest }));
        self.tell_wanted();
    }

    /// A tool's request came: a whole message of its ring.
    pub fn request(&mut self, tool: ToolId, message: &[u8], now: Instant) {
        let Some(session) = self.sessions.get_mut(&tool) else { return };
        // Whoever takes messages asks first.
        if !session.incoming.is_free() {
            return;
        }
        self.taken = tool;
        let result = session.take(message, now);
        if let Some(layout) = session.incoming.layout() {
            session.outbox.set_layout(layout);
        }
        if session.outbox.nudge() {
            self.actions.push_back(Action::Tool(Errand::Deliver(tool)));
        }
        match result {
            Ok(Some(whole)) => self.pass_on(tool, whole),
            Ok(None) => self.bound_joined(now),
            Err(Refusal::Drop(why)) => self.say_dropped(tool, message.len(), &why, now),
            Err(Refusal::Fault(fault)) => self.end(tool, End::Fault(fault), now),
        }
        self.drop_misfits(tool, now);
        self.tell_wanted();
    }

    /// Whether there is work that is done in steps: [`Proxy::resume`] is due as soon as others had a turn.
    pub fn is_reading(&self) -> bool {
        self.sessions.values().any(|session| session.is_reading())
    }

    /// Does the next step of one session's work.
    pub fn resume(&mut self, now: Instant) {
        let reading = self.sessions.iter().filter(|(_, session)| session.is_reading()).map(|(&tool, _)| tool);
        // The next after the one that had its turn, or else the first.
        let next = reading.clone().find(|&tool| tool > self.looked_at).or_else(|| reading.min());
        let Some(tool) = next else { return };
        self.looked_at = tool;
        let Some(session) = self.sessions.get_mut(&tool) else { return };
        if !session.incoming.is_checking() {
            if session.outbox.pack() {
                self.actions.push_back(Action::Tool(Errand::Deliver(tool)));
            }
            return self.drop_misfits(tool, now);
        }
        let length = session.incoming.length();
        match session.step() {
            Ok(Some(whole)) => self.pass_on(tool, whole),
            Ok(None) => {}
            Err(why) => self.say_dropped(tool, length, &why, now),
        }
        self.tell_wanted();
    }

    fn pass_on(&mut self, tool: ToolId, whole: Whole) {
        let provider = self.sessions.get(&tool).and_then(|session| session.provider);
        match (whole, provider) {
            (Whole::Forward(message), Some(provider)) => {
                if trial::is(Mutant::ProxiedRequestLeaks) {
                    std::mem::forget(message.clone());
                }
                self.actions.push_back(Action::Send(provider, message));
            }
            (Whole::Forward(_), None) => {}
            (Whole::Execute { id, text }, _) => self.actions.push_back(Action::Execute { tool, id, text }),
        }
    }

    /// Whether a tool's next request may be taken from its ring.
    pub fn wants(&self, tool: ToolId) -> bool {
        self.sessions.get(&tool).is_some_and(|session| wants(session, &self.busy, self.checked()))
    }

    /// Bytes of requests that are being checked.
    fn checked(&self) -> usize {
        self.sessions.values().map(|session| session.incoming.checked()).sum()
    }

    /// Tells for whom [`Proxy::wants`] has become true, beginning with who comes after the one served last.
    fn tell_wanted(&mut self) {
        let checked = self.checked();
        for is_later in [true, false] {
            let sessions = self.sessions.iter_mut().filter(|(tool, _)| (**tool > self.taken) == is_later);
            for (&tool, session) in sessions {
                let is_wanted = wants(session, &self.busy, checked);
                if is_wanted && !session.is_wanted {
                    self.actions.push_back(Action::Tool(Errand::Take(tool)));
                }
                session.is_wanted = is_wanted;
            }
        }
    }

    /// Too much waits to be sent to a provider, or not any more: no requests of its tools are taken meanwhile.
    pub fn set_busy(&mut self, provider: ConnId, is_busy: bool) {
        self.busy.retain(|&busy| busy != provider);
        if is_busy {
            self.busy.push(provider);
        }
        self.tell_wanted();
    }

    /// A response from the cluster: the element at `element` in `text`, which was checked.
    pub fn response(
        &mut self,
        provider: ConnId,
        session: &str,
        id: i32,
        text: Vec<u8>,
        element: Range<usize>,
        now: Instant,
    ) {
        match self.find(provider, session) {
            Some(tool) => self.queue(tool, Ring::Response, id, text, element, now),
            None => self.destroy_back(provider, session),
        }
    }

    /// An event from the cluster, as [`Proxy::response`].
    pub fn event(
        &mut self,
        provider: ConnId,
        session: &str,
        text: Vec<u8>,
        element: Range<usize>,
        now: Instant,
    ) {
        match self.find(provider, session) {
            Some(tool) => {
                let id = self.next_event();
                self.queue(tool, Ring::Event, id, text, element, now);
            }
            None => self.destroy_back(provider, session),
        }
    }

    /// The session's other end is gone, says a cluster connection.
    pub fn destroy(&mut self, provider: ConnId, session: &str, now: Instant) {
        if let Some(tool) = self.find(provider, session) {
            self.end(tool, End::Destroyed, now);
        }
    }

    /// The executor's answer to [`Action::Execute`]: XML.
    pub fn respond(&mut self, tool: ToolId, id: i32, text: Vec<u8>, now: Instant) {
        let whole = 0..text.len();
        self.queue(tool, Ring::Response, id, text, whole, now);
    }

    /// What the executor tells a client of its own accord: XML.
    pub fn notify(&mut self, tool: ToolId, text: Vec<u8>, now: Instant) {
        let (id, whole) = (self.next_event(), 0..text.len());
        self.queue(tool, Ring::Event, id, text, whole, now);
    }

    /// Who a tool is.
    pub fn client(&self, tool: ToolId) -> Option<&Client> {
        self.sessions.get(&tool).map(|session| &session.client)
    }

    /// The executor's own clients.
    pub fn executor_clients(&self) -> impl Iterator<Item = ToolId> {
        let own = self.sessions.iter().filter(|(_, session)| session.provider.is_none());
        own.map(|(&tool, _)| tool)
    }

    /// The session that a provider may speak for.
    fn find(&self, provider: ConnId, session: &str) -> Option<ToolId> {
        let found = self.sessions.iter().find(|(_, one)| one.provider == Some(provider) && one.id == session);
        found.map(|(&tool, _)| tool)
    }

    fn destroy_back(&mut self, provider: ConnId, session: &str) {
        self.actions.push_back(Action::Send(provider, remote::destroy_session(session)));
    }

    fn next_event(&mut self) -> i32 {
        self.last_event = self.last_event.checked_add(1).unwrap_or(1);
        self.last_event
    }

    fn queue(
        &mut self,
        tool: ToolId,
        ring: Ring,
        id: i32,
        text: Vec<u8>,
        element: Range<usize>,
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(&tool) else { return };
        session.outbox.push(ring, id, text, element, now);
        if session.outbox.offer() {
            self.actions.push_back(Action::Tool(Errand::Deliver(tool)));
        }
        self.drop_misfits(tool, now);
        self.look(tool, now);
        self.bound_held(tool, now);
    }

    /// The next message for a tool. It stays the same until [`Proxy::delivered`].
    pub fn outgoing(&self, tool: ToolId) -> Option<Outgoing<'_>> {
        self.sessions.get(&tool)?.outbox.current()
    }

    /// What became of [`Proxy::outgoing`].
    pub fn delivered(&mut self, tool: ToolId, delivery: Delivery, now: Instant) {
        let Some(session) = self.sessions.get_mut(&tool) else { return };
        if session.outbox.delivered(delivery, now) {
            self.actions.push_back(Action::Tool(Errand::Deliver(tool)));
        }
        self.drop_misfits(tool, now);
    }

    /// Messages that do not fit are lost, as with the stock daemon: it would be wrong to end a session for an event
    /// that its tool perhaps did not wait for.
    fn drop_misfits(&mut self, tool: ToolId, now: Instant) {
        while let Some(session) = self.sessions.get_mut(&tool)
            && let Some(misfit) = session.outbox.misfit()
        {
            let lines = self.dropped.say(now, || too_long(session, misfit));
            if session.outbox.offer() {
                self.actions.push_back(Action::Tool(Errand::Deliver(tool)));
            }
            self.say(lines);
        }
    }

    /// Ends the session of a tool that does not read its events.
    fn look(&mut self, tool: ToolId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&tool) else { return };
        match session.outbox.look(now) {
            Some(Verdict::Crowded(events)) => {
                let lines = self
                    .ended
                    .say(now, || line!(Warning, "{session} reads slowly: {events} events wait for it"));
                self.say(lines);
            }
            Some(Verdict::Deaf(events)) => self.end(tool, End::Deaf(events), now),
            None => {}
        }
    }

    /// Keeps what waits for tools within its bounds: who holds most and has not read for longest goes.
    fn bound_held(&mut self, tool: ToolId, now: Instant) {
        let Some(session) = self.sessions.get(&tool) else { return };
        let held = session.outbox.held();
        if held > TOOL_LIMIT {
            return self.end(tool, End::Held(held), now);
        }
        while self.sessions.values().map(|session| session.outbox.held()).sum::<usize>() > ALL_LIMIT {
            let weight = |session: &Session| {
                let silence = now.since(session.outbox.progress()).saturating_add(1);
                silence.saturating_mul(session.outbox.held() as u64)
            };
            let worst = self.sessions.iter().max_by_key(|(_, session)| weight(session));
            let Some((&tool, session)) = worst else { return };
            self.end(tool, End::Held(session.outbox.held()), now);
        }
    }

    /// Keeps requests that wait for their last part within their bound: the largest goes.
    fn bound_joined(&mut self, now: Instant) {
        while self.sessions.values().map(|session| session.incoming.joined()).sum::<usize>() > JOINED_LIMIT {
            let largest = self.sessions.iter().max_by_key(|(_, session)| session.incoming.joined());
            let Some((&tool, session)) = largest else { return };
            self.end(tool, End::Joined(session.incoming.joined()), now);
        }
    }

    /// A tool hung up or broke the rules of its rings.
    pub fn gone(&mut self, tool: ToolId, fault: Option<&str>, now: Instant) {
        let Some(session) = self.sessions.remove(&tool) else { return };
        if let Some(provider) = session.provider {
            self.destroy_back(provider, &session.id);
        }
        match fault {
            Some(fault) => {
                let fault = Escaped(fault.as_bytes());
                let lines = self.ended.say(now, || line!(Warning, "Ended {session}: {fault}"));
                self.say(lines);
            }
            None => self.log(line!(Debug, "Session {} of {session} has ended", session.id)),
        }
        self.tell_wanted();
    }

    /// A cluster connection is gone: the sessions that it served end, as nobody could answer them.
    pub fn provider_gone(&mut self, provider: ConnId) {
        self.busy.retain(|&busy| busy != provider);
        let mut count = 0;
        let actions = &mut self.actions;
        self.sessions.retain(|&tool, session| {
            let stays = session.provider != Some(provider);
            if !stays {
                actions.push_back(Action::Tool(Errand::Dismiss(tool)));
                count += 1;
            }
            stays
        });
        if count > 0 {
            self.log(line!(
                Info,
                "Ended the sessions of {count} tools: the cluster connection that served them is gone"
            ));
        }
        self.tell_wanted();
    }

    /// Ends a session whose tool is still there.
    fn end(&mut self, tool: ToolId, why: End, now: Instant) {
        let Some(session) = self.sessions.remove(&tool) else { return };
        if let Some(provider) = session.provider {
            self.destroy_back(provider, &session.id);
        }
        self.actions.push_back(Action::Tool(Errand::Dismiss(tool)));
        match why {
            End::Destroyed => self.log(ending(&session, why)),
            _ => {
                let lines = self.ended.say(now, || ending(&session, why));
                self.say(lines);
            }
        }
        // What it had checked is room for others.
        self.tell_wanted();
    }

    /// When to call [`Proxy::wake`] if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.sessions.values().filter_map(|session| session.deadline()).min()
    }

    /// [`Proxy::deadline`] has come.
    pub fn wake(&mut self, now: Instant) {
        let due = self.sessions.iter().filter(|(_, session)| session.deadline().is_some_and(|at| at <= now));
        let due: Vec<_> = due.map(|(&tool, _)| tool).collect();
        for tool in due {
            let Some(session) = self.sessions.get_mut(&tool) else { continue };
            if session.outbox.wake(now) {
                self.actions.push_back(Action::Tool(Errand::Deliver(tool)));
            }
            if session.incoming.deadline().is_some_and(|at| at <= now) {
                // Who is held back is not to blame.
                if session.is_wanted {
                    self.end(tool, End::Unfinished, now);
                } else {
                    session.incoming.postpone(now);
                }
            }
            self.look(tool, now);
        }
    }

    fn say_dropped(&mut self, tool: ToolId, len: usize, why: &dyn std::fmt::Display, now: Instant) {
        let Some(session) = self.sessions.get(&tool) else { return };
        let lines = self
            .dropped
            .say(now, || line!(Warning, "Ignoring a request of {len} bytes from {session}: {why}"));
        self.say(lines);
    }

    /// Says what an executor's client did, unless others say as much.
    pub fn complain(&mut self, line: Line, now: Instant) {
        let lines = self.dropped.say(now, || line);
        self.say(lines);
    }

    fn say(&mut self, lines: [Option<Line>; 2]) {
        self.actions.extend(lines.into_iter().flatten().map(Action::Log));
    }

    fn log(&mut self, line: Line) {
        self.actions.push_back(Action::Log(line));
    }
}

fn wants(session: &Session, busy: &[ConnId], checked: usize) -> bool {
    let is_held_back = match session.provider {
        Some(provider) => busy.contains(&provider),
        // What the executor's clients do is told to all.
        None => !busy.is_empty(),
    };
    session.incoming.is_free() && checked < CHECKED_LIMIT && !is_held_back
}
