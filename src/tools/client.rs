//! The cluster's end of a connection: blocking, with a deadline on every wait, and stricter than a real
//! cluster node.
//!
//! TLS comes from `embedded-tls`, which shares no code with the server it talks to: TLS 1.3,
//! AES-128-GCM, P-256, a PSK for the identity `lrmd`. What a real node only suffers from (a header
//! that shares a record with something else, a message without its NUL) is an error here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use embedded_tls::blocking::TlsConnection;
use embedded_tls::{Aes128GcmSha256, CryptoProvider, TlsConfig, TlsContext, TlsError};
use rand_core::CryptoRngCore;

use crate::log::Escaped;
use crate::wire::header::{self, Header};
use crate::xml::{self, Document, Element, Writer};

/// The identity every cluster node uses.
const IDENTITY: &[u8] = b"lrmd";

/// The longest plaintext of a record (RFC 8446 section 5.1).
const RECORD_LIMIT: usize = 16384;

/// What `embedded-tls` wants to have free around a record it writes.
const RECORD_OVERHEAD: usize = 128;

/// How many notifications may wait for somebody to ask for them.
const WAITING_LIMIT: usize = 4096;

/// How much is kept of what the other end sends first: a ServerHello up to its random value, or a banner.
const FIRST_LIMIT: usize = 64;

/// How long the rest of a banner may take: whoever begins one sends it whole.
const BANNER_PATIENCE: Duration = Duration::from_millis(200);

/// The record type of whatever is encrypted (RFC 8446 section 5.2).
const APPLICATION_DATA: u8 = 23;

/// The first bytes the other end sent.
pub type First = heapless::Vec<u8, FIRST_LIMIT>;

/// The memory a [`Client`] works in: about 33 kB.
#[derive(Debug)]
pub struct Buffers {
    read: Vec<u8>,
    write: Vec<u8>,
}

impl Buffers {
    /// Room for one record in each direction.
    pub fn new() -> Self {
        Self { read: vec![0; RECORD_LIMIT + 256], write: vec![0; RECORD_LIMIT + RECORD_OVERHEAD] }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection to a Pacemaker Remote daemon.
pub struct Client<'b> {
    tls: TlsConnection<'b, Socket, Aes128GcmSha256>,
    shared: Rc<Shared>,
    /// How long a reply or notification may take.
    patience: Duration,
    last_request: i64,
    last_header: u64,
    /// Notifications that came while something else was waited for, oldest first.
    waiting: VecDeque<Message>,
}

impl<'b> Client<'b> {
    /// Connects and completes the TLS handshake, which takes the raw bytes of the key file.
    ///
    /// # Errors
    /// TCP or TLS fails, or takes longer than `patience`.
    pub fn connect(
        address: SocketAddr,
        key: &[u8],
        patience: Duration,
        buffers: &'b mut Buffers,
        entropy: &mut dyn CryptoRngCore,
    ) -> Result<Self, Error> {
        Self::over(connect(address, patience)?, key, patience, buffers, entropy)
    }

    /// Completes the TLS handshake over a connection from [`connect`].
    ///
    /// # Errors
    /// TLS fails, or takes longer than `patience`.
    pub fn over(
        stream: TcpStream,
        key: &[u8],
        patience: Duration,
        buffers: &'b mut Buffers,
        entropy: &mut dyn CryptoRngCore,
    ) -> Result<Self, Error> {
        let shared = Shared::new(stream, patience, false);
        let tls = open(&shared, key, buffers, entropy)
            .map_err(|error| shared.refusal(Failure::of(error, patience)))?;
        Ok(Self { tls, shared, patience, last_request: 0, last_header: 0, waiting: VecDeque::new() })
    }

    /// How long a reply or notification may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Sends a request and waits for its reply; `fill` adds `lrmd_op` and whatever belongs to it.
    ///
    /// # Errors
    /// The connection fails, the reply does not come in time, or something comes that must not.
    pub fn request(&mut self, fill: impl FnOnce(&mut Writer<'_>)) -> Result<Message, Error> {
        let id = self.begin("lrmd_command", fill)?;
        self.reply(id)
    }

    /// Sends a message about a local tool's session, or about the daemon's end, and waits for the reply.
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub fn forward(&mut self, fill: impl FnOnce(&mut Writer<'_>)) -> Result<Message, Error> {
        let id = self.begin("lrmd_ipc_proxy", fill)?;
        self.reply(id)
    }

    /// Waits for a notification that `wanted` accepts. Others stay for later.
    ///
    /// # Errors
    /// The connection fails, the notification does not come in time, or something comes that must not.
    pub fn notification(&mut self, wanted: impl Fn(&Element<'_>) -> bool) -> Result<Message, Error> {
        if let Some(message) = self.take(&wanted) {
            return Ok(message);
        }
        let deadline = Instant::now() + self.patience;
        loop {
            let message = self.receive(deadline)?;
            if !message.is("notify") {
                return Err(Error::Unexpected(message));
            }
            if wanted(&message.root()) {
                return Ok(message);
            }
            self.keep(message)?;
        }
    }

    /// A notification that has come already, without waiting.
    pub fn take(&mut self, wanted: &impl Fn(&Element<'_>) -> bool) -> Option<Message> {
        let place = self.waiting.iter().position(|message| wanted(&message.root()))?;
        self.waiting.remove(place)
    }

    /// Says goodbye and closes the connection, as a cluster node does.
    pub fn close(self) {
        // The other end may be gone already.
        let _ = self.tls.close();
    }

    fn begin(&mut self, element: &'static str, fill: impl FnOnce(&mut Writer<'_>)) -> Result<i64, Error> {
        self.last_request += 1;
        let mut payload = Vec::with_capacity(512);
        let mut request = Writer::new(&mut payload, element);
        request.number("lrmd_remote_msg_id", self.last_request).attribute("lrmd_remote_msg_type", "request");
        fill(&mut request);
        drop(request);
        self.send(payload)?;
        Ok(self.last_request)
    }

    /// Sends a message as Pacemaker does: the header in a record of its own, then the payload.
    ///
    /// # Errors
    /// The message is too long, or the connection fails.
    pub fn send(&mut self, mut payload: Vec<u8>) -> Result<(), Error> {
        self.shared.deadline.set(Instant::now() + self.patience);
        payload.push(0);
        self.last_header += 1;
        let header = Header::new(self.last_header, payload.len()).map_err(Error::Header)?.encode();
        self.write(&header)
            .and_then(|()| self.write(&payload))
            .map_err(|error| Error::Connection(Failure::of(error, self.patience)))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            let count = self.tls.write(bytes)?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        self.tls.flush()
    }

    fn reply(&mut self, id: i64) -> Result<Message, Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            let message = self.receive(deadline)?;
            if message.is("notify") {
                self.keep(message)?;
            } else if message.is("reply") && message.number("lrmd_remote_msg_id") == Some(id) {
                return Ok(message);
            } else {
                return Err(Error::Unexpected(message));
            }
        }
    }

    fn keep(&mut self, message: Message) -> Result<(), Error> {
        if self.waiting.len() == WAITING_LIMIT {
            return Err(Error::Flood);
        }
        self.waiting.push_back(message);
        Ok(())
    }

    /// Reads one message: the records that hold its header hold nothing else, nor do those of its
    /// payload (remote-protocol.md section 3, R1 and R2).
    ///
    /// # Errors
    /// The connection fails, the message is not complete by the deadline, or it is not as it must be.
    pub fn receive(&mut self, deadline: Instant) -> Result<Message, Error> {
        self.shared.deadline.set(deadline);
        let mut bytes = [0; header::LEN];
        self.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes, header::LIMIT).map_err(Error::Header)?;
        // Checked against the limit.
        let mut text = vec![0; header.payload as usize];
        self.read_exact(&mut text)?;
        if text.pop() != Some(0) {
            return Err(Error::Unterminated);
        }
        match Document::parse(&text) {
            Ok(_) => Ok(Message { text }),
            Err(error) => Err(Error::Xml(error)),
        }
    }

    /// Fills `bytes` from records that hold nothing else.
    fn read_exact(&mut self, mut bytes: &mut [u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let mut record = self
                .tls
                .read_buffered()
                .map_err(|error| Error::Connection(Failure::of(error, self.patience)))?;
            let record = record.pop_all();
            let (length, missing) = (record.len(), bytes.len());
            let Some((filled, rest)) = bytes.split_at_mut_checked(length) else {
                return Err(Error::Record { length, missing });
            };
            filled.copy_from_slice(record);
            bytes = rest;
        }
        Ok(())
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys stay out of logs.
        f.debug_struct("Client").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// A TCP connection as a [`Client`] wants it.
///
/// # Errors
/// There is none within `patience`.
pub fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, Error> {
    TcpStream::connect_timeout(&address, patience)
        .and_then(|stream| {
            // Header and payload are two small writes: Nagle's algorithm would hold the second back.
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(patience))?;
            Ok(stream)
        })
        .map_err(|error| Error::Connect(address, error))
}

/// Whether both ends have the same key, without the daemon telling its clients of a new one: goes through
/// the TLS handshake until the daemon's Finished, which only the key can make, and keeps ours back.
///
/// # Errors
/// As for [`Client::over`].
pub fn prove(
    stream: TcpStream,
    key: &[u8],
    patience: Duration,
    entropy: &mut dyn CryptoRngCore,
) -> Result<(), Error> {
    let shared = Shared::new(stream, patience, true);
    match open(&shared, key, &mut Buffers::new(), entropy) {
        Err(error) if !shared.held.get() => Err(shared.refusal(Failure::of(error, patience))),
        _ => Ok(()),
    }
}

fn open<'b>(
    shared: &Rc<Shared>,
    key: &[u8],
    buffers: &'b mut Buffers,
    entropy: &mut dyn CryptoRngCore,
) -> Result<TlsConnection<'b, Socket, Aes128GcmSha256>, TlsError> {
    let mut tls = TlsConnection::new(Socket(shared.clone()), &mut buffers.read, &mut buffers.write);
    let config = TlsConfig::new().with_psk(key, &[IDENTITY]);
    tls.open(TlsContext::new(&config, Provider(entropy)))?;
    Ok(tls)
}

/// A message that came: well-formed XML.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    text: Vec<u8>,
}

impl Message {
    /// Its element.
    pub fn root(&self) -> Element<'_> {
        match Document::parse(&self.text) {
            Ok(document) => document.root(),
            Err(_) => unreachable!("a message is checked when it comes, and does not change"),
        }
    }

    /// An attribute of its element.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.root().attribute(name).map(|value| value.into_owned())
    }

    /// An attribute of its element that is a decimal number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.root().attribute(name)?.parse().ok()
    }

    fn is(&self, kind: &str) -> bool {
        self.root().attribute("lrmd_remote_msg_type").is_some_and(|value| value.eq_ignore_ascii_case(kind))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Escaped(&self.text), f)
    }
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub enum Error {
    /// There is no TCP connection.
    Connect(SocketAddr, io::Error),
    /// There is no TLS connection; how what the other end sent begins, to tell what it is.
    Handshake(Failure, First),
    /// The connection broke.
    Connection(Failure),
    /// A message's header is wrong.
    Header(header::Error),
    /// A record holds more than what is missing of a header or of a payload.
    Record {
        /// The record's length.
        length: usize,
        /// What was missing.
        missing: usize,
    },
    /// A message does not end with a NUL.
    Unterminated,
    /// A message is not well-formed.
    Xml(xml::Error),
    /// A message that is neither the reply waited for nor a notification.
    Unexpected(Message),
    /// Thousands of notifications that nobody waits for.
    Flood,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Self::Handshake(failure, _) => write!(f, "TLS handshake: {failure}"),
            Self::Connection(failure) => write!(f, "{failure}"),
            Self::Header(error) => write!(f, "{error}"),
            Self::Record { length, missing } => write!(
                f,
                "a TLS record of {length} bytes where only {missing} were missing: a cluster loses what is too much"
            ),
            Self::Unterminated => f.write_str("a message without the NUL at its end"),
            Self::Xml(error) => write!(f, "a message that a cluster drops: {error}"),
            Self::Unexpected(message) => write!(f, "a message nobody waits for: {message:?}"),
            Self::Flood => write!(f, "more than {WAITING_LIMIT} notifications nobody waits for"),
        }
    }
}

impl core::error::Error for Error {}

/// Why reading or writing failed.
#[derive(Debug)]
pub enum Failure {
    /// What was waited for did not come within this time.
    Timeout(Duration),
    /// The other end closed the connection.
    Closed,
    /// Something else.
    Tls(TlsError),
}

impl Failure {
    fn of(error: TlsError, patience: Duration) -> Self {
        match error {
            TlsError::Io(embedded_io::ErrorKind::TimedOut) => Self::Timeout(patience),
            // What `embedded-tls` makes of an end of file.
            TlsError::IoError | TlsError::ConnectionClosed => Self::Closed,
            TlsError::Io(embedded_io::ErrorKind::ConnectionReset | embedded_io::ErrorKind::BrokenPipe) => {
                Self::Closed
            }
            other => Self::Tls(other),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(patience) => write!(f, "nothing came within {} s", patience.as_secs()),
            Self::Closed => f.write_str("the daemon closed the connection"),
            Self::Tls(TlsError::HandshakeAborted(_, alert)) => write!(f, "the daemon refuses: {alert:?}"),
            Self::Tls(error) => write!(f, "{error:?}"),
        }
    }
}

/// Randomness and nothing else: with a pre-shared key there are no certificates and no signatures.
struct Provider<'e>(&'e mut dyn CryptoRngCore);

impl CryptoProvider for Provider<'_> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut *self.0
    }
}

struct Shared {
    stream: TcpStream,
    /// When reading gives up.
    deadline: Cell<Instant>,
    first: RefCell<First>,
    /// Whether nothing encrypted is to be sent, which begins with our Finished.
    holds: bool,
    /// Whether that moment has come.
    held: Cell<bool>,
}

impl Shared {
    fn new(stream: TcpStream, patience: Duration, holds: bool) -> Rc<Self> {
        let deadline = Cell::new(Instant::now() + patience);
        Rc::new(Self { stream, deadline, first: RefCell::default(), holds, held: Cell::new(false) })
    }

    /// Why there is no TLS connection, with the rest of the banner if there is one.
    fn refusal(&self, failure: Failure) -> Error {
        let mut first = self.first.take();
        if first.first().is_some_and(|&kind| !is_record(kind)) {
            // What does not come says nothing.
            let _ = self.stream.set_read_timeout(Some(BANNER_PATIENCE));
            let mut more = [0; FIRST_LIMIT];
            let room = more.get_mut(first.len()..).unwrap_or_default();
            let count = (&self.stream).read(room).unwrap_or(0);
            let _ = first.extend_from_slice(room.get(..count).unwrap_or_default());
        }
        Error::Handshake(failure, first)
    }
}

/// Whether a byte is a TLS record's first (RFC 8446 section 5.1).
pub fn is_record(kind: u8) -> bool {
    (20..=APPLICATION_DATA).contains(&kind)
}

/// The stream with the deadline, as `embedded-tls` wants it.
struct Socket(Rc<Shared>);

impl embedded_io::ErrorType for Socket {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let left = self.0.deadline.get().saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(embedded_io::ErrorKind::TimedOut);
        }
        self.0.stream.set_read_timeout(Some(left)).map_err(kind)?;
        let count = retry(|| (&self.0.stream).read(buffer))?;
        let mut first = self.0.first.borrow_mut();
        let room = first.capacity() - first.len();
        // There is room for so many.
        let _ = first.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
        Ok(count)
    }
}

impl embedded_io::Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> Result<usize, Self::Error> {
        if self.0.holds && buffer.first() == Some(&APPLICATION_DATA) {
            self.0.held.set(true);
            return Err(embedded_io::ErrorKind::Other);
        }
        retry(|| (&self.0.stream).write(buffer))
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> Result<usize, embedded_io::ErrorKind> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(kind),
        }
    }
}

fn kind(error: io::Error) -> embedded_io::ErrorKind {
    use embedded_io::ErrorKind as E;
    match error.kind() {
        // What a socket's timeout is called depends on the system.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => E::TimedOut,
        io::ErrorKind::ConnectionReset => E::ConnectionReset,
        io::ErrorKind::ConnectionAborted => E::ConnectionAborted,
        io::ErrorKind::BrokenPipe => E::BrokenPipe,
        _ => E::Other,
    }
}
