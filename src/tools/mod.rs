//! The other programs in the file. They are clients: of this daemon or of any other.
#![forbid(unsafe_code)]

pub mod client;
pub mod cluster;
pub mod demo;
pub mod probe;
mod report;
