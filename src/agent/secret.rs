//! Secrets: parameters whose value is `lrm://`, because the real one is in a file of this node
//! (executor-semantics.md section 6.6).
//!
//! Only the child reads it, after the fork: it is never in the daemon, so neither in a log nor in what the cluster
//! is told, which is the parameter as it came.
#![forbid(unsafe_code)]

use std::ffi::CString;

use super::is_path_part;
use super::ocf::concat;

/// The value that stands for a secret.
pub(super) const PLACEHOLDER: &str = "lrm://";

/// Where `cibsecret` keeps them: a directory for each resource, with two files for each parameter.
const DIRECTORY: &[u8] = b"/var/lib/pacemaker/lrm/secrets/";

/// A parameter whose value the child looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// `NAME=`, with which the entry of the environment begins that the value belongs to.
    pub entry: CString,
    /// The file with the value.
    pub file: CString,
    /// The file that says by [`is_signed`] whether the value is the one that was meant.
    pub signature: CString,
}

impl Secret {
    /// Longer ones are refused, in bytes: with its name it must fit into what Linux takes for one variable.
    pub const LIMIT: usize = 64 * 1024;

    /// Longest signature that is looked at, in bytes.
    pub const SIGNATURE_LIMIT: usize = 128;

    /// `None` if there can be none by such names: they would lead out of the directory.
    pub(super) fn of(resource: &str, parameter: &str, entry: &[u8]) -> Option<Self> {
        let usable = is_path_part(resource) && is_path_part(parameter);
        let path = [DIRECTORY, resource.as_bytes(), b"/", parameter.as_bytes()].concat();
        let (file, signature) = (concat(&[&path])?, concat(&[&path, b".sign"])?);
        usable.then_some(Self { entry: concat(&[entry])?, file, signature })
    }
}

/// What counts of a file's content: all but white space at its end.
pub fn trimmed(content: &[u8]) -> &[u8] {
    content.trim_ascii_end()
}

/// Whether a signature, the hexadecimal MD5 of the value, is that of this value. It tells a file that was only
/// half copied; against somebody who may write there it is no protection.
pub fn is_signed(value: &[u8], signature: &[u8]) -> bool {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let digest = md5(value);
    let digits = digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.eq(signature.iter().map(u8::to_ascii_lowercase))
}

/// RFC 1321. Neither allocates nor panics: it is called between fork and exec.
fn md5(message: &[u8]) -> [u8; 16] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, rest) = message.as_chunks::<64>();
    for block in blocks {
        mix(&mut state, block);
    }
    // A one bit, zeroes, and the length in bits: one more block, or two.
    let bits = (message.len() as u64).wrapping_mul(8).to_le_bytes();
    let mut last = [0; 64];
    for (place, byte) in last.iter_mut().zip(rest.iter().chain(&[0x80])) {
        *place = *byte;
    }
    if rest.len() >= 56 {
        mix(&mut state, &last);
        last = [0; 64];
    }
    for (place, byte) in last.iter_mut().skip(56).zip(bits) {
        *place = byte;
    }
    mix(&mut state, &last);
    let mut digest = [0; 16];
    for (place, word) in digest.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

/// One block: four rounds of sixteen steps.
fn mix(state: &mut [u32; 4], block: &[u8; 64]) {
    let [mut a, mut b, mut c, mut d] = *state;
    let (words, _) = block.as_chunks::<4>();
    for (step, sine) in SINES.iter().enumerate() {
        let (mixed, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        // Both are there: the remainders are below 16.
        let word = words.get(word % 16).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let turn = TURNS.get(step / 16 * 4 + step % 4).copied().unwrap_or_default();
        let sum = a.wrapping_add(mixed).wrapping_add(*sine).wrapping_add(word);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(turn)));
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d]) {
        *sum = sum.wrapping_add(word);
    }
}

/// By how many bits each step turns: the same four over and over in a round.
const TURNS: [u32; 16] = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];

/// The first 32 bits of the sines of 1 to 64.
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_the_rfc() {
        let hex =
            |message: &str| md5(message.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex("a"), "0cc175b9c0f1b6a831c399e269772661");
        assert_eq!(hex("abc"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(hex("abcdefghijklmnopqrstuvwxyz"), "c3fcd3d76192e4007dfb496cca67e13b");
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        assert_eq!(hex(letters), "d174ab98d277d9f5a5611c2c9f419d9f");
        assert_eq!(hex(&"1234567890".repeat(8)), "57edf4a22be3c955ac49da2e2107b67a");
    }

    /// The three ways in which the end fills its last blocks; the digests are `md5sum`'s.
    #[test]
    fn lengths_around_a_block() {
        let signed = |length: usize, signature: &str| is_signed(&vec![b'x'; length], signature.as_bytes());
        assert!(signed(55, "04364420e25c512fd958a70738aa8f72"));
        assert!(signed(56, "668a72d5ba17f08e62dabcafad6db14b"));
        assert!(signed(64, "c1bb4f81d892b2d57947682aeb252456"));
        assert!(signed(1000, "398533d48111e9f664b1f64cb10c4b63"));
        assert!(!signed(54, "04364420e25c512fd958a70738aa8f72"));
    }

    #[test]
    fn signatures_are_digits_of_either_case_and_nothing_else() {
        assert!(is_signed(b"abc", b"900150983cd24fb0d6963f7d28e17f72"));
        assert!(is_signed(b"abc", b"900150983CD24FB0D6963F7D28E17F72"));
        assert!(!is_signed(b"abc", b"900150983cd24fb0d6963f7d28e17f7"));
        assert!(!is_signed(b"abc", b"900150983cd24fb0d6963f7d28e17f720"));
        assert!(!is_signed(b"abc", b""));
        assert_eq!(trimmed(b" a b \t\n"), b" a b");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let found = Secret::of("web", "password", b"OCF_RESKEY_password=").unwrap();
        assert_eq!(found.file.as_c_str(), c"/var/lib/pacemaker/lrm/secrets/web/password");
        assert_eq!(found.signature.as_c_str(), c"/var/lib/pacemaker/lrm/secrets/web/password.sign");
        for (resource, parameter) in [
            ("..", "p"),
            (".", "p"),
            ("", "p"),
            ("a/b", "p"),
            ("a", "../../../../etc/shadow"),
            ("a", ".."),
            ("a", ""),
        ] {
            assert_eq!(Secret::of(resource, parameter, b"p="), None, "{resource} {parameter}");
        }
        assert_eq!(Secret::of(&"x".repeat(256), "p", b"p="), None);
    }
}
