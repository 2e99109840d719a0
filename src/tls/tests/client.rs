//! A TLS 1.3 client for tests: sans-IO, strict about what it is sent, and able to send what no client
//! should.
//!
//! It shares the ciphers with the server, nothing else. What it is sent must be exactly what the
//! server means to send; anything else panics.

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use pacelet_aead::Key;
use sha2::{Digest, Sha256};

pub const CHANGE_CIPHER_SPEC: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

pub const AES: u16 = 0x1301;
pub const CHACHA: u16 = 0x1303;

pub const SECP256R1: u16 = 0x0017;
pub const SECP384R1: u16 = 0x0018;
pub const X25519: u16 = 0x001d;

/// A fixed private key serves as well as any.
const PRIVATE: [u8; 32] = [0x42; 32];

/// A ClientHello before it is written.
#[derive(Clone, Debug)]
pub struct Hello {
    pub legacy_version: u16,
    pub session_id: Vec<u8>,
    pub suites: Vec<u16>,
    pub compression: Vec<u8>,
    /// Numbers and contents, without pre_shared_key.
    pub extensions: Vec<(u16, Vec<u8>)>,
    /// What pre_shared_key, the last extension, offers; `None` leaves it out.
    pub identities: Option<Vec<Vec<u8>>>,
    pub key: Vec<u8>,
}

impl Hello {
    /// What a GnuTLS client offers, reduced to what matters, with a share for one group.
    pub fn new(key: &[u8], suite: u16, group: u16) -> Self {
        let share = share(group);
        let mut shares = [group.to_be_bytes(), (share.len() as u16).to_be_bytes()].concat();
        shares.extend(share);
        Self {
            legacy_version: 0x0303,
            session_id: vec![0x5e; 32],
            suites: vec![0x1302, suite],
            compression: vec![0],
            extensions: vec![
                (10, list16(&[SECP256R1, SECP384R1, X25519].map(u16::to_be_bytes).concat())),
                (13, list16(&[4, 3])),
                (43, list8(&[3, 4, 3, 3])),
                (45, list8(&[1, 0])),
                (51, list16(&shares)),
            ],
            identities: Some(vec![b"lrmd".to_vec()]),
            key: key.to_vec(),
        }
    }

    /// Replaces an extension's contents, or adds it.
    pub fn set(&mut self, number: u16, contents: Vec<u8>) {
        match self.extensions.iter_mut().find(|(its, _)| *its == number) {
            Some((_, its)) => *its = contents,
            None => self.extensions.push((number, contents)),
        }
    }

    pub fn remove(&mut self, number: u16) {
        self.extensions.retain(|(its, _)| *its != number);
    }

    /// Replaces the key shares by one for this group.
    pub fn share_only(&mut self, group: u16) {
        self.set(51, list16(&[group.to_be_bytes().to_vec(), list16(&share(group))].concat()));
    }

    /// The message, with the right binders.
    pub fn message(&self) -> Vec<u8> {
        self.message_after(&Sha256::new())
    }

    /// The same as a second hello: the transcript has what came before.
    pub fn message_after(&self, before: &Sha256) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([0x77; 32]);
        body.extend(list8(&self.session_id));
        body.extend(list16(&self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect::<Vec<_>>()));
        body.extend(list8(&self.compression));
        let mut extensions = Vec::new();
        let mut binders = 0;
        for (number, contents) in &self.extensions {
            extensions.extend(number.to_be_bytes());
            extensions.extend(list16(contents));
        }
        if let Some(identities) = &self.identities {
            binders = identities.len();
            let offered: Vec<u8> =
                identities.iter().flat_map(|identity| [list16(identity), vec![0; 4]].concat()).collect();
            let zeros = [&[32][..], &[0; 32]].concat().repeat(binders);
            extensions.extend(41_u16.to_be_bytes());
            extensions.extend(list16(&[list16(&offered), list16(&zeros)].concat()));
        }
        body.extend(list16(&extensions));
        let mut message = message(1, &body);
        sign(before, &mut message, binders, &self.key);
        message
    }
}

/// Puts the right binders at the end of a hello that ends with `count` of them; `before` is the transcript
/// before it.
pub fn sign(before: &Sha256, message: &mut [u8], count: usize, key: &[u8]) {
    let Some(covered) = message.len().checked_sub(2 + 33 * count) else { return };
    let early = extract(&[0; 32], key);
    let binder_key = expand(&early, "ext binder", &Sha256::digest([]), 32);
    let binder = finished(&binder_key, &before.clone().chain_update(&message[..covered]).finalize());
    for at in 0..count {
        message[covered + 3 + 33 * at..][..32].copy_from_slice(&binder);
    }
}

/// The client's public share for a group; something of no group for others.
pub fn share(group: u16) -> Vec<u8> {
    match group {
        SECP256R1 => {
            let secret = p256::SecretKey::from_slice(&PRIVATE).expect("a scalar of the group");
            p256::EncodedPoint::from(secret.public_key()).as_bytes().to_vec()
        }
        SECP384R1 => {
            let secret = p384::SecretKey::from_slice(&[0x42; 48]).expect("a scalar of the group");
            p384::EncodedPoint::from(secret.public_key()).as_bytes().to_vec()
        }
        X25519 => x25519_dalek::x25519(PRIVATE, x25519_dalek::X25519_BASEPOINT_BYTES).to_vec(),
        _ => vec![0xab; 32],
    }
}

fn agree(group: u16, share: &[u8]) -> Vec<u8> {
    match group {
        SECP256R1 => {
            let secret = p256::SecretKey::from_slice(&PRIVATE).expect("a scalar of the group");
            let public = p256::PublicKey::from_sec1_bytes(share).expect("a point of the curve");
            p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine())
                .raw_secret_bytes()
                .to_vec()
        }
        SECP384R1 => {
            let secret = p384::SecretKey::from_slice(&[0x42; 48]).expect("a scalar of the group");
            let public = p384::PublicKey::from_sec1_bytes(share).expect("a point of the curve");
            p384::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine())
                .raw_secret_bytes()
                .to_vec()
        }
        X25519 => x25519_dalek::x25519(PRIVATE, share.try_into().expect("32 bytes")).to_vec(),
        _ => panic!("group {group:#06x} was not offered"),
    }
}

/// The client after its hello.
pub struct Client {
    key: Vec<u8>,
    transcript: Sha256,
    session_id: Vec<u8>,
    /// From the server, as far as the handshake has come.
    pub read: Option<Keys>,
    /// To the server.
    pub write: Option<Keys>,
    next_write: Option<Keys>,
    pub suite: u16,
    /// 0 if the key stands alone.
    pub group: u16,
    pub identity: u16,
    retried: bool,
}

impl Client {
    /// A client that has sent this hello.
    pub fn new(key: &[u8], hello: &[u8]) -> Self {
        let session_id = hello.get(39..39 + usize::from(hello[38])).unwrap_or_default().to_vec();
        Self {
            key: key.to_vec(),
            transcript: Sha256::new_with_prefix(hello),
            session_id,
            read: None,
            write: None,
            next_write: None,
            suite: 0,
            group: 0,
            identity: 0,
            retried: false,
        }
    }

    /// Takes a HelloRetryRequest; gives the group that it asks for, and what a second hello's binder covers
    /// beside it.
    pub fn take_retry(&mut self, bytes: &[u8]) -> (u16, Sha256) {
        let mut records = records(bytes).into_iter();
        let (kind, request) = records.next().expect("a HelloRetryRequest");
        let suite = self.suite_of(&request);
        let random = Sha256::digest(b"HelloRetryRequest");
        assert_eq!((kind, &request[6..38]), (HANDSHAKE, &random[..]));
        let extensions = &request[39 + self.session_id.len() + 3..];
        let [0, 12, 0, 43, 0, 2, 3, 4, 0, 51, 0, 2, high, low] = extensions else {
            panic!("{extensions:x?}")
        };
        let first = core::mem::take(&mut self.transcript).finalize();
        self.transcript = Sha256::new_with_prefix(message(254, &first)).chain_update(&request);
        if !self.session_id.is_empty() {
            assert_eq!(records.next(), Some((CHANGE_CIPHER_SPEC, vec![1])));
        }
        assert_eq!(records.next(), None);
        (self.suite, self.retried) = (suite, true);
        (u16::from_be_bytes([*high, *low]), self.transcript.clone())
    }

    /// Sends a second hello.
    pub fn again(&mut self, hello: &[u8]) {
        self.transcript.update(hello);
    }

    /// The suite, and the form of what a ServerHello begins with.
    fn suite_of(&self, hello: &[u8]) -> u16 {
        let length = hello.len() - 4;
        assert_eq!(hello[..6], [2, 0, 0, length as u8, 3, 3]);
        let (session_id, rest) = hello[39..].split_at(hello[38].into());
        assert_eq!(session_id, self.session_id);
        assert_eq!(rest[2], 0);
        u16::from_be_bytes([rest[0], rest[1]])
    }

    /// Takes the server's whole flight.
    pub fn take_flight(&mut self, flight: &[u8]) {
        let mut records = records(flight).into_iter();
        let (kind, hello) = records.next().expect("a ServerHello");
        assert_eq!(kind, HANDSHAKE);
        let shared = self.server_hello(&hello);
        let mut next = records.next().expect("more than a ServerHello");
        if !self.session_id.is_empty() && !self.retried {
            assert_eq!(next, (CHANGE_CIPHER_SPEC, vec![1]));
            next = records.next().expect("an encrypted record");
        }

        let hash = self.transcript.clone().finalize();
        let early = extract(&[0; 32], &self.key);
        let handshake = extract(&expand(&early, "derived", &Sha256::digest([]), 32), &shared);
        let client = expand(&handshake, "c hs traffic", &hash, 32);
        let server = expand(&handshake, "s hs traffic", &hash, 32);
        assert_eq!(next.0, DATA);
        let (kind, messages) = Keys::new(self.suite, server.clone()).open(&next.1);
        assert_eq!(kind, HANDSHAKE);
        let (extensions, ours) = messages.split_at(6);
        assert_eq!(extensions, [8, 0, 0, 2, 0, 0]);
        self.transcript.update(extensions);
        let verify = finished(&server, &self.transcript.clone().finalize());
        assert_eq!(ours, message(20, &verify), "the server's Finished");
        self.transcript.update(ours);
        assert_eq!(records.next(), None);

        let hash = self.transcript.clone().finalize();
        let master = extract(&expand(&handshake, "derived", &Sha256::digest([]), 32), &[0; 32]);
        self.read = Some(Keys::new(self.suite, expand(&master, "s ap traffic", &hash, 32)));
        self.write = Some(Keys::new(self.suite, client));
        self.next_write = Some(Keys::new(self.suite, expand(&master, "c ap traffic", &hash, 32)));
    }

    /// Checks a ServerHello and gives the result of the key exchange.
    fn server_hello(&mut self, hello: &[u8]) -> Vec<u8> {
        self.transcript.update(hello);
        let suite = self.suite_of(hello);
        assert!(!self.retried || suite == self.suite, "another suite than in the HelloRetryRequest");
        self.suite = suite;
        let rest = &hello[39 + self.session_id.len()..];
        let mut extensions = &rest[5..];
        assert_eq!(extensions.len(), u16::from_be_bytes([rest[3], rest[4]]).into());
        let mut shared = None;
        let mut seen = Vec::new();
        while let [a, b, c, d, rest @ ..] = extensions {
            let (contents, rest) = rest.split_at(u16::from_be_bytes([*c, *d]).into());
            extensions = rest;
            let number = u16::from_be_bytes([*a, *b]);
            match number {
                41 => self.identity = u16::from_be_bytes(contents.try_into().expect("an index")),
                43 => assert_eq!(contents, [3, 4]),
                51 => {
                    self.group = u16::from_be_bytes([contents[0], contents[1]]);
                    shared = Some(agree(self.group, &contents[4..]));
                }
                _ => panic!("extension {number}"),
            }
            seen.push(number);
        }
        seen.sort_unstable();
        match shared {
            Some(shared) => {
                assert_eq!(seen, [41, 43, 51]);
                shared
            }
            None => {
                assert_eq!(seen, [41, 43]);
                vec![0; 32]
            }
        }
    }

    /// The Finished message.
    pub fn finished(&self) -> Vec<u8> {
        let write = self.write.as_ref().expect("the handshake's keys");
        message(20, &finished(&write.secret, &self.transcript.clone().finalize()))
    }

    /// One encrypted record.
    pub fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.seal_padded(kind, content, 0)
    }

    /// One encrypted record with padding.
    pub fn seal_padded(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        self.write.as_mut().expect("keys").seal(kind, content, padding)
    }

    /// Sends with the application's keys from here on.
    pub fn finish(&mut self) {
        self.write = self.next_write.take();
    }

    /// The types and contents of encrypted records.
    pub fn open(&mut self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut opened = Vec::new();
        for (kind, body) in records(bytes) {
            assert_eq!(kind, DATA);
            let read = self.read.as_mut().expect("keys");
            let (kind, content) = read.open(&body);
            if (kind, &content[..]) == (HANDSHAKE, &[24, 0, 0, 1, 0]) {
                read.update();
            }
            opened.push((kind, content));
        }
        opened
    }
}

/// One direction's keys.
pub struct Keys {
    suite: u16,
    secret: Vec<u8>,
    pub sequence: u64,
}

impl Keys {
    fn new(suite: u16, secret: Vec<u8>) -> Self {
        Self { suite, secret, sequence: 0 }
    }

    /// To the next generation.
    pub fn update(&mut self) {
        self.secret = expand(&self.secret, "traffic upd", &[], 32);
        self.sequence = 0;
    }

    pub fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut text = [content, &[kind]].concat();
        text.resize(text.len() + padding, 0);
        self.seal_raw(&text)
    }

    /// A record with any TLSInnerPlaintext.
    pub fn seal_raw(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut text = inner.to_vec();
        let [high, low] = ((text.len() + 16) as u16).to_be_bytes();
        let header = [DATA, 3, 3, high, low];
        let (key, nonce) = self.key();
        let tag = key.seal(&nonce, &header, &mut text).expect("a short text");
        self.sequence += 1;
        [&header[..], &text, &tag].concat()
    }

    fn open(&mut self, body: &[u8]) -> (u8, Vec<u8>) {
        let [high, low] = (body.len() as u16).to_be_bytes();
        let (text, tag) = body.split_last_chunk().expect("a tag");
        let mut text = text.to_vec();
        let (key, nonce) = self.key();
        key.open(&nonce, &[DATA, 3, 3, high, low], &mut text, tag).expect("our keys");
        self.sequence += 1;
        let kind = text.pop().expect("a type");
        assert_ne!(kind, 0, "the server does not pad");
        (kind, text)
    }

    fn key(&self) -> (Key, [u8; 12]) {
        let part = |label, length| expand(&self.secret, label, &[], length);
        let key = match self.suite {
            AES => Key::Aes128Gcm(part("key", 16).try_into().expect("16 bytes")),
            CHACHA => Key::ChaCha20Poly1305(part("key", 32).try_into().expect("32 bytes")),
            suite => panic!("suite {suite:#06x} was not offered"),
        };
        let mut nonce: [u8; 12] = part("iv", 12).try_into().expect("12 bytes");
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        (key, nonce)
    }
}

/// A record as it is.
pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = (body.len() as u16).to_be_bytes();
    [&[kind, 3, 3, high, low], body].concat()
}

/// A handshake message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
    [&[kind, high, middle, low], body].concat()
}

/// The types and bodies of whole records.
pub fn records(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let [kind, 3, 3, high, low, rest @ ..] = bytes {
        let (body, rest) = rest.split_at(u16::from_be_bytes([*high, *low]).into());
        records.push((*kind, body.to_vec()));
        bytes = rest;
    }
    assert_eq!(bytes, [], "half a record");
    records
}

/// A vector with an 8-bit length.
pub fn list8(contents: &[u8]) -> Vec<u8> {
    [&[contents.len() as u8], contents].concat()
}

/// A vector with a 16-bit length.
pub fn list16(contents: &[u8]) -> Vec<u8> {
    [&(contents.len() as u16).to_be_bytes()[..], contents].concat()
}

fn extract(salt: &[u8], material: &[u8]) -> Vec<u8> {
    Hkdf::<Sha256>::extract(Some(salt), material).0.to_vec()
}

fn expand(secret: &[u8], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let label = [b"tls13 ", label.as_bytes()].concat();
    let info = [&(length as u16).to_be_bytes()[..], &list8(&label), &list8(context)].concat();
    let mut to = vec![0; length];
    Hkdf::<Sha256>::from_prk(secret).expect("a secret").expand(&info, &mut to).expect("a short output");
    to
}

fn finished(secret: &[u8], hash: &[u8]) -> Vec<u8> {
    let key = expand(secret, "finished", &[], 32);
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("any length");
    mac.update(hash);
    mac.finalize().into_bytes().to_vec()
}
