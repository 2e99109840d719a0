//! What tools and the cluster are to tell each other (ipc.md section D).

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use pacelet::proxy::{Client, Name, Ring, ToolId};
use pacelet::remote::ConnId;
use pacelet::time::{Instant, Now};

use super::super::xml::Element;
use super::{Checked, Oracle, PATIENCE, Rule, What, violation};

/// What a tool is told that nobody can serve.
const EREMOTEIO: i32 = 121;
/// The cluster must see that a request comes from a remote node.
const PROXIED: u32 = 0x100;
/// A tool waits for a response.
const WANTS_RESPONSE: u32 = 0x200;

/// The name of a session, once the cluster was told.
pub type Session = Rc<OnceCell<String>>;

/// One tool's session.
#[derive(Debug)]
pub struct Tool {
    name: Name,
    pid: i32,
    user: String,
    session: Session,
    provider: Option<ConnId>,
    /// What it must be answered: an errno, 0 for yes. `None` once that was done.
    answer: Option<i32>,
    /// The daemon must end the session now.
    must_end: bool,
    /// What it must read: where, by which number, what.
    due: VecDeque<(Instant, Ring, Option<i32>, Element)>,
    /// It does not read; what it is sent may pile up, until the daemon has enough of it.
    is_slow: bool,
}

/// All of them.
pub type Tools = BTreeMap<ToolId, Tool>;

impl Oracle {
    pub fn tool_asks(&mut self, tool: ToolId, name: Name, client: &Client, now: Now) {
        self.next_moment(now);
        let provider = name.channel().and(self.providers.front().copied());
        let is_served = name == Name::Lrmd || provider.is_some();
        let session = Session::default();
        if let (Some(provider), Some(channel)) = (provider, name.channel()) {
            self.tell(provider, 0, What::Session { session: session.clone(), channel }, now);
        }
        let state = Tool {
            name,
            pid: client.pid,
            user: client.user.clone().unwrap_or_else(|| "#unprivileged".into()),
            session,
            provider,
            answer: Some(if is_served { 0 } else { EREMOTEIO }),
            must_end: false,
            due: VecDeque::new(),
            is_slow: false,
        };
        self.tools.insert(tool, state);
    }

    /// The daemon answers a tool.
    pub fn tool_answered(&mut self, tool: ToolId, errno: i32) -> Checked {
        let expected = self.tools.get_mut(&tool).and_then(|state| state.answer.take());
        if expected != Some(errno) {
            let text = format!("tool {} is answered {errno} instead of {expected:?}", tool.0);
            return violation(Rule::Tool, text);
        }
        if errno != 0 {
            self.tools.remove(&tool);
        }
        Ok(())
    }

    /// The daemon takes a tool's request.
    pub fn tool_request(&mut self, tool: ToolId, id: i32, flags: u32, content: Element, now: Now) {
        self.next_moment(now);
        let Some(state) = self.tools.get(&tool) else { return };
        // Requests of the executor's own clients are numbered with all others.
        let is_counted = state.name == Name::Lrmd && flags & WANTS_RESPONSE != 0;
        self.last_call += u32::from(is_counted);
        if is_counted && content.get("lrmd_op") == Some("lrmd_rsc_poke") {
            let what = || What::Generic { operation: "lrmd_rsc_poke", rc: 0, resource: None };
            return self.tell_all(self.last_call, None, now, what);
        }
        let Some((provider, channel)) = state.provider.zip(state.name.channel()) else { return };
        let what = What::ToolRequest {
            session: state.session.clone(),
            client: format!("proxy-{channel}-{}-", state.pid),
            attributes: vec![
                ("lrmd_ipc_user", state.user.clone()),
                ("lrmd_ipc_msg_id", id.to_string()),
                ("lrmd_ipc_msg_flags", (flags | PROXIED).to_string()),
            ],
            content,
        };
        self.tell(provider, 0, what, now);
    }

    /// The tool has hung up.
    pub fn tool_gone(&mut self, tool: ToolId, now: Now) {
        self.next_moment(now);
        let Some(state) = self.tools.remove(&tool) else { return };
        if let Some(provider) = state.provider {
            self.tell(provider, 0, What::SessionEnds(state.session), now);
        }
    }

    pub fn tool_slow(&mut self, tool: ToolId, is_slow: bool) {
        if let Some(state) = self.tools.get_mut(&tool) {
            state.is_slow |= is_slow;
        }
    }

    /// The daemon ends a session.
    pub fn tool_dismissed(&mut self, tool: ToolId, now: Now) -> Checked {
        let Some(state) = self.tools.remove(&tool) else {
            return violation(Rule::Tool, format!("tool {} is dismissed, which is unknown", tool.0));
        };
        if !state.must_end && !state.is_slow {
            return violation(Rule::Tool, format!("tool {} is dismissed without need: {state:?}", tool.0));
        }
        if let Some(provider) = state.provider.filter(|_| !state.must_end) {
            self.tell(provider, 0, What::SessionEnds(state.session), now);
        }
        Ok(())
    }

    /// A tool has read a message.
    pub fn tool_received(
        &mut self,
        tool: ToolId,
        ring: Ring,
        id: i32,
        content: &Element,
        now: Now,
    ) -> Checked {
        // What the executor says to its own clients is looked at where they are tested.
        let state = self.tools.get_mut(&tool).filter(|state| state.name != Name::Lrmd);
        let Some(state) = state else { return Ok(()) };
        let place = state.due.iter().position(|(_, due, ..)| *due == ring);
        let Some((at, _, number, expected)) = place.and_then(|place| state.due.remove(place)) else {
            return violation(Rule::Tool, format!("tool {} is told what nobody said: {content}", tool.0));
        };
        if expected != *content || number.is_some_and(|number| number != id) {
            let text = format!("tool {} is told {id}: {content} instead of {number:?}: {expected}", tool.0);
            return violation(Rule::Tool, text);
        }
        let waited = self.on_time.map_or(0, |since| now.mono.since(at.max(since)));
        if waited > PATIENCE && !state.is_slow {
            let text = format!("tool {} is told {content} after {} ms", tool.0, now.mono.since(at));
            return violation(Rule::Tool, text);
        }
        Ok(())
    }

    /// The cluster says something for a tool; whether there is such a session of this connection.
    pub(super) fn tool_told(
        &mut self,
        conn: ConnId,
        operation: &str,
        session: &str,
        request: Option<i32>,
        content: Option<&Element>,
        now: Now,
    ) -> bool {
        let is_it = |state: &&mut Tool| {
            state.provider == Some(conn) && state.session.get().is_some_and(|name| name == session)
        };
        let Some(state) = self.tools.values_mut().find(is_it).filter(|state| !state.must_end) else {
            return false;
        };
        let ring = match operation {
            "response" => Ring::Response,
            "event" => Ring::Event,
            _ => {
                state.must_end = true;
                let what = What::SessionEnds(state.session.clone());
                self.tell(conn, 0, what, now);
                return true;
            }
        };
        if let Some(content) = content {
            state.due.push_back((now.mono, ring, request, content.clone()));
        }
        true
    }

    /// A provider is gone, and with it all its sessions.
    pub(super) fn tools_lose(&mut self, provider: ConnId) {
        for state in self.tools.values_mut().filter(|state| state.provider == Some(provider)) {
            state.must_end = true;
        }
    }

    /// The names of the sessions that the cluster knows.
    pub fn sessions(&self) -> BTreeMap<ToolId, String> {
        let named = |(&tool, state): (&ToolId, &Tool)| Some((tool, state.session.get()?.clone()));
        self.tools.iter().filter_map(named).collect()
    }

    /// The daemon has nothing more to do.
    pub(super) fn tools_settled(&self) -> Checked {
        match self.tools.iter().find(|(_, state)| state.answer.is_some() || state.must_end) {
            Some((tool, state)) => violation(
                Rule::Tool,
                format!("tool {} has not been answered or dismissed: {state:?}", tool.0),
            ),
            None => Ok(()),
        }
    }

    /// Looks for what tools were not told in time.
    pub(super) fn tools_overdue(&self, now: Now) -> Checked {
        for (tool, state) in self.tools.iter().filter(|(_, state)| !state.is_slow) {
            let Some(since) = self.on_time else { continue };
            if let Some(due) = state.due.front().filter(|(at, ..)| now.mono.since(since.max(*at)) > PATIENCE)
            {
                return violation(Rule::Tool, format!("tool {} has not been told {due:?}", tool.0));
            }
        }
        Ok(())
    }
}
