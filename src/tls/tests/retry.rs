//! HelloRetryRequest (RFC 8446 section 4.1.4): asked for when a group in common has no share, and what the
//! second hello may and may not change.

use super::*;

/// A hello without a useful share, for this first group of ours.
pub(super) fn shareless(group: u16) -> Hello {
    let mut hello = ordinary();
    hello.set(10, list16(&[0x001e, group, SECP256R1].map(u16::to_be_bytes).concat()));
    hello.set(51, list16(&[vec![0, 0x1e], list16(&[5; 56])].concat()));
    hello
}

/// Up to the HelloRetryRequest; the transcript is for the second hello's binder.
pub(super) fn asked(hello: &Hello) -> (Host, Client, u16, sha2::Sha256) {
    let mut host = Host::new(&hello.key);
    let message = hello.message();
    host.receive(&record(HANDSHAKE, &message)).unwrap();
    let mut client = Client::new(&hello.key, &message);
    let (group, before) = client.take_retry(&host.sent());
    assert!(!host.server.is_connected());
    (host, client, group, before)
}

/// What a changed second hello fails with.
fn second(change: impl FnOnce(&mut Hello)) -> Failure {
    let mut hello = shareless(X25519);
    let (mut host, _, group, before) = asked(&hello);
    hello.share_only(group);
    change(&mut hello);
    host.fails(&record(HANDSHAKE, &hello.message_after(&before)))
}

#[test]
fn each_group_can_be_asked_for() {
    for suite in [AES, CHACHA] {
        for group in [SECP256R1, SECP384R1, X25519] {
            for session_id in [0, 32] {
                let mut hello = shareless(group);
                (hello.suites, hello.session_id) = (vec![0x1302, suite], vec![3; session_id]);
                let (mut host, mut client, asked_for, before) = asked(&hello);
                assert_eq!(asked_for, group);
                if session_id > 0 {
                    host.receive(&record(CHANGE_CIPHER_SPEC, &[1])).unwrap();
                }
                hello.share_only(group);
                let message = hello.message_after(&before);
                for part in message.chunks(100) {
                    assert_eq!(host.sent(), []);
                    host.receive(&record(HANDSHAKE, part)).unwrap();
                }
                client.again(&message);
                client.take_flight(&host.sent());
                assert_eq!((client.suite, client.group), (suite, group));
                let finished = client.finished();
                host.receive(&client.seal(HANDSHAKE, &finished)).unwrap();
                client.finish();
                host.receive(&client.seal(DATA, b"x")).unwrap();
                assert_eq!(host.data(), b"x");
            }
        }
    }
}

#[test]
fn asked_with_no_share_at_all() {
    let mut hello = ordinary();
    hello.set(51, list16(&[]));
    assert_eq!(asked(&hello).2, SECP256R1, "the first that it lists");
    hello.set(45, list8(&[0, 1]));
    assert_eq!(asked(&hello).2, SECP256R1, "a key exchange is worth a round trip");
}

/// No stranger is asked.
#[test]
fn the_first_binder_counts() {
    let mut hello = shareless(X25519);
    hello.key = vec![8; 32];
    let failure = Host::new(&KEY).fails(&record(HANDSHAKE, &hello.message()));
    assert_eq!(failure.cause, Cause::WrongKey);
}

#[test]
fn the_second_binder_counts() {
    let mut hello = shareless(X25519);
    let (mut host, _, group, _) = asked(&hello);
    hello.share_only(group);
    // Right, had it been the first.
    let failure = host.fails(&record(HANDSHAKE, &hello.message()));
    assert_eq!((failure.alert, failure.cause), (Some(Alert::DECRYPT_ERROR), Cause::WrongKey));
}

#[test]
fn what_may_change() {
    let mut hello = shareless(X25519);
    hello.set(21, vec![0; 100]);
    hello.set(42, vec![]);
    hello.identities = Some(vec![b"lrmd".to_vec(), b"root".to_vec()]);
    let (mut host, mut client, group, before) = asked(&hello);
    hello.share_only(group);
    hello.set(21, vec![0; 3]);
    hello.remove(42);
    hello.identities = Some(vec![b"lrmd".to_vec()]);
    let message = hello.message_after(&before);
    host.receive(&record(HANDSHAKE, &message)).unwrap();
    client.again(&message);
    client.take_flight(&host.sent());
}

#[test]
fn what_may_not_change() {
    let illegal = |words: &str, change: &dyn Fn(&mut Hello)| {
        let failure = second(change);
        assert_eq!(failure.alert, Some(Alert::ILLEGAL_PARAMETER), "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
    };
    let differs = |change: &dyn Fn(&mut Hello)| illegal("differs from the first", change);
    differs(&|hello| hello.legacy_version = 0x0302);
    differs(&|hello| hello.session_id = vec![0x5f; 32]);
    differs(&|hello| hello.session_id.clear());
    differs(&|hello| hello.suites.reverse());
    differs(&|hello| hello.suites.push(AES));
    differs(&|hello| hello.suites.truncate(1));
    differs(&|hello| hello.compression.push(1));
    differs(&|hello| hello.set(10, list16(&[0, 0x1e, 0, 0x1d])));
    differs(&|hello| hello.set(45, list8(&[1])));
    differs(&|hello| hello.set(43, list8(&[3, 4])));
    differs(&|hello| hello.set(0x1234, vec![]));
    differs(&|hello| hello.remove(13));
    differs(&|hello| hello.extensions.swap(0, 1));
    // A cookie that nobody gave it.
    differs(&|hello| hello.set(44, list16(&[1])));
    differs(&|hello| hello.identities = None);
    illegal("early data", &|hello| hello.set(42, vec![]));

    let shares = |change: &dyn Fn(&mut Hello)| illegal("other key shares", change);
    shares(&|hello| hello.set(51, list16(&[])));
    shares(&|hello| hello.share_only(SECP256R1));
    shares(&|hello| hello.set(51, list16(&[vec![0, 0x1e], list16(&[5; 56])].concat())));
    let entry = |group: u16| [group.to_be_bytes().to_vec(), list16(&share(group))].concat();
    shares(&|hello| hello.set(51, list16(&[entry(X25519), entry(SECP256R1)].concat())));
    shares(&|hello| hello.set(51, list16(&[entry(SECP256R1), entry(X25519)].concat())));
    illegal("small order", &|hello| hello.set(51, list16(&[vec![0, 0x1d], list16(&[0; 32])].concat())));
    assert_eq!(second(|hello| hello.remove(51)).alert, Some(Alert::MISSING_EXTENSION));
    let unknown = second(|hello| hello.identities = Some(vec![b"root".to_vec()]));
    assert_eq!(unknown.cause, Cause::UnknownIdentity(b"root"[..].into()));
}

#[test]
fn records_before_the_second_hello() {
    let fails = |bytes: &[u8]| asked(&shareless(X25519)).0.fails(bytes).alert;
    let unexpected = Some(Alert::UNEXPECTED_MESSAGE);
    assert_eq!(fails(&record(CHANGE_CIPHER_SPEC, &[2])), unexpected);
    assert_eq!(fails(&record(CHANGE_CIPHER_SPEC, &[1]).repeat(2)), unexpected);
    assert_eq!(fails(&record(DATA, &[1; 40])), unexpected);
    assert_eq!(fails(&record(HANDSHAKE, &[])), unexpected);
    assert_eq!(fails(&record(HANDSHAKE, &message(20, &[0; 32]))), unexpected);
    assert_eq!(fails(&record(ALERT, &[2, 40])), None);
    let mut amid = record(HANDSHAKE, &[1, 0]);
    amid.extend(record(CHANGE_CIPHER_SPEC, &[1]));
    assert_eq!(fails(&amid), unexpected);

    let (mut host, ..) = asked(&shareless(X25519));
    host.receive(&record(ALERT, &[1, 0])).unwrap();
    assert!(host.server.is_closed());
    assert_eq!(host.sent(), record(ALERT, &[1, 0]));
}

/// One ChangeCipherSpec in all, on either side of the second hello.
#[test]
fn one_change_cipher_spec_in_all() {
    let mut hello = shareless(X25519);
    let (mut host, mut client, group, before) = asked(&hello);
    host.receive(&record(CHANGE_CIPHER_SPEC, &[1])).unwrap();
    hello.share_only(group);
    let message = hello.message_after(&before);
    host.receive(&record(HANDSHAKE, &message)).unwrap();
    client.again(&message);
    client.take_flight(&host.sent());
    let failure = host.fails_encrypted(&mut client, &record(CHANGE_CIPHER_SPEC, &[1]));
    assert_eq!(failure.alert, Some(Alert::UNEXPECTED_MESSAGE));
}

/// Early data comes between the two hellos, and never behind the second.
#[test]
fn early_data_is_skipped_until_the_second_hello() {
    let mut hello = shareless(X25519);
    hello.set(42, vec![]);
    let (mut host, mut client, group, before) = asked(&hello);
    for _ in 0..64 {
        host.receive(&record(DATA, &[0xee; 995])).unwrap();
    }
    hello.remove(42);
    hello.share_only(group);
    let message = hello.message_after(&before);
    host.receive(&record(HANDSHAKE, &message[..9])).unwrap();
    host.receive(&record(HANDSHAKE, &message[9..])).unwrap();
    client.again(&message);
    client.take_flight(&host.sent());
    let failure = host.fails_encrypted(&mut client, &record(DATA, &[0xee; 50]));
    assert_eq!(failure.alert, Some(Alert::BAD_RECORD_MAC));

    hello.set(42, vec![]);
    let fails = |bytes: &[u8]| {
        asked(&{
            let mut hello = shareless(X25519);
            hello.set(42, vec![]);
            hello
        })
        .0
        .fails(bytes)
        .alert
    };
    assert_eq!(fails(&record(DATA, &[0xee; 995]).repeat(66)), Some(Alert::UNEXPECTED_MESSAGE));
    let amid = [record(HANDSHAKE, &[1]), record(DATA, &[0xee; 50])].concat();
    assert_eq!(fails(&amid), Some(Alert::UNEXPECTED_MESSAGE));
}
