//! Tools on the node: their rings, as the contract in `daemon::core` wants them, and what they do with them.

use std::collections::VecDeque;
use std::io::Read;

use pacelet::daemon::Event;
use pacelet::proxy::{Client, Delivery, Name, Ring, ToolId};
use pacelet::wire::ipc::{Body, Header, Layout, View, flags};

use super::super::memory::inside;
use super::super::oracle::{Checked, Rule, violation};
use super::super::xml::Element;
use super::{Happening, Notice, World};

/// What a ring of answers holds, in bytes: little, so that it is full now and then.
const RING: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Asking,
    Open,
    Gone,
}

/// A tool's process.
#[derive(Debug)]
pub struct Tool {
    phase: Phase,
    layout: Layout,
    last_id: i32,
    /// Requests in its ring: number, flags, what they say.
    requests: VecDeque<(i32, u32, Element)>,
    /// Whole messages in the rings that it reads.
    responses: VecDeque<Vec<u8>>,
    events: VecDeque<Vec<u8>>,
    /// Of each ring the message of which some parts have been read: its number, and how many.
    partial: [Option<(i32, u16)>; 2],
    joined: [Vec<u8>; 2],
    reads: bool,
    /// It is about to read.
    is_woken: bool,
}

impl Tool {
    fn ring(&mut self, ring: Ring) -> &mut VecDeque<Vec<u8>> {
        match ring {
            Ring::Response => &mut self.responses,
            Ring::Event => &mut self.events,
        }
    }
}

impl World {
    /// A tool wants to be connected.
    pub fn tool(&mut self, name: Name, uid: u32) -> Checked<ToolId> {
        self.last_conn += 1;
        let tool = ToolId(self.last_conn);
        let pid = 1000 + self.last_conn as i32;
        let client = Client { pid, uid, user: (uid == 0).then(|| "root".into()), may_open: true };
        self.note("tool", tool.0, name.text().as_bytes());
        let state = Tool {
            phase: Phase::Asking,
            layout: *self.random.pick(&[Layout::Classic, Layout::Parts]),
            last_id: 0,
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            events: VecDeque::new(),
            partial: [None; 2],
            joined: [Vec::new(), Vec::new()],
            reads: true,
            is_woken: false,
        };
        self.tools.insert(tool, state);
        self.oracle.tool_asks(tool, name, &client, self.now);
        self.handle(Event::ToolAsks { tool, name, client, longest: 131_072 });
        self.pump()?;
        Ok(tool)
    }

    /// Those that have a session.
    pub fn open_tools(&self) -> Vec<ToolId> {
        let open = self.tools.iter().filter(|(_, tool)| tool.phase == Phase::Open);
        open.map(|(&tool, _)| tool).collect()
    }

    /// A tool writes a request into its ring.
    pub fn tool_request(&mut self, tool: ToolId, flags: u32, content: Element) -> Checked {
        let Some(state) = self.tools.get_mut(&tool).filter(|state| state.phase == Phase::Open) else {
            return Ok(());
        };
        state.last_id += 1;
        state.requests.push_back((state.last_id, flags, content));
        self.take(tool);
        self.pump()
    }

    /// A tool reads what it is sent, or not.
    pub fn tool_reads(&mut self, tool: ToolId, reads: bool) {
        let Some(state) = self.tools.get_mut(&tool) else { return };
        state.reads = reads;
        self.oracle.tool_slow(tool, !reads);
        self.wake_tool(tool);
    }

    /// A tool ends.
    pub fn tool_ends(&mut self, tool: ToolId) -> Checked {
        let Some(state) = self.tools.get_mut(&tool).filter(|state| state.phase != Phase::Gone) else {
            return Ok(());
        };
        state.phase = Phase::Gone;
        self.note("tool ends", tool.0, b"");
        self.oracle.tool_gone(tool, self.now);
        self.handle(Event::ToolGone { tool, fault: None });
        self.tools.remove(&tool);
        self.pump()
    }

    pub(super) fn admit(&mut self, tool: ToolId) -> Checked {
        self.oracle.tool_answered(tool, 0)?;
        match self.tools.get_mut(&tool) {
            Some(state) if state.phase == Phase::Asking => state.phase = Phase::Open,
            _ => return violation(Rule::Edge, format!("tool {} is admitted without having asked", tool.0)),
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, tool: ToolId, errno: i32) -> Checked {
        self.oracle.tool_answered(tool, errno)?;
        match self.tools.remove(&tool) {
            Some(state) if state.phase == Phase::Asking => Ok(()),
            _ => violation(Rule::Edge, format!("tool {} is refused without having asked", tool.0)),
        }
    }

    pub(super) fn dismiss(&mut self, tool: ToolId) -> Checked {
        self.oracle.tool_dismissed(tool, self.now)?;
        match self.tools.remove(&tool) {
            Some(state) if state.phase == Phase::Open => Ok(()),
            _ => violation(Rule::Edge, format!("tool {} is dismissed, and has no session", tool.0)),
        }
    }

    /// Tells requests as long as they are wanted.
    pub(super) fn take(&mut self, tool: ToolId) {
        while self.core.wants_request(tool) {
            let Some(state) = self.tools.get_mut(&tool) else { return };
            let Some((id, flags, content)) = state.requests.pop_front() else { return };
            let text = content.to_string().into_bytes();
            let header = Header { layout: state.layout, id, flags, part: 0 };
            let header = header.encode(text.len()).expect("a short text");
            let message = [&header[..], &text, b"\0"].concat();
            self.note("tool request", tool.0, &text);
            self.oracle.tool_request(tool, id, flags, content, self.now);
            self.handle(Event::ToolRequest { tool, message: &message });
        }
    }

    /// Puts into the rings what there is room for.
    pub(super) fn deliver(&mut self, tool: ToolId) -> Checked {
        while let Some(outgoing) = inside(|| self.core.tool_outgoing(tool)) {
            let Some(state) = self.tools.get_mut(&tool) else { break };
            let nul: &[u8] = if outgoing.nul { b"\0" } else { b"" };
            let message = [&outgoing.header, outgoing.body, nul].concat();
            let ring = state.ring(outgoing.ring);
            let held: usize = ring.iter().map(Vec::len).sum();
            let delivery = if ring.is_empty() || held + message.len() <= RING {
                ring.push_back(message);
                Delivery::Done
            } else {
                Delivery::Full
            };
            self.handle(Event::ToolDelivery { tool, delivery });
            if delivery == Delivery::Full {
                break;
            }
        }
        self.wake_tool(tool);
        Ok(())
    }

    fn wake_tool(&mut self, tool: ToolId) {
        let after = self.random.below(40);
        let Some(state) = self.tools.get_mut(&tool) else { return };
        let has_something = !state.responses.is_empty() || !state.events.is_empty();
        if state.reads && has_something && !std::mem::replace(&mut state.is_woken, true) {
            self.plan(self.now.mono.after(after), Happening::ToolReads(tool));
        }
    }

    /// A tool reads all there is.
    pub(super) fn read_tool(&mut self, tool: ToolId) -> Checked {
        let Some(state) = self.tools.get_mut(&tool) else { return Ok(()) };
        state.is_woken = false;
        if !state.reads {
            return Ok(());
        }
        let responses = std::mem::take(&mut state.responses).into_iter().map(|bytes| (Ring::Response, bytes));
        let events = std::mem::take(&mut state.events).into_iter().map(|bytes| (Ring::Event, bytes));
        let layout = state.layout;
        for (ring, bytes) in responses.chain(events) {
            let wrong = |why: String| violation(Rule::Content, format!("tool {}: {why}", tool.0));
            let view = match View::new_checked(&bytes) {
                Ok(view) => view,
                Err(error) => return wrong(error.to_string()),
            };
            let expected = flags::SERVER | if ring == Ring::Event { flags::EVENT } else { 0 };
            let form = flags::PART | flags::LAST_PART | flags::COMPRESSED;
            if (view.layout(), view.flags() & !form) != (layout, expected) {
                return wrong(format!("{:?} with flags {:x}", view.layout(), view.flags()));
            }
            let text = match view.body() {
                Body::Text(text) => text.to_vec(),
                Body::Compressed { bytes, text_len } => match unpack(bytes, text_len) {
                    Ok(text) => text,
                    Err(why) => return wrong(why),
                },
            };
            let Some(state) = self.tools.get_mut(&tool) else { return Ok(()) };
            let (id, part) = state.partial[ring as usize].unwrap_or((view.id(), 0));
            if (view.id(), view.part()) != (id, part) {
                return wrong(format!("part {} of {}, not {part} of {id}", view.part(), view.id()));
            }
            state.joined[ring as usize].extend_from_slice(&text);
            if view.flags() & (flags::PART | flags::LAST_PART) == flags::PART {
                state.partial[ring as usize] = Some((id, part + 1));
                continue;
            }
            state.partial[ring as usize] = None;
            let text = &*std::mem::take(&mut state.joined[ring as usize]);
            let content = match Element::parse(text) {
                Ok(content) => content,
                Err(why) => return wrong(why),
            };
            self.note("tool reads", tool.0, text);
            self.oracle.tool_received(tool, ring, view.id(), &content, self.now)?;
            let number = (ring == Ring::Response).then_some(view.id());
            self.notices.push_back(Notice::Tool(tool, number, content));
        }
        Ok(())
    }
}

/// What an old tool makes of a compressed message: by the reference code, not by ours.
fn unpack(bytes: &[u8], text_len: u32) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    bzip2::read::BzDecoder::new(bytes).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let is_whole = text.len() == text_len as usize && text.pop() == Some(0);
    is_whole.then_some(text).ok_or_else(|| "it unpacks to another length, or has no NUL".to_owned())
}
