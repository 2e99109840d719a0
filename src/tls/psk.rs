//! The pre-shared key.

use core::fmt;

use zeroize::Zeroizing;

/// The key that every node of the cluster shares: the raw bytes of the key file, nothing trimmed or
/// decoded (remote-protocol.md section 5.2). Wiped when dropped, never printed.
pub struct Psk(Zeroizing<Box<[u8]>>);

/// Why some bytes cannot be a [`Psk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PskError {
    /// There are none. An empty key file counts as no key.
    Empty,
    /// There are more than [`Psk::MAX`].
    TooLong,
}

impl Psk {
    /// The longest key: TLS 1.2 has 16 bits for its length (RFC 4279 section 2).
    pub const MAX: usize = 65_535;

    /// Copies 1 to [`Psk::MAX`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, PskError> {
        match bytes.len() {
            0 => Err(PskError::Empty),
            1..=Self::MAX => Ok(Self(Zeroizing::new(bytes.into()))),
            _ => Err(PskError::TooLong),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

impl fmt::Display for PskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the key is empty"),
            Self::TooLong => write!(f, "the key is longer than {} bytes", Psk::MAX),
        }
    }
}

impl core::error::Error for PskError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_bounds() {
        assert_eq!(Psk::new(&[]).err(), Some(PskError::Empty));
        assert_eq!(Psk::new(&[1]).unwrap().bytes(), [1]);
        assert_eq!(Psk::new(&vec![1; Psk::MAX]).unwrap().bytes().len(), Psk::MAX);
        assert_eq!(Psk::new(&vec![1; Psk::MAX + 1]).err(), Some(PskError::TooLong));
    }

    #[test]
    fn is_not_printed() {
        assert_eq!(format!("{:?}", Psk::new(b"secret").unwrap()), "Psk(..)");
    }
}
