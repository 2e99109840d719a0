//! Local tools: what the proxy wants done, and those that are clients of the executor.
//!
//! These connect to `lrmd` and need no key (ipc.md section C.6, executor-api.md section 1.6). The cluster is not told of
//! them: it is told of takeovers by its nodes, and they are none.
#![forbid(unsafe_code)]

use rand_core::CryptoRngCore;

use crate::executor::{ClientId, Refusal};
use crate::log::Escaped;
use crate::proxy::{self, Errand, ToolId};
use crate::remote::{ConnId, Envelope, Operation, new_client};
use crate::time::Now;
use crate::trial::{self, Mutant};
use crate::xml::Document;

use super::core::{Core, Effect};
use super::requests::Requester;

/// With so many bytes in its queue a provider gets nothing more from tools…
const BUSY: usize = 4 * 1024 * 1024;
/// …until there are so few.
const IDLE: usize = 1024 * 1024;
/// With so many bytes nobody gets a session: it hears of each, and must not be lost by that.
const FULL: usize = 56 * 1024 * 1024;
/// The longest request, in bytes: it is looked at in one step.
const REQUEST_LIMIT: usize = 1024 * 1024;

impl Core {
    /// Carries out what the proxy wants done.
    pub(super) fn serve_tools(&mut self, now: Now, entropy: &mut dyn CryptoRngCore) {
        while let Some(action) = self.proxy.poll() {
            match action {
                proxy::Action::Tool(errand) => {
                    self.effects.push_back(Effect::Tool(errand));
                    if let Errand::Dismiss(tool) = errand {
                        self.local_gone(tool, now);
                    }
                }
                proxy::Action::Send(conn, message) => self.send(conn, message, now),
                proxy::Action::Execute { tool, id, text } => {
                    self.local_request(tool, id, &text, now, entropy)
                }
                proxy::Action::Log(line) => self.log(line),
            }
        }
    }

    /// Who serves a tool that asks now: the newest provider, if it reads.
    pub(super) fn provider_for_tools(&self) -> Option<ConnId> {
        let newest = self.providers.front().copied()?;
        self.connections.get(&newest).filter(|connection| connection.queued() < FULL).map(|_| newest)
    }

    /// What tools ask must not fill a provider's queue, which would end its connection: beyond a mark they wait.
    pub(super) fn weigh(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get(&conn) else { return };
        if !self.providers.contains(&conn) {
            return;
        }
        match connection.queued() {
            BUSY.. => self.proxy.set_busy(conn, true),
            ..IDLE => self.proxy.set_busy(conn, false),
            _ => {}
        }
    }

    /// A request of a local client, whose text was checked.
    pub(super) fn local_request(
        &mut self,
        tool: ToolId,
        request: i32,
        text: &str,
        now: Now,
        entropy: &mut dyn CryptoRngCore,
    ) {
        if self.locals.insert(tool) && trial::is(Mutant::LocalsAnnounced) {
            self.broadcast(new_client(), now);
        }
        let answer = self.answer(Requester::Local { tool, request }, None);
        if text.len() > REQUEST_LIMIT {
            return self.refuse(&answer, "of more than 1 MiB", Refusal::TooMuch, now);
        }
        let envelope = match Document::parse(text.as_bytes()) {
            Ok(document) => Envelope::of(&document),
            Err(_) => return self.refuse(&answer, "", Refusal::Invalid, now),
        };
        let is_privileged = self.proxy.client(tool).is_some_and(|client| client.is_privileged());
        match envelope.operation {
            Ok(operation) if is_privileged || is_for_all(&operation) => {
                self.perform(operation, &answer, now, entropy);
            }
            Err(refusal) if is_privileged => self.refuse(&answer, &envelope.operation_name, refusal, now),
            Ok(_) | Err(_) => self.refuse(&answer, &envelope.operation_name, Refusal::NotPermitted, now),
        }
    }

    /// A tool is gone. If it was a client of the executor, its recurring operations go with it.
    pub(super) fn local_gone(&mut self, tool: ToolId, now: Now) {
        if self.locals.remove(&tool) {
            self.executor.clients_gone(Some(ClientId(tool.0)), now);
            self.carry_out(now);
        }
    }

    /// How a local client is called in the log.
    pub(super) fn local_label(&self, tool: ToolId) -> String {
        match self.proxy.client(tool) {
            Some(client) => {
                let user = client.user.as_deref().unwrap_or("a user without a name");
                format!("process {} of {}", client.pid, Escaped(user.as_bytes()))
            }
            None => "a local client".to_owned(),
        }
    }
}

/// What clients may do that are neither root nor hacluster.
fn is_for_all(operation: &Operation) -> bool {
    matches!(operation, Operation::Register { .. } | Operation::Poke(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Place;
    use crate::daemon::core::{Event, Settings};
    use crate::log::Level;
    use crate::proxy::{Client, Limits, Name};
    use crate::sys::entropy::Entropy;
    use crate::time::Instant;
    use crate::wire::ipc::{Header, Layout, flags};

    /// Any member of the group can ask for what it may not have as often as it likes.
    #[test]
    fn refusals_do_not_fill_the_log() {
        let place = Place { agent_path: Vec::new(), ocf_root: c"/".to_owned() };
        let tools = Some(Limits::default());
        let mut core = Core::new(Settings { place, node_start_state: None, tools, watchdog: None });
        let (tool, client) = (ToolId(1), Client { pid: 1, uid: 1000, user: None, may_open: true });
        let asks = Event::ToolAsks { tool, name: Name::Lrmd, client, longest: 1 };
        let now = Now { mono: Instant::from_millis(5), epoch: 0 };
        core.handle(asks, now, &mut Entropy::new());
        for text in ["<lrmd_command lrmd_op='lrmd_rsc_exec'/>", "<x lrmd_op='register'/>"].repeat(100) {
            let header = Header { layout: Layout::Classic, id: 1, flags: flags::WANTS_RESPONSE, part: 0 };
            let message = [&header.encode(text.len()).unwrap()[..], text.as_bytes(), b"\0"].concat();
            core.handle(Event::ToolRequest { tool, message: &message }, now, &mut Entropy::new());
        }
        let is_said = |effect: &&Effect| matches!(effect, Effect::Log(line) if line.level <= Level::Warning);
        let said = std::iter::from_fn(|| core.poll()).filter(|effect| is_said(&effect)).count();
        assert!((1..=10).contains(&said), "{said} lines");
    }
}
