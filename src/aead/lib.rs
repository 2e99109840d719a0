//! The record ciphers of pacelet's TLS: AES-128-GCM (RFC 5116) and ChaCha20-Poly1305 (RFC 8439).
//!
//! A package of its own because compiler profiles are per package: the ciphers are generic code, so
//! whoever calls them compiles them, and at the daemon's `opt-level = "s"` they are ten times
//! slower. Nothing in here is generic.
//!
//! A [`Key`] is the bare key. AES expands it for every record, about 0.1 µs beside 16 µs for a full
//! record, and in return an idle connection holds 33 bytes instead of 700.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aes::Aes128Enc;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a nonce, with both ciphers.
pub const NONCE: usize = 12;
/// Bytes of an authentication tag, with both ciphers.
pub const TAG: usize = 16;

// GCM never decrypts with the block cipher; the encrypting half is half the key schedule.
type Aes128Gcm = AesGcm<Aes128Enc, U12>;

/// A key of one of the ciphers. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub enum Key {
    /// AEAD_AES_128_GCM.
    Aes128Gcm([u8; 16]),
    /// AEAD_CHACHA20_POLY1305.
    ChaCha20Poly1305([u8; 32]),
}

/// [`Key::open`]: the tag does not fit key, nonce, associated data and text, so the text was not
/// decrypted. [`Key::seal`]: the text is longer than the cipher allows (64 GiB and more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Key {
    /// Encrypts `text` in place and returns the tag over it and `associated`.
    ///
    /// A nonce must not be used twice with one key.
    pub fn seal(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG], Refused> {
        let tag = match self {
            Self::Aes128Gcm(key) => {
                Aes128Gcm::new(key.into()).encrypt_in_place_detached(nonce.into(), associated, text)
            }
            Self::ChaCha20Poly1305(key) => {
                ChaCha20Poly1305::new(key.into()).encrypt_in_place_detached(nonce.into(), associated, text)
            }
        };
        tag.map(Into::into).map_err(|_| Refused)
    }

    /// Decrypts `text` in place if `tag` is right, checked in constant time and before decryption.
    pub fn open(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Refused> {
        let tag = Tag::from_slice(tag);
        let opened = match self {
            Self::Aes128Gcm(key) => {
                Aes128Gcm::new(key.into()).decrypt_in_place_detached(nonce.into(), associated, text, tag)
            }
            Self::ChaCha20Poly1305(key) => ChaCha20Poly1305::new(key.into()).decrypt_in_place_detached(
                nonce.into(),
                associated,
                text,
                tag,
            ),
        };
        opened.map_err(|_| Refused)
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Aes128Gcm(_) => "Key::Aes128Gcm(..)",
            Self::ChaCha20Poly1305(_) => "Key::ChaCha20Poly1305(..)",
        })
    }
}

#[cfg(test)]
mod tests;
