//! The other end of a connection, for tests: reads what we send, and makes messages in either byte
//! order. What it makes is held against GLib's messages below.

use super::frame::Frame;
use super::marshal::{Endian, Writer};
use super::message::{Kind, Message, Serial};

/// A call that was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Called {
    pub serial: Serial,
    pub path: String,
    pub member: String,
    pub arguments: Vec<String>,
}

/// A bus that has answered the authentication.
pub struct Peer {
    pub endian: Endian,
    frame: Frame,
}

/// A header field of a message to be made.
#[derive(Clone, Copy)]
pub enum Field<'a> {
    Path(&'a str),
    Text(u8, &'a str),
    Reply(u32),
    Signature(&'a str),
}

impl Peer {
    pub fn new(endian: Endian) -> Self {
        Self { endian, frame: Frame::default() }
    }

    /// The calls in what was sent.
    pub fn calls(&mut self, mut bytes: &[u8]) -> Vec<Called> {
        let mut calls = Vec::new();
        while !bytes.is_empty() {
            let Some(frame) = self.frame.receive(&mut bytes).unwrap() else { continue };
            let message = Message::parse(frame).unwrap();
            assert_eq!(message.kind, Kind::Call);
            let mut body = message.body();
            let arguments = message.signature.chars().map(|_| body.string().unwrap().to_owned()).collect();
            body.end().unwrap();
            let endian = Endian::from_mark(frame[0]).unwrap();
            assert_eq!(endian, Endian::NATIVE);
            let serial = Serial::new(endian.u32(frame[8..12].try_into().unwrap())).unwrap();
            let (path, member) = (message.path.to_owned(), message.member.to_owned());
            calls.push(Called { serial, path, member, arguments });
        }
        calls
    }

    /// A message.
    pub fn message(&self, kind: u8, fields: &[Field<'_>], body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new(self.endian);
        for byte in [self.endian.mark(), kind, 1, 1] {
            writer.byte(byte);
        }
        let body_length = writer.reserve_u32();
        writer.u32(34);
        let fields_length = writer.reserve_u32();
        let start = writer.position();
        for field in fields {
            writer.align(8);
            match *field {
                Field::Path(path) => {
                    writer.byte(1);
                    writer.signature("o");
                    writer.string(path);
                }
                Field::Text(number, text) => {
                    writer.byte(number);
                    writer.signature("s");
                    writer.string(text);
                }
                Field::Reply(serial) => {
                    writer.byte(5);
                    writer.signature("u");
                    writer.u32(serial);
                }
                Field::Signature(signature) => {
                    writer.byte(8);
                    writer.signature("g");
                    writer.signature(signature);
                }
            }
        }
        writer.fill_u32(fields_length, writer.position() - start);
        writer.align(8);
        let start = writer.position();
        body(&mut writer);
        writer.fill_u32(body_length, writer.position() - start);
        writer.into_bytes()
    }

    /// A reply without values.
    pub fn empty(&self, to: Serial) -> Vec<u8> {
        self.message(2, &[Field::Reply(to.0.get()), Field::Text(7, ":1.0")], |_| ())
    }

    /// A reply of one path.
    pub fn path(&self, to: Serial, path: &str) -> Vec<u8> {
        let fields = [Field::Reply(to.0.get()), Field::Text(7, ":1.0"), Field::Signature("o")];
        self.message(2, &fields, |body| body.string(path))
    }

    /// A reply of one string.
    pub fn string(&self, to: Serial, text: &str) -> Vec<u8> {
        let fields = [Field::Reply(to.0.get()), Field::Text(7, ":1.0"), Field::Signature("s")];
        self.message(2, &fields, |body| body.string(text))
    }

    /// A reply of one string in a variant: a property.
    pub fn property(&self, to: Serial, value: &str) -> Vec<u8> {
        let fields =
            [Field::Text(7, ":1.0"), Field::Text(6, ":1.9"), Field::Signature("v"), Field::Reply(to.0.get())];
        self.message(2, &fields, |body| {
            body.signature("s");
            body.string(value);
        })
    }

    /// An error.
    pub fn error(&self, to: Serial, name: &str, text: &str) -> Vec<u8> {
        let reply = Field::Reply(to.0.get());
        let fields = [
            Field::Text(7, ":1.0"),
            Field::Text(4, name),
            Field::Text(6, ":1.6"),
            Field::Signature("s"),
            reply,
        ];
        self.message(3, &fields, |body| body.string(text))
    }

    /// The signal that ends a job: to all, or to `destination`.
    pub fn job_removed(&self, path: &str, result: &str, destination: Option<&str>) -> Vec<u8> {
        let mut fields = vec![
            Field::Text(7, ":1.0"),
            Field::Path("/org/freedesktop/systemd1"),
            Field::Text(2, "org.freedesktop.systemd1.Manager"),
            Field::Signature("uoss"),
            Field::Text(3, "JobRemoved"),
        ];
        fields.extend(destination.map(|destination| Field::Text(6, destination)));
        self.message(4, &fields, |body| {
            body.u32(128);
            body.string(path);
            body.string("good.service");
            body.string(result);
        })
    }
}

mod tests {
    use super::*;
    use crate::dbus::samples::*;

    /// All but flags and serial numbers, which no test depends on.
    fn assert_same(ours: &[u8], theirs: &[u8]) {
        assert_eq!(ours[..2], theirs[..2]);
        assert_eq!(ours[4..8], theirs[4..8]);
        assert_eq!(ours[12..], theirs[12..]);
    }

    #[test]
    fn makes_what_glib_makes() {
        let two = Serial::FIRST.next();
        for (endian, signal, error, property) in [
            (Endian::Little, GLIB_JOB_REMOVED_LITTLE, GLIB_NO_SUCH_UNIT_LITTLE, GLIB_ACTIVE_LITTLE),
            (Endian::Big, GLIB_JOB_REMOVED_BIG, GLIB_NO_SUCH_UNIT_BIG, GLIB_ACTIVE_BIG),
        ] {
            let peer = Peer::new(endian);
            assert_same(&peer.job_removed("/org/freedesktop/systemd1/job/128", "done", None), signal);
            let text = "Unit missing.service not found.";
            assert_same(&peer.error(two, "org.freedesktop.systemd1.NoSuchUnit", text), error);
            assert_same(&peer.property(two, "active"), property);
        }
    }
}
