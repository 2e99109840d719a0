//! The record layer, and what may come when: the cells of the table in the room's header.

use super::*;

const OVERFLOW: u16 = RECORD_TEXT as u16 + 1;

#[track_caller]
fn unexpected(failure: Failure) {
    assert_eq!(failure.alert, Some(Alert::UNEXPECTED_MESSAGE), "{failure}");
}

fn header(kind: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    vec![kind, 3, 3, high, low]
}

// ---- ExpectHello

#[test]
fn what_is_not_tls() {
    for start in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x80\x2e\x01\x03\x01", b"SSH-2.0-x", b"\0\0\0\0\0", &[24, 3, 3, 0, 3]]
    {
        let failure = Host::new(&KEY).fails(start);
        assert_eq!(failure.cause, Cause::NotTls(start[0]));
        unexpected(failure);
    }
}

#[test]
fn the_version_in_a_header_is_ignored() {
    for version in [[0, 0], [3, 0], [3, 1], [3, 4], [255, 255]] {
        let mut bytes = record(HANDSHAKE, &ordinary().message());
        bytes[1..3].copy_from_slice(&version);
        Host::new(&KEY).receive(&bytes).unwrap();
    }
}

#[test]
fn before_the_hello() {
    let fails = |bytes: &[u8]| Host::new(&KEY).fails(bytes);
    unexpected(fails(&record(CHANGE_CIPHER_SPEC, &[1])));
    unexpected(fails(&record(DATA, &[1; 40])));
    unexpected(fails(&record(DATA, &[])));
    unexpected(fails(&record(HANDSHAKE, &[])));
    unexpected(fails(&record(ALERT, &[])));
    for kind in [0, 2, 11, 16, 20, 24] {
        unexpected(fails(&record(HANDSHAKE, &message(kind, &[0; 32]))));
        unexpected(fails(&record(HANDSHAKE, &[kind])));
    }
    assert_eq!(fails(&record(ALERT, &[2])).alert, Some(Alert::DECODE_ERROR));
    assert_eq!(fails(&record(ALERT, &[2, 40, 0])).alert, Some(Alert::DECODE_ERROR));
    assert_eq!(fails(&record(ALERT, &[2, 40, 2, 40])).alert, Some(Alert::DECODE_ERROR));
    let failure = fails(&record(ALERT, &[2, 40]));
    assert_eq!(failure, Failure { alert: None, cause: Cause::PeerAlert(Alert::HANDSHAKE_FAILURE) });
    // A record of the longest kind is awaited; one byte more is not.
    for kind in [ALERT, HANDSHAKE, CHANGE_CIPHER_SPEC] {
        Host::new(&KEY).receive(&header(kind, OVERFLOW - 1)).unwrap();
        assert_eq!(fails(&header(kind, OVERFLOW)).alert, Some(Alert::RECORD_OVERFLOW));
        assert_eq!(fails(&header(kind, u16::MAX)).cause, Cause::RecordTooLong(16_384));
    }
}

#[test]
fn amid_a_hello() {
    let begun = || {
        let mut host = Host::new(&KEY);
        host.receive(&record(HANDSHAKE, &ordinary().message()[..50])).unwrap();
        host
    };
    unexpected(begun().fails(&record(CHANGE_CIPHER_SPEC, &[1])));
    unexpected(begun().fails(&record(DATA, &[1; 40])));
    unexpected(begun().fails(&record(HANDSHAKE, &[])));
    let failure = begun().fails(&record(ALERT, &[2, 80]));
    assert_eq!(failure.cause, Cause::PeerAlert(Alert::INTERNAL_ERROR));
}

#[test]
fn closed_before_the_hello() {
    let mut host = Host::new(&KEY);
    host.receive(&record(ALERT, &[1, 0])).unwrap();
    assert!(host.server.is_closed() && !host.server.is_connected());
    assert_eq!(host.sent(), record(ALERT, &[1, 0]));
    host.receive(&record(HANDSHAKE, &ordinary().message())).unwrap();
    assert_eq!(host.sent(), []);
}

#[test]
fn closed_by_us_before_the_hello() {
    let mut host = Host::new(&KEY);
    host.server.close(&mut host.out);
    host.server.close(&mut host.out);
    assert_eq!(host.sent(), record(ALERT, &[1, 0]));
    host.receive(&record(HANDSHAKE, &ordinary().message())).unwrap();
    assert_eq!(host.sent(), [], "nothing follows a close_notify");
    assert!(!host.server.is_closed());
}

// ---- ExpectFinished

#[test]
fn one_change_cipher_spec_between_hello_and_finished() {
    let (mut host, mut client) = answered(&ordinary());
    host.receive(&record(CHANGE_CIPHER_SPEC, &[1])).unwrap();
    assert_eq!(host.sent(), []);
    let second = record(CHANGE_CIPHER_SPEC, &[1]);
    unexpected(host.fails_encrypted(&mut client, &second));

    for body in [&[][..], &[0], &[2], &[1, 1], &[1, 0]] {
        let (mut host, mut client) = answered(&ordinary());
        unexpected(host.fails_encrypted(&mut client, &record(CHANGE_CIPHER_SPEC, body)));
    }

    let (mut host, mut client) = answered(&ordinary());
    let bytes = client.seal(CHANGE_CIPHER_SPEC, &[1]);
    unexpected(host.fails_encrypted(&mut client, &bytes));

    // Not amid the Finished.
    let (mut host, mut client) = answered(&ordinary());
    let finished = client.finished();
    host.receive(&client.seal(HANDSHAKE, &finished[..5])).unwrap();
    unexpected(host.fails_encrypted(&mut client, &record(CHANGE_CIPHER_SPEC, &[1])));
}

#[test]
fn instead_of_the_finished() {
    let fails = |kind: u8, content: &[u8]| {
        let (mut host, mut client) = answered(&ordinary());
        let bytes = client.seal(kind, content);
        let failure = host.fails_encrypted(&mut client, &bytes);
        assert_eq!(host.data(), []);
        failure
    };
    unexpected(fails(DATA, b"too early"));
    unexpected(fails(DATA, b""));
    unexpected(fails(HANDSHAKE, b""));
    unexpected(fails(ALERT, b""));
    // Certificate, EndOfEarlyData, KeyUpdate, a second hello.
    for kind in [11, 5, 24, 1] {
        unexpected(fails(HANDSHAKE, &message(kind, &[0])));
    }
    for length in [0, 1, 12, 31, 33, 48] {
        assert_eq!(fails(HANDSHAKE, &message(20, &vec![0; length])).alert, Some(Alert::DECODE_ERROR));
    }
    assert_eq!(fails(HANDSHAKE, &[20, 0xff, 0xff, 0xff]).alert, Some(Alert::DECODE_ERROR));
    assert_eq!(fails(ALERT, &[2, 40]).cause, Cause::PeerAlert(Alert::HANDSHAKE_FAILURE));
    assert_eq!(fails(ALERT, &[1]).alert, Some(Alert::DECODE_ERROR));

    // In the clear.
    let in_the_clear = |bytes: &[u8]| {
        let (mut host, mut client) = answered(&ordinary());
        host.fails_encrypted(&mut client, bytes)
    };
    let (_, client) = answered(&ordinary());
    unexpected(in_the_clear(&record(HANDSHAKE, &client.finished())));
    unexpected(in_the_clear(&record(HANDSHAKE, &ordinary().message())));
}

#[test]
fn a_wrong_finished() {
    for at in 4..36 {
        for bit in 0..8 {
            let (mut host, mut client) = answered(&ordinary());
            let mut finished = client.finished();
            finished[at] ^= 1 << bit;
            let bytes = client.seal(HANDSHAKE, &finished);
            let failure = host.fails_encrypted(&mut client, &bytes);
            assert_eq!((failure.alert, failure.cause), (Some(Alert::DECRYPT_ERROR), Cause::WrongFinished));
        }
    }
    // The right one, and more in its record.
    let (mut host, mut client) = answered(&ordinary());
    let more = [client.finished(), vec![24]].concat();
    let bytes = client.seal(HANDSHAKE, &more);
    unexpected(host.fails_encrypted(&mut client, &bytes));
}

/// A client that cannot read our flight says so in the clear.
#[test]
fn an_alert_in_the_clear_before_the_finished() {
    let (mut host, _) = answered(&ordinary());
    let failure = host.fails(&record(ALERT, &[2, 47]));
    assert_eq!(failure.cause, Cause::PeerAlert(Alert::ILLEGAL_PARAMETER));
    assert_eq!(failure.to_string(), "the peer gave up with illegal_parameter (47)");

    // But not when it could encrypt.
    let (mut host, mut client) = answered(&ordinary());
    let finished = client.finished();
    host.receive(&client.seal(HANDSHAKE, &finished[..1])).unwrap();
    unexpected(host.fails_encrypted(&mut client, &record(ALERT, &[2, 47])));
}

#[test]
fn closed_before_the_finished() {
    let (mut host, mut client) = answered(&ordinary());
    host.receive(&client.seal(ALERT, &[1, 0])).unwrap();
    assert!(host.server.is_closed() && !host.server.is_connected());
    assert_eq!(client.open(&host.sent()), [(ALERT, vec![1, 0])]);
    let (mut host, mut client) = answered(&ordinary());
    host.receive(&record(ALERT, &[1, 0])).unwrap();
    assert!(host.server.is_closed());
    assert_eq!(client.open(&host.sent()), [(ALERT, vec![1, 0])]);
}

#[test]
fn early_data_is_skipped_if_announced() {
    let early = |announced: bool, total: usize| {
        let mut hello = ordinary();
        if announced {
            hello.set(42, vec![]);
        }
        let (mut host, client) = answered(&hello);
        for _ in 0..total / 1000 {
            host.receive(&record(DATA, &[0xee; 995]))?;
        }
        Ok::<_, Failure>((host, client))
    };
    let (mut host, mut client) = early(true, 64_000).unwrap();
    host.receive(&record(CHANGE_CIPHER_SPEC, &[1])).unwrap();
    host.receive(&record(DATA, &[])).unwrap();
    let finished = client.finished();
    host.receive(&client.seal(HANDSHAKE, &finished[..1])).unwrap();
    // Once decrypted, everything must be.
    let failure = host.fails_encrypted(&mut client, &record(DATA, &[0xee; 50]));
    assert_eq!(failure.alert, Some(Alert::BAD_RECORD_MAC));

    let (mut host, mut client) = early(true, 64_000).unwrap();
    host.receive(&client.seal(HANDSHAKE, &finished)).unwrap();
    assert!(host.server.is_connected());

    assert_eq!(early(false, 1000).err().and_then(|failure| failure.alert), Some(Alert::BAD_RECORD_MAC));
    assert_eq!(early(true, 66_000).err().and_then(|failure| failure.alert), Some(Alert::BAD_RECORD_MAC));
}

// ---- Connected

#[test]
fn lengths_of_records() {
    for suite in [AES, CHACHA] {
        let (mut host, mut client) = connected(&Hello::new(&KEY, suite, X25519));
        for (length, padding) in
            [(0, 0), (0, 1), (1, 0), (0, RECORD_TEXT), (1, RECORD_TEXT - 1), (RECORD_TEXT, 0), (100, 5)]
        {
            host.receive(&client.seal_padded(DATA, &vec![b'x'; length], padding)).unwrap();
            assert_eq!(host.data(), vec![b'x'; length]);
        }
        for (length, padding) in [
            (RECORD_TEXT + 1, 0),
            (RECORD_TEXT, 1),
            (0, RECORD_TEXT + 1),
            (RECORD_TEXT - 8, 9),
            (RECORD_TEXT, 239),
        ] {
            let (mut host, mut client) = connected(&Hello::new(&KEY, suite, X25519));
            let bytes = client.seal_padded(DATA, &vec![b'x'; length], padding);
            let failure = host.fails_encrypted(&mut client, &bytes);
            assert_eq!(failure.alert, Some(Alert::RECORD_OVERFLOW), "{length} + {padding}");
            assert_eq!(host.data(), []);
        }
        // One byte more than a ciphertext may have: judged by its header.
        let (mut host, mut client) = connected(&Hello::new(&KEY, suite, X25519));
        let failure = host.fails_encrypted(&mut client, &header(DATA, 16_641));
        assert_eq!(
            (failure.alert, failure.cause),
            (Some(Alert::RECORD_OVERFLOW), Cause::RecordTooLong(16_640))
        );
        let (mut host, _) = connected(&Hello::new(&KEY, suite, X25519));
        host.receive(&header(DATA, 16_640)).unwrap();
    }
}

#[test]
fn undecryptable() {
    let fails = |bytes: &[u8]| {
        let (mut host, mut client) = connected(&ordinary());
        let failure = host.fails_encrypted(&mut client, bytes);
        assert_eq!(failure.alert, Some(Alert::BAD_RECORD_MAC));
        assert_eq!(host.data(), []);
    };
    for length in [0, 1, 15, 16, 17, 100] {
        fails(&record(DATA, &vec![0; length]));
    }
    let (_, mut client) = connected(&ordinary());
    let good = client.seal(DATA, b"data");
    for at in 5..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fails(&bad);
    }
    // Out of order, and twice.
    let late = client.seal(DATA, b"data");
    fails(&late);
    let (mut host, mut client) = connected(&ordinary());
    host.receive(&good).unwrap();
    assert_eq!(host.fails_encrypted(&mut client, &good).alert, Some(Alert::BAD_RECORD_MAC));
    assert_eq!(host.data(), b"data", "what came before stays");
}

#[test]
fn content_types() {
    let fails = |inner: &[u8]| {
        let (mut host, mut client) = connected(&ordinary());
        let bytes = client.write.as_mut().unwrap().seal_raw(inner);
        let failure = host.fails_encrypted(&mut client, &bytes);
        assert_eq!(host.data(), []);
        failure
    };
    unexpected(fails(&[]));
    unexpected(fails(&[0]));
    unexpected(fails(&[0; 1000]));
    for kind in (1..=19).chain(24..=255) {
        unexpected(fails(&[1, 2, 3, kind]));
    }
    unexpected(fails(&[1, CHANGE_CIPHER_SPEC]));
    unexpected(fails(&[ALERT]));
    unexpected(fails(&[ALERT, 0, 0, 0]));
    unexpected(fails(&[HANDSHAKE, 0]));
    assert_eq!(fails(&[2, ALERT]).alert, Some(Alert::DECODE_ERROR));
    assert_eq!(fails(&[2, 40, 2, 40, ALERT]).alert, Some(Alert::DECODE_ERROR));
}

#[test]
fn in_the_clear_after_the_handshake() {
    for bytes in [
        record(CHANGE_CIPHER_SPEC, &[1]),
        record(ALERT, &[1, 0]),
        record(ALERT, &[2, 40]),
        record(HANDSHAKE, &message_key_update(0)),
        record(HANDSHAKE, &ordinary().message()),
    ] {
        let (mut host, mut client) = connected(&ordinary());
        unexpected(host.fails_encrypted(&mut client, &bytes));
    }
    let (mut host, mut client) = connected(&ordinary());
    let failure = host.fails_encrypted(&mut client, b"GET / HTTP/1.0");
    unexpected(failure);
}

#[test]
fn alerts_end_the_connection_whatever_level_they_claim() {
    for level in [0, 1, 2, 255] {
        for description in (1..=255).filter(|&description| description != 90) {
            let (mut host, mut client) = connected(&ordinary());
            let bytes = client.seal(ALERT, &[level, description]);
            let failure = host.fails_encrypted(&mut client, &bytes);
            assert_eq!(failure, Failure { alert: None, cause: Cause::PeerAlert(Alert(description)) });
        }
        let (mut host, mut client) = connected(&ordinary());
        host.receive(&client.seal(ALERT, &[level, 90])).unwrap();
        assert!(!host.server.is_closed());
        host.receive(&client.seal(ALERT, &[level, 0])).unwrap();
        assert!(host.server.is_closed());
        assert_eq!(client.open(&host.sent()), [(ALERT, vec![1, 0])]);
    }
}

#[test]
fn each_direction_closes_for_itself() {
    let (mut host, mut client) = connected(&ordinary());
    host.server.close(&mut host.out);
    host.server.close(&mut host.out);
    assert_eq!(client.open(&host.sent()), [(ALERT, vec![1, 0])]);
    let refused = host.server.seal(b"x", &mut host.out).unwrap_err();
    assert_eq!(refused, Failure { alert: None, cause: Cause::Closed });
    host.receive(&client.seal(DATA, b"last words")).unwrap();
    assert_eq!(host.data(), b"last words");
    let bytes = client.seal(HANDSHAKE, &message_key_update(1));
    client.write.as_mut().unwrap().update();
    host.receive(&bytes).unwrap();
    host.server.update_keys(&mut host.out);
    host.receive(&client.seal(ALERT, &[1, 0])).unwrap();
    assert!(host.server.is_closed() && host.server.is_connected());
    host.receive(&client.seal(DATA, b"ghost")).unwrap();
    host.receive(&[0xff; 10]).unwrap();
    assert_eq!((host.data(), host.sent()), (vec![], vec![]));
}

/// Nothing may follow our close_notify, not even an alert.
#[test]
fn a_failure_after_our_close_is_silent() {
    let (mut host, mut client) = connected(&ordinary());
    host.server.close(&mut host.out);
    host.sent();
    let failure = host.fails_encrypted(&mut client, &record(DATA, &[0; 50]));
    assert_eq!(failure, Failure { alert: None, cause: Cause::Undecryptable });
}

#[test]
fn records_without_data_are_counted() {
    let (mut host, mut client) = connected(&ordinary());
    for _ in 0..20 {
        for _ in 0..200 {
            host.receive(&client.seal_padded(DATA, &[], 10)).unwrap();
        }
        host.receive(&client.seal(DATA, b"x")).unwrap();
    }
    for _ in 0..256 {
        host.receive(&client.seal(DATA, &[])).unwrap();
    }
    let bytes = client.seal(ALERT, &[1, 90]);
    unexpected(host.fails_encrypted(&mut client, &bytes));
}

#[test]
fn what_cannot_be_sealed() {
    let refused = |host: &mut Host, text: &[u8]| {
        let failure = host.server.seal(text, &mut host.out).unwrap_err();
        assert_eq!(host.sent(), []);
        assert_eq!(failure.alert, None);
        failure.cause
    };
    let mut host = Host::new(&KEY);
    assert_eq!(refused(&mut host, b"x"), Cause::NotConnected);
    let (mut host, _) = answered(&ordinary());
    assert_eq!(refused(&mut host, b"x"), Cause::NotConnected);
    let (mut host, mut client) = connected(&ordinary());
    assert_eq!(refused(&mut host, &[0; RECORD_TEXT + 1]), Cause::TextTooLong);
    host.server.seal(b"", &mut host.out).unwrap();
    assert_eq!(host.sent(), []);
    host.server.seal(&[1; RECORD_TEXT], &mut host.out).unwrap();
    assert_eq!(host.out.len(), RECORD_TEXT + RECORD_OVERHEAD);
    assert_eq!(client.open(&host.sent()), [(DATA, vec![1; RECORD_TEXT])]);
}
