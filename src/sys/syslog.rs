//! The system log's socket (RFC 5424 is not spoken there; its local form is `<priority>ident[pid]: text`).
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::Errno;

/// Where the log daemon listens.
const PATH: &str = "/dev/log";

/// A connection to the log daemon, made when it is needed and again when it was lost. Nothing here waits:
/// datagrams that are not taken are dropped and counted.
#[derive(Debug, Default)]
pub struct Syslog {
    socket: Option<OwnedFd>,
    dropped: u64,
}

impl Syslog {
    /// Sends one line.
    pub fn send(&mut self, datagram: &[u8]) {
        if self.try_send(datagram).is_ok() {
            return;
        }
        // The log daemon may have been started anew.
        self.socket = None;
        if self.try_send(datagram).is_err() {
            self.socket = None;
            self.dropped += 1;
        }
    }

    /// How many lines were not taken since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn try_send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(open(PATH)?),
        };
        send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
    }
}

/// Sends a line without allocating, for a process that is about to end.
pub(super) fn write_last_words(text: &[u8]) {
    if let Ok(socket) = open(PATH) {
        let _ = send(&socket, text, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
