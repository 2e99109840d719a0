//! Pacemaker's header of each message between a local tool and a daemon (ipc.md section C.1).
//!
//! There are two layouts, and both call themselves version 1. All numbers are in the machine's own
//! byte order.
//!
//! | offset | size | [`Layout::Classic`]         | [`Layout::Parts`]                    |
//! |-------:|-----:|-----------------------------|--------------------------------------|
//! |      0 |    4 | id                          | id                                   |
//! |      8 |    4 | size of the whole message   | size of the whole message            |
//! |     16 |    4 | error, 0                    | error, 0                             |
//! |     24 |    4 | text with its NUL           | this part's text with its NUL        |
//! |     28 |    4 | the same compressed, or 0   | flags                                |
//! |     32 |    1 | flags, 4 bytes              | version, 1                           |
//! |     34 |    2 |                             | part, from 0                         |
//! |     36 |    1 | version, 1                  | 0                                    |

use core::fmt;

/// Bytes of the header.
pub const LEN: usize = 40;

const VERSION: u8 = 1;

/// Which layout a tool's messages have. A session keeps to that of its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Pacemaker 3.0.0 and older: one message is one piece, compressed by bzip2 if it is too long.
    Classic,
    /// Pacemaker 3.0.1 and newer: a long message is sent in parts.
    Parts,
}

/// Bits of the flags (ipc.md section C.2).
pub mod flags {
    /// [`Layout::Classic`](super::Layout::Classic): the text is compressed.
    pub const COMPRESSED: u32 = 0x1;
    /// The tool waits for a response with the message's id.
    pub const WANTS_RESPONSE: u32 = 0x200;
    /// Set on all that the C daemon sends.
    pub const SERVER: u32 = 0x2_0000;
    /// Set on events.
    pub const EVENT: u32 = 0x1_0000;
    /// [`Layout::Parts`](super::Layout::Parts): a part of a message.
    pub const PART: u32 = 0x8_0000;
    /// [`Layout::Parts`](super::Layout::Parts): with [`PART`], the last part.
    pub const LAST_PART: u32 = 0x10_0000;
}

/// A received message whose header has passed all checks.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; LEN],
    body: &'a [u8],
    layout: Layout,
}

impl<'a> View<'a> {
    /// Looks at a whole message as it was in the ring.
    ///
    /// # Errors
    /// See [`Error`]: no Pacemaker tool sends such a message.
    pub fn new_checked(message: &'a [u8]) -> Result<Self, Error> {
        let Some((header, body)) = message.split_first_chunk::<LEN>() else {
            return Err(Error::Short(message.len()));
        };
        let layout = match (header[36], header[32]) {
            (VERSION, _) => Layout::Classic,
            (0, VERSION) => Layout::Parts,
            (0, version) | (version, _) => return Err(Error::Version(version)),
        };
        let view = Self { header, body, layout };
        if !matches(view.u32::<8>(), message.len()) {
            return Err(Error::Size { told: view.u32::<8>(), is: message.len() });
        }
        let told = view.compressed_len().unwrap_or(view.text_len());
        if !matches(told, body.len()) {
            return Err(Error::Text { told, is: body.len() });
        }
        if view.compressed_len().is_none() && body.last() != Some(&0) {
            return Err(Error::NoNul);
        }
        Ok(view)
    }

    /// The layout, which the answers must have as well.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The tool's number for the message; a response carries the same.
    pub fn id(&self) -> i32 {
        i32::from_ne_bytes(self.field::<0, 4>())
    }

    /// Bits of [`flags`].
    pub fn flags(&self) -> u32 {
        match self.layout {
            Layout::Classic => self.u32::<32>(),
            Layout::Parts => self.u32::<28>(),
        }
    }

    /// Which part of the message this is; 0 when it is the only one.
    pub fn part(&self) -> u16 {
        match self.layout {
            Layout::Classic => 0,
            Layout::Parts => u16::from_ne_bytes(self.field::<34, 2>()),
        }
    }

    /// What the message carries.
    pub fn body(&self) -> Body<'a> {
        match self.compressed_len() {
            Some(_) => Body::Compressed { bytes: self.body, text_len: self.text_len() },
            // Without its NUL, which is there: checked.
            None => Body::Text(self.body.split_last().map_or(&[], |(_, text)| text)),
        }
    }

    fn text_len(&self) -> u32 {
        self.u32::<24>()
    }

    fn compressed_len(&self) -> Option<u32> {
        match self.layout {
            Layout::Classic => Some(self.u32::<28>()).filter(|&len| len > 0),
            Layout::Parts => None,
        }
    }

    fn u32<const AT: usize>(&self) -> u32 {
        u32::from_ne_bytes(self.field::<AT, 4>())
    }

    fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LEN) };
        let mut field = [0; N];
        // In bounds by the assertion.
        field.copy_from_slice(&self.header[AT..AT + N]);
        field
    }
}

/// What a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Text, not checked, without its NUL: the whole, or a part that may cut a character.
    Text(&'a [u8]),
    /// Compressed by bzip2.
    Compressed {
        /// The compressed bytes.
        bytes: &'a [u8],
        /// Bytes of the text with its NUL, as the sender has it: any number.
        text_len: u32,
    },
}

/// The header of a message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The layout of the tool's own messages.
    pub layout: Layout,
    /// A response: the request's id. An event: any number.
    pub id: i32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Which part this is; left out of [`Layout::Classic`].
    pub part: u16,
}

impl Header {
    /// The bytes before a text, or a part of one, that has `text_len` bytes without its NUL.
    ///
    /// # Errors
    /// [`Error::TooLong`] when a message cannot be so long.
    pub fn encode(&self, text_len: usize) -> Result<[u8; LEN], Error> {
        self.before(text_len.saturating_add(1), text_len, 0)
    }

    /// The bytes before a text of `text_len` bytes without its NUL that was compressed, with its NUL, to `len`
    /// bytes: only in [`Layout::Classic`].
    ///
    /// # Errors
    /// [`Error::TooLong`] when a message cannot be so long.
    pub fn encode_compressed(&self, text_len: usize, len: usize) -> Result<[u8; LEN], Error> {
        self.before(len, text_len, u32::try_from(len).map_err(|_| Error::TooLong(len))?)
    }

    fn before(&self, body: usize, text_len: usize, compressed: u32) -> Result<[u8; LEN], Error> {
        let number = |number: usize| i32::try_from(number).map_err(|_| Error::TooLong(text_len));
        let total = number(body.saturating_add(LEN))?;
        let text = number(text_len.saturating_add(1))?;
        let mut bytes = [0; LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &self.id.to_ne_bytes());
        put(8, &total.to_ne_bytes());
        put(24, &text.to_ne_bytes());
        match self.layout {
            Layout::Classic => {
                put(28, &compressed.to_ne_bytes());
                put(32, &self.flags.to_ne_bytes());
                put(36, &[VERSION]);
            }
            Layout::Parts => {
                put(28, &self.flags.to_ne_bytes());
                put(32, &[VERSION]);
                put(34, &self.part.to_ne_bytes());
            }
        }
        Ok(bytes)
    }
}

fn matches(told: u32, is: usize) -> bool {
    usize::try_from(told) == Ok(is)
}

/// Why a message cannot be understood or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It has only so many bytes.
    Short(usize),
    /// Neither layout has its version in this place.
    Version(u8),
    /// It has another length than its header says.
    Size {
        /// What the header says.
        told: u32,
        /// What came.
        is: usize,
    },
    /// What follows the header has another length than the header says.
    Text {
        /// What the header says.
        told: u32,
        /// What came.
        is: usize,
    },
    /// The text does not end in a NUL.
    NoNul,
    /// A text of so many bytes cannot be sent.
    TooLong(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(f, "message of {len} bytes, shorter than its header"),
            Self::Version(version) => write!(f, "message of an unknown version ({version})"),
            Self::Size { told, is } => write!(f, "message of {is} bytes that claims to have {told}"),
            Self::Text { told, is } => {
                write!(f, "message with {is} bytes of text that claims to have {told}")
            }
            Self::NoNul => f.write_str("message whose text has no NUL at its end"),
            Self::TooLong(len) => write!(f, "a text of {len} bytes does not fit a message"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUTS: [Layout; 2] = [Layout::Classic, Layout::Parts];

    fn message(layout: Layout, text: &[u8]) -> Vec<u8> {
        let header = Header { layout, id: 7, flags: 0x200, part: 0 };
        let mut bytes = header.encode(text.len()).unwrap().to_vec();
        bytes.extend_from_slice(text);
        bytes.push(0);
        bytes
    }

    fn with(layout: Layout, at: usize, value: u32) -> Vec<u8> {
        let mut bytes = message(layout, b"<a/>");
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    #[test]
    fn both_layouts_are_told_apart() {
        for layout in LAYOUTS {
            let bytes = message(layout, b"<a/>");
            let view = View::new_checked(&bytes).unwrap();
            assert_eq!((view.layout(), view.id(), view.flags(), view.part()), (layout, 7, 0x200, 0));
            assert_eq!(view.body(), Body::Text(b"<a/>"));
        }
    }

    #[test]
    fn the_classic_layout_of_a_real_tool() {
        // crm_node 2.1.5, little endian: header of its second message.
        let mut bytes = vec![0; 40];
        for (at, value) in [(0, 2_u32), (8, 45), (24, 5)] {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes[36] = 1;
        bytes.extend_from_slice(b"<a/>\0");
        let view = View::new_checked(&bytes).unwrap();
        assert_eq!((view.layout(), view.id(), view.flags()), (Layout::Classic, 2, 0));
    }

    #[test]
    fn parts_are_numbered() {
        let header = Header { layout: Layout::Parts, id: 1, flags: flags::PART, part: 3 };
        let mut bytes = header.encode(1).unwrap().to_vec();
        bytes.extend_from_slice(&[0xC3, 0]);
        let view = View::new_checked(&bytes).unwrap();
        assert_eq!((view.part(), view.flags(), view.body()), (3, flags::PART, Body::Text(&[0xC3])));
    }

    #[test]
    fn compressed_bytes_are_handed_on_with_what_the_sender_claims() {
        let mut bytes = with(Layout::Classic, 28, 5);
        bytes[24..28].copy_from_slice(&u32::MAX.to_ne_bytes());
        let view = View::new_checked(&bytes).unwrap();
        assert_eq!(view.body(), Body::Compressed { bytes: b"<a/>\0", text_len: u32::MAX });
        let error = View::new_checked(&with(Layout::Classic, 28, 4)).unwrap_err();
        assert_eq!(error, Error::Text { told: 4, is: 5 });
    }

    #[test]
    fn what_was_compressed_says_so() {
        let header = Header { layout: Layout::Classic, id: -3, flags: flags::COMPRESSED, part: 0 };
        let bytes = [&header.encode_compressed(1000, 3).unwrap()[..], b"BZh"].concat();
        let view = View::new_checked(&bytes).unwrap();
        assert_eq!((view.id(), view.flags()), (-3, flags::COMPRESSED));
        assert_eq!(view.body(), Body::Compressed { bytes: b"BZh", text_len: 1001 });
        assert_eq!(header.encode_compressed(usize::MAX, 3), Err(Error::TooLong(usize::MAX)));
        assert!(header.encode_compressed(1, usize::MAX).is_err());
    }

    #[test]
    fn each_check() {
        let check = |bytes: &[u8]| View::new_checked(bytes).unwrap_err();
        assert_eq!(check(&[]), Error::Short(0));
        assert_eq!(check(&[0; 39]), Error::Short(39));
        assert_eq!(check(&[0; 40]), Error::Version(0));
        for layout in LAYOUTS {
            assert_eq!(check(&with(layout, 8, 46)), Error::Size { told: 46, is: 45 });
            assert_eq!(check(&with(layout, 8, u32::MAX)), Error::Size { told: u32::MAX, is: 45 });
            assert_eq!(check(&with(layout, 24, 0)), Error::Text { told: 0, is: 5 });
            let mut bytes = message(layout, b"<a/>");
            *bytes.last_mut().unwrap() = b'>';
            assert_eq!(check(&bytes), Error::NoNul);
            let mut bytes = message(layout, b"<a/>");
            bytes[if layout == Layout::Classic { 36 } else { 32 }] = 2;
            assert_eq!(check(&bytes), Error::Version(2));
        }
        // A message without any text has no NUL either.
        let mut bytes = message(Layout::Parts, b"")[..40].to_vec();
        bytes[8..12].copy_from_slice(&40_u32.to_ne_bytes());
        bytes[24..28].copy_from_slice(&0_u32.to_ne_bytes());
        assert_eq!(check(&bytes), Error::NoNul);
    }

    #[test]
    fn lengths_that_no_message_has() {
        let header = Header { layout: Layout::Classic, id: 1, flags: 0, part: 0 };
        assert_eq!(header.encode(usize::MAX), Err(Error::TooLong(usize::MAX)));
        assert_eq!(header.encode(i32::MAX as usize), Err(Error::TooLong(i32::MAX as usize)));
    }
}
