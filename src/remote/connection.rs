//! The life of one cluster connection; the table is in the room's header.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use rand_core::CryptoRngCore;

use crate::time::Instant;
use crate::tls::{self, Psk, Server};
use crate::trial::{self, Mutant};
use crate::wire::header::{self, Header};

use super::Version;
use super::framing::Framing;
use super::reading::{Message, Reading};

/// Milliseconds from accept to the end of the handshake (remote-protocol.md section 3.1).
const HANDSHAKE_TIME: u64 = 10_000;

/// Milliseconds without a byte after which a message that has begun, or one that is being sent, is given up.
const STALL_TIME: u64 = 60_000;

/// How many payload bytes may wait to be sent; a client beyond does not read and is dropped.
const QUEUE_LIMIT: usize = 64 * 1024 * 1024;

/// How many bytes may be sealed for a connection that is being closed: what no socket takes at once need not be.
const LAST_WORDS: usize = 1024 * 1024;

/// How many payload bytes one record takes.
const RECORD: usize = tls::RECORD_TEXT;

/// Below so many sealed bytes the next record is sealed.
const SEALED: usize = 4 * 1024;

/// What stays allocated for sealed bytes between messages.
const KEPT: usize = 4 * 1024;

/// For how many messages the queue keeps room while it is empty.
const MESSAGES_KEPT: usize = 8;

/// A cluster connection: TLS, framing, and what waits to be sent.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddr,
    accepted: Instant,
    tls: Server,
    framing: Framing,
    /// A message that has come whole and was looked at in part.
    reading: Option<Box<Reading>>,
    phase: Phase,
    version: Version,
    registered: bool,
    /// Bytes were received.
    spoke: bool,
    /// Messages that have not been sealed whole.
    queue: VecDeque<Outgoing>,
    queued: usize,
    /// Sealed bytes, of which the socket took the first `taken`.
    sealed: Vec<u8>,
    taken: usize,
    read_deadline: Option<Instant>,
    /// Set while sealed bytes wait.
    write_deadline: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    Handshaking,
    Open,
    Named(String),
}

impl Phase {
    /// As in the table.
    const fn name(&self) -> &'static str {
        match self {
            Self::Handshaking => "Handshaking",
            Self::Open => "Open",
            Self::Named(_) => "Named",
        }
    }
}

#[derive(Debug)]
struct Outgoing {
    header: [u8; header::LEN],
    payload: Rc<[u8]>,
    sealed: usize,
}

/// What came of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Perhaps messages: ask [`Connection::message`].
    Bytes,
    /// The handshake has just been completed: the client knows the key. Perhaps messages, too.
    Authenticated,
}

/// What [`Connection::message`] gives.
#[derive(Debug)]
pub enum Next {
    /// A message.
    Message(Message),
    /// A message is there and has been looked at in part: others have their turn, then ask again.
    Later,
    /// None is there.
    Nothing,
}

/// Why a connection must end.
#[derive(Debug)]
pub enum Fault {
    /// The handshake or the record layer failed.
    Tls(tls::Failure),
    /// What should be a message header is none.
    Header(header::Error),
    /// Its hello is large, and others' take all the room that there is for such.
    Crowded,
    /// The client does not read what it is sent.
    QueueFull,
    /// The handshake was not completed in time.
    HandshakeTimeout {
        /// Whether anything came.
        spoke: bool,
    },
    /// A message began and did not go on.
    ReadStalled,
    /// The client took nothing for too long.
    WriteStalled,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(peer: SocketAddr, now: Instant) -> Self {
        Self {
            peer,
            accepted: now,
            tls: Server::new(),
            framing: Framing::default(),
            reading: None,
            phase: Phase::Handshaking,
            version: Version::default(),
            registered: false,
            spoke: false,
            queue: VecDeque::new(),
            queued: 0,
            sealed: Vec::new(),
            taken: 0,
            read_deadline: Some(now.after(HANDSHAKE_TIME)),
            write_deadline: None,
        }
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When it was accepted.
    pub fn accepted(&self) -> Instant {
        self.accepted
    }

    /// Whether a hello has come that was made with the key.
    pub fn has_hello(&self) -> bool {
        self.tls.has_hello()
    }

    /// Bytes that are kept of a handshake message that has not come to its end.
    pub fn held(&self) -> usize {
        self.tls.held()
    }

    /// Whether the client has proved that it knows the key.
    pub fn is_authenticated(&self) -> bool {
        !matches!(self.phase, Phase::Handshaking)
    }

    /// Whether anything has been received.
    pub fn spoke(&self) -> bool {
        self.spoke
    }

    /// Whether the client has ended the connection in order.
    pub fn is_closed(&self) -> bool {
        self.tls.is_closed()
    }

    /// The client's name; without one it is told nothing it has not asked for.
    pub fn name(&self) -> Option<&str> {
        match &self.phase {
            Phase::Named(name) => Some(name),
            Phase::Handshaking | Phase::Open => None,
        }
    }

    /// Takes the name of the first request that has one.
    pub fn take_name(&mut self, name: &str) {
        if matches!(self.phase, Phase::Open) && !name.is_empty() {
            self.phase = Phase::Named(name.to_owned());
        }
    }

    /// The client has registered: long messages are accepted from now on.
    pub fn register(&mut self, version: Version) {
        self.registered = true;
        self.version = version;
    }

    /// What the client said it speaks; 0.0 before it registered.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Takes bytes from the socket. With a fault, [`Connection::outgoing`] has the alert, if one is due.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        psk: Option<&Psk>,
        entropy: &mut dyn CryptoRngCore,
        now: Instant,
    ) -> Result<Received, Fault> {
        trial::reach("connection", self.phase.name(), "bytes");
        self.spoke = true;
        let result = self.tls.receive(bytes, psk, entropy, self.framing.buffer(), &mut self.sealed);
        if !self.outgoing().is_empty() {
            self.write_deadline.get_or_insert(now.after(STALL_TIME));
        }
        result.map_err(Fault::Tls)?;
        if self.is_authenticated() {
            self.read_deadline = Some(now.after(STALL_TIME));
            return Ok(Received::Bytes);
        }
        if !self.tls.is_connected() {
            if trial::is(Mutant::TimeStartsOver) {
                self.read_deadline = Some(now.after(HANDSHAKE_TIME));
            }
            return Ok(Received::Bytes);
        }
        self.phase = Phase::Open;
        self.read_deadline = Some(now.after(STALL_TIME));
        Ok(Received::Authenticated)
    }

    /// The next message, or the next step towards it.
    ///
    /// # Errors
    /// The connection must be closed: what follows cannot be understood.
    pub fn message(&mut self) -> Result<Next, Fault> {
        let limit = if self.registered { header::LIMIT } else { header::LIMIT_UNREGISTERED };
        let step = match self.reading.take() {
            Some(reading) => reading.step(),
            None => match self.framing.next(limit).map_err(Fault::Header)? {
                Some(bytes) => Reading::begin(bytes),
                None => return Ok(Next::Nothing),
            },
        };
        match step {
            Ok(message) => Ok(Next::Message(message)),
            Err(reading) => {
                self.reading = Some(reading);
                Ok(Next::Later)
            }
        }
    }

    /// Whether a message has come whole and was looked at in part only.
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// How many payload bytes wait to be sent.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Queues a message; the payload ends with its NUL.
    ///
    /// # Errors
    /// [`Fault::QueueFull`], and [`Fault::Header`] if the message is longer than any client takes: only
    /// this message is lost then, the connection may go on.
    pub fn send(&mut self, id: u64, payload: Rc<[u8]>, now: Instant) -> Result<(), Fault> {
        trial::reach("connection", self.phase.name(), "message to send");
        let header = Header::new(id, payload.len()).map_err(Fault::Header)?.encode();
        if self.queued + payload.len() > QUEUE_LIMIT {
            return Err(Fault::QueueFull);
        }
        self.queued += payload.len();
        self.queue.push_back(Outgoing { header, payload, sealed: 0 });
        self.fill(now);
        Ok(())
    }

    /// It is gone: by its other end, by a fault, or with the daemon.
    pub fn end(&self) {
        trial::reach("connection", self.phase.name(), "end or error");
    }

    /// Ends the session in order, after as much of what has been queued as the socket may take.
    pub fn close(&mut self) {
        while !self.queue.is_empty() && self.outgoing().len() < LAST_WORDS {
            self.seal_next();
        }
        self.tls.close(&mut self.sealed);
    }

    /// What waits for the socket.
    pub fn outgoing(&self) -> &[u8] {
        self.sealed.get(self.taken..).unwrap_or_default()
    }

    /// The socket took the first `count` bytes of [`Connection::outgoing`].
    pub fn sent(&mut self, count: usize, now: Instant) {
        self.taken = (self.taken + count).min(self.sealed.len());
        self.write_deadline = None;
        self.fill(now);
    }

    /// The first deadline at which [`Connection::overdue`] may have something to say.
    pub fn deadline(&self) -> Option<Instant> {
        let read = self.read_deadline.filter(|_| self.waits_to_read());
        read.into_iter().chain(self.write_deadline).min()
    }

    /// Why the connection must end now, if it must.
    pub fn overdue(&self, now: Instant) -> Option<Fault> {
        if self.waits_to_read() && self.read_deadline.is_some_and(|at| at <= now) {
            return Some(match self.phase {
                Phase::Handshaking => {
                    trial::reach("connection", "Handshaking", "10 s after accept");
                    Fault::HandshakeTimeout { spoke: self.spoke }
                }
                Phase::Open | Phase::Named(_) => Fault::ReadStalled,
            });
        }
        self.write_deadline.is_some_and(|at| at <= now).then_some(Fault::WriteStalled)
    }

    fn waits_to_read(&self) -> bool {
        !self.is_authenticated() || self.framing.is_partial() && !trial::is(Mutant::PartialMessageKept)
    }

    /// Seals as much as the socket may want next. Header and first payload record are sealed together.
    fn fill(&mut self, now: Instant) {
        if self.taken == self.sealed.len() {
            self.taken = 0;
            self.sealed.clear();
            self.sealed.shrink_to(KEPT);
            if self.queue.is_empty() {
                self.queue.shrink_to(MESSAGES_KEPT);
            }
        }
        while !self.queue.is_empty() && self.outgoing().len() < SEALED {
            self.seal_next();
        }
        if !self.outgoing().is_empty() && !trial::is(Mutant::DeafClientKept) {
            self.write_deadline.get_or_insert(now.after(STALL_TIME));
        }
    }

    fn seal_next(&mut self) {
        let Some(message) = self.queue.front_mut() else { return };
        let mut sealed = Ok(());
        if message.sealed == 0 {
            self.tls.update_keys(&mut self.sealed);
            if trial::is(Mutant::SharedRecord) && message.payload.len() + header::LEN <= RECORD {
                let both = [&message.header[..], &message.payload].concat();
                let _ = self.tls.seal(&both, &mut self.sealed);
                self.queued -= message.payload.len();
                self.queue.pop_front();
                return;
            }
            sealed = self.tls.seal(&message.header, &mut self.sealed);
        }
        let rest = message.payload.get(message.sealed..).unwrap_or_default();
        let record = &rest[..rest.len().min(RECORD)];
        message.sealed += record.len();
        let whole = message.sealed == message.payload.len();
        if sealed.and_then(|()| self.tls.seal(record, &mut self.sealed)).is_err() {
            // The session has ended: who owns the connection is about to find out.
            self.queue.clear();
            self.queued = 0;
        } else if whole {
            self.queued -= message.payload.len();
            self.queue.pop_front();
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(failure) => failure.fmt(f),
            Self::Header(error) => error.fmt(f),
            Self::Crowded => f.write_str(
                "its hello is large, and others' large hellos take all the room there is for them",
            ),
            Self::QueueFull => {
                write!(f, "it does not read: more than {} MiB wait for it", QUEUE_LIMIT / 1024 / 1024)
            }
            Self::HandshakeTimeout { spoke: false } => {
                write!(f, "authentication timed out: nothing came in {} s", HANDSHAKE_TIME / 1000)
            }
            Self::HandshakeTimeout { spoke: true } => {
                write!(
                    f,
                    "authentication timed out: the TLS handshake was not completed in {} s",
                    HANDSHAKE_TIME / 1000
                )
            }
            Self::ReadStalled => write!(f, "a message began and did not go on for {} s", STALL_TIME / 1000),
            Self::WriteStalled => {
                write!(f, "it took nothing of what it was sent for {} s", STALL_TIME / 1000)
            }
        }
    }
}
