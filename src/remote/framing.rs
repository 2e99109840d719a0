//! Messages out of the plaintext stream (remote-protocol.md sections 2 and 3).
#![forbid(unsafe_code)]

use crate::wire::header::{self, Header};

/// Collects plaintext until messages are complete. It grows as bytes arrive, never from a header's
/// promise, and gives its memory away with each message.
#[derive(Debug, Default)]
pub(super) struct Framing {
    buffer: Vec<u8>,
    /// How long the payload is that the buffer begins with, once its header was read and removed: a long payload
    /// is not moved for that.
    payload: Option<usize>,
}

impl Framing {
    /// Where plaintext is appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || self.payload.is_some()
    }

    /// The XML of the next complete message, without its NUL.
    ///
    /// # Errors
    /// A header that no peer sends: the stream cannot be followed any more.
    pub(super) fn next(&mut self, limit: u32) -> Result<Option<Vec<u8>>, header::Error> {
        let payload = match self.payload {
            Some(payload) => payload,
            None => {
                let Some(bytes) = self.buffer.first_chunk() else { return Ok(None) };
                // Checked: a header within the limit.
                let payload = Header::parse(bytes, limit)?.payload as usize;
                self.buffer.drain(..header::LEN);
                *self.payload.insert(payload)
            }
        };
        if self.buffer.len() < payload {
            return Ok(None);
        }
        self.payload = None;
        let rest = self.buffer.split_off(payload);
        let mut message = std::mem::replace(&mut self.buffer, rest);
        if message.last() == Some(&0) {
            message.pop();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::Order;

    fn framed(payload: &[u8], order: Order) -> Vec<u8> {
        let header = Header::new(7, payload.len()).unwrap().encode_in(order);
        [&header[..], payload].concat()
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let stream = [framed(b"<a/>\0", Order::Big), framed(b"<b/>\0", Order::Little)].concat();
        for piece in 1..stream.len() {
            let mut framing = Framing::default();
            let mut messages = Vec::new();
            for bytes in stream.chunks(piece) {
                framing.buffer().extend_from_slice(bytes);
                while let Some(message) = framing.next(header::LIMIT).unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [b"<a/>", b"<b/>"], "in pieces of {piece}");
            assert!(!framing.is_partial());
        }
    }

    #[test]
    fn a_missing_nul_costs_nothing() {
        let mut framing = Framing::default();
        framing.buffer().extend_from_slice(&framed(b"<a/>", Order::Little));
        assert_eq!(framing.next(header::LIMIT), Ok(Some(b"<a/>".to_vec())));
    }

    #[test]
    fn a_promise_allocates_nothing() {
        let mut framing = Framing::default();
        let header = Header::new(1, 10_000_000).unwrap().encode();
        framing.buffer().extend_from_slice(&header);
        assert_eq!(framing.next(header::LIMIT), Ok(None));
        assert!(framing.is_partial() && framing.buffer.capacity() < 1000);
    }

    #[test]
    fn what_is_too_long_is_refused_at_its_header() {
        let mut framing = Framing::default();
        let header = Header::new(1, header::LIMIT_UNREGISTERED as usize).unwrap().encode();
        framing.buffer().extend_from_slice(&header);
        assert!(matches!(framing.next(header::LIMIT_UNREGISTERED), Err(header::Error::TooLong { .. })));
        assert_eq!(framing.next(header::LIMIT), Ok(None));
    }
}
