//! The record layer (RFC 8446 section 5): headers, limits, and one direction's encryption.

use pacelet_aead::{Key, NONCE, TAG};
use zeroize::Zeroizing;

use super::failure::Cause;
use super::schedule::Secret;
use super::suite::Suite;

/// Bytes of a record's header.
pub(super) const HEADER: usize = 5;
/// The longest plaintext of one record (RFC 8446 section 5.1).
pub const RECORD_TEXT: usize = 1 << 14;
/// What encryption adds to the plaintext of one record: header, content type and tag.
pub const RECORD_OVERHEAD: usize = HEADER + 1 + TAG;
/// The longest body of an encrypted record (RFC 8446 section 5.2).
const MAX_CIPHERTEXT: usize = RECORD_TEXT + 256;

/// How many records a key may encrypt: AES-GCM's 2^24.5 full records (RFC 8446 section 5.5), for
/// both ciphers.
pub(super) const KEY_LIMIT: u64 = 23_726_566;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    ChangeCipherSpec = 20,
    Alert = 21,
    Handshake = 22,
    ApplicationData = 23,
}

impl ContentType {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            _ => return None,
        })
    }

    /// As RFC 8446 calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ChangeCipherSpec => "change_cipher_spec",
            Self::Alert => "alert",
            Self::Handshake => "handshake",
            Self::ApplicationData => "application_data",
        }
    }
}

/// A record's header, within the limits. The version in it "MUST be ignored for all purposes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: ContentType,
    /// Bytes that follow.
    pub(super) length: usize,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, Cause> {
        let [kind, _, _, high, low] = *bytes;
        let kind = ContentType::from_byte(kind).ok_or(Cause::NotTls(kind))?;
        let length = u16::from_be_bytes([high, low]).into();
        // Application data is always encrypted, and nothing else ever is.
        let limit = if kind == ContentType::ApplicationData { MAX_CIPHERTEXT } else { RECORD_TEXT };
        if length > limit {
            return Err(Cause::RecordTooLong(limit));
        }
        Ok(Self { kind, length })
    }
}

/// Appends an unencrypted record; `content` must be shorter than [`RECORD_TEXT`].
pub(super) fn plain(kind: ContentType, content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&header(kind, content.len()));
    out.extend_from_slice(content);
}

/// The header of a record whose body is shorter than 64 KiB.
fn header(kind: ContentType, length: usize) -> [u8; HEADER] {
    let [high, low] = (length as u16).to_be_bytes();
    [kind as u8, 3, 3, high, low]
}

/// One direction's traffic keys, with the secret that the next ones come from.
pub(super) struct Traffic {
    suite: Suite,
    secret: Secret,
    key: Key,
    iv: Zeroizing<[u8; NONCE]>,
    /// The number of the next record.
    sequence: u64,
}

impl Traffic {
    /// On the heap, so that states can move without leaving copies of keys behind.
    pub(super) fn new(suite: Suite, secret: Secret) -> Box<Self> {
        let mut iv = Zeroizing::new([0; NONCE]);
        secret.expand("iv", &[], &mut *iv);
        Box::new(Self { suite, key: suite.key(&secret), iv, secret, sequence: 0 })
    }

    /// The keys after a KeyUpdate, the sequence from 0 (RFC 8446 section 7.2).
    pub(super) fn update(&mut self) {
        *self = *Self::new(self.suite, self.secret.next_generation());
    }

    /// How many records the key has done.
    pub(super) fn records(&self) -> u64 {
        self.sequence
    }

    /// Appends one encrypted record; `content` is at most [`RECORD_TEXT`] bytes.
    pub(super) fn seal(&mut self, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Result<(), Cause> {
        if self.sequence >= KEY_LIMIT {
            return Err(Cause::KeyUsedUp);
        }
        if content.len() > RECORD_TEXT {
            return Err(Cause::TextTooLong);
        }
        let header = header(ContentType::ApplicationData, content.len() + 1 + TAG);
        let start = out.len();
        out.reserve(content.len() + RECORD_OVERHEAD);
        out.extend_from_slice(&header);
        out.extend_from_slice(content);
        out.push(kind as u8);
        // `out` has just grown by more than a header.
        let text = &mut out[start + HEADER..];
        let sealed = self.key.seal(&self.nonce(), &header, text);
        let Ok(tag) = sealed else {
            out.truncate(start);
            return Err(Cause::TextTooLong);
        };
        out.extend_from_slice(&tag);
        self.sequence += 1;
        Ok(())
    }

    /// Decrypts a record's body and appends its content to `to`, which is as before on failure.
    pub(super) fn open(&mut self, body: &[u8], to: &mut Vec<u8>) -> Result<ContentType, Cause> {
        let start = to.len();
        let opened = self.open_at(start, body, to);
        if opened.is_err() {
            to.truncate(start);
        }
        opened
    }

    fn open_at(&mut self, start: usize, body: &[u8], to: &mut Vec<u8>) -> Result<ContentType, Cause> {
        let (text, tag) = body.split_last_chunk::<TAG>().ok_or(Cause::Undecryptable)?;
        let next = self.sequence.checked_add(1).ok_or(Cause::KeyUsedUp)?;
        let header = header(ContentType::ApplicationData, body.len());
        to.extend_from_slice(text);
        // `start` was the length before the text was appended.
        let opened = self.key.open(&self.nonce(), &header, &mut to[start..], tag);
        opened.map_err(|_| Cause::Undecryptable)?;
        self.sequence = next;

        // TLSInnerPlaintext: content, its type, any number of zeros, in all at most one byte more
        // than a plaintext may be.
        if text.len() > RECORD_TEXT + 1 {
            return Err(Cause::RecordTooLong(RECORD_TEXT));
        }
        let padding = to[start..].iter().rev().take_while(|&&byte| byte == 0).count();
        to.truncate(to.len() - padding);
        let kind = if to.len() > start { to.pop() } else { None };
        let kind = kind.ok_or(Cause::Unexpected("a record without content type"))?;
        ContentType::from_byte(kind).ok_or(Cause::Unexpected("a record of unknown content type"))
    }

    /// The per-record nonce (RFC 8446 section 5.3).
    fn nonce(&self) -> [u8; NONCE] {
        let mut nonce = *self.iv;
        for (byte, sequence) in nonce.iter_mut().rev().zip(self.sequence.to_le_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::schedule::Early;

    fn traffic(suite: Suite) -> Box<Traffic> {
        Traffic::new(suite, Early::new(b"key").handshake(&[]).client(&[0; 32]))
    }

    #[test]
    fn a_key_does_not_do_more_than_it_may() {
        for suite in [Suite::Aes128GcmSha256, Suite::ChaCha20Poly1305Sha256] {
            let mut write = traffic(suite);
            write.sequence = KEY_LIMIT - 1;
            let mut out = b"before".to_vec();
            write.seal(ContentType::ApplicationData, b"x", &mut out).unwrap();
            out.truncate(6);
            let refused = write.seal(ContentType::ApplicationData, b"x", &mut out);
            assert_eq!((refused, &out[..]), (Err(Cause::KeyUsedUp), &b"before"[..]));
            write.update();
            write.seal(ContentType::ApplicationData, b"x", &mut out).unwrap();
        }
    }

    #[test]
    fn sequence_numbers_do_not_wrap() {
        let mut write = traffic(Suite::Aes128GcmSha256);
        let mut out = Vec::new();
        write.seal(ContentType::ApplicationData, b"x", &mut out).unwrap();
        let mut read = traffic(Suite::Aes128GcmSha256);
        read.sequence = u64::MAX;
        assert_eq!(read.open(&out[HEADER..], &mut Vec::new()), Err(Cause::KeyUsedUp));
    }

    #[test]
    fn each_record_has_its_own_nonce() {
        let mut traffic = traffic(Suite::Aes128GcmSha256);
        let iv = *traffic.iv;
        assert_eq!(traffic.nonce(), iv);
        traffic.sequence = 0x0102_0304_0506_0708;
        let difference: [u8; NONCE] = core::array::from_fn(|at| traffic.nonce()[at] ^ iv[at]);
        assert_eq!(difference, [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    /// What does not open leaves no trace, and the next record opens all the same.
    #[test]
    fn a_refused_record_leaves_everything_as_it_was() {
        let mut out = Vec::new();
        traffic(Suite::ChaCha20Poly1305Sha256).seal(ContentType::Alert, &[1, 0], &mut out).unwrap();
        let mut read = traffic(Suite::ChaCha20Poly1305Sha256);
        let mut to = b"before".to_vec();
        assert_eq!(read.open(&[7; 40], &mut to), Err(Cause::Undecryptable));
        assert_eq!(to, b"before");
        assert_eq!(read.open(&out[HEADER..], &mut to), Ok(ContentType::Alert));
        assert_eq!(to, b"before\x01\x00");
    }
}
