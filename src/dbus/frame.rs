//! Cuts a stream of bytes into messages.

use super::marshal::Malformed;
use super::message::{self, MESSAGE_MAX, PREFIX};

/// How much memory is kept between messages, in bytes.
const IDLE_CAPACITY: usize = 4096;

/// The start of the next message, or, until more is received, all of the last one. It grows as bytes
/// arrive, not by what a header promises.
///
/// Any user of the system bus may send us a signal of many megabytes by our name. So a message beyond
/// [`MESSAGE_MAX`] is passed over: were it the end of the connection, anybody could keep it from us.
#[derive(Debug, Default)]
pub struct Frame {
    bytes: Vec<u8>,
    told: bool,
    /// How many bytes are to come of a message that is passed over.
    unwanted: usize,
}

impl Frame {
    /// Takes bytes off, up to the end of a message; gives the message when it is complete.
    pub fn receive(&mut self, bytes: &mut &[u8]) -> Result<Option<&[u8]>, Malformed> {
        if self.told {
            self.told = false;
            self.bytes.clear();
            self.bytes.shrink_to(IDLE_CAPACITY);
        }
        if self.unwanted > 0 {
            self.pass_over(bytes);
            return Ok(None);
        }
        self.fill(bytes, PREFIX);
        let Some(prefix) = self.bytes.first_chunk() else { return Ok(None) };
        let length = message::length(prefix)?;
        if length > MESSAGE_MAX {
            self.unwanted = length - PREFIX;
            self.bytes.clear();
            return Ok(None);
        }
        self.fill(bytes, length);
        self.told = self.bytes.len() == length;
        Ok(self.told.then_some(&self.bytes))
    }

    fn pass_over(&mut self, bytes: &mut &[u8]) {
        let (taken, left) = bytes.split_at(self.unwanted.min(bytes.len()));
        self.unwanted -= taken.len();
        *bytes = left;
    }

    fn fill(&mut self, bytes: &mut &[u8], length: usize) {
        let missing = length.saturating_sub(self.bytes.len());
        let (taken, left) = bytes.split_at(missing.min(bytes.len()));
        self.bytes.extend_from_slice(taken);
        *bytes = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbus::message::LENGTH_MAX;
    use crate::dbus::samples::{ACTIVE, JOB_REMOVED, NO_SUCH_UNIT};

    /// The messages in a stream that comes in pieces of `size`.
    fn cut(stream: &[u8], size: usize) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut frame = Frame::default();
        let mut messages = Vec::new();
        for mut piece in stream.chunks(size) {
            while !piece.is_empty() {
                messages.extend(frame.receive(&mut piece)?.map(<[u8]>::to_vec));
            }
        }
        Ok(messages)
    }

    #[test]
    fn pieces_do_not_matter() {
        let messages = [JOB_REMOVED, ACTIVE, NO_SUCH_UNIT, ACTIVE];
        let stream = messages.concat();
        for size in [1, 2, 3, 15, 16, 17, 100, stream.len()] {
            assert_eq!(cut(&stream, size).unwrap(), messages, "{size}");
        }
        assert_eq!(cut(&stream[..stream.len() - 1], 7).unwrap(), messages[..3]);
    }

    #[test]
    fn a_message_has_a_limit() {
        let mut prefix = *b"l\x04\x01\x01\xe8\xff\xff\x07\x01\0\0\0\x08\0\0\0";
        assert_eq!(message::length(&prefix), Ok(LENGTH_MAX));
        assert_eq!(cut(&prefix, 16), Ok(vec![]));
        prefix[4] += 1;
        assert_eq!(cut(&prefix, 16), Err(Malformed::TooLong));
        assert_eq!(
            cut(b"l\x04\x01\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff", 16),
            Err(Malformed::TooLong)
        );
    }

    #[test]
    fn a_long_message_is_passed_over() {
        // One byte more than is kept.
        let mut long = b"l\x04\x01\x01\xe9\xff\x0f\x00\x01\0\0\0\x08\0\0\0".to_vec();
        assert_eq!(message::length(long.first_chunk().unwrap()), Ok(MESSAGE_MAX + 1));
        long.resize(MESSAGE_MAX + 1, b'B');
        let stream = [JOB_REMOVED, &*long, ACTIVE, &*long, &*long, NO_SUCH_UNIT].concat();
        for size in [1, 15, 16, 17, 65_536, stream.len()] {
            assert_eq!(cut(&stream, size).unwrap(), [JOB_REMOVED, ACTIVE, NO_SUCH_UNIT], "{size}");
        }
        let mut frame = Frame::default();
        assert_eq!(frame.receive(&mut &long[..]), Ok(None));
        assert!(frame.bytes.capacity() <= IDLE_CAPACITY);
    }

    #[test]
    fn memory_follows_the_bytes_and_is_given_back() {
        let mut frame = Frame::default();
        let mut prefix: &[u8] = b"l\x04\x01\x01\xe8\xff\x0f\x00\x01\0\0\0\x08\0\0\0";
        assert_eq!(frame.receive(&mut prefix), Ok(None));
        assert!(frame.bytes.capacity() <= IDLE_CAPACITY);
        let body = vec![0; MESSAGE_MAX - PREFIX];
        assert_eq!(frame.receive(&mut &body[..]).unwrap().map(<[u8]>::len), Some(MESSAGE_MAX));
        assert_eq!(frame.receive(&mut &b"l"[..]), Ok(None));
        assert!(frame.bytes.capacity() <= IDLE_CAPACITY);
    }

    #[test]
    fn another_protocol_is_noticed_at_its_first_message() {
        assert_eq!(cut(b"HTTP/1.1 400 Bad", 16), Err(Malformed::Endian));
        assert_eq!(cut(b"l\x04\x01\x02\0\0\0\0\x01\0\0\0\0\0\0\0", 16), Err(Malformed::Version));
    }
}
