//! Known answers, and what must not open.

extern crate std;

use std::vec::Vec;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

struct Answer {
    key: Key,
    nonce: [u8; NONCE],
    associated: Vec<u8>,
    text: Vec<u8>,
    sealed: Vec<u8>,
    tag: [u8; TAG],
}

/// Test case 4 of the GCM specification (McGrew and Viega, appendix B).
fn aes() -> Answer {
    Answer {
        key: Key::Aes128Gcm(hex("feffe9928665731c6d6a8f9467308308").try_into().unwrap()),
        nonce: hex("cafebabefacedbaddecaf888").try_into().unwrap(),
        associated: hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
        text: hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"),
        sealed: hex("42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"),
        tag: hex("5bc94fbc3221a5db94fae95ae7121a47").try_into().unwrap(),
    }
}

/// RFC 8439 section 2.8.2.
fn chacha() -> Answer {
    Answer {
        key: Key::ChaCha20Poly1305(core::array::from_fn(|at| 0x80 + at as u8)),
        nonce: hex("070000004041424344454647").try_into().unwrap(),
        associated: hex("50515253c0c1c2c3c4c5c6c7"),
        text: b"Ladies and Gentlemen of the class of '99: If I could offer you \
            only one tip for the future, sunscreen would be it."
            .to_vec(),
        sealed: hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
             3ff4def08e4b7a9de576d26586cec64b6116"),
        tag: hex("1ae10b594f09e26a7e902ecbd0600691").try_into().unwrap(),
    }
}

#[test]
fn known_answers() {
    for answer in [aes(), chacha()] {
        let mut text = answer.text.clone();
        let tag = answer.key.seal(&answer.nonce, &answer.associated, &mut text).unwrap();
        assert_eq!((&text, tag), (&answer.sealed, answer.tag), "{:?}", answer.key);
        answer.key.open(&answer.nonce, &answer.associated, &mut text, &tag).unwrap();
        assert_eq!(text, answer.text);
    }
}

/// Every bit counts, and what does not open is left as it was.
#[test]
fn nothing_altered_opens() {
    for answer in [aes(), chacha()] {
        let refused = |nonce: &[u8; NONCE], associated: &[u8], sealed: &[u8], tag: &[u8; TAG]| {
            let mut text = sealed.to_vec();
            assert_eq!(answer.key.open(nonce, associated, &mut text, tag), Err(Refused));
            assert_eq!(text, sealed);
        };
        let Answer { nonce, associated, sealed, tag, .. } = &answer;
        for bit in 0..8 {
            for at in 0..TAG {
                let mut tag = *tag;
                tag[at] ^= 1 << bit;
                refused(nonce, associated, sealed, &tag);
            }
            for at in 0..NONCE {
                let mut nonce = *nonce;
                nonce[at] ^= 1 << bit;
                refused(&nonce, associated, sealed, tag);
            }
            for at in 0..sealed.len() {
                let mut sealed = sealed.clone();
                sealed[at] ^= 1 << bit;
                refused(nonce, associated, &sealed, tag);
            }
            for at in 0..associated.len() {
                let mut associated = associated.clone();
                associated[at] ^= 1 << bit;
                refused(nonce, &associated, sealed, tag);
            }
        }
        refused(nonce, associated, &sealed[1..], tag);
        refused(nonce, &[], sealed, tag);
    }
}

#[test]
fn all_lengths_of_small_records() {
    for key in [aes().key, chacha().key] {
        for length in 0..300 {
            let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut sealed = text.clone();
            let tag = key.seal(&[3; NONCE], b"header", &mut sealed).unwrap();
            key.open(&[3; NONCE], b"header", &mut sealed, &tag).unwrap();
            assert_eq!(sealed, text);
        }
    }
}

#[test]
fn a_key_is_not_printed() {
    assert_eq!(std::format!("{:?}", chacha().key), "Key::ChaCha20Poly1305(..)");
}
