//! Values on the wire (D-Bus specification, "Type System" and "Marshaling").
//!
//! Values are aligned to their size, counted from the start of the message; header and body both
//! start at a multiple of eight, so each has its own [`Reader`]. Padding is zero. What the sender
//! may not send is [`Malformed`]; nothing is repaired.

use core::fmt;
use core::str;

use super::signature::{self, alignment};

/// The longest signature, and the longest bus, interface, member and error name, in bytes.
pub const NAME_MAX: usize = 255;
/// How deep values may nest in all: arrays, structures and variants.
pub const DEPTH_MAX: u8 = 64;

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Least significant first: messages that start with `l`.
    Little,
    /// Most significant first: messages that start with `B`.
    Big,
}

impl Endian {
    /// This machine's, which we send.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };

    /// The first byte of a message.
    pub const fn mark(self) -> u8 {
        match self {
            Self::Little => b'l',
            Self::Big => b'B',
        }
    }

    /// The order that a message's first byte stands for.
    pub const fn from_mark(mark: u8) -> Result<Self, Malformed> {
        match mark {
            b'l' => Ok(Self::Little),
            b'B' => Ok(Self::Big),
            _ => Err(Malformed::Endian),
        }
    }

    /// Reads a number.
    pub const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    const fn to_bytes(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// How the other side broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A message starts with neither `l` nor `B`.
    Endian,
    /// Another major version of the protocol than 1.
    Version,
    /// A message of type 0, or without the serial number every message needs.
    Header,
    /// A header field that is given twice, or has another type than it must have.
    Field,
    /// The type of message needs a header field that is missing.
    MissingField,
    /// A message longer than [`LENGTH_MAX`](super::message::LENGTH_MAX).
    TooLong,
    /// A value reaches beyond the end of what it is part of.
    Truncated,
    /// A message whose length differs from what its header says.
    BodyLength,
    /// Bytes behind the last value.
    Trailing,
    /// Padding that is not zero.
    Padding,
    /// A boolean that is neither 0 nor 1.
    Boolean,
    /// A string that is not UTF-8, contains a zero byte, or does not end in one.
    Text,
    /// A name that is empty or longer than [`NAME_MAX`].
    Name,
    /// Not an object path.
    Path,
    /// Not a signature, or one that does not fit its place.
    Signature,
    /// Values nested deeper than [`DEPTH_MAX`], or types deeper than [`NESTING_MAX`](signature::NESTING_MAX).
    Depth,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endian => "a message in no known byte order",
            Self::Version => "a message of another protocol version",
            Self::Header => "a message header without type or serial number",
            Self::Field => "a header field that is repeated or of a wrong type",
            Self::MissingField => "a message without a header field that it needs",
            Self::TooLong => "a message that is too long",
            Self::Truncated => "a value that reaches beyond its end",
            Self::BodyLength => "a message of another length than it says",
            Self::Trailing => "bytes behind the last value",
            Self::Padding => "padding that is not zero",
            Self::Boolean => "a boolean that is neither 0 nor 1",
            Self::Text => "a string that is not text",
            Self::Name => "a name that is empty or too long",
            Self::Path => "an object path that is none",
            Self::Signature => "a signature that is none or does not fit",
            Self::Depth => "values that are nested too deeply",
        })
    }
}

impl core::error::Error for Malformed {}

/// A place for a `u` in a [`Writer`].
#[derive(Debug)]
pub struct Reserved(usize);

/// Appends values.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    endian: Endian,
}

impl Writer {
    /// Nothing yet; what is written first is at a multiple of eight.
    pub const fn new(endian: Endian) -> Self {
        Self { bytes: Vec::new(), endian }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Where the next byte goes.
    pub fn position(&self) -> usize {
        self.bytes.len()
    }

    /// Padding up to a multiple of `alignment`.
    pub fn align(&mut self, alignment: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }

    /// `y`.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// `u`.
    pub fn u32(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&self.endian.to_bytes(number));
    }

    /// `u` that [`fill_u32`](Self::fill_u32) fills in later; returns its place.
    pub fn reserve_u32(&mut self) -> Reserved {
        self.u32(0);
        Reserved(self.bytes.len() - 4)
    }

    /// Fills in a length, below 4 GiB, for which this writer reserved a place.
    pub fn fill_u32(&mut self, place: Reserved, length: usize) {
        let bytes = self.endian.to_bytes(length as u32);
        // There since `reserve_u32`: a writer only grows.
        self.bytes[place.0..place.0 + 4].copy_from_slice(&bytes);
    }

    /// `s` or `o`: without zero bytes, shorter than 4 GiB.
    pub fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend_from_slice(text.as_bytes());
        self.byte(0);
    }

    /// `g`: at most [`NAME_MAX`] bytes.
    pub fn signature(&mut self, text: &str) {
        self.byte(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
        self.byte(0);
    }
}

/// Takes values off the front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    endian: Endian,
}

impl<'a> Reader<'a> {
    /// Values that start at a multiple of eight.
    pub const fn new(bytes: &'a [u8], endian: Endian) -> Self {
        Self { bytes, at: 0, endian }
    }

    /// How many bytes were taken.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The bytes that were not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        // `at` never passes the end: it only moves by what was there.
        &self.bytes[self.at..]
    }

    /// Says that no bytes may be left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest().is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    /// Padding up to a multiple of `alignment`.
    pub fn align(&mut self, alignment: usize) -> Result<(), Malformed> {
        let padding = self.take(self.at.next_multiple_of(alignment) - self.at)?;
        if padding.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Malformed::Padding) }
    }

    /// `y`.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// `b`.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Boolean),
        }
    }

    /// `u`.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        self.array().map(|bytes| self.endian.u32(bytes))
    }

    /// `s`.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.length()?;
        self.text(length)
    }

    /// `s` where it is a bus, interface, member or error name. Only its length is checked: names
    /// are compared, and one that breaks their rules is equal to none of ours.
    pub fn name(&mut self) -> Result<&'a str, Malformed> {
        let name = self.string()?;
        if (1..=NAME_MAX).contains(&name.len()) { Ok(name) } else { Err(Malformed::Name) }
    }

    /// `o`.
    pub fn object_path(&mut self) -> Result<&'a str, Malformed> {
        let path = self.string()?;
        if is_object_path(path) { Ok(path) } else { Err(Malformed::Path) }
    }

    /// `g`.
    pub fn signature(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::from(self.byte()?);
        let text = self.text(length)?;
        signature::check(text)?;
        Ok(text)
    }

    /// The start of a `v`: the signature of its one value, which comes next.
    pub fn variant(&mut self) -> Result<&'a str, Malformed> {
        let signature = self.signature()?;
        match signature::split(signature.as_bytes())? {
            (_, []) => Ok(signature),
            _ => Err(Malformed::Signature),
        }
    }

    /// The start of an array of elements with this alignment: a reader's position at which it ends.
    pub fn array_end(&mut self, alignment: usize) -> Result<usize, Malformed> {
        let length = self.length()?;
        self.align(alignment)?;
        if length > self.rest().len() {
            return Err(Malformed::Truncated);
        }
        Ok(self.at + length)
    }

    /// Passes over values of these types, and checks them on the way.
    pub fn skip(&mut self, signature: &str) -> Result<(), Malformed> {
        self.skip_all(signature.as_bytes(), DEPTH_MAX)
    }

    fn skip_all(&mut self, mut types: &[u8], depth: u8) -> Result<(), Malformed> {
        while !types.is_empty() {
            let (first, rest) = signature::split(types)?;
            self.skip_one(first, depth)?;
            types = rest;
        }
        Ok(())
    }

    fn skip_one(&mut self, single: &[u8], depth: u8) -> Result<(), Malformed> {
        let inside = depth.checked_sub(1).ok_or(Malformed::Depth);
        match single {
            [b's'] => self.string().map(drop),
            [b'o'] => self.object_path().map(drop),
            [b'g'] => self.signature().map(drop),
            [b'b'] => self.boolean().map(drop),
            [b'v'] => {
                let signature = self.variant()?;
                self.skip_one(signature.as_bytes(), inside?)
            }
            [b'a', element @ ..] => {
                let end = self.array_end(alignment(element)?)?;
                // Ends: every value is at least one byte long.
                while self.at < end {
                    self.skip_one(element, inside?)?;
                }
                if self.at == end { Ok(()) } else { Err(Malformed::Truncated) }
            }
            [b'(' | b'{', fields @ .., _] => {
                self.align(8)?;
                self.skip_all(fields, inside?)
            }
            fixed => {
                let size = alignment(fixed)?;
                self.align(size)?;
                self.take(size).map(drop)
            }
        }
    }

    /// A length that cannot be right is refused before anyone counts on it.
    fn length(&mut self) -> Result<usize, Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed::Truncated)?;
        if length <= self.bytes.len() { Ok(length) } else { Err(Malformed::Truncated) }
    }

    fn text(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let text = self.take(length)?;
        if self.byte()? != 0 || text.contains(&0) {
            return Err(Malformed::Text);
        }
        str::from_utf8(text).map_err(|_| Malformed::Text)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, _) = self.rest().split_first_chunk().ok_or(Malformed::Truncated)?;
        self.at += N;
        Ok(*taken)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, _) = self.rest().split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.at += count;
        Ok(taken)
    }
}

/// `/`, or elements of letters, digits and `_`, each after a `/`.
pub fn is_object_path(path: &str) -> bool {
    let Some(elements) = path.strip_prefix('/') else { return false };
    elements.is_empty()
        || elements.split('/').all(|element| {
            !element.is_empty() && element.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbus::samples::{GLIB_VALUES_BIG, GLIB_VALUES_LITTLE, VALUES_SIGNATURE};

    #[test]
    fn numbers_in_both_orders() {
        for (endian, bytes) in
            [(Endian::Little, [7, 0, 0, 0, 4, 3, 2, 1]), (Endian::Big, [7, 0, 0, 0, 1, 2, 3, 4])]
        {
            let mut writer = Writer::new(endian);
            writer.byte(7);
            writer.u32(0x0102_0304);
            assert_eq!(writer.into_bytes(), bytes);
            let mut reader = Reader::new(&bytes, endian);
            assert_eq!(reader.byte(), Ok(7));
            assert_eq!(reader.u32(), Ok(0x0102_0304));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn strings_in_both_orders() {
        for (endian, bytes) in [(Endian::Little, b"\x03\0\0\0foo\0"), (Endian::Big, b"\0\0\0\x03foo\0")] {
            let mut writer = Writer::new(endian);
            writer.string("foo");
            assert_eq!(writer.into_bytes(), bytes);
            assert_eq!(Reader::new(bytes, endian).string(), Ok("foo"));
        }
    }

    #[test]
    fn strings_are_text() {
        let read = |bytes: &'static [u8]| Reader::new(bytes, Endian::Little).string();
        assert_eq!(read(b"\x02\0\0\0\xc3\xa4\0"), Ok("ä"));
        assert_eq!(read(b"\x02\0\0\0\xc3\x28\0"), Err(Malformed::Text));
        assert_eq!(read(b"\x03\0\0\0a\0b\0"), Err(Malformed::Text));
        assert_eq!(read(b"\x03\0\0\0abc!"), Err(Malformed::Text));
        assert_eq!(read(b"\x03\0\0\0abc"), Err(Malformed::Truncated));
        assert_eq!(read(b"\xff\xff\xff\xffabc\0"), Err(Malformed::Truncated));
        assert_eq!(read(b"\x03\0\0"), Err(Malformed::Truncated));
    }

    #[test]
    fn padding_is_zero() {
        let mut reader = Reader::new(&[1, 0, 9, 0, 1, 0, 0, 0], Endian::Little);
        reader.byte().unwrap();
        assert_eq!(reader.u32(), Err(Malformed::Padding));
    }

    #[test]
    fn object_paths() {
        for good in ["/", "/a", "/org/freedesktop/systemd1/unit/a_2eservice", "/0/_"] {
            assert!(is_object_path(good), "{good}");
        }
        for bad in ["", "a", "//", "/a/", "/a//b", "/a.b", "/ä", "/a b", "/a\n"] {
            assert!(!is_object_path(bad), "{bad}");
        }
    }

    #[test]
    fn skips_what_it_does_not_know() {
        let signature = VALUES_SIGNATURE;
        for (bytes, endian) in [(GLIB_VALUES_LITTLE, Endian::Little), (GLIB_VALUES_BIG, Endian::Big)] {
            let mut reader = Reader::new(bytes, endian);
            assert_eq!(reader.skip(signature), Ok(()));
            assert_eq!(reader.end(), Ok(()));
            for cut in 0..bytes.len() {
                assert_eq!(
                    Reader::new(&bytes[..cut], endian).skip(signature),
                    Err(Malformed::Truncated),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn an_array_ends_where_an_element_ends() {
        let mut bytes = *b"\x08\0\0\0\x01\0\0\0\x02\0\0\0";
        assert_eq!(Reader::new(&bytes, Endian::Little).skip("au"), Ok(()));
        bytes[0] = 7;
        assert_eq!(Reader::new(&bytes, Endian::Little).skip("au"), Err(Malformed::Truncated));
        bytes[0] = 9;
        assert_eq!(Reader::new(&bytes, Endian::Little).skip("au"), Err(Malformed::Truncated));
    }

    #[test]
    fn an_empty_array_still_pads() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 0, 5];
        let mut reader = Reader::new(&bytes, Endian::Little);
        assert_eq!(reader.skip("ax"), Ok(()));
        assert_eq!(reader.byte(), Ok(5));
    }

    #[test]
    fn variants_hold_one_value() {
        let read = |bytes: &'static [u8]| Reader::new(bytes, Endian::Little).skip("v");
        assert_eq!(read(b"\x01y\0\x07"), Ok(()));
        assert_eq!(read(b"\x02yy\0\x07\x07"), Err(Malformed::Signature));
        assert_eq!(read(b"\0\0"), Err(Malformed::Signature));
    }

    #[test]
    fn variants_nest_to_a_limit() {
        let nested = |count| b"\x01v\0".repeat(count).into_iter().chain(*b"\x01y\0\x07").collect::<Vec<_>>();
        assert_eq!(Reader::new(&nested(63), Endian::Little).skip("v"), Ok(()));
        assert_eq!(Reader::new(&nested(64), Endian::Little).skip("v"), Err(Malformed::Depth));
        assert_eq!(Reader::new(&nested(100_000), Endian::Little).skip("v"), Err(Malformed::Depth));
    }

    #[test]
    fn booleans_are_0_or_1() {
        let read = |byte| Reader::new(&[byte, 0, 0, 0], Endian::Little).boolean();
        assert_eq!(read(0), Ok(false));
        assert_eq!(read(1), Ok(true));
        assert_eq!(read(2), Err(Malformed::Boolean));
    }
}
