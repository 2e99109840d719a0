//! Tools on the node by chance: they come, ask, read or do not, and go; and how the cluster answers them.

use pacelet::proxy::{Name, ToolId};

use super::oracle::Checked;
use super::random::Random;
use super::request::Ask;
use super::scenario::{Play, TOOLS};
use super::xml::Element;

/// So many may be there at once.
const TOOLS_AT_ONCE: usize = 8;
/// A tool waits for a response.
const WANTS_RESPONSE: u32 = 0x200;

impl Play {
    /// Some tool does something.
    pub fn tool_turn(&mut self) -> Checked {
        let open = self.world.open_tools();
        if !self.is_working() {
            for tool in open {
                self.world.tool_ends(tool)?;
            }
            return Ok(());
        }
        let next = self.random.between(100, 60_000);
        self.world.timer(next, TOOLS);
        let one = (!open.is_empty()).then(|| *self.random.pick(&open));
        match (self.random.below(20), one) {
            (0..5, _) if open.len() < TOOLS_AT_ONCE => {
                let name = *self.random.pick(&Name::ALL);
                let uid = *self.random.pick(&[0, 4711]);
                let tool = self.world.tool(name, uid)?;
                self.tool_asks(tool)?;
            }
            (5..13, Some(tool)) => self.tool_asks(tool)?,
            (13, Some(tool)) => self.world.tool_reads(tool, false),
            (14 | 15, Some(tool)) => self.world.tool_reads(tool, true),
            (16..19, Some(tool)) => self.world.tool_ends(tool)?,
            _ => {}
        }
        Ok(())
    }

    fn tool_asks(&mut self, tool: ToolId) -> Checked {
        for _ in 0..self.random.weighted(&[(6, 1), (1, 2), (1, 5)]) {
            let flags = self.random.weighted(&[(2, WANTS_RESPONSE), (1, 0)]);
            let content = content(&mut self.random, "cib_command");
            self.world.tool_request(tool, flags, content)?;
        }
        Ok(())
    }

    /// A cluster node is told something of a tool's session.
    pub fn told_of_tool(&mut self, number: usize, message: &Element) {
        let Some(session) = message.get("lrmd_ipc_session").map(str::to_owned) else { return };
        if message.get("lrmd_ipc_op") != Some("request") || self.random.once_in(10) {
            return;
        }
        let session = Some(session);
        let request = message.number("lrmd_ipc_msg_id").map(|id| id as i32);
        let flags = message.number("lrmd_ipc_msg_flags").unwrap_or(0) as u32;
        if flags & WANTS_RESPONSE != 0 {
            let content = Some(content(&mut self.random, "ack"));
            let session = session.clone();
            self.ask(number, Ask::Forward { operation: "response", session, request, content });
        }
        for _ in 0..self.random.weighted(&[(6, 0), (6, 1), (1, 16)]) {
            let content = Some(content(&mut self.random, "notify"));
            let session = session.clone();
            self.ask(number, Ask::Forward { operation: "event", session, request: None, content });
        }
        if self.random.once_in(15) {
            self.ask(number, Ask::forward("destroy", session));
        }
    }
}

/// What is said: all that needs escaping, nested, and now and then long.
fn content(random: &mut Random, name: &str) -> Element {
    let long = "x".repeat(random.weighted(&[(20, 0), (6, 200), (1, 3_000), (1, 9_000)]));
    let mut element = Element::new(name)
        .with("number", random.below(1 << 40))
        .with("text", "a \"b\" <c> & 'd'\n\te\u{e9}\u{1f600}")
        .with("long", long);
    for _ in 0..random.below(4) {
        element = Element::new("lrmd_ipc_msg").with("lrmd_ipc_op", "destroy").child(element);
    }
    element
}
