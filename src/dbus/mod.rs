//! A client of the D-Bus system bus, as far as systemd resources need one: five methods of systemd's
//! manager and one signal (executor-semantics.md section 7).
//!
//! From the bottom: [`marshal`] and [`signature`] read and write values, [`message`] and [`frame`]
//! messages; [`auth`] and [`connection`] get from a fresh socket to a client that the bus has given a
//! name, and match replies to calls; [`systemd`] knows the manager's methods, and [`manager`] follows
//! requests and jobs to their ends. The rest of pacelet uses the last two.
//!
//! Everything is from the D-Bus specification, "Type System", "Marshaling", "Message Protocol" and
//! "Authentication Protocol". Not here, because nothing needs it: passing of file descriptors, other
//! authentication mechanisms, answering of calls, introspection.
//!
//! The bus is a peer like any other: what it sends is bounded and checked. It is trusted in one
//! point, which every client must grant it: that it delivers replies and broadcasts only from whom
//! they claim to be from.
#![forbid(unsafe_code)]

pub mod auth;
pub mod connection;
pub mod frame;
pub mod manager;
pub mod marshal;
pub mod message;
pub mod signature;
pub mod systemd;

#[cfg(test)]
pub(crate) mod peer;
#[cfg(test)]
pub(crate) mod samples;
