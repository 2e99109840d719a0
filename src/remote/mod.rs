//! One cluster connection: bytes to requests, replies and notifications to bytes
//! (remote-protocol.md sections 2, 3 and 6; executor-api.md).
//!
//! # The life of a connection
//!
//! ```text
//!               bytes                      10 s after accept   end or error       message to send
//! Handshaking   TLS; done -> Open          gone                gone               -
//! Open          requests; the first that   -                   gone               queued
//!               names the client -> Named
//! Named         requests                   -                   gone               queued; notifications too
//! ```
//!
//! A message that came whole is looked at in steps, between which everybody else has a turn; what follows it on its
//! connection waits.
//!
//! A message leaves as the sender rules R1 to R4 want it: its 40-byte header is a record of its own,
//! its payload follows in records of at most 16384 bytes, and no other message comes between. The header
//! and the first payload record are sealed together, later ones as the socket drains.
#![forbid(unsafe_code)]

mod connection;
mod framing;
mod notification;
mod reading;
mod reply;
mod request;

pub use self::connection::{Connection, Fault, Next, Received};
pub use self::notification::{
    SessionRequest, completion, destroy_session, generic, new_client, new_session, shutdown_request,
};
pub use self::reading::Message;
pub use self::reply::{Reply, ReplyExtra};
pub use self::request::{Envelope, Execute, Forward, ForwardOp, Operation, Version};

/// A cluster connection, numbered by the edge: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);
