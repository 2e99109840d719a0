//! Requests of cluster connections (executor-api.md): each gets its one reply, and some are followed by
//! a notification for everybody.

use std::rc::Rc;

use rand_core::CryptoRngCore;

use crate::executor::{ClientId, Refusal, Request};
use crate::line;
use crate::log::{Escaped, Line};
use crate::proxy::ToolId;
use crate::remote::{
    self, ConnId, Execute, Forward, ForwardOp, Message, Operation, Reply, ReplyExtra, Version,
};
use crate::time::Now;
use crate::trial::{self, Mutant};
use crate::wire::uuid;

use super::cluster::label;
use super::core::Core;

/// The version a client speaks is too old: `-EPROTO`.
const TOO_OLD: i64 = -71;

/// Something of the resource is still active: `-EINPROGRESS`.
const IN_PROGRESS: i64 = -115;

impl Core {
    /// Handles one message.
    pub(super) fn message(
        &mut self,
        conn: ConnId,
        message: Message,
        now: Now,
        entropy: &mut dyn CryptoRngCore,
    ) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let envelope = match message.envelope {
            Ok(envelope) => envelope,
            Err(error) => {
                let client = label(connection);
                self.log(line!(
                    Warning,
                    "Ignoring a message of {} bytes from {client}, which is not well-formed XML: {error}: {}",
                    message.text.len(),
                    Escaped(&message.text)
                ));
                return;
            }
        };
        if let Some(name) = &envelope.client_name {
            connection.take_name(name);
        }
        let reply = self.answer(Requester::Remote(conn), Some(envelope.message_id));
        match envelope.operation {
            Ok(Operation::Forward(what)) => self.forwarded(what, message.text, &reply, now, entropy),
            Ok(operation) => self.perform(operation, &reply, now, entropy),
            Err(refusal) => self.refuse(&reply, &envelope.operation_name, refusal, now),
        }
    }

    /// Takes the next of one counter for all clients and requests, which wraps as an int does.
    pub(super) fn answer(&mut self, to: Requester, message_id: Option<i64>) -> Answer {
        self.last_call = if self.last_call >= i32::MAX.cast_unsigned() { 1 } else { self.last_call + 1 };
        Answer { to, message_id, call_id: self.last_call }
    }

    pub(super) fn refuse(&mut self, to: &Answer, operation: &str, refusal: Refusal, now: Now) {
        self.log_refusal(to.to, operation, refusal, now);
        self.reply(to, refusal as i64, ReplyExtra::None, now);
    }

    pub(super) fn perform(
        &mut self,
        operation: Operation,
        to: &Answer,
        now: Now,
        entropy: &mut dyn CryptoRngCore,
    ) {
        match operation {
            Operation::Register { version, is_provider } => {
                self.register(version, is_provider, to, now, entropy)
            }
            Operation::RegisterResource { name, agent, drop_recurring } => {
                let result = self.executor.register(&name, agent, drop_recurring, now);
                self.carry_out(now);
                self.log_result(to.to, "lrmd_rsc_register", result, now);
                let rc = code(result);
                self.reply(to, rc, ReplyExtra::None, now);
                self.tell_all(rc, to, "lrmd_rsc_register", Some(&name), now);
            }
            Operation::UnregisterResource(name) => {
                let rc = if self.executor.unregister(&name, now) { IN_PROGRESS } else { 0 };
                self.carry_out(now);
                self.reply(to, rc, ReplyExtra::None, now);
                self.tell_all(rc, to, "lrmd_rsc_unregister", Some(&name), now);
            }
            Operation::ResourceInfo(name) => match self.executor.agent(&name).cloned() {
                Some(agent) => self.reply(to, 0, ReplyExtra::Resource { name: &name, agent: &agent }, now),
                None => self.reply(to, Refusal::NoSuchResource as i64, ReplyExtra::None, now),
            },
            Operation::Execute(execute) => {
                let result = self.executor.execute(request(*execute, to), now);
                self.carry_out(now);
                self.log_result(to.to, "lrmd_rsc_exec", result, now);
                let rc = result.map_or_else(|refusal| refusal as i64, |()| i64::from(to.call_id));
                self.reply(to, rc, ReplyExtra::None, now);
            }
            Operation::Cancel { name, action, interval } => {
                let result = self.executor.cancel(&name, &action, interval, now);
                self.carry_out(now);
                self.reply(to, code(result), ReplyExtra::None, now);
            }
            Operation::Recurring(only) => self.reply_recurring(to, only.as_deref(), now),
            Operation::Poke(resource) => {
                self.reply(to, 0, ReplyExtra::None, now);
                self.tell_all(0, to, "lrmd_rsc_poke", resource.as_deref(), now);
            }
            // Not carried out before the reply: nobody waits for what it does.
            Operation::Alert(alert) => {
                let result = self.executor.alert(*alert, now);
                self.log_result(to.to, "lrmd_alert_exec", result, now);
                self.reply(to, code(result), ReplyExtra::None, now);
            }
            Operation::Check(timeout) => self.check_watchdog(to.to, timeout.as_deref()),
            // Only who is a provider has sessions to speak for.
            Operation::Forward(_) => self.refuse(to, "ipc_fwd", Refusal::NotSupported, now),
        }
    }

    fn register(
        &mut self,
        version: Version,
        is_provider: bool,
        to: &Answer,
        now: Now,
        entropy: &mut dyn CryptoRngCore,
    ) {
        let accepted = version >= Version::OLDEST;
        if !accepted {
            let client = self.label(to.to);
            let line = line!(
                Error,
                "Refused to register {client}: it speaks protocol {version}, at least {} is needed",
                Version::OLDEST
            );
            self.log_of(to.to, line, now);
        }
        match to.to {
            Requester::Remote(conn) if accepted => self.registered(conn, version, is_provider),
            Requester::Local { .. } if is_provider => {
                return self.refuse(to, "register", Refusal::NotPermitted, now);
            }
            Requester::Remote(_) | Requester::Local { .. } => {}
        }
        let token = uuid::random(entropy);
        let start_state = self.settings.node_start_state.clone();
        let extra = ReplyExtra::Registered {
            token: &token,
            uptime: now.mono.since(self.started) / 1000,
            start_state: start_state.as_deref(),
        };
        self.reply(to, if accepted { 0 } else { TOO_OLD }, extra, now);
    }

    fn registered(&mut self, conn: ConnId, version: Version, is_provider: bool) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.register(version);
        if !is_provider {
            return;
        }
        self.providers.retain(|&provider| provider != conn);
        if trial::is(Mutant::OldestProvider) {
            self.providers.push_back(conn);
        } else {
            self.providers.push_front(conn);
        }
    }

    /// Something of a local tool's session, or of the daemon's end.
    fn forwarded(
        &mut self,
        forward: Forward,
        text: Vec<u8>,
        to: &Answer,
        now: Now,
        entropy: &mut dyn CryptoRngCore,
    ) {
        let Requester::Remote(conn) = to.to else { return };
        let Forward { session, what, request, content } = forward;
        // Nothing to tell is an empty place.
        let content = content.unwrap_or_default();
        match (what, session) {
            (ForwardOp::ShutdownAck, _) => self.shutdown_acknowledged(),
            (ForwardOp::ShutdownNack, _) => {
                self.reply(to, 0, ReplyExtra::None, now);
                return self.shutdown_refused();
            }
            (ForwardOp::Response, Some(session)) => {
                self.proxy.response(conn, &session, request, text, content, now.mono);
            }
            (ForwardOp::Event, Some(session)) => self.proxy.event(conn, &session, text, content, now.mono),
            (ForwardOp::Destroy, Some(session)) => self.proxy.destroy(conn, &session, now.mono),
            (ForwardOp::Response | ForwardOp::Event | ForwardOp::Destroy | ForwardOp::Unknown, _) => {
                let client = self.label(to.to);
                self.log(line!(
                    Warning,
                    "Ignoring a message of {client} for a tool: it names no session, or nothing to do"
                ));
            }
        }
        // What the session's end causes stands before the reply, as everything that a request causes does.
        self.serve_tools(now, entropy);
        self.reply(to, 0, ReplyExtra::None, now);
    }

    pub(super) fn reply(&mut self, to: &Answer, rc: i64, extra: ReplyExtra<'_>, now: Now) {
        self.send_reply(to, Reply { rc, call_id: to.call_id, message_id: to.message_id, extra }.write(), now);
    }

    fn send_reply(&mut self, to: &Answer, reply: Vec<u8>, now: Now) {
        match to.to {
            Requester::Remote(conn) => self.send(conn, reply, now),
            Requester::Local { tool, request } => self.proxy.respond(tool, request, reply, now.mono),
        }
    }

    fn reply_recurring(&mut self, to: &Answer, only: Option<&str>, now: Now) {
        let unknown = only.is_some_and(|name| self.executor.agent(name).is_none());
        let (rc, extra) = if unknown {
            (Refusal::NoSuchResource as i64, ReplyExtra::None)
        } else {
            (0, ReplyExtra::Recurring { executor: &self.executor, only })
        };
        let reply = Reply { rc, call_id: to.call_id, message_id: to.message_id, extra }.write();
        self.send_reply(to, reply, now);
    }

    fn tell_all(&mut self, rc: i64, to: &Answer, operation: &str, resource: Option<&str>, now: Now) {
        self.broadcast(remote::generic(rc, to.call_id, operation, resource), now);
    }

    fn log_result(&mut self, to: Requester, operation: &str, result: Result<(), Refusal>, now: Now) {
        if let Err(refusal) = result {
            self.log_refusal(to, operation, refusal, now);
        }
    }

    /// How a client is called in the log.
    fn label(&self, client: Requester) -> String {
        match client {
            Requester::Remote(conn) => self.connections.get(&conn).map_or_else(String::new, |c| label(c)),
            Requester::Local { tool, .. } => self.local_label(tool),
        }
    }

    /// That a resource is not known is an everyday question; anything else refused at once is worth a line.
    fn log_refusal(&mut self, to: Requester, operation: &str, refusal: Refusal, now: Now) {
        if refusal == Refusal::NoSuchResource {
            return;
        }
        let client = self.label(to);
        let why = match refusal {
            Refusal::NotPermitted => "only root and hacluster may do that",
            Refusal::NotSupported => "no such operation",
            Refusal::TooMuch => {
                "there are too many, of resources, operations, alerts, or parameters of this one"
            }
            _ => "something it needs is missing or cannot be used",
        };
        let operation = Escaped(operation.as_bytes());
        let line = line!(Warning, "Refused request '{operation}' of {client}: {why} ({})", refusal as i32);
        self.log_of(to, line, now);
    }

    /// Says what a client did. Tools, which need no key, can cause such lines at will: some are left out.
    fn log_of(&mut self, client: Requester, line: Line, now: Now) {
        match client {
            Requester::Remote(_) => self.log(line),
            Requester::Local { .. } => self.proxy.complain(line, now.mono),
        }
    }
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requester {
    /// A cluster connection.
    Remote(ConnId),
    /// A process on this node, by its request of this number.
    Local { tool: ToolId, request: i32 },
}

/// Whom to answer, and by which numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    to: Requester,
    /// A local client's requests have none.
    message_id: Option<i64>,
    call_id: u32,
}

fn request(execute: Execute, to: &Answer) -> Request {
    Request {
        call_id: to.call_id,
        client: to.to.client(),
        resource: execute.resource,
        action: execute.action,
        interval: execute.interval,
        timeout: execute.timeout,
        start_delay: execute.start_delay,
        user_data: execute.user_data,
        notify_requester_only: execute.notify_requester_only,
        notify_changes_only: execute.notify_changes_only,
        parameters: Rc::new(execute.parameters),
    }
}

impl Requester {
    /// Its number in the executor: connections and tools have theirs from one counter.
    fn client(self) -> ClientId {
        match self {
            Self::Remote(ConnId(number)) | Self::Local { tool: ToolId(number), .. } => ClientId(number),
        }
    }
}

fn code(result: Result<(), Refusal>) -> i64 {
    result.map_or_else(|refusal| refusal as i64, |()| 0)
}
