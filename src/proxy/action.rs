//! What goes between the proxy and who drives it.

use crate::log::Line;
use crate::remote::ConnId;

use super::name::{Client, Name};

/// A tool's connection, numbered by the edge out of the same counter as [`ConnId`]: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolId(pub u64);

/// What a tool asks for that wants to be connected.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// To what.
    pub name: Name,
    /// Who it is.
    pub client: &'a Client,
    /// How long its messages may become, in bytes: any number.
    pub longest: u32,
}

/// Which of a session's two rings a message goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Responses.
    Response,
    /// Events.
    Event,
}

/// The next message for a tool: header, a part of a text, and the NUL, in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub ring: Ring,
    /// Pacemaker's header.
    pub header: [u8; crate::wire::ipc::LEN],
    /// What follows it.
    pub body: &'a [u8],
    /// Whether a NUL follows that: text has one, compressed bytes bring their own.
    pub nul: bool,
}

/// What became of [`Outgoing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the ring.
    Done,
    /// There was no room.
    Full,
}

/// What is to be done with a tool's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Make its rings for messages of up to `longest` bytes, and answer it. If that fails, answer it with why, and say
    /// that it is gone.
    Admit {
        /// Its number.
        tool: ToolId,
        /// Bytes, header included.
        longest: u32,
    },
    /// Answer it with an errno, and close its connection: no more is heard of it.
    Refuse {
        /// Its number.
        tool: ToolId,
        /// A positive errno.
        errno: i32,
    },
    /// [`super::Proxy::outgoing`] has something for it: put it into the ring, tell what became of it, and go on until
    /// there is nothing or the ring is full.
    Deliver(ToolId),
    /// [`super::Proxy::wants`] has become true for it: take its next request from the ring, if there is one, and tell
    /// it.
    Take(ToolId),
    /// End its session and close its connection: no more is heard of it.
    Dismiss(ToolId),
}

/// Something for the daemon to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Do something with a tool's connection.
    Tool(Errand),
    /// Send a message to a cluster connection.
    Send(ConnId, Vec<u8>),
    /// A request for this daemon's own executor, whose text was checked.
    Execute {
        /// Its number.
        tool: ToolId,
        /// The number that the response must have.
        id: i32,
        /// XML, one element.
        text: String,
    },
    /// Write a line to the log.
    Log(Line),
}
