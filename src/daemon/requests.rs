//! Requests of cluster connections (executor-api.md): each gets its one reply, and some are followed by
//! a notification for everybody.

use std::rc::Rc;

use rand_core::CryptoRngCore;

use crate::executor::{ClientId, Refusal, Request};
use crate::line;
use crate::log::Escaped;
use crate::remote::{self, ConnId, Execute, ForwardOp, Message, Operation, Reply, ReplyExtra, Version};
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
        // One counter for all clients and requests, which wraps as an int does.
        self.last_call = if self.last_call >= i32::MAX.cast_unsigned() { 1 } else { self.last_call + 1 };
        let reply = Answer { conn, message_id: envelope.message_id, call_id: self.last_call };
        match envelope.operation {
            Ok(operation) => self.perform(operation, &reply, now, entropy),
            Err(refusal) => {
                self.log_refusal(conn, &envelope.operation_name, refusal);
                self.reply(&reply, refusal as i64, ReplyExtra::None, now);
            }
        }
    }

    fn perform(&mut self, operation: Operation, to: &Answer, now: Now, entropy: &mut dyn CryptoRngCore) {
        match operation {
            Operation::Register { version, is_provider } => {
                self.register(version, is_provider, to, now, entropy)
            }
            Operation::RegisterResource { name, agent, drop_recurring } => {
                let result = self.executor.register(&name, agent, drop_recurring, now);
                self.carry_out(now);
                self.log_result(to.conn, "lrmd_rsc_register", result);
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
                self.log_result(to.conn, "lrmd_rsc_exec", result);
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
            Operation::Check => {}
            Operation::Forward { session, what } => self.forwarded(session, what, to, now),
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
        let Some(connection) = self.connections.get_mut(&to.conn) else { return };
        let accepted = version >= Version::OLDEST;
        if accepted {
            connection.register(version);
        }
        let client = label(connection);
        if accepted && is_provider {
            self.providers.retain(|&provider| provider != to.conn);
            if trial::is(Mutant::OldestProvider) {
                self.providers.push_back(to.conn);
            } else {
                self.providers.push_front(to.conn);
            }
        }
        if !accepted {
            self.log(line!(
                Error,
                "Refused to register {client}: it speaks protocol {version}, at least {} is needed",
                Version::OLDEST
            ));
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

    /// Nothing of local tools is served yet, so no session is known: the cluster is told to forget it.
    fn forwarded(&mut self, session: Option<String>, what: ForwardOp, to: &Answer, now: Now) {
        match what {
            ForwardOp::Response | ForwardOp::Event => {
                if let Some(session) = session {
                    self.send(to.conn, remote::destroy_session(&session), now);
                }
            }
            ForwardOp::ShutdownAck => self.shutdown_acknowledged(),
            ForwardOp::Destroy | ForwardOp::ShutdownNack | ForwardOp::Unknown => {}
        }
        self.reply(to, 0, ReplyExtra::None, now);
        if what == ForwardOp::ShutdownNack {
            self.shutdown_refused();
        }
    }

    fn reply(&mut self, to: &Answer, rc: i64, extra: ReplyExtra<'_>, now: Now) {
        let reply = Reply { rc, call_id: to.call_id, message_id: to.message_id, extra };
        self.send(to.conn, reply.write(), now);
    }

    fn reply_recurring(&mut self, to: &Answer, only: Option<&str>, now: Now) {
        let unknown = only.is_some_and(|name| self.executor.agent(name).is_none());
        let (rc, extra) = if unknown {
            (Refusal::NoSuchResource as i64, ReplyExtra::None)
        } else {
            (0, ReplyExtra::Recurring { executor: &self.executor, only })
        };
        let reply = Reply { rc, call_id: to.call_id, message_id: to.message_id, extra }.write();
        self.send(to.conn, reply, now);
    }

    fn tell_all(&mut self, rc: i64, to: &Answer, operation: &str, resource: Option<&str>, now: Now) {
        self.broadcast(remote::generic(rc, to.call_id, operation, resource), now);
    }

    fn log_result(&mut self, conn: ConnId, operation: &str, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.log_refusal(conn, operation, refusal);
        }
    }

    /// That a resource is not known is an everyday question; anything else refused at once is worth a line.
    fn log_refusal(&mut self, conn: ConnId, operation: &str, refusal: Refusal) {
        if refusal == Refusal::NoSuchResource {
            return;
        }
        let Some(connection) = self.connections.get(&conn) else { return };
        let client = label(connection);
        let why = match refusal {
            Refusal::NotSupported => "no such operation",
            Refusal::TooMuch => "there are too many, of resources, operations, or parameters of this one",
            _ => "something it needs is missing or cannot be used",
        };
        let operation = Escaped(operation.as_bytes());
        self.log(line!(Warning, "Refused request '{operation}' of {client}: {why} ({})", refusal as i32));
    }
}

/// Whom to answer, and by which numbers.
struct Answer {
    conn: ConnId,
    message_id: i64,
    call_id: u32,
}

fn request(execute: Execute, to: &Answer) -> Request {
    Request {
        call_id: to.call_id,
        client: ClientId(to.conn.0),
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

fn code(result: Result<(), Refusal>) -> i64 {
    result.map_or_else(|refusal| refusal as i64, |()| 0)
}
