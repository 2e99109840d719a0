//! A small server around the engine: blocking sockets, one connection.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use pacelet::tls::{Failure, Psk, RECORD_TEXT, Server, UPDATE_AFTER};
use rand_core::{CryptoRng, RngCore};

use crate::{PATIENCE, retrying};

/// What to do with a connection.
pub struct Plan {
    pub key: Option<Vec<u8>>,
    /// Send everything back, and close after so many bytes; `None` waits for the peer to close.
    pub close_after: Option<usize>,
    /// How many bytes to read at once.
    pub piece: usize,
    /// Records to a key.
    pub update_after: u64,
}

impl Plan {
    pub fn with_key(key: &[u8]) -> Self {
        Self { key: Some(key.to_vec()), close_after: None, piece: 1 << 16, update_after: UPDATE_AFTER }
    }

    pub fn close_after(mut self, count: usize) -> Self {
        self.close_after = Some(count);
        self
    }

    /// Waits for one connection on a free port of loopback.
    pub fn serve(self) -> Serving {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("the listener's address");
        Serving { address, thread: thread::spawn(move || connection(&self, accept(&listener))) }
    }
}

/// A server that waits for its connection.
pub struct Serving {
    pub address: SocketAddr,
    thread: JoinHandle<Report>,
}

impl Serving {
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub fn report(self) -> Report {
        self.thread.join().expect("the server's thread")
    }
}

/// How a connection went.
#[derive(Default)]
pub struct Report {
    pub connected: bool,
    /// The peer's close_notify came.
    pub closed: bool,
    pub received: Vec<u8>,
    pub failure: Option<Failure>,
    /// A HelloRetryRequest was sent.
    pub asked_again: bool,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("connected", &self.connected)
            .field("closed", &self.closed)
            .field("received", &self.received.len())
            .field("failure", &self.failure)
            .field("asked_again", &self.asked_again)
            .finish()
    }
}

impl Report {
    /// The line for the log.
    pub fn line(&self) -> String {
        self.failure.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time limit");
    stream.set_nodelay(true).expect("no delay");
    stream
}

fn connection(plan: &Plan, mut stream: TcpStream) -> Report {
    let psk = plan.key.as_ref().map(|key| Psk::new(key).expect("a key"));
    let mut server = Server::with_update_after(plan.update_after);
    let mut report = Report::default();
    let mut piece = vec![0; plan.piece];
    let (mut plaintext, mut out) = (Vec::new(), Vec::new());
    loop {
        let count = match retrying(|| stream.read(&mut piece)) {
            Ok(0) => return report,
            Ok(count) => count,
            // A peer that has what it wants may reset the connection.
            Err(_) => return report,
        };
        let received = server.receive(&piece[..count], psk.as_ref(), &mut Entropy, &mut plaintext, &mut out);
        report.connected |= server.is_connected();
        report.closed = server.is_closed();
        for text in plaintext.chunks(RECORD_TEXT) {
            server.update_keys(&mut out);
            // Refused only after the peer's close_notify.
            let _ = server.seal(text, &mut out);
        }
        report.received.append(&mut plaintext);
        if plan.close_after.is_some_and(|count| report.received.len() >= count) {
            server.close(&mut out);
        }
        // The random of a HelloRetryRequest (RFC 8446 section 4.1.3), behind the headers.
        report.asked_again |= out.get(11..15) == Some(&[0xcf, 0x21, 0xad, 0x74]);
        // As above.
        let _ = stream.write_all(&out);
        out.clear();
        if let Err(failure) = received {
            report.failure = Some(failure);
        }
        if report.failure.is_some() || report.closed {
            // Closing with unread bytes would reset the connection, and our alert with it.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
            return report;
        }
    }
}

/// The kernel's randomness.
pub struct Entropy;

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        let mut file = std::fs::File::open("/dev/urandom").expect("/dev/urandom");
        file.read_exact(to).expect("random bytes");
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Entropy {}
