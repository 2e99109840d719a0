//! The manual: what holds for more than one room.
//!
//! * [`architecture`]: which room holds what, and how a request travels through them
//! * [`formats`]: what is on the wire, layer by layer, and where each layer is written down
//! * [`promises`]: what is promised, and how each figure is measured
//! * [`security`]: what an attacker at each boundary can reach, and the test that holds it
#![forbid(unsafe_code)]

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("formats.md")]
pub mod formats {}

#[doc = include_str!("promises.md")]
pub mod promises {}

#[doc = include_str!("security.md")]
pub mod security {}
