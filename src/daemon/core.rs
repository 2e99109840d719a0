//! All policy of the daemon behind one pair of calls: [`Core::handle`] takes an event, and after it
//! [`Core::poll`] gives effects until there are none; then [`Core::deadline`] says when to send
//! [`Event::Wake`] if nothing else happens before.
//!
//! The edge and the simulation drive it in the same way. No timeout, order, retry or limit lives
//! outside.

use std::net::SocketAddr;

use rand_core::CryptoRngCore;

use crate::agent::{ChildId, Command, Ending, Place, Stream};
use crate::log::Line;
use crate::time::{Instant, Now};

/// A cluster connection, numbered by the edge: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the daemon's exit status says (daemon-lifecycle.md section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// A normal end.
    Ok = 0,
    /// Do not respawn: the next try would fail in the same way.
    Fatal = 100,
}

/// What [`Core`] needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where agents are.
    pub place: Place,
    /// `PCMK_node_start_state`, told to the cluster at registration.
    pub node_start_state: Option<String>,
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Event<'a> {
    /// The daemon starts. Sent once, first.
    Start,
    /// The key file was read (`Some`) or cannot be used any more (`None`). Raw bytes, 1 to 65535.
    Key(Option<&'a [u8]>),
    /// The listener asked for by [`Effect::Listen`] accepts connections.
    Listening,
    /// It could not be opened; the reason names address, port and error.
    ListenFailed(String),
    /// A TCP connection was accepted.
    Accepted {
        /// Its number.
        conn: ConnId,
        /// The other end.
        peer: SocketAddr,
    },
    /// Bytes came from a connection's socket; never empty, at most 64 KiB.
    Received {
        /// Its number.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The socket took the first `count` bytes of [`Core::outgoing`].
    Sent {
        /// Its number.
        conn: ConnId,
        /// How many.
        count: usize,
    },
    /// The connection ended, by the peer or by an error; the edge has forgotten it.
    Lost {
        /// Its number.
        conn: ConnId,
        /// The errno, `None` for an orderly end of stream.
        errno: Option<i32>,
    },
    /// A child wrote to one of its pipes.
    Output {
        /// Its number.
        child: ChildId,
        /// Which pipe.
        stream: Stream,
        /// What it wrote; never empty.
        bytes: &'a [u8],
    },
    /// A child ended and was reaped; all its output has been told before.
    Ended {
        /// Its number.
        child: ChildId,
        /// How.
        ending: Ending,
    },
    /// SIGTERM.
    Terminate,
    /// [`Core::deadline`] has come.
    Wake,
}

/// Something for the edge to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open the listener.
    Listen,
    /// Close the listener; connections stay.
    Unlisten,
    /// [`Core::outgoing`] has bytes for this connection: write them as the socket takes them, and
    /// tell each portion by [`Event::Sent`].
    Transmit(ConnId),
    /// Write what [`Core::outgoing`] still has as far as the socket takes it at once, then close.
    /// No [`Event::Lost`] follows.
    Close(ConnId),
    /// Run a child; its end is told by [`Event::Ended`], always and once.
    Spawn(ChildId, Command),
    /// Send SIGKILL to a child that has not been reaped yet; to its whole process group if `group`.
    Kill {
        /// Its number.
        child: ChildId,
        /// The group, or only the process.
        group: bool,
    },
    /// Write a line to the log.
    Log(Line),
    /// End the process. Children that still run are left alone.
    Exit(ExitCode),
}

/// The daemon's whole state.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
}

impl Core {
    /// A daemon that has not started yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Takes note of an event.
    pub fn handle(&mut self, event: Event<'_>, now: Now, entropy: &mut dyn CryptoRngCore) {
        let _ = (event, now, entropy, &self.settings);
    }

    /// The next thing to do, `None` when all has been told.
    pub fn poll(&mut self) -> Option<Effect> {
        None
    }

    /// When to send [`Event::Wake`] if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The bytes that wait for a connection's socket; empty when none do or it is unknown.
    pub fn outgoing(&self, conn: ConnId) -> &[u8] {
        let _ = conn;
        &[]
    }
}
