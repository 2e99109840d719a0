//! One tool's session.

use std::fmt;

use crate::remote::{ConnId, SessionRequest};
use crate::time::Instant;
use crate::wire::ipc::flags;
use crate::xml::DEPTH_LIMIT;

use super::incoming::{Incoming, Refusal, Undecodable};
use super::name::{Client, Name};
use super::outgoing::Outbox;

/// Set on requests that are passed on: the controller answers them without waiting (ipc.md section D.1).
const PROXIED: u32 = 0x100;

/// A tool's session, from its admission on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: Name,
    pub(super) client: Client,
    /// By this the cluster knows it.
    pub(super) id: String,
    /// The connection that serves it; none serves the executor's clients.
    pub(super) provider: Option<ConnId>,
    /// Bytes of its rings.
    pub(super) memory: u64,
    pub(super) incoming: Incoming,
    pub(super) outbox: Outbox,
    /// The edge knows that it may take requests.
    pub(super) is_wanted: bool,
}

/// What comes of a request.
#[derive(Debug)]
pub(super) enum Whole {
    /// A message for the provider.
    Forward(Vec<u8>),
    /// A request for this daemon's own executor.
    Execute { id: i32, text: String },
}

impl Session {
    /// Takes a message from the ring and looks at the first piece of the request that it completes.
    pub(super) fn take(&mut self, message: &[u8], now: Instant) -> Result<Option<Whole>, Refusal> {
        self.incoming.take(message, now)?;
        self.step().map_err(Refusal::Drop)
    }

    /// Looks at the next piece of a request.
    pub(super) fn step(&mut self) -> Result<Option<Whole>, Undecodable> {
        let Self { name, client, id: session, provider, .. } = self;
        self.incoming.step(|head, document| {
            if provider.is_none() {
                if head.flags & flags::WANTS_RESPONSE == 0 {
                    return Err(Undecodable::WantsNoResponse);
                }
                return Ok(Whole::Execute { id: head.id, text: document.root().source().to_owned() });
            }
            if document.depth() > DEPTH_LIMIT - SessionRequest::DEPTH {
                return Err(Undecodable::Depth(document.depth()));
            }
            let channel = name.channel().unwrap_or_default();
            let short = session.get(..8).unwrap_or_default();
            let request = SessionRequest {
                session,
                client: &format!("proxy-{channel}-{}-{short}", client.pid),
                user: client.user_text(),
                id: head.id,
                flags: head.flags | PROXIED,
            };
            Ok(Whole::Forward(request.write(document.root())))
        })
    }

    /// Whether there is work to do in steps.
    pub(super) fn is_reading(&self) -> bool {
        self.incoming.is_checking() || self.outbox.is_packing()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.incoming.deadline().into_iter().chain(self.outbox.deadline()).min()
    }
}

/// How the log calls it.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Who(self.name, &self.client).fmt(f)
    }
}

/// How the log calls a tool.
pub(super) struct Who<'a>(pub(super) Name, pub(super) &'a Client);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of process {} (user {})", self.0.text(), self.1.pid, self.1.uid)
    }
}
