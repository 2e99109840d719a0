//! One connection between a client and the daemon, with what its bytes mean.

use std::collections::VecDeque;

use super::client::Client;
use super::network::{Path, Pipe};
use super::oracle::Partial;
use super::request::Request;

/// A connection. The edge holds one end of it as long as `is_held`.
pub struct Link {
    pub peer: Peer,
    /// To the daemon.
    pub up: Pipe,
    /// From the daemon.
    pub down: Pipe,
    pub is_held: bool,
    /// The edge has been asked to transmit and is not done.
    pub transmits: bool,
    /// The client takes what comes.
    pub reads: bool,
    /// A fault is put into what the daemon sends.
    pub spoils: bool,
    /// A fault was put into either direction: the session may end by it.
    pub is_spoilt: bool,
    /// What the bytes on their way up mean, in order.
    pub marks: VecDeque<Mark>,
}

/// The other end.
pub enum Peer {
    Tls(Box<Client>),
    /// Anything: what the daemon answered, and whether it closed.
    Raw {
        answer: Vec<u8>,
        closed: bool,
    },
    /// Nobody any more.
    Gone,
}

/// A stretch of bytes on their way to the daemon.
pub struct Mark {
    pub start: u64,
    /// Where its first record ends.
    pub certain: u64,
    pub end: u64,
    pub meaning: Meaning,
}

/// What the daemon is to make of a stretch, once it has all of it.
pub enum Meaning {
    /// The client knows the key.
    Authenticated,
    Request(Box<Request>),
    /// A message that is to be ignored.
    Nonsense,
    /// Reason to close the connection. What comes before must not be handed over with it: whether that still
    /// counts is nobody's business.
    Doom(&'static str),
}

impl Link {
    pub fn new(peer: Peer, up: Path, down: Path) -> Self {
        Self {
            peer,
            up: Pipe::new(up),
            down: Pipe::new(down),
            is_held: true,
            transmits: false,
            reads: true,
            spoils: false,
            is_spoilt: false,
            marks: VecDeque::new(),
        }
    }

    /// How far the stream may be handed over in one go.
    pub fn limit(&self) -> u64 {
        let chunk = self.up.delivered + 64 * 1024;
        let doom = self.marks.iter().find(|mark| matches!(mark.meaning, Meaning::Doom(_)));
        match doom {
            Some(mark) if mark.start > self.up.delivered => chunk.min(mark.start),
            _ => chunk,
        }
    }

    /// The next stretch that has been handed over whole.
    pub fn arrived(&mut self) -> Option<Meaning> {
        let arrived = self.marks.front().is_some_and(|mark| mark.end <= self.up.delivered);
        if arrived { self.marks.pop_front().map(|mark| mark.meaning) } else { None }
    }

    /// How much of the stretch after the last one that arrived has been handed over.
    pub fn partial(&self) -> Partial {
        match self.marks.front() {
            Some(mark) if mark.certain <= self.up.delivered => Partial::Certain,
            Some(mark) if mark.start < self.up.delivered => Partial::Begun,
            _ => Partial::None,
        }
    }

    /// From now on what the daemon sends is corrupt.
    pub fn spoil(&mut self) {
        self.spoils = true;
        self.is_spoilt = true;
    }

    pub fn client(&mut self) -> Option<&mut Client> {
        match &mut self.peer {
            Peer::Tls(client) => Some(client),
            Peer::Raw { .. } | Peer::Gone => None,
        }
    }

    /// Whether a client that knows the key is there, and the daemon has not hung up.
    pub fn is_open(&self) -> bool {
        matches!(&self.peer, Peer::Tls(client) if client.is_open() && client.end().is_none())
    }
}
