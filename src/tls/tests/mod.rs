//! The server against a client of the tests' own: what must work here, what must fail in the
//! modules below, by what it is about.

mod alerts;
mod cells;
mod client;
mod hellos;
mod key_update;
mod records;
mod retry;

use rand_core::{CryptoRng, RngCore};

use super::*;
use client::*;

const KEY: [u8; 32] = [7; 32];

/// Different bytes each time, the same in each run.
struct Counting(u64);

impl RngCore for Counting {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        rand_core::impls::fill_bytes_via_next(self, to);
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Counting {}

/// A server and what it gives out.
struct Host {
    server: Server,
    psk: Option<Psk>,
    entropy: Counting,
    plaintext: Vec<u8>,
    out: Vec<u8>,
}

impl Host {
    fn new(key: &[u8]) -> Self {
        Self {
            server: Server::new(),
            psk: Some(Psk::new(key).unwrap()),
            entropy: Counting(1),
            plaintext: Vec::new(),
            out: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { server, psk, entropy, plaintext, out } = self;
        server.receive(bytes, psk.as_ref(), entropy, plaintext, out)
    }

    /// What was sent since the last time.
    fn sent(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    /// What was received since the last time.
    fn data(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.plaintext)
    }

    /// The bytes must make the server fail, with its alert in the clear.
    fn fails(&mut self, bytes: &[u8]) -> Failure {
        assert_eq!(self.sent(), []);
        let failure = self.receive(bytes).expect_err("a failure");
        let expected = failure.alert.map(|alert| record(ALERT, &[2, alert.0]));
        assert_eq!(self.sent(), expected.unwrap_or_default(), "{failure}");
        self.is_dead();
        failure
    }

    /// The same with an encrypted alert.
    fn fails_encrypted(&mut self, client: &mut Client, bytes: &[u8]) -> Failure {
        assert_eq!(self.sent(), []);
        let failure = self.receive(bytes).expect_err("a failure");
        let expected: Vec<_> = failure.alert.iter().map(|alert| (ALERT, vec![2, alert.0])).collect();
        assert_eq!(client.open(&self.sent()), expected, "{failure}");
        self.is_dead();
        failure
    }

    /// After a failure nothing is said, nothing is heard and nothing is kept.
    fn is_dead(&mut self) {
        assert!(!self.server.is_connected());
        assert_eq!(self.server.buffered(), 0);
        let data = self.data();
        assert_eq!(self.receive(&record(HANDSHAKE, &Hello::new(&KEY, AES, X25519).message())), Ok(()));
        self.server.close(&mut self.out);
        self.server.update_keys(&mut self.out);
        assert!(self.server.seal(b"x", &mut self.out).is_err());
        assert_eq!((self.data(), self.sent()), (vec![], vec![]));
        self.plaintext = data;
    }
}

/// Up to our Finished.
fn answered(hello: &Hello) -> (Host, Client) {
    let mut host = Host::new(&hello.key);
    let message = hello.message();
    host.receive(&record(HANDSHAKE, &message)).unwrap();
    let mut client = Client::new(&hello.key, &message);
    client.take_flight(&host.sent());
    assert!(!host.server.is_connected());
    (host, client)
}

/// A whole handshake.
fn connected(hello: &Hello) -> (Host, Client) {
    let (mut host, mut client) = answered(hello);
    let finished = client.finished();
    host.receive(&client.seal(HANDSHAKE, &finished)).unwrap();
    client.finish();
    assert!(host.server.is_connected());
    assert_eq!(host.sent(), []);
    (host, client)
}

fn ordinary() -> Hello {
    Hello::new(&KEY, CHACHA, X25519)
}

#[test]
fn suites_groups_and_keys() {
    for suite in [AES, CHACHA] {
        for group in [SECP256R1, SECP384R1, X25519] {
            for key in [&[1][..], &[0; 64], &[5; 65], &[9; 4096], &[3; Psk::MAX]] {
                let (mut host, mut client) = connected(&Hello::new(key, suite, group));
                assert_eq!((client.suite, client.group, client.identity), (suite, group, 0));
                host.receive(&client.seal(DATA, b"there")).unwrap();
                assert_eq!(host.data(), b"there");
                host.server.seal(b"and back", &mut host.out).unwrap();
                assert_eq!(host.out.len(), b"and back".len() + RECORD_OVERHEAD);
                assert_eq!(client.open(&host.sent()), [(DATA, b"and back".to_vec())]);
            }
        }
    }
}

#[test]
fn the_clients_order_decides() {
    let mut hello = ordinary();
    hello.suites = vec![0x00ab, 0x1302, AES, CHACHA];
    assert_eq!(answered(&hello).1.suite, AES);
    hello.suites = vec![0x1304, CHACHA, AES];
    assert_eq!(answered(&hello).1.suite, CHACHA);
    let entry = |group| [u16::to_be_bytes(group).to_vec(), list16(&share(group))].concat();
    hello.set(51, list16(&[entry(SECP256R1), entry(X25519)].concat()));
    assert_eq!(answered(&hello).1.group, SECP256R1);
    hello.set(51, list16(&[entry(X25519), entry(SECP256R1)].concat()));
    assert_eq!(answered(&hello).1.group, X25519);
    // A group that we do not know, as after a post-quantum policy.
    hello.set(10, list16(&[0x11, 0xec, 0, 0x1d]));
    hello.set(51, list16(&[vec![0x11, 0xec], list16(&[1; 1216]), entry(X25519)].concat()));
    assert_eq!(answered(&hello).1.group, X25519);
}

#[test]
fn an_identity_among_several() {
    let mut hello = ordinary();
    hello.identities = Some(vec![b"root".to_vec(), b"lrmdx".to_vec(), b"lrmd".to_vec(), b"lrm".to_vec()]);
    let (_, client) = connected(&hello);
    assert_eq!(client.identity, 2);
}

#[test]
fn everything_in_single_bytes_and_in_one_piece() {
    for piece in [1, 2, 7, usize::MAX] {
        let mut host = Host::new(&KEY);
        let message = ordinary().message();
        for bytes in record(HANDSHAKE, &message).chunks(piece) {
            host.receive(bytes).unwrap();
        }
        let mut client = Client::new(&KEY, &message);
        client.take_flight(&host.sent());
        let mut rest = record(CHANGE_CIPHER_SPEC, &[1]);
        let finished = client.finished();
        rest.extend(client.seal(HANDSHAKE, &finished));
        client.finish();
        rest.extend(client.seal(DATA, b"one"));
        rest.extend(client.seal(DATA, &[]));
        rest.extend(client.seal_padded(DATA, b"two", 100));
        rest.extend(client.seal(HANDSHAKE, &message_key_update(0)));
        client.write.as_mut().unwrap().update();
        rest.extend(client.seal(DATA, b"three"));
        rest.extend(client.seal(ALERT, &[1, 0]));
        rest.extend(b"whatever follows");
        for bytes in rest.chunks(piece) {
            host.receive(bytes).unwrap();
        }
        assert_eq!(host.data(), b"onetwothree");
        assert!(host.server.is_connected() && host.server.is_closed());
        assert_eq!(client.open(&host.sent()), [(ALERT, vec![1, 0])]);
    }
}

fn message_key_update(request: u8) -> Vec<u8> {
    message(24, &[request])
}

#[test]
fn a_hello_over_many_records() {
    for piece in [1, 3, 4, 5, 100] {
        let mut host = Host::new(&KEY);
        let message = ordinary().message();
        for part in message.chunks(piece) {
            assert_eq!(host.sent(), []);
            host.receive(&record(HANDSHAKE, part)).unwrap();
        }
        Client::new(&KEY, &message).take_flight(&host.sent());
    }
}

#[test]
fn a_finished_over_many_records() {
    let (mut host, mut client) = answered(&ordinary());
    for byte in client.finished() {
        assert!(!host.server.is_connected());
        host.receive(&client.seal(HANDSHAKE, &[byte])).unwrap();
    }
    assert!(host.server.is_connected());
}

#[test]
fn without_session_id_no_change_cipher_spec() {
    let mut hello = ordinary();
    hello.session_id.clear();
    connected(&hello);
}

#[test]
fn a_large_hello() {
    let mut hello = ordinary();
    let space = super::hello::MAX_HELLO - hello.message().len() - 4;
    hello.set(21, vec![0; space]);
    assert_eq!(hello.message().len(), super::hello::MAX_HELLO);
    let mut host = Host::new(&KEY);
    let message = hello.message();
    for part in message.chunks(RECORD_TEXT) {
        host.receive(&record(HANDSHAKE, part)).unwrap();
    }
    Client::new(&KEY, &message).take_flight(&host.sent());
}

/// What a connection that waits costs, [`Server`] itself and its heap.
#[test]
fn waiting_costs_little() {
    let cost = |host: &Host| size_of::<Server>() + host.server.buffered();
    let mut host = Host::new(&KEY);
    assert!(cost(&host) <= 192);
    let hello = record(HANDSHAKE, &ordinary().message());
    let (first, rest) = hello.split_at(3);
    // A promise of a long record must not buy memory.
    host.receive(first).unwrap();
    assert!(cost(&host) <= 256);
    host.receive(&rest[..20]).unwrap();
    assert!(cost(&host) <= 256);
    host.receive(&rest[20..]).unwrap();
    assert!(cost(&host) <= 768, "between the two Finished messages {}", cost(&host));
    let (mut host, mut client) = connected(&ordinary());
    let idle = cost(&host);
    assert!(idle <= 512, "connected {idle}");
    let data = client.seal(DATA, &[1; RECORD_TEXT]);
    host.receive(&data[..10_000]).unwrap();
    assert!(cost(&host) >= idle + 10_000);
    host.receive(&data[10_000..]).unwrap();
    assert_eq!(cost(&host), idle);
    println!("a Server is {} bytes, connected and idle {idle}", size_of::<Server>());
}

#[test]
fn nothing_secret_is_printed() {
    let (host, _) = connected(&ordinary());
    assert_eq!(format!("{:?}", host.server), "Server { state: \"Connected\", .. }");
}
