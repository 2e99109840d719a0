//! Cipher suites (RFC 8446 section B.4).

use pacelet_aead::Key;
use zeroize::Zeroizing;

use super::schedule::Secret;

/// A TLS 1.3 suite with SHA-256, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    Aes128GcmSha256 = 0x1301,
    ChaCha20Poly1305Sha256 = 0x1303,
}

impl Suite {
    pub(super) const fn from_number(number: u16) -> Option<Self> {
        match number {
            0x1301 => Some(Self::Aes128GcmSha256),
            0x1303 => Some(Self::ChaCha20Poly1305Sha256),
            _ => None,
        }
    }

    /// The record key of a traffic secret (RFC 8446 section 7.3).
    pub(super) fn key(self, secret: &Secret) -> Key {
        match self {
            Self::Aes128GcmSha256 => Key::Aes128Gcm(*expand(secret)),
            Self::ChaCha20Poly1305Sha256 => Key::ChaCha20Poly1305(*expand(secret)),
        }
    }
}

fn expand<const N: usize>(secret: &Secret) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0; N]);
    secret.expand("key", &[], &mut *key);
    key
}
