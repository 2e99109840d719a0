//! The system log's socket (RFC 5424 is not spoken there; its local form is `<priority>ident[pid]: text`).
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::Errno;

/// Where the log daemon listens.
const PATH: &str = "/dev/log";

/// A connection to the log daemon, made when it is needed and again when it was lost. Nothing here waits.
#[derive(Debug)]
pub struct Syslog {
    path: &'static str,
    socket: Option<OwnedFd>,
}

impl Syslog {
    /// To where the log daemon of this machine listens; nothing is opened yet.
    pub const fn new() -> Self {
        Self { path: PATH, socket: None }
    }

    /// Sends one line. Whether it was taken: a log daemon may be away, or too slow.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        let was_open = self.socket.is_some();
        match self.try_send(datagram) {
            Ok(()) => true,
            Err(Errno::AGAIN) => false,
            Err(_) => {
                self.socket = None;
                // It may have been started anew.
                was_open && self.try_send(datagram).is_ok()
            }
        }
    }

    fn try_send(&mut self, datagram: &[u8]) -> Result<(), Errno> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(open(self.path)?),
        };
        send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
    }
}

impl Default for Syslog {
    fn default() -> Self {
        Self::new()
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_log_daemon_may_come_go_and_stall() {
        let path = std::env::temp_dir().join(format!("pacelet-log-{}", std::process::id()));
        let path: &'static str = path.to_str().unwrap().to_owned().leak();
        let mut syslog = Syslog { path, socket: None };
        assert!(!syslog.send(b"nobody is there"));

        let daemon = UnixDatagram::bind(path).unwrap();
        assert!(syslog.send(b"one"));
        drop(daemon);
        assert!(!syslog.send(b"it has gone"));
        std::fs::remove_file(path).unwrap();
        let daemon = UnixDatagram::bind(path).unwrap();
        assert!(syslog.send(b"two"));
        let mut buffer = [0; 16];
        assert_eq!(daemon.recv(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"two");

        let mut taken = 0;
        while syslog.send(&[b'x'; 1024]) {
            taken += 1;
            assert!(taken < 1_000_000, "a socket has an end");
        }
        daemon.recv(&mut buffer).unwrap();
        assert!(syslog.send(b"three"));
        std::fs::remove_file(path).unwrap();
    }
}
