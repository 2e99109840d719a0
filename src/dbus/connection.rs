//! One connection to a bus: from a fresh socket to a client with a name, and from then on replies
//! matched to calls by their serial numbers.
//!
//! | state            | line `OK`              | other line | reply to Hello           | error to Hello | reply to a call | signal | other message | malformed |
//! |------------------|------------------------|------------|--------------------------|----------------|-----------------|--------|---------------|-----------|
//! | `Authenticating` | BEGIN, Hello: `Naming` | `Refused`  | -                        | -              | -               | -      | -             | -         |
//! | `Naming`         | -                      | -          | send what waits: `Named` | `Refused`      | ignored         | ignored| ignored       | error     |
//! | `Named`          | -                      | -          | ignored                  | ignored        | told            | told   | ignored       | error     |
//!
//! An error ends the connection: nothing may be received after it. Calls may be made in every state;
//! they wait until they can be sent. A bus refuses callers with too many calls open (`dbus-daemon`
//! from 129 on), so at most [`WINDOW`] are; the others wait, too, in their order.

use core::fmt;
use std::collections::VecDeque;

use heapless::Vec as Fixed;

use super::auth::{self, Answer, Refused};
use super::frame::Frame;
use super::marshal::{Endian, Malformed};
use super::message::{Call, Kind, Message, Serial};
use crate::log::Escaped;

/// How many calls are open at the bus at a time.
pub const WINDOW: usize = 64;
/// How much of an error's text is kept, in bytes.
const ERROR_TEXT_MAX: usize = 512;

/// The bus itself, as a peer on it.
pub const BUS: &str = "org.freedesktop.DBus";
/// The bus's object.
pub const BUS_PATH: &str = "/org/freedesktop/DBus";

/// An error that was sent in reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// Which, in the form of an interface name: at most 255 bytes.
    pub name: Box<str>,
    /// What it says to people: bytes from outside, cut.
    pub text: Box<str>,
}

impl ErrorReply {
    fn new(message: &Message<'_>) -> Self {
        // Whatever else the body holds, its text comes first; an error without one is still an error.
        let text = if message.signature.starts_with('s') { message.body().string() } else { Ok("") };
        let text = text.unwrap_or_default();
        Self { name: message.error.into(), text: text[..text.floor_char_boundary(ERROR_TEXT_MAX)].into() }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped(self.name.as_bytes()), Escaped(self.text.as_bytes()))
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bus answered this line to the authentication.
    Refused(Refused),
    /// The bus answered this error to what makes a connection usable.
    SetUp(ErrorReply),
    /// The bus broke the protocol.
    Malformed(Malformed),
    /// The connection was not usable in the time it had.
    Late,
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refused(line)) => write!(f, "the bus refused the authentication: {line}"),
            Self::SetUp(error) => write!(f, "the bus refused the connection: {error}"),
            Self::Malformed(malformed) => write!(f, "the bus broke the protocol: {malformed}"),
            Self::Late => f.write_str("the bus did not answer in time"),
        }
    }
}

impl core::error::Error for Error {}

/// A message that is not the connection's own business.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// The reply to the call with this number: each call gets at most one.
    Reply(Serial, Result<Message<'a>, ErrorReply>),
    /// A signal.
    Signal(Message<'a>),
}

/// A connection that is sans-IO: bytes in, bytes and messages out.
#[derive(Debug)]
pub struct Connection {
    state: State,
    frame: Frame,
    calls: Calls,
}

#[derive(Debug)]
enum State {
    Authenticating(Answer),
    Naming,
    Named,
}

/// What is sent.
#[derive(Debug)]
struct Calls {
    /// What the socket has not taken yet.
    outgoing: Vec<u8>,
    /// Calls that were not sent yet, each a whole message.
    waiting: VecDeque<(Serial, Vec<u8>)>,
    /// Calls that were sent and not replied to yet. A forgotten one stays: the bus counts it.
    open: Fixed<Serial, WINDOW>,
    last: Serial,
}

/// Gives us a name on the bus, and must be the first message.
const HELLO: Call<'_> =
    Call { destination: BUS, path: BUS_PATH, interface: BUS, member: "Hello", arguments: &[] };
const HELLO_SERIAL: Serial = Serial::FIRST;

impl Connection {
    /// A connection over a socket that was just connected, as user `uid`: the one the kernel takes us for.
    pub fn new(uid: u32) -> Self {
        let outgoing = auth::opening(uid).into_bytes();
        Self {
            state: State::Authenticating(Answer::default()),
            frame: Frame::default(),
            calls: Calls { outgoing, waiting: VecDeque::new(), open: Fixed::new(), last: HELLO_SERIAL },
        }
    }

    /// Whether the bus has let us in and given us a name: calls are sent.
    pub const fn is_named(&self) -> bool {
        matches!(self.state, State::Named)
    }

    /// The bytes that wait for the socket.
    pub fn outgoing(&self) -> &[u8] {
        &self.calls.outgoing
    }

    /// The socket took the first `count` bytes of [`outgoing`](Self::outgoing).
    pub fn sent(&mut self, count: usize) {
        let outgoing = &mut self.calls.outgoing;
        outgoing.drain(..count.min(outgoing.len()));
    }

    /// Makes a call. How many calls wait at a time is for the caller to bound.
    pub fn call(&mut self, call: &Call<'_>) -> Serial {
        let serial = self.calls.next_serial();
        self.calls.waiting.push_back((serial, call.to_bytes(serial, Endian::NATIVE)));
        if self.is_named() {
            self.calls.pump();
        }
        serial
    }

    /// Says that nobody waits for the reply to a call any more; it is not sent if it was not yet.
    pub fn forget(&mut self, serial: Serial) {
        self.calls.waiting.retain(|(waiting, _)| *waiting != serial);
    }

    /// Takes bytes off: at least one, at most to the end of a message. To be repeated until none are left.
    pub fn receive(&mut self, bytes: &mut &[u8]) -> Result<Option<Incoming<'_>>, Error> {
        if let State::Authenticating(answer) = &mut self.state {
            if answer.receive(bytes).map_err(Error::Refused)? {
                self.calls.outgoing.extend_from_slice(auth::BEGIN);
                self.calls.outgoing.extend(HELLO.to_bytes(HELLO_SERIAL, Endian::NATIVE));
                self.state = State::Naming;
            }
            return Ok(None);
        }
        let Some(frame) = self.frame.receive(bytes)? else { return Ok(None) };
        let message = Message::parse(frame)?;
        match (&self.state, message.kind) {
            (State::Naming, Kind::Return(HELLO_SERIAL)) => {
                self.state = State::Named;
                self.calls.pump();
                Ok(None)
            }
            (State::Naming, Kind::Error(HELLO_SERIAL)) => Err(Error::SetUp(ErrorReply::new(&message))),
            (State::Named, Kind::Return(serial)) if self.calls.close(serial) => {
                Ok(Some(Incoming::Reply(serial, Ok(message))))
            }
            (State::Named, Kind::Error(serial)) if self.calls.close(serial) => {
                Ok(Some(Incoming::Reply(serial, Err(ErrorReply::new(&message)))))
            }
            (State::Named, Kind::Signal) => Ok(Some(Incoming::Signal(message))),
            _ => Ok(None),
        }
    }
}

impl Calls {
    /// Sends what the window has room for.
    fn pump(&mut self) {
        while !self.open.is_full()
            && let Some((serial, bytes)) = self.waiting.pop_front()
        {
            // There is room.
            let _ = self.open.push(serial);
            self.outgoing.extend(bytes);
        }
    }

    /// A reply came: says whether this call was open.
    fn close(&mut self, serial: Serial) -> bool {
        let Some(index) = self.open.iter().position(|&open| open == serial) else { return false };
        self.open.swap_remove(index);
        self.pump();
        true
    }

    /// Ends: far fewer are in use than there are.
    fn next_serial(&mut self) -> Serial {
        loop {
            self.last = self.last.next();
            let in_use =
                |serial| self.open.contains(&serial) || self.waiting.iter().any(|(w, _)| *w == serial);
            if !in_use(self.last) {
                return self.last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbus::peer::{Called, Field, Peer};
    use crate::dbus::samples::{ACTIVE, HELLO_RETURN, NO_SUCH_UNIT};

    const OK: &[u8] = b"OK 2fa8bcd8d3b7bbf2ffa48f3f68fdf1fb\r\n";
    const PING: Call<'_> =
        Call { destination: "a.b", path: "/", interface: "a.b", member: "Ping", arguments: &[] };

    /// What was told, in short.
    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Return(Serial, String),
        Error(Serial, String),
        Signal(String),
    }

    fn receive(connection: &mut Connection, mut bytes: &[u8]) -> Result<Vec<Told>, Error> {
        let mut told = Vec::new();
        while !bytes.is_empty() {
            told.extend(connection.receive(&mut bytes)?.map(|incoming| match incoming {
                Incoming::Reply(serial, Ok(message)) => Told::Return(serial, message.signature.into()),
                Incoming::Reply(serial, Err(error)) => Told::Error(serial, error.name.into()),
                Incoming::Signal(message) => Told::Signal(message.member.into()),
            }));
        }
        Ok(told)
    }

    fn sent(connection: &mut Connection) -> Vec<u8> {
        let bytes = connection.outgoing().to_vec();
        connection.sent(bytes.len());
        bytes
    }

    /// A connection that waits for its name.
    fn naming() -> Connection {
        let mut connection = Connection::new(0);
        sent(&mut connection);
        assert_eq!(receive(&mut connection, OK), Ok(vec![]));
        connection
    }

    fn named() -> Connection {
        let mut connection = naming();
        sent(&mut connection);
        assert_eq!(receive(&mut connection, HELLO_RETURN), Ok(vec![]));
        connection
    }

    fn members(calls: Vec<Called>) -> Vec<String> {
        calls.into_iter().map(|call| call.member).collect()
    }

    #[test]
    fn calls_wait_until_the_bus_has_let_us_in() {
        let mut connection = Connection::new(1000);
        let serial = connection.call(&PING);
        assert_eq!(sent(&mut connection), b"\0AUTH EXTERNAL 31303030\r\n");
        assert_eq!(receive(&mut connection, OK), Ok(vec![]));
        let bytes = sent(&mut connection);
        let messages = bytes.strip_prefix(b"BEGIN\r\n").unwrap();
        assert_eq!(members(Peer::new(Endian::NATIVE).calls(messages)), ["Hello"]);
        assert!(!connection.is_named());

        assert_eq!(receive(&mut connection, HELLO_RETURN), Ok(vec![]));
        assert!(connection.is_named());
        let calls = Peer::new(Endian::NATIVE).calls(&sent(&mut connection));
        assert_eq!((calls[0].serial, &*calls[0].member), (serial, "Ping"));
        assert_eq!(receive(&mut connection, ACTIVE), Ok(vec![Told::Return(serial, "v".into())]));
    }

    #[test]
    fn pieces_do_not_matter() {
        let session = [OK, HELLO_RETURN, ACTIVE].concat();
        for size in [1, 2, 7, 16, 64] {
            let mut connection = Connection::new(0);
            let serial = connection.call(&PING);
            let told = session.chunks(size).flat_map(|piece| receive(&mut connection, piece).unwrap());
            assert_eq!(told.collect::<Vec<_>>(), [Told::Return(serial, "v".into())], "{size}");
        }
    }

    #[test]
    fn another_line_refuses() {
        let error = receive(&mut Connection::new(0), b"REJECTED EXTERNAL\r\n").unwrap_err();
        assert_eq!(error.to_string(), "the bus refused the authentication: REJECTED EXTERNAL");
    }

    #[test]
    fn without_a_name_nothing_is_told() {
        let mut connection = naming();
        let serial = connection.call(&PING);
        let peer = Peer::new(Endian::Big);
        for bytes in [
            peer.empty(serial),
            peer.error(serial, "a.b", "c"),
            peer.job_removed("/a", "done", None),
            PING.to_bytes(serial, Endian::Big),
        ] {
            assert_eq!(receive(&mut connection, &bytes), Ok(vec![]));
            assert!(!connection.is_named());
        }
        assert_eq!(receive(&mut connection, b"HTTP/1.1 400 Bad"), Err(Error::Malformed(Malformed::Endian)));
    }

    #[test]
    fn without_a_name_there_is_no_going_on() {
        let bytes = Peer::new(Endian::Big).error(HELLO_SERIAL, "a.b", "no");
        let error = receive(&mut naming(), &bytes).unwrap_err();
        assert_eq!(error.to_string(), "the bus refused the connection: a.b: no");
    }

    #[test]
    fn a_call_has_one_reply() {
        let mut connection = named();
        let serial = connection.call(&PING);
        assert_eq!(receive(&mut connection, HELLO_RETURN), Ok(vec![]));
        let reply = Told::Error(serial, "org.freedesktop.systemd1.NoSuchUnit".into());
        assert_eq!(receive(&mut connection, NO_SUCH_UNIT), Ok(vec![reply]));
        assert_eq!(receive(&mut connection, NO_SUCH_UNIT), Ok(vec![]));
        assert_eq!(receive(&mut connection, ACTIVE), Ok(vec![]));
    }

    #[test]
    fn others_messages() {
        let mut connection = named();
        let peer = Peer::new(Endian::Big);
        let signal = peer.job_removed("/a", "done", None);
        assert_eq!(receive(&mut connection, &signal), Ok(vec![Told::Signal("JobRemoved".into())]));
        assert_eq!(receive(&mut connection, &PING.to_bytes(HELLO_SERIAL, Endian::Big)), Ok(vec![]));
        assert_eq!(receive(&mut connection, &peer.message(5, &[], |_| ())), Ok(vec![]));
        assert_eq!(receive(&mut connection, &[0; 16]), Err(Error::Malformed(Malformed::Endian)));
    }

    #[test]
    fn a_window_of_calls_is_open() {
        let mut connection = named();
        let serials: Vec<_> = (0..WINDOW + 3).map(|_| connection.call(&PING)).collect();
        let mut peer = Peer::new(Endian::NATIVE);
        let mut open = |connection: &mut Connection| {
            let calls = peer.calls(&sent(connection));
            calls.into_iter().map(|call| call.serial).collect::<Vec<_>>()
        };
        assert_eq!(open(&mut connection), serials[..WINDOW]);

        let reply = |serial| Peer::new(Endian::NATIVE).empty(serial);
        receive(&mut connection, &reply(serials[5])).unwrap();
        assert_eq!(open(&mut connection), [serials[WINDOW]]);

        // The bus counts a call on whose reply nobody waits, but not one that was never sent.
        connection.forget(serials[0]);
        connection.forget(serials[WINDOW + 1]);
        assert_eq!(open(&mut connection), []);
        receive(&mut connection, &reply(serials[0])).unwrap();
        assert_eq!(open(&mut connection), [serials[WINDOW + 2]]);
    }

    #[test]
    fn numbers_in_use_are_passed_over() {
        let mut connection = named();
        let (first, second) = (connection.call(&PING), connection.call(&PING));
        connection.calls.last = Serial::new(u32::MAX).unwrap();
        let third = connection.call(&PING);
        let fourth = connection.call(&PING);
        assert_eq!([first, second, third, fourth].map(|serial| serial.0.get()), [2, 3, 1, 4]);
    }

    #[test]
    fn the_socket_takes_what_it_can() {
        let mut connection = Connection::new(0);
        connection.sent(5);
        assert_eq!(connection.outgoing(), b" EXTERNAL 30\r\n");
        connection.sent(100);
        assert_eq!(connection.outgoing(), b"");
    }

    #[test]
    fn an_error_keeps_a_bounded_text() {
        let peer = Peer::new(Endian::Big);
        let read = |bytes: &[u8]| ErrorReply::new(&Message::parse(bytes).unwrap());
        let long = "ä".repeat(ERROR_TEXT_MAX);
        assert_eq!(&*read(&peer.error(HELLO_SERIAL, "a.b", &long)).text, "ä".repeat(ERROR_TEXT_MAX / 2));

        let without_text = |signature, body: &[u8]| {
            let fields = [Field::Reply(1), Field::Text(4, "a.b"), Field::Signature(signature)];
            let bytes = peer.message(3, &fields, |writer| body.iter().for_each(|&byte| writer.byte(byte)));
            assert_eq!(read(&bytes), ErrorReply { name: "a.b".into(), text: "".into() });
        };
        without_text("", &[]);
        without_text("u", &[0, 0, 0, 1]);
        without_text("s", &[0, 0, 0, 9]);
    }
}
