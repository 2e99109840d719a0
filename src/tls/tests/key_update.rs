//! KeyUpdate (RFC 8446 section 4.6.3) and the limits of keys (section 5.5).

use super::*;

fn update(client: &mut Client, request: u8) -> Vec<u8> {
    let record = client.seal(HANDSHAKE, &message_key_update(request));
    client.write.as_mut().unwrap().update();
    record
}

#[test]
fn the_peer_takes_new_keys() {
    let (mut host, mut client) = connected(&ordinary());
    for round in 0..3 {
        let bytes = update(&mut client, 0);
        host.receive(&bytes).unwrap();
        host.receive(&client.seal(DATA, &[round])).unwrap();
        assert_eq!(host.data(), [round]);
    }
    host.server.update_keys(&mut host.out);
    assert_eq!(host.sent(), [], "nothing was asked for");
}

/// Answered before the next message, or at the latest before the next data; once for many.
#[test]
fn the_peer_asks_for_ours() {
    let (mut host, mut client) = connected(&ordinary());
    for _ in 0..3 {
        for _ in 0..32 {
            let bytes = update(&mut client, 1);
            host.receive(&bytes).unwrap();
        }
        assert_eq!(host.sent(), [], "the peer's socket must not become readable without data");
        host.server.update_keys(&mut host.out);
        host.server.update_keys(&mut host.out);
        host.server.seal(b"header", &mut host.out).unwrap();
        assert_eq!(
            client.open(&host.sent()),
            [(HANDSHAKE, message_key_update(0)), (DATA, b"header".to_vec())]
        );

        let bytes = update(&mut client, 1);
        host.receive(&bytes).unwrap();
        host.server.seal(b"payload", &mut host.out).unwrap();
        assert_eq!(
            client.open(&host.sent()),
            [(HANDSHAKE, message_key_update(0)), (DATA, b"payload".to_vec())]
        );
        host.receive(&client.seal(DATA, b"x")).unwrap();
    }
}

#[test]
fn ours_are_taken_after_their_share() {
    for suite in [AES, CHACHA] {
        let hello = Hello::new(&KEY, suite, X25519);
        let message = hello.message();
        let mut host = Host::new(&KEY);
        host.server = Server::with_update_after(3);
        host.receive(&record(HANDSHAKE, &message)).unwrap();
        let mut client = Client::new(&KEY, &message);
        client.take_flight(&host.sent());
        host.server.update_keys(&mut host.out);
        assert_eq!(host.sent(), [], "not in the handshake");
        let finished = client.finished();
        host.receive(&client.seal(HANDSHAKE, &finished)).unwrap();

        let mut kinds = Vec::new();
        for _ in 0..10 {
            host.server.update_keys(&mut host.out);
            host.server.seal(b"x", &mut host.out).unwrap();
            kinds.extend(client.open(&host.sent()).iter().map(|(kind, _)| *kind));
        }
        let expected =
            [DATA, DATA, DATA, HANDSHAKE, DATA, DATA, DATA, HANDSHAKE, DATA, DATA, DATA, HANDSHAKE, DATA];
        assert_eq!(kinds, expected);
    }
}

#[test]
fn in_pieces() {
    let (mut host, mut client) = connected(&ordinary());
    for byte in message_key_update(1) {
        let bytes = client.seal(HANDSHAKE, &[byte]);
        host.receive(&bytes).unwrap();
    }
    client.write.as_mut().unwrap().update();
    host.receive(&client.seal(DATA, b"x")).unwrap();
    assert_eq!(host.data(), b"x");
}

#[test]
fn malformed() {
    let failing = |content: &[u8], alert| {
        let (mut host, mut client) = connected(&ordinary());
        let bytes = client.seal(HANDSHAKE, content);
        let failure = host.fails_encrypted(&mut client, &bytes);
        assert_eq!(failure.alert, Some(alert), "{content:?}");
    };
    for request in 2..=255 {
        failing(&message_key_update(request), Alert::ILLEGAL_PARAMETER);
    }
    failing(&message(24, &[]), Alert::DECODE_ERROR);
    failing(&message(24, &[0, 0]), Alert::DECODE_ERROR);
    failing(&[24, 0xff, 0xff, 0xff], Alert::DECODE_ERROR);
    failing(&[message_key_update(0), message_key_update(0)].concat(), Alert::UNEXPECTED_MESSAGE);
    failing(&[], Alert::UNEXPECTED_MESSAGE);
    // A hello (renegotiation), a ticket, a Finished.
    for kind in [1, 4, 20, 255] {
        failing(&message(kind, &[0]), Alert::UNEXPECTED_MESSAGE);
    }
    failing(&[1], Alert::UNEXPECTED_MESSAGE);
}

#[test]
fn nothing_may_come_between() {
    for length in 1..5 {
        let (mut host, mut client) = connected(&ordinary());
        host.receive(&client.seal(HANDSHAKE, &message_key_update(0)[..length])).unwrap();
        let bytes = client.seal(DATA, b"x");
        let failure = host.fails_encrypted(&mut client, &bytes);
        assert_eq!(failure.alert, Some(Alert::UNEXPECTED_MESSAGE));
        assert_eq!(host.data(), []);
    }
}

/// After it the old keys are worth nothing.
#[test]
fn the_old_keys_are_gone() {
    let (mut host, mut client) = connected(&ordinary());
    host.receive(&client.seal(HANDSHAKE, &message_key_update(0))).unwrap();
    let bytes = client.seal(DATA, b"x");
    assert_eq!(host.fails_encrypted(&mut client, &bytes).alert, Some(Alert::BAD_RECORD_MAC));
}

#[test]
fn not_without_end() {
    let (mut host, mut client) = connected(&ordinary());
    let mut count = 0;
    let failure = loop {
        let bytes = update(&mut client, 0);
        match host.receive(&bytes) {
            Ok(()) => count += 1,
            Err(failure) => break failure,
        }
        assert!(count < 1000);
    };
    assert_eq!(failure.alert, Some(Alert::UNEXPECTED_MESSAGE));
    assert!(count >= 32);
}
