//! The only system calls, and the only `unsafe`: event loop, timers, signals, children, sockets.
//!
//! Nothing in here decides anything: which child runs, what is sent and when something is given up
//! comes from [`crate::daemon::Core`]. Nothing in here waits for anything except
//! [`Reactor::run`](reactor::Reactor::run) and what says so in bold, and nothing uses a system call that is newer than
//! Linux 4.4 without a way to do without it.

pub mod calendar;
pub mod child;
pub mod clock;
pub mod drop_in;
pub mod entropy;
pub mod first;
pub mod image;
pub mod key_file;
pub mod local;
pub mod log_file;
pub mod process;
pub mod reactor;
pub mod scribe;
pub mod shm;
pub mod signal;
pub mod socket;
pub mod stderr;
pub mod syslog;
#[cfg(test)]
mod testing;
pub mod users;

pub use rustix::io::Errno;
