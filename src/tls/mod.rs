//! The TLS server: TLS 1.3 (RFC 8446) with an external pre-shared key, and of it what cluster nodes
//! need (tls.md sections 1 and 2).
//!
//! # What is served
//!
//! * key exchange `psk_dhe_ke` over secp256r1, x25519 and secp384r1: the first that the client sends a share
//!   for, else, by a HelloRetryRequest, the first that it lists; `psk_ke` only if there is none
//! * TLS_CHACHA20_POLY1305_SHA256 and TLS_AES_128_GCM_SHA256, in the client's order
//! * the identity `lrmd`, with a key of 1 to 65,535 bytes and a SHA-256 "ext binder"
//! * the looks of a TLS 1.2 resumption that middleboxes want (section D.4)
//! * KeyUpdate in both directions
//!
//! Not certificates, tickets, early data (announced early data is skipped) or renegotiation.
//!
//! # How it is used
//!
//! [`Server`] is sans-IO. [`Server::receive`] takes bytes and entropy; plaintext and what must be
//! sent are appended to the caller's buffers. [`Server::seal`] makes one record of one call, because
//! cluster nodes depend on which bytes share a record (remote-protocol.md section 3); the caller
//! makes the cuts. A [`Failure`] ends the connection and is one line in the log.
//!
//! # The life of a connection
//!
//! Rows are states, columns are records. A cell with an arrow consumes its state. Every failure, as "unexpected"
//! for unexpected_message, sends its alert and leads to `Failed`, where nothing is read any more.
//!
//! ```text
//!                    handshake              change_cipher_spec  alert                     application_data
//! ExpectHello        pieces of ClientHello  unexpected          close_notify: answer      unexpected
//!                    → ExpectSecondHello,                       others: failure
//!                    → ExpectFinished
//! ExpectSecondHello  pieces of ClientHello  one is dropped      the same                  early data, if it was
//!                    → ExpectFinished                                                     announced, is skipped
//! ExpectFinished     unexpected             one is dropped (*)  the same, until a record  opened
//!                                                               was opened
//! Connected          unexpected             unexpected          unexpected                opened
//! ```
//!
//! (*) one in all: not another one if one came before the second hello
//!
//! What was encrypted in a record that was opened:
//!
//! ```text
//!                    handshake              change_cipher_spec  alert                     application_data
//! ExpectFinished     pieces of Finished     unexpected          close_notify: answer      unexpected
//!                    → Connected                                others: failure
//! Connected          pieces of KeyUpdate    unexpected          the same                  to the caller
//!                    → Connected, new keys
//! ```
//!
//! Orthogonal to this, each direction is open until its close_notify (section 6.1). After the peer's
//! nothing is read; after ours nothing is written. The peer's is answered with ours.
//!
//! # What the peer may learn
//!
//! A wrong key and an unknown identity give the same alert in the same time: the binder is computed
//! with our key whatever identity is offered, compared in constant time, and only then thrown away.
//! Who owns the connection says why in the log only after its end. The binder is checked before any work on curves. What is checked before the binder (form, versions,
//! suites, groups) does not involve the key.
//!
//! # Memory
//!
//! A record or a message that has not come to its end is kept as far as it has come, at most 16,645
//! and 65,536 plus 16,384 bytes, and the buffer is freed when it has. What waits
//! for the client's Finished is boxed and freed with it. An idle connection has no buffer at all.
#![forbid(unsafe_code)]

mod alert;
mod codec;
mod failure;
mod group;
mod handshake;
mod hello;
mod join;
mod negotiate;
mod psk;
mod record;
mod reply;
mod schedule;
mod server;
mod suite;

pub use alert::Alert;
pub use failure::{Cause, Failure};
pub use psk::{Psk, PskError};
pub use record::{RECORD_OVERHEAD, RECORD_TEXT};
pub use server::{Server, UPDATE_AFTER};

#[cfg(test)]
mod tests;
