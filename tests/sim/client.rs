//! The cluster's end of one connection: TLS by `embedded-tls`, which shares no code with the daemon's, over
//! bytes that the network carries.
//!
//! The session is a future that runs by hand whenever bytes have come or are to be sent: no thread, no clock,
//! no waker. After the handshake it is given one record at a time, so that what each held can be judged.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};
use embedded_tls::{Aes128GcmSha256, TlsConfig, TlsConnection, TlsContext, TlsError, UnsecureProvider};

use super::random::Random;
use super::records::{Assembly, Record};
use super::xml::Element;

/// What `embedded-tls` wants to have free around a record.
const OVERHEAD: usize = 256;

/// The longest plaintext of a record.
const RECORD: usize = 16384;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By close_notify, ours or the daemon's.
    Orderly,
    /// With what `embedded-tls` says.
    Failed(String),
}

/// One connection of a cluster node.
pub struct Client {
    session: Pin<Box<dyn Future<Output = End>>>,
    wire: Rc<RefCell<Wire>>,
    assembly: Assembly,
    end: Option<End>,
}

/// Both ends of the future's world.
#[derive(Default)]
struct Wire {
    /// Bytes from the daemon.
    inbox: VecDeque<u8>,
    /// No more will come.
    ended: bool,
    /// Bytes for the daemon.
    outbox: Vec<u8>,
    /// Plaintext for the daemon, one record each.
    plain: VecDeque<Vec<u8>>,
    /// How many bytes of the inbox may be read now; all of them during the handshake.
    gate: Option<usize>,
    /// What came, decrypted.
    records: VecDeque<Record>,
    opened: bool,
    /// The session is to be ended in order, once `plain` has gone.
    closing: bool,
}

impl Wire {
    /// The length of the next record, once it is there whole.
    fn record(&self) -> Option<usize> {
        let length = 5 + usize::from(u16::from_be_bytes([*self.inbox.get(3)?, *self.inbox.get(4)?]));
        (self.inbox.len() >= length).then_some(length)
    }
}

impl Client {
    /// A client that has written its hello.
    pub fn new(key: &[u8], identity: &[u8], random: Random) -> Self {
        let wire = Rc::<RefCell<Wire>>::default();
        let session = Box::pin(session(key.to_vec(), identity.to_vec(), random, wire.clone()));
        let mut client = Self { session, wire, assembly: Assembly::default(), end: None };
        client.run();
        client
    }

    /// Bytes have come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.wire.borrow_mut().inbox.extend(bytes);
        self.run();
    }

    /// The daemon has closed the connection.
    pub fn ended(&mut self) {
        self.wire.borrow_mut().ended = true;
        self.run();
    }

    /// Sends plaintext, each slice as a record of its own.
    pub fn send(&mut self, records: &[&[u8]]) {
        let pieces = records.iter().flat_map(|record| record.chunks(RECORD)).map(<[u8]>::to_vec);
        self.wire.borrow_mut().plain.extend(pieces);
        self.run();
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        self.wire.borrow_mut().closing = true;
        self.run();
    }

    /// What is to go to the daemon.
    pub fn outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wire.borrow_mut().outbox)
    }

    /// Whether the handshake is complete.
    pub fn is_open(&self) -> bool {
        self.wire.borrow().opened
    }

    /// How the session ended, if it has.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The next message.
    ///
    /// # Errors
    /// The sender rule that was broken.
    pub fn message(&mut self) -> Result<Option<Element>, String> {
        loop {
            let Some(record) = self.wire.borrow_mut().records.pop_front() else { return Ok(None) };
            if let Some(message) = self.assembly.take(&record)? {
                return Ok(Some(message));
            }
        }
    }

    /// Whether the daemon has begun a message and not ended it.
    pub fn is_in_message(&self) -> bool {
        self.assembly.is_partial() || !self.wire.borrow().inbox.is_empty()
    }

    fn run(&mut self) {
        if self.end.is_some() {
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(end) = self.session.as_mut().poll(&mut context) {
            self.end = Some(end);
        }
    }
}

async fn session(key: Vec<u8>, identity: Vec<u8>, random: Random, wire: Rc<RefCell<Wire>>) -> End {
    let (mut read, mut write) = (vec![0; RECORD + OVERHEAD], vec![0; RECORD + OVERHEAD]);
    let config = TlsConfig::new().with_psk(&key, &[&identity]);
    let mut tls = TlsConnection::new(Socket(wire.clone()), &mut read, &mut write);
    let provider = UnsecureProvider::new::<Aes128GcmSha256>(random);
    if let Err(error) = tls.open(TlsContext::new(&config, provider)).await {
        return End::Failed(format!("{error:?}"));
    }
    wire.borrow_mut().opened = true;
    loop {
        let plain = wire.borrow_mut().plain.pop_front();
        if let Some(plain) = plain {
            let mut rest = &*plain;
            while !rest.is_empty() {
                match tls.write(rest).await {
                    Ok(count) => rest = &rest[count..],
                    Err(error) => return End::Failed(format!("{error:?}")),
                }
            }
            if let Err(error) = tls.flush().await {
                return End::Failed(format!("{error:?}"));
            }
            continue;
        }
        if wire.borrow().closing {
            return match tls.close().await {
                Ok(_) => End::Orderly,
                Err((_, error)) => End::Failed(format!("{error:?}")),
            };
        }
        let next = wire.borrow().record();
        if next.is_some() {
            // Only this one is let through: if reading waits for more, it had nothing to read.
            wire.borrow_mut().gate = next;
            let record = match smol::future::poll_once(tls.read_buffered()).await {
                Some(Ok(mut data)) => Record::Data(data.pop_all().to_vec()),
                Some(Err(TlsError::ConnectionClosed)) => return End::Orderly,
                Some(Err(error)) => return End::Failed(format!("{error:?}")),
                None => Record::Silent,
            };
            wire.borrow_mut().records.push_back(record);
            continue;
        }
        if wire.borrow().ended {
            return End::Failed("the connection ended without close_notify".into());
        }
        yield_to_world().await;
    }
}

/// Waits until the future is run again.
async fn yield_to_world() {
    let mut waited = false;
    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

struct Socket(Rc<RefCell<Wire>>);

impl ErrorType for Socket {
    type Error = std::convert::Infallible;
}

impl Read for Socket {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        poll_fn(|_| {
            let mut wire = self.0.borrow_mut();
            let there = wire.gate.unwrap_or(wire.inbox.len()).min(wire.inbox.len());
            if there == 0 && !wire.ended {
                return Poll::Pending;
            }
            let count = bytes.len().min(there);
            wire.gate = wire.gate.map(|gate| gate - count);
            for (byte, came) in bytes.iter_mut().zip(wire.inbox.drain(..count)) {
                *byte = came;
            }
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.0.borrow_mut().outbox.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
