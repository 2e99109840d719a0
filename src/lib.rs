//! A Pacemaker Remote node in one small static file.
//!
//! Start with [`manual`]: it says which room holds what, how a request travels through them, and
//! what is promised. Most rooms are *sans-IO*: bytes, values, the time and entropy come in as
//! arguments, and bytes, values and deadlines go out. Only [`sys`] makes system calls, and only
//! [`sys`] contains `unsafe`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
pub mod bzip2;
pub mod daemon;
pub mod dbus;
pub mod executor;
pub mod ipc;
pub mod log;
pub mod manual;
pub mod proxy;
pub mod remote;
pub mod sys;
pub mod time;
pub mod tls;
pub mod tools;
pub mod trial;
pub mod wire;
pub mod xml;
