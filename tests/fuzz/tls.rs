//! The TLS server: hellos, and records on both sides of the handshake's end.
//!
//! Whatever comes, and however it is cut, the server answers with nothing, with one alert, or with
//! what a strict client takes; and it never gives out data that nobody sent with the right keys.

#[path = "../../src/tls/tests/client.rs"]
#[allow(dead_code, reason = "the unit tests use the rest")]
mod client;

use client::{
    AES, ALERT, CHACHA, CHANGE_CIPHER_SPEC, Client, DATA, HANDSHAKE, Hello, SECP256R1, SECP384R1, X25519,
};
use pacelet::tls::{Alert, Cause, Failure, Psk, RECORD_TEXT, Server};
use rand_core::{CryptoRng, RngCore};

use crate::rng::Rng;
use crate::run::{mutate, run};

const KEY: [u8; 32] = [7; 32];

/// The same "randomness" for each server.
struct Entropy(Rng);

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        self.0.next() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next()
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        to.fill_with(|| self.0.byte());
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Entropy {}

struct Host {
    server: Server,
    psk: Psk,
    entropy: Entropy,
    plaintext: Vec<u8>,
    out: Vec<u8>,
}

impl Host {
    fn new() -> Self {
        Self {
            server: Server::new(),
            psk: Psk::new(&KEY).expect("a key"),
            entropy: Entropy(Rng::new(1)),
            plaintext: Vec::new(),
            out: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { server, psk, entropy, plaintext, out } = self;
        server.receive(bytes, Some(psk), entropy, plaintext, out)
    }

    /// Gives the bytes in pieces, to their end even when one of them fails.
    fn receive_in_pieces(&mut self, mut bytes: &[u8], rng: &mut Rng) -> Result<(), Failure> {
        let mut result = Ok(());
        let longest = 1 + rng.below(bytes.len());
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at((1 + rng.below(longest)).min(bytes.len()));
            bytes = rest;
            let received = self.receive(piece);
            assert!(received.is_ok() || result.is_ok(), "it fails once");
            result = result.and(received);
        }
        result
    }

    fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// The bytes at once, and some of the times also in pieces, which must come to the same.
fn receive(bytes: &[u8], rng: &mut Rng) -> (Host, Result<(), Failure>) {
    let mut whole = Host::new();
    let result = whole.receive(bytes);
    if !rng.one_in(4) {
        return (whole, result);
    }
    let mut pieces = Host::new();
    assert_eq!(pieces.receive_in_pieces(bytes, rng), result);
    assert_eq!(pieces.out, whole.out);
    assert_eq!(pieces.plaintext, whole.plaintext);
    (whole, result)
}

/// An answer in the clear: one alert or nothing.
fn check_refusal(host: &mut Host, failure: &Failure) {
    let alert = failure.alert.map(|alert| client::record(ALERT, &[2, alert.0]));
    assert_eq!(host.sent(), alert.unwrap_or_default(), "{failure}");
    assert_eq!(failure.alert.is_none(), matches!(failure.cause, Cause::PeerAlert(_)), "{failure}");
    assert!(failure.to_string().bytes().all(|byte| matches!(byte, b' '..=b'~') || byte >= 0x80));
}

/// Bytes as they come from the socket, from hellos of real clients.
#[test]
fn hello() {
    run("hello", vec![], |input, rng| {
        let (mut host, result) = receive(input, rng);
        assert!(host.plaintext.is_empty() && !host.server.is_connected());
        match result {
            Ok(()) if host.server.is_closed() => assert_eq!(host.sent(), client::record(ALERT, &[1, 0])),
            // Its makers had another key.
            Ok(()) => assert_eq!(host.sent(), []),
            Err(failure) => check_refusal(&mut host, &failure),
        }
    });
}

/// Hellos that are changed before they are put together, so that lengths and binders fit.
#[test]
fn hello_parts() {
    let (mut accepted, mut accepted_again) = (0, 0);
    // The input is what contents are drawn from.
    run(
        "hello_parts",
        vec![b"lrmd".to_vec(), vec![0; 40], client::share(X25519), client::share(SECP256R1)],
        |input, rng| {
            let mut hello =
                Hello::new(&KEY, *rng.pick(&[AES, CHACHA]), if rng.one_in(40) { SECP256R1 } else { X25519 });
            for _ in 0..rng.below(4) {
                change(&mut hello, input, rng);
            }
            let mut message = hello.message();
            if rng.one_in(4) {
                // Any byte, and then the binders again.
                mutate(&mut message, &[input.to_vec()], rng);
                if message.len() >= 4 && rng.one_in(2) {
                    let length = (message.len() - 4) as u32;
                    message[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
                }
                client::sign(
                    &Default::default(),
                    &mut message,
                    hello.identities.as_ref().map_or(0, Vec::len),
                    &KEY,
                );
            }
            let pieces = 1 + rng.below(RECORD_TEXT);
            let bytes: Vec<u8> =
                message.chunks(pieces).flat_map(|part| client::record(HANDSHAKE, part)).collect();
            let (mut host, result) = receive(&bytes, rng);
            match result {
                Err(failure) => check_refusal(&mut host, &failure),
                Ok(()) if host.out.is_empty() => {
                    let promised = match message[..] {
                        [_, high, middle, low, ..] => 4 + u32::from_be_bytes([0, high, middle, low]),
                        _ => 4,
                    };
                    assert!(promised as usize > message.len(), "a whole hello is not answered");
                }
                Ok(()) if host.out.get(11..15) == Some(&[0xcf, 0x21, 0xad, 0x74]) => {
                    accepted_again += u32::from(second_hello(&mut host, hello, &message, input, rng));
                }
                Ok(()) => {
                    let flight = host.sent();
                    if chose_our_share(&message, &flight) {
                        Client::new(&KEY, &message).take_flight(&flight);
                        accepted += 1;
                    }
                }
            }
        },
    );
    println!("{accepted} of them were accepted, and {accepted_again} second hellos");
    assert!(accepted > 0 && accepted_again > 0, "the changes break everything");
}

/// Answers a HelloRetryRequest with what may be a right second hello; whether it was accepted.
fn second_hello(host: &mut Host, mut hello: Hello, first: &[u8], input: &[u8], rng: &mut Rng) -> bool {
    let mut client = Client::new(&KEY, first);
    let (group, before) = client.take_retry(&host.sent());
    hello.remove(42);
    hello.share_only(group);
    if rng.one_in(2) {
        change(&mut hello, input, rng);
    }
    let message = hello.message_after(&before);
    if let Err(failure) = host.receive_in_pieces(&client::record(HANDSHAKE, &message), rng) {
        check_refusal(host, &failure);
        return false;
    }
    let flight = host.sent();
    if !chose_our_share(&message, &flight) {
        return false;
    }
    client.again(&message);
    client.take_flight(&flight);
    true
}

/// Whether the share that the server took is one whose private key the client knows.
fn chose_our_share(message: &[u8], flight: &[u8]) -> bool {
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    [SECP256R1, SECP384R1, X25519].iter().any(|&group| {
        let entry = [&group.to_be_bytes()[..], &client::list16(&client::share(group))].concat();
        // key_share in a ServerHello, up to the length of the server's share, which is as long.
        let chosen = [&[0, 51, 0, entry.len() as u8][..], &entry[..4]].concat();
        contains(flight, &chosen) && contains(message, &entry)
    })
}

fn change(hello: &mut Hello, input: &[u8], rng: &mut Rng) {
    let extension = rng.below(hello.extensions.len());
    match rng.below(14) {
        0 => hello.extensions.push((rng.next() as u16, input.to_vec())),
        1 => hello.extensions.push((rng.below(64) as u16, input.to_vec())),
        2 if !hello.extensions.is_empty() => drop(hello.extensions.remove(extension)),
        3 if !hello.extensions.is_empty() => hello.extensions[extension].1 = input.to_vec(),
        4 if !hello.extensions.is_empty() => {
            let mut contents = std::mem::take(&mut hello.extensions[extension].1);
            mutate(&mut contents, &[input.to_vec()], rng);
            hello.extensions[extension].1 = contents;
        }
        5 => {
            for at in (1..hello.extensions.len()).rev() {
                hello.extensions.swap(at, rng.below(at + 1));
            }
        }
        6 => hello.session_id = input.iter().copied().take(rng.below(40)).collect(),
        7 => hello.suites.insert(rng.below(hello.suites.len() + 1), rng.next() as u16),
        8 => hello.suites = (0..rng.below(4)).map(|_| *rng.pick(&[AES, CHACHA, 0x1302, 0x00ab])).collect(),
        9 => hello.compression = input.iter().copied().take(rng.below(3)).collect(),
        10 => hello.legacy_version = rng.next() as u16 & 0x0307,
        11 => {
            let identities = hello.identities.get_or_insert_default();
            identities.insert(rng.below(identities.len() + 1), input.to_vec());
        }
        12 => hello.identities = None,
        _ => {
            // Two shares, in either order, perhaps for one group or with nonsense.
            let mut shares = Vec::new();
            for _ in 0..rng.below(4) {
                let group = *rng.pick(&[SECP256R1, X25519, SECP384R1, 0x0a0a]);
                let share = if rng.one_in(2) { client::share(group) } else { input.to_vec() };
                shares.extend(group.to_be_bytes());
                shares.extend(client::list16(&share));
            }
            hello.set(51, client::list16(&shares));
        }
    }
}

/// Encrypted and other records after our flight. The input is a script: what is sent, and when the
/// handshake goes on.
#[test]
fn records() {
    let seeds = vec![
        // A handshake, data with padding, a KeyUpdate that asks for ours, data, close_notify.
        vec![0, 1, 2, 5, b'h', b'e', b'l', b'l', b'o', 3, 9, 4, 1, 2, 2, b'o', b'k', 5, 1, 0],
        // Pieces of a KeyUpdate, an alert.
        vec![1, 6, 22, 2, 24, 0, 6, 22, 3, 0, 1, 0, 5, 2, 40],
        // Raw records of each kind.
        vec![
            1, 7, 20, 1, 1, 7, 21, 2, 2, 0, 7, 23, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
            17,
        ],
        vec![0, 0, 0, 0, 1, 8, 8, 8, 2, 1, b'x', 8],
    ];
    let mut connected = 0;
    run("records", seeds, |input, rng| {
        let hello = Hello::new(&KEY, *rng.pick(&[AES, CHACHA]), X25519);
        let message = hello.message();
        let mut host = Host::new();
        host.receive(&client::record(HANDSHAKE, &message)).expect("an ordinary hello");
        let mut client = Client::new(&KEY, &message);
        client.take_flight(&host.sent());

        let mut play = Play { client, finished: false, data: Vec::new(), bytes: Vec::new() };
        let mut script = input.iter().copied();
        while play.step(&mut script).is_some() {}
        let result = host.receive_in_pieces(&play.bytes, rng);

        assert!(play.data.starts_with(&host.plaintext), "data that nobody sent");
        connected += u32::from(host.server.is_connected());
        if let Ok(()) = result {
            host.server.update_keys(&mut host.out);
            let sealed = host.server.seal(b"answer", &mut host.out);
            assert_eq!(sealed.is_ok(), host.server.is_connected() && !host.server.is_closed());
        }
        let mut sent = play.client.open(&host.sent());
        let last = sent.pop();
        match result {
            Err(failure) => {
                assert_eq!(last, failure.alert.map(|alert| (ALERT, vec![2, alert.0])));
                assert_ne!(failure.alert, Some(Alert::INTERNAL_ERROR));
                assert_eq!(sent, []);
            }
            Ok(()) if host.server.is_closed() => {
                assert_eq!(last, Some((ALERT, vec![1, 0])));
                assert_eq!(sent, []);
            }
            Ok(()) if host.server.is_connected() => {
                assert_eq!(last, Some((DATA, b"answer".to_vec())));
                assert!(sent.is_empty() || sent == [(HANDSHAKE, vec![24, 0, 0, 1, 0])]);
            }
            Ok(()) => assert_eq!(last, None),
        }
    });
    println!("{connected} of them came to the end of the handshake and did not fail");
    assert!(connected > 0);
}

/// What the client does by the script.
struct Play {
    client: Client,
    finished: bool,
    /// All that was ever encrypted as data.
    data: Vec<u8>,
    bytes: Vec<u8>,
}

impl Play {
    fn step(&mut self, script: &mut impl Iterator<Item = u8>) -> Option<()> {
        match script.next()? % 9 {
            0 => self.bytes.extend(client::record(CHANGE_CIPHER_SPEC, &[1])),
            1 if !self.finished => {
                let finished = self.client.finished();
                self.seal(HANDSHAKE, &finished, 0);
                self.client.finish();
                self.finished = true;
            }
            1 | 2 => {
                let content = self::content(script)?;
                self.seal(DATA, &content, 0);
            }
            3 => {
                let padding = script.next()?;
                self.seal(DATA, b"padded", usize::from(padding) * 70);
            }
            4 => {
                let request = script.next()?;
                self.seal(HANDSHAKE, &client::message(24, &[request]), 0);
                self.client.write.as_mut()?.update();
            }
            5 => {
                let alert = [script.next()?, script.next()?];
                self.seal(ALERT, &alert, 0);
            }
            6 => {
                let kind = script.next()?;
                let content = self::content(script)?;
                self.seal(kind, &content, 0);
            }
            7 => {
                let kind = script.next()?;
                let content = self::content(script)?;
                self.bytes.extend(client::record(kind, &content));
            }
            _ => self.client.write.as_mut()?.sequence += u64::from(script.next()? % 2),
        }
        Some(())
    }

    fn seal(&mut self, kind: u8, content: &[u8], padding: usize) {
        if kind == DATA {
            self.data.extend_from_slice(content);
        }
        self.bytes.extend(self.client.seal_padded(kind, content, padding));
    }
}

fn content(script: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let count = script.next()?;
    Some(script.take(count.into()).collect())
}
