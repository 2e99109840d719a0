//! Messages out of the plaintext stream (remote-protocol.md sections 2 and 3).
#![forbid(unsafe_code)]

use crate::wire::header::{self, Header};

/// Collects plaintext until messages are complete. It grows as bytes arrive, never from a header's
/// promise, and gives its memory away with each message.
#[derive(Debug, Default)]
pub(super) struct Framing {
    buffer: Vec<u8>,
}

impl Framing {
    /// Where plaintext is appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The XML of the next complete message, without its NUL.
    ///
    /// # Errors
    /// A header that no peer sends: the stream cannot be followed any more.
    pub(super) fn next(&mut self, limit: u32) -> Result<Option<Vec<u8>>, header::Error> {
        let Some(bytes) = self.buffer.first_chunk() else { return Ok(None) };
        // Checked: a header within the limit.
        let payload = Header::parse(bytes, limit)?.payload as usize;
        let end = header::LEN + payload;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let rest = self.buffer.split_off(end);
        let mut message = std::mem::replace(&mut self.buffer, rest);
        message.drain(..header::LEN);
        if message.last() == Some(&0) {
            message.pop();
        }
        Ok(Some(message))
    }
}
