//! Joining handshake messages that come in pieces (RFC 8446 section 5.1).

use super::failure::Cause;
use super::hello::MAX_HELLO;
use super::reply::{CLIENT_HELLO, FINISHED, KEY_UPDATE};

/// Bytes of a handshake message's type and length.
pub(super) const MESSAGE_HEADER: usize = 4;

/// The one message that may come next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    kind: u8,
    name: &'static str,
    /// Bounds of the body.
    shortest: usize,
    longest: usize,
}

impl Expected {
    pub(super) const CLIENT_HELLO: Self =
        Self { kind: CLIENT_HELLO, name: "hello", shortest: 0, longest: MAX_HELLO - MESSAGE_HEADER };
    pub(super) const FINISHED: Self = Self { kind: FINISHED, name: "Finished", shortest: 32, longest: 32 };
    pub(super) const KEY_UPDATE: Self = Self { kind: KEY_UPDATE, name: "KeyUpdate", shortest: 1, longest: 1 };
}

/// A message that has not come to its end.
///
/// Holds what has come, never more than [`MAX_HELLO`] and one record, and nothing between messages.
#[derive(Debug, Default)]
pub(super) struct Joiner(Vec<u8>);

impl Joiner {
    /// Whether a message has begun: then nothing else may come.
    pub(super) fn is_amid(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Takes a record's content; gives the message, with its header, when it is whole. Type and
    /// length are judged as soon as they are there.
    ///
    /// Each of the messages that may come changes the keys, so none may share a record with what
    /// follows it.
    pub(super) fn push(&mut self, content: &[u8], expected: Expected) -> Result<Option<Vec<u8>>, Cause> {
        if content.is_empty() {
            return Err(Cause::Unexpected("an empty handshake record"));
        }
        self.0.extend_from_slice(content);
        if self.0.first() != Some(&expected.kind) {
            return Err(Cause::Unexpected("a handshake message out of place"));
        }
        let Some(&[_, high, middle, low]) = self.0.first_chunk() else { return Ok(None) };
        // 24 bits fit a usize everywhere.
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if length < expected.shortest || length > expected.longest {
            return Err(Cause::Malformed(expected.name));
        }
        let end = MESSAGE_HEADER + length;
        if self.0.len() > end {
            return Err(Cause::Unexpected("more after a handshake message that changes the keys"));
        }
        Ok((self.0.len() == end).then(|| core::mem::take(&mut self.0)))
    }
}
