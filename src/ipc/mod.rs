//! The libqb server that local tools connect to: set-up, rings in shared memory, notices (ipc.md).
//!
//! # Theory of operation
//!
//! A tool connects to an abstract stream socket and sends 24 bytes ([`Greeting`]). Who it is comes
//! from the kernel, and decides who may open its files ([`Access`]). The server makes three rings of
//! two files each ([`create`]), answers with their paths, and from then on both sides talk
//! through them ([`Session`]): requests come in one ring, responses go out in the second, events in
//! the third. The socket stays: bytes on it say that there is something in a ring, its end is the
//! session's end.
//!
//! **The memory is hostile.** Who may open the files may write anything into them at any time.
//! So each value is read once, into a variable, and checked there; where this side alone
//! moves a point, its own copy counts and the one in memory is only told to the client. Of a ring only
//! the header file is mapped; the data file is read and written like any file, so a client that
//! cuts it short gives an error and not a signal. That of a header cut short is caught:
//! [`Memory::is_cut`].
//!
//! **Nobody waits here.** A client that does not read makes its ring full, which is told
//! ([`Written::Full`]); what to do then is not decided here.
//!
//! [`Session`] and [`Greeting`] do no input or output of their own: they work on any [`Memory`], and
//! the tests run them with a simulated one in the layouts of all machines.
#![forbid(unsafe_code)]

mod access;
mod files;
mod memory;
mod ring;
mod session;
mod setup;
#[cfg(test)]
mod sim;
mod sweep;

pub use access::{Access, Peer};
pub use files::{Failure, Place, Rings, Shared, create};
pub use memory::{Fault, Memory};
pub use ring::{Breach, Reader, Trouble, Writer, Written};
pub use session::Session;
pub use setup::{GREETING_LIMIT_MILLIS, Greeting, NotAClient};
pub use sweep::Sweep;

pub use crate::wire::ring::{Geometry, MESSAGE_LIMIT, granule};
