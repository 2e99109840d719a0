//! Reading the TLS presentation language (RFC 8446 section 3): numbers and vectors with a length.

/// Some bytes do not have the form that they should have: decode_error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is still to be read of some bytes. Nothing is read beyond their end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|&[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(|&bytes| u16::from_be_bytes(bytes))
    }

    /// A vector with an 8-bit length.
    pub(super) fn vec8(&mut self) -> Result<Self, Malformed> {
        let count = self.u8()?;
        self.take(count.into()).map(Self)
    }

    /// A vector with a 16-bit length.
    pub(super) fn vec16(&mut self) -> Result<Self, Malformed> {
        let count = self.u16()?;
        self.take(count.into()).map(Self)
    }

    /// All that is left, as 16-bit numbers, at least one.
    pub(super) fn u16s(self) -> Result<U16s<'a>, Malformed> {
        if self.0.is_empty() || !self.0.len().is_multiple_of(2) {
            return Err(Malformed);
        }
        Ok(U16s(self.0))
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// A list of 16-bit numbers where it was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct U16s<'a>(&'a [u8]);

impl<'a> U16s<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = u16> + 'a {
        self.0.as_chunks().0.iter().map(|&bytes| u16::from_be_bytes(bytes))
    }
}

/// The 16-bit numbers seen so far, as a bitmap: duplicates in a hello of 64 KiB are found in linear
/// time, without an allocation. 8 KiB, so it belongs on the stack of one call.
pub(super) struct Seen([u64; 1024]);

impl Seen {
    pub(super) fn new() -> Self {
        Self([0; 1024])
    }

    /// Notes a number; true if it is new.
    pub(super) fn insert(&mut self, number: u16) -> bool {
        // A u16 divided by 64 is below 1024.
        let word = &mut self.0[usize::from(number / 64)];
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn contains(&self, number: u16) -> bool {
        self.0[usize::from(number / 64)] & (1 << (number % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut reader = Reader::new(&[0, 3, 1, 2]);
        assert_eq!(reader.vec16().unwrap_err(), Malformed);
        let mut reader = Reader::new(&[2, 1, 2, 9]);
        assert_eq!(reader.vec8().unwrap().rest(), [1, 2]);
        assert_eq!(reader.u16(), Err(Malformed));
        assert_eq!(reader.end(), Err(Malformed));
        assert_eq!(reader.u8(), Ok(9));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn number_lists_are_even_and_not_empty() {
        assert!(Reader::new(&[]).u16s().is_err());
        assert!(Reader::new(&[1]).u16s().is_err());
        assert_eq!(Reader::new(&[1, 2, 3, 4]).u16s().unwrap().iter().collect::<Vec<_>>(), [0x0102, 0x0304]);
    }

    #[test]
    fn every_number_is_new_once() {
        let mut seen = Seen::new();
        for number in 0..=u16::MAX {
            assert!(!seen.contains(number));
            assert!(seen.insert(number));
            assert!(!seen.insert(number));
            assert!(seen.contains(number));
        }
    }
}
