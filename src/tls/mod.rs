//! The TLS server: pre-shared key only, and only what cluster nodes need (tls.md sections 1 and 2).
//!
//! Sans-IO: [`Server`] takes bytes and entropy and appends bytes to the caller's buffers.
#![forbid(unsafe_code)]

mod alert;
mod failure;
#[allow(dead_code, reason = "the engine follows")]
mod psk;
mod server;

pub use alert::Alert;
pub use failure::{Cause, Failure};
pub use psk::{Psk, PskError};
pub use server::{RECORD_OVERHEAD, RECORD_TEXT, Server};
