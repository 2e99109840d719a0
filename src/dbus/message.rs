//! Messages: where one ends in a stream, a checked view of one, and the calls we send
//! (D-Bus specification, "Message Protocol").
//!
//! A message is a header, padding to a multiple of eight, and a body. The header is
//! `yyyyuua(yv)`: byte order, type, flags, version, length of the body, serial number, fields.

use core::num::NonZeroU32;

use super::marshal::{Endian, Malformed, Reader, Writer};

/// The longest message that is looked at, in bytes: the longest that a bus has reason to send us is a
/// few hundred bytes.
pub const MESSAGE_MAX: usize = 1 << 20;
/// The longest message that there may be, in bytes, by the specification.
pub const LENGTH_MAX: usize = 1 << 27;
/// How many bytes of a message tell its [`length`].
pub const PREFIX: usize = 16;

/// The number of a message, given by its sender: what a reply refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(pub NonZeroU32);

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call of a method.
    Call,
    /// The reply to a call that succeeded.
    Return(Serial),
    /// The reply to a call that failed.
    Error(Serial),
    /// A signal.
    Signal,
    /// A type that later versions of the protocol may add: to be ignored.
    Unknown,
}

/// A message that was received: a checked view. Which of the fields there must be depends on the
/// [`Kind`]; one that is not there is the empty string, which no field may be.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// The object called, or the one that sends the signal.
    pub path: &'a str,
    /// The interface called, or that of the signal.
    pub interface: &'a str,
    /// The method, or the signal.
    pub member: &'a str,
    /// Which error, in the form of an interface name.
    pub error: &'a str,
    /// To whom it goes. A signal without goes to all who asked for it.
    pub destination: &'a str,
    /// Who sent it: filled in by the bus.
    pub sender: &'a str,
    /// The types of the values in the body.
    pub signature: &'a str,
    body: &'a [u8],
    endian: Endian,
}

/// A call of a method whose arguments are strings: all that we send.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// A bus name.
    pub destination: &'a str,
    /// An object path.
    pub path: &'a str,
    /// The method's interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// Its arguments, all of type `s`: together well below [`MESSAGE_MAX`], without zero bytes.
    pub arguments: &'a [&'a str],
}

const VERSION: u8 = 1;
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// No flag. In particular not NO_AUTO_START (0x2): without it the bus holds a call to a name that
/// nobody has for a while, as systemd's when it executes itself anew, until somebody has it.
const FLAGS: u8 = 0;

/// Header field numbers.
mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const ERROR_NAME: u8 = 4;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SENDER: u8 = 7;
    pub const SIGNATURE: u8 = 8;
}

/// How many bytes the message has that starts with `prefix`: [`PREFIX`] to [`LENGTH_MAX`].
pub fn length(prefix: &[u8; PREFIX]) -> Result<usize, Malformed> {
    let [mark, _, _, version, b0, b1, b2, b3, _, _, _, _, f0, f1, f2, f3] = *prefix;
    let endian = Endian::from_mark(mark)?;
    if version != VERSION {
        return Err(Malformed::Version);
    }
    let body = u64::from(endian.u32([b0, b1, b2, b3]));
    let fields = u64::from(endian.u32([f0, f1, f2, f3]));
    let total = (PREFIX as u64 + fields).next_multiple_of(8) + body;
    usize::try_from(total).ok().filter(|&total| total <= LENGTH_MAX).ok_or(Malformed::TooLong)
}

impl<'a> Message<'a> {
    /// Reads one whole message, of [`length`] bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let endian = Endian::from_mark(*bytes.first().ok_or(Malformed::Truncated)?)?;
        let mut reader = Reader::new(bytes, endian);
        let (_mark, kind, _flags, version) = (reader.byte()?, reader.byte()?, reader.byte()?, reader.byte()?);
        if version != VERSION {
            return Err(Malformed::Version);
        }
        let body_length = reader.u32()?;
        let serial = reader.u32()?;
        if kind == 0 || serial == 0 {
            return Err(Malformed::Header);
        }

        let mut message = Self {
            kind: Kind::Unknown,
            path: "",
            interface: "",
            member: "",
            error: "",
            destination: "",
            sender: "",
            signature: "",
            body: &[],
            endian,
        };
        let reply = message.read_fields(&mut reader)?;
        reader.align(8)?;
        message.body = reader.rest();
        if usize::try_from(body_length) != Ok(message.body.len()) {
            return Err(Malformed::BodyLength);
        }
        if message.signature.is_empty() && !message.body.is_empty() {
            return Err(Malformed::Signature);
        }
        message.kind = message.kind_of(kind, reply)?;
        Ok(message)
    }

    /// The values in the body.
    pub const fn body(&self) -> Reader<'a> {
        Reader::new(self.body, self.endian)
    }

    fn read_fields(&mut self, reader: &mut Reader<'a>) -> Result<Option<Serial>, Malformed> {
        let mut reply = None;
        let mut seen = [false; 9];
        let end = reader.array_end(8)?;
        while reader.position() < end {
            reader.align(8)?;
            let number = reader.byte()?;
            if let Some(seen) = seen.get_mut(usize::from(number))
                && core::mem::replace(seen, true)
            {
                return Err(Malformed::Field);
            }
            match (number, reader.variant()?) {
                (field::PATH, "o") => self.path = reader.object_path()?,
                (field::INTERFACE, "s") => self.interface = reader.name()?,
                (field::MEMBER, "s") => self.member = reader.name()?,
                (field::ERROR_NAME, "s") => self.error = reader.name()?,
                (field::REPLY_SERIAL, "u") => {
                    reply = Some(Serial::new(reader.u32()?).ok_or(Malformed::Field)?)
                }
                (field::DESTINATION, "s") => self.destination = reader.name()?,
                (field::SENDER, "s") => self.sender = reader.name()?,
                (field::SIGNATURE, "g") => self.signature = reader.signature()?,
                (..=field::SIGNATURE, _) => return Err(Malformed::Field),
                (_, unknown) => reader.skip(unknown)?,
            }
        }
        if reader.position() == end { Ok(reply) } else { Err(Malformed::Truncated) }
    }

    fn kind_of(&self, number: u8, reply: Option<Serial>) -> Result<Kind, Malformed> {
        let needs = |present: bool, kind| if present { Ok(kind) } else { Err(Malformed::MissingField) };
        let member = !self.path.is_empty() && !self.member.is_empty();
        match (number, reply) {
            (CALL, _) => needs(member, Kind::Call),
            (RETURN, Some(reply)) => Ok(Kind::Return(reply)),
            (ERROR, Some(reply)) => needs(!self.error.is_empty(), Kind::Error(reply)),
            (RETURN | ERROR, None) => Err(Malformed::MissingField),
            (SIGNAL, _) => needs(member && !self.interface.is_empty(), Kind::Signal),
            _ => Ok(Kind::Unknown),
        }
    }
}

impl Serial {
    /// The first number that is given.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// 0 is none.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The one after this, in a circle.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self::FIRST,
        }
    }
}

impl Call<'_> {
    /// The message.
    pub fn to_bytes(&self, serial: Serial, endian: Endian) -> Vec<u8> {
        let mut writer = Writer::new(endian);
        for byte in [endian.mark(), CALL, FLAGS, VERSION] {
            writer.byte(byte);
        }
        let body_length = writer.reserve_u32();
        writer.u32(serial.0.get());

        let fields_length = writer.reserve_u32();
        let fields = writer.position();
        for (number, signature, value) in [
            (field::PATH, "o", self.path),
            (field::INTERFACE, "s", self.interface),
            (field::MEMBER, "s", self.member),
            (field::DESTINATION, "s", self.destination),
        ] {
            writer.align(8);
            writer.byte(number);
            writer.signature(signature);
            writer.string(value);
        }
        if !self.arguments.is_empty() {
            writer.align(8);
            writer.byte(field::SIGNATURE);
            writer.signature("g");
            writer.signature(&"s".repeat(self.arguments.len()));
        }
        writer.fill_u32(fields_length, writer.position() - fields);

        writer.align(8);
        let body = writer.position();
        for argument in self.arguments {
            writer.string(argument);
        }
        writer.fill_u32(body_length, writer.position() - body);
        writer.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbus::peer::{Field, Peer};
    use crate::dbus::samples::*;

    const TWO: Serial = Serial::FIRST.next();
    const START: Call<'_> = Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StartUnit",
        arguments: &["good.service", "replace"],
    };

    fn whole(bytes: &[u8]) -> Message<'_> {
        assert_eq!(length(bytes.first_chunk().unwrap()), Ok(bytes.len()));
        Message::parse(bytes).unwrap()
    }

    /// What the message is refused for whose byte at `index` is `byte`.
    fn patched(bytes: &[u8], index: usize, byte: u8) -> Option<Malformed> {
        let mut bytes = bytes.to_vec();
        bytes[index] = byte;
        Message::parse(&bytes).err()
    }

    #[test]
    fn signals() {
        for bytes in [JOB_REMOVED, GLIB_JOB_REMOVED_LITTLE, GLIB_JOB_REMOVED_BIG] {
            let message = whole(bytes);
            assert_eq!(message.kind, Kind::Signal);
            assert_eq!(message.path, "/org/freedesktop/systemd1");
            assert_eq!(message.interface, "org.freedesktop.systemd1.Manager");
            assert_eq!(message.member, "JobRemoved");
            assert_eq!(message.destination, "");
            assert_eq!(message.sender, ":1.0");
            assert_eq!(message.signature, "uoss");
            let mut body = message.body();
            assert_eq!(body.u32(), Ok(128));
            assert_eq!(body.object_path(), Ok("/org/freedesktop/systemd1/job/128"));
            assert_eq!(body.string(), Ok("good.service"));
            assert_eq!(body.string(), Ok("done"));
            assert_eq!(body.end(), Ok(()));
        }
    }

    #[test]
    fn errors() {
        for bytes in [NO_SUCH_UNIT, GLIB_NO_SUCH_UNIT_LITTLE, GLIB_NO_SUCH_UNIT_BIG] {
            let message = whole(bytes);
            assert_eq!(message.kind, Kind::Error(TWO));
            assert_eq!(message.error, "org.freedesktop.systemd1.NoSuchUnit");
            assert_eq!(message.destination, ":1.6");
            assert_eq!(message.body().string(), Ok("Unit missing.service not found."));
        }
    }

    #[test]
    fn returns() {
        for bytes in [ACTIVE, GLIB_ACTIVE_LITTLE, GLIB_ACTIVE_BIG] {
            let message = whole(bytes);
            assert_eq!((message.kind, message.signature), (Kind::Return(TWO), "v"));
            let mut body = message.body();
            assert_eq!(body.variant(), Ok("s"));
            assert_eq!(body.string(), Ok("active"));
        }
        let message = whole(SUBSCRIBED);
        assert_eq!((message.kind, message.signature), (Kind::Return(TWO), ""));
        assert_eq!(message.body().end(), Ok(()));
    }

    #[test]
    fn calls_are_as_glib_makes_them() {
        for (endian, theirs) in [(Endian::Little, GLIB_START_LITTLE), (Endian::Big, GLIB_START_BIG)] {
            let ours = START.to_bytes(TWO, endian);
            // The order of the fields is free.
            assert_eq!(ours[..12], theirs[..12]);
            let (ours, theirs) = (whole(&ours), whole(theirs));
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        }
    }

    #[test]
    fn a_call_without_arguments_has_no_body() {
        let bytes = Call { arguments: &[], ..START }.to_bytes(TWO, Endian::NATIVE);
        assert_eq!(whole(&bytes).signature, "");
    }

    #[test]
    fn no_cut_message_is_read() {
        for bytes in [JOB_REMOVED, NO_SUCH_UNIT, ACTIVE, GLIB_START_BIG] {
            for cut in 0..bytes.len() {
                assert!(Message::parse(&bytes[..cut]).is_err(), "{cut}");
            }
            assert_eq!(Message::parse(&[bytes, &[0]].concat()).err(), Some(Malformed::BodyLength));
        }
    }

    #[test]
    fn broken_headers() {
        assert_eq!(patched(ACTIVE, 0, b'L'), Some(Malformed::Endian));
        assert_eq!(patched(ACTIVE, 1, 0), Some(Malformed::Header));
        assert_eq!(patched(ACTIVE, 3, 2), Some(Malformed::Version));
        assert_eq!(patched(ACTIVE, 4, 16), Some(Malformed::BodyLength));
        assert_eq!(patched(ACTIVE, 7, 1), Some(Malformed::BodyLength));
        assert_eq!(patched(ACTIVE, 8, 0), Some(Malformed::Header));
        assert_eq!(patched(ACTIVE, 12, ACTIVE[12] - 1), Some(Malformed::Truncated));
        assert_eq!(patched(ACTIVE, 15, 1), Some(Malformed::Truncated));
    }

    #[test]
    fn broken_fields() {
        let read = |kind, fields: &[Field<'_>]| {
            let bytes = Peer::new(Endian::Big).message(kind, fields, |_| ());
            Message::parse(&bytes).map(|message| message.kind)
        };
        let (path, interface, member) = (Field::Path("/a"), Field::Text(2, "a.b"), Field::Text(3, "C"));
        assert_eq!(read(SIGNAL, &[path, interface, member]), Ok(Kind::Signal));
        assert_eq!(read(SIGNAL, &[path, interface]), Err(Malformed::MissingField));
        assert_eq!(read(SIGNAL, &[path, member]), Err(Malformed::MissingField));
        assert_eq!(read(SIGNAL, &[interface, member]), Err(Malformed::MissingField));
        assert_eq!(read(CALL, &[path, member]), Ok(Kind::Call));
        assert_eq!(read(CALL, &[path]), Err(Malformed::MissingField));
        assert_eq!(read(RETURN, &[]), Err(Malformed::MissingField));
        assert_eq!(read(RETURN, &[Field::Reply(0)]), Err(Malformed::Field));
        assert_eq!(read(ERROR, &[Field::Reply(2)]), Err(Malformed::MissingField));
        assert_eq!(read(ERROR, &[Field::Text(4, "a.b")]), Err(Malformed::MissingField));
        assert_eq!(read(9, &[]), Ok(Kind::Unknown));

        assert_eq!(read(SIGNAL, &[path, interface, member, path]), Err(Malformed::Field));
        assert_eq!(read(SIGNAL, &[Field::Text(1, "/a"), interface, member]), Err(Malformed::Field));
        assert_eq!(read(SIGNAL, &[path, interface, member, Field::Text(0, "a")]), Err(Malformed::Field));
        assert_eq!(read(SIGNAL, &[path, interface, member, Field::Text(200, "a")]), Ok(Kind::Signal));
        assert_eq!(read(SIGNAL, &[Field::Path("/a/"), interface, member]), Err(Malformed::Path));
        assert_eq!(read(SIGNAL, &[path, interface, Field::Text(3, "")]), Err(Malformed::Name));
        let long = "C".repeat(256);
        assert_eq!(read(SIGNAL, &[path, interface, Field::Text(3, &long[..255])]), Ok(Kind::Signal));
        assert_eq!(read(SIGNAL, &[path, interface, Field::Text(3, &long)]), Err(Malformed::Name));
    }

    #[test]
    fn a_body_needs_a_signature() {
        let bytes = Peer::new(Endian::Little).message(RETURN, &[Field::Reply(1)], |body| body.byte(0));
        assert_eq!(Message::parse(&bytes).err(), Some(Malformed::Signature));
    }

    #[test]
    fn serial_numbers_go_round_without_0() {
        assert_eq!(Serial::new(u32::MAX).unwrap().next(), Serial::FIRST);
        assert_eq!(Serial::new(0), None);
    }
}
