//! The alert that RFC 8446 names for each failure, in the order of its sections. Variants are in the other modules.

use super::*;

/// The failure of an ordinary hello after a change.
fn hello(change: fn(&mut Hello)) -> Failure {
    let mut hello = ordinary();
    change(&mut hello);
    clear(&record(HANDSHAKE, &hello.message()))
}

/// The failure of these bytes as the first ones.
fn clear(bytes: &[u8]) -> Failure {
    Host::new(&KEY).fails(bytes)
}

/// The failure of a record instead of the Finished.
fn handshaking(make: fn(&mut Client) -> Vec<u8>) -> Failure {
    let (mut host, mut client) = answered(&ordinary());
    let bytes = make(&mut client);
    host.fails_encrypted(&mut client, &bytes)
}

/// The failure of a record after the handshake.
fn open(make: fn(&mut Client) -> Vec<u8>) -> Failure {
    let (mut host, mut client) = connected(&ordinary());
    let bytes = make(&mut client);
    host.fails_encrypted(&mut client, &bytes)
}

#[test]
fn each_failure_has_the_alert_that_the_rfc_names() {
    type Row = (&'static str, &'static str, Alert, fn() -> Failure);
    let table: &[Row] = &[
        ("4", "a message out of order", Alert::UNEXPECTED_MESSAGE, || {
            clear(&record(HANDSHAKE, &message(20, &[0; 32])))
        }),
        ("4.1.1", "no suite in common", Alert::HANDSHAKE_FAILURE, || {
            hello(|hello| hello.suites = vec![0x1302])
        }),
        ("4.1.1", "no group in common", Alert::HANDSHAKE_FAILURE, || {
            hello(|hello| {
                hello.set(10, list16(&[0, 0x19]));
                hello.set(45, list8(&[1]));
                hello.set(51, list16(&[]));
            })
        }),
        ("4.1.2", "compression", Alert::ILLEGAL_PARAMETER, || hello(|hello| hello.compression = vec![1, 0])),
        ("4.1.2", "renegotiation", Alert::UNEXPECTED_MESSAGE, || {
            open(|client| client.seal(HANDSHAKE, &ordinary().message()))
        }),
        ("4.2", "an extension twice", Alert::ILLEGAL_PARAMETER, || {
            hello(|hello| hello.extensions.extend([(0x1234, vec![]), (0x1234, vec![])]))
        }),
        ("4.2.1", "no TLS 1.3", Alert::PROTOCOL_VERSION, || hello(|hello| hello.set(43, list8(&[3, 3])))),
        ("4.2.8", "a share for a group that is not listed", Alert::ILLEGAL_PARAMETER, || {
            hello(|hello| hello.set(10, list16(&[0, 0x17])))
        }),
        ("4.2.8.2", "a point that is not on its curve", Alert::ILLEGAL_PARAMETER, || {
            hello(|hello| hello.set(51, list16(&[vec![0, 0x17], list16(&[4; 65])].concat())))
        }),
        ("4.2.9", "no psk_key_exchange_modes", Alert::MISSING_EXTENSION, || hello(|hello| hello.remove(45))),
        ("4.2.10", "data that nobody announced", Alert::BAD_RECORD_MAC, || {
            handshaking(|_| record(DATA, &[1; 40]))
        }),
        ("4.2.11", "pre_shared_key is not the last", Alert::ILLEGAL_PARAMETER, || {
            hello(|hello| {
                hello.identities = None;
                let psk = [list16(&[list16(b"lrmd"), vec![0; 4]].concat()), list16(&list8(&[0; 32]))];
                hello.extensions.insert(0, (41, psk.concat()));
            })
        }),
        ("4.2.11", "more identities than binders", Alert::ILLEGAL_PARAMETER, || {
            hello(|hello| {
                hello.identities = None;
                let identities = [list16(b"lrmd"), vec![0; 4]].concat().repeat(2);
                hello.set(41, [list16(&identities), list16(&list8(&[0; 32]))].concat());
            })
        }),
        ("4.2.11.2", "a wrong binder", Alert::DECRYPT_ERROR, || hello(|hello| hello.key = vec![8; 32])),
        ("4.2.11", "an unknown identity", Alert::DECRYPT_ERROR, || {
            hello(|hello| hello.identities = Some(vec![b"root".to_vec()]))
        }),
        ("4.4.4", "a wrong Finished", Alert::DECRYPT_ERROR, || {
            handshaking(|client| client.seal(HANDSHAKE, &message(20, &[0; 32])))
        }),
        ("4.6.3", "a KeyUpdate before the Finished", Alert::UNEXPECTED_MESSAGE, || {
            handshaking(|client| client.seal(HANDSHAKE, &message_key_update(0)))
        }),
        ("4.6.3", "a KeyUpdate that says neither yes nor no", Alert::ILLEGAL_PARAMETER, || {
            open(|client| client.seal(HANDSHAKE, &message_key_update(2)))
        }),
        ("5", "a record of unknown type", Alert::UNEXPECTED_MESSAGE, || clear(&record(24, &[0; 3]))),
        ("5", "an unencrypted record after the handshake", Alert::UNEXPECTED_MESSAGE, || {
            open(|_| record(HANDSHAKE, &message_key_update(0)))
        }),
        ("5", "a second ChangeCipherSpec that says something else", Alert::UNEXPECTED_MESSAGE, || {
            handshaking(|_| record(CHANGE_CIPHER_SPEC, &[2]))
        }),
        ("5", "a ChangeCipherSpec after the Finished", Alert::UNEXPECTED_MESSAGE, || {
            open(|_| record(CHANGE_CIPHER_SPEC, &[1]))
        }),
        ("5.1", "a plaintext that is too long", Alert::RECORD_OVERFLOW, || clear(&[22, 3, 1, 0x40, 1])),
        ("5.1", "another record amid a message", Alert::UNEXPECTED_MESSAGE, || {
            open(|client| [client.seal(HANDSHAKE, &[24]), client.seal(DATA, b"x")].concat())
        }),
        ("5.1", "an empty handshake record", Alert::UNEXPECTED_MESSAGE, || {
            open(|client| client.seal(HANDSHAKE, &[]))
        }),
        ("5.1", "a message over a change of keys", Alert::UNEXPECTED_MESSAGE, || {
            open(|client| client.seal(HANDSHAKE, &[message_key_update(0), vec![24]].concat()))
        }),
        ("5.2", "a ciphertext that is too long", Alert::RECORD_OVERFLOW, || {
            open(|_| vec![23, 3, 3, 0x41, 1])
        }),
        ("5.2", "a record that is not ours", Alert::BAD_RECORD_MAC, || open(|_| record(DATA, &[1; 40]))),
        ("5.4", "nothing but padding", Alert::UNEXPECTED_MESSAGE, || open(|client| client.seal(0, &[0; 9]))),
        ("5.4", "an inner plaintext that is too long", Alert::RECORD_OVERFLOW, || {
            open(|client| client.seal_padded(DATA, &[1], RECORD_TEXT))
        }),
        ("6", "a message of wrong length", Alert::DECODE_ERROR, || {
            clear(&record(HANDSHAKE, &message(1, &[3, 3])))
        }),
        ("6", "half an alert", Alert::DECODE_ERROR, || open(|client| client.seal(ALERT, &[2]))),
        ("7.4.2", "a share of small order", Alert::ILLEGAL_PARAMETER, || {
            hello(|hello| hello.set(51, list16(&[vec![0, 0x1d], list16(&[0; 32])].concat())))
        }),
        ("9.2", "no key_share", Alert::MISSING_EXTENSION, || hello(|hello| hello.remove(51))),
        ("9.2", "no supported_groups", Alert::MISSING_EXTENSION, || hello(|hello| hello.remove(10))),
        ("D.5", "SSL 3.0", Alert::PROTOCOL_VERSION, || hello(|hello| hello.legacy_version = 0x0300)),
    ];
    for (section, what, alert, failure) in table {
        assert_eq!(failure().alert, Some(*alert), "section {section}: {what}");
    }
}
