//! A look at a server that has refused a TLS 1.3 handshake: would it speak TLS 1.2?
//!
//! `embedded-tls` speaks TLS 1.3 only, and a server that does not may refuse it with the same words as one that
//! has another key. So a ClientHello of TLS 1.2 is sent, with the suites a cluster node offers, and the
//! beginning of the answer is read. A server that could speak TLS 1.3 says so in the last bytes of its random
//! value even then (RFC 8446 section 4.1.3): this is how the two are told apart.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::tools::client::{self, First};

/// A record with a ClientHello of TLS 1.2 (RFC 5246 section 7.4.1.2). No key is made of its random value, so
/// that needs not be random.
#[rustfmt::skip]
const HELLO: &[u8] = &[
    22, 3, 1, 0, 94, // record: type, version, length
    1, 0, 0, 90, // message: type, length
    3, 3, // TLS 1.2
    0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A,
    0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A,
    0, // no session
    // Suites with a pre-shared key, as GnuTLS orders them (tls.md section 1): AES-GCM and ChaCha20-Poly1305 with
    // DHE and without, then AES-CBC for old servers.
    0, 20, 0x00, 0xAB, 0xCC, 0xAD, 0x00, 0xAA, 0x00, 0xA9, 0xCC, 0xAB, 0x00, 0xA8,
    0x00, 0x91, 0x00, 0x90, 0x00, 0x8D, 0x00, 0x8C,
    1, 0, // no compression
    0, 29, // extensions
    0xFF, 0x01, 0, 1, 0, // renegotiation_info
    0x00, 0x17, 0, 0, // extended_master_secret
    0x00, 0x16, 0, 0, // encrypt_then_mac
    // supported_groups (RFC 7919): ffdhe2048, ffdhe3072, ffdhe4096, ffdhe6144, ffdhe8192
    0x00, 0x0A, 0, 12, 0, 10, 0x01, 0x00, 0x01, 0x01, 0x01, 0x02, 0x01, 0x03, 0x01, 0x04,
];

/// What ends the random value of a server that could do better, but for the last byte.
const DOWNGRADE: &[u8] = b"DOWNGRD";

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It takes this version, and knows no better one.
    Takes(u16),
    /// It takes TLS 1.2, but would have taken TLS 1.3 as well.
    KnowsBetter,
    /// It refuses.
    Refuses,
}

/// Asks. Gives nothing if nothing comes that can be understood.
pub(super) fn ask(address: SocketAddr, timeout: Duration) -> Option<Answer> {
    let mut stream = client::connect(address, timeout).ok()?;
    stream.write_all(HELLO).ok()?;
    let deadline = Instant::now() + timeout;
    let mut seen = First::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time limit of zero is none, and refused.
        stream.set_read_timeout(Some(left)).ok()?;
        let mut buffer = [0; 16];
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => seen.extend_from_slice(buffer.get(..count)?).ok()?,
            _ => return None,
        }
        if let Some(answer) = Answer::parse(&seen) {
            return Some(answer);
        }
    }
}

impl Answer {
    /// Reads the beginning of an answer; nothing if it is not complete, or no TLS.
    fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            // A record with an alert (RFC 5246 section 7.2).
            [21, _, _, _, _, _, _, ..] => Some(Self::Refuses),
            // A record with a ServerHello: type, length, version, random value (RFC 5246 section 7.4.1.3).
            [22, _, _, _, _, 2, _, _, _, high, low, ..] => {
                let random = bytes.get(11..43)?;
                let knows_better = random.get(24..31) == Some(DOWNGRADE);
                Some(if knows_better {
                    Self::KnowsBetter
                } else {
                    Self::Takes(u16::from_be_bytes([high, low]))
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_hello(version: [u8; 2], end: &[u8; 8]) -> Vec<u8> {
        let mut bytes = vec![22, 3, 3, 0, 80, 2, 0, 0, 76];
        bytes.extend(version);
        bytes.extend([7; 24]);
        bytes.extend(end);
        bytes
    }

    #[test]
    fn answers() {
        assert_eq!(Answer::parse(&server_hello([3, 3], &[7; 8])), Some(Answer::Takes(0x0303)));
        assert_eq!(Answer::parse(&server_hello([3, 1], &[7; 8])), Some(Answer::Takes(0x0301)));
        assert_eq!(Answer::parse(&server_hello([3, 3], b"DOWNGRD\x01")), Some(Answer::KnowsBetter));
        assert_eq!(Answer::parse(&[21, 3, 3, 0, 2, 2, 70]), Some(Answer::Refuses));
        assert_eq!(Answer::parse(b"HTTP/1.1 400 Bad Request\r\n"), None);
        let whole = server_hello([3, 3], &[7; 8]);
        for end in 0..whole.len() {
            assert_eq!(Answer::parse(&whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn lengths_fit() {
        let number = |at: usize| usize::from(u16::from_be_bytes([HELLO[at], HELLO[at + 1]]));
        assert_eq!(number(3), HELLO.len() - 5);
        assert_eq!(number(7), HELLO.len() - 9);
        let suites = 9 + 2 + 32 + 1;
        let extensions = suites + 2 + number(suites) + 2;
        assert_eq!(number(extensions), HELLO.len() - extensions - 2);
    }
}
