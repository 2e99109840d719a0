//! Binary formats: each a checked *view* of bytes and a *value*.
#![forbid(unsafe_code)]

pub mod header;
pub mod ipc;
pub mod qb;
pub mod ring;
pub mod uuid;
