//! Hellos that must be refused, each with the alert that RFC 8446 names.

use super::*;
use crate::log::Escaped;

/// The failure of an ordinary hello after a change.
fn changed(change: impl FnOnce(&mut Hello)) -> Failure {
    let mut hello = ordinary();
    change(&mut hello);
    refused(&hello.message())
}

fn refused(message: &[u8]) -> Failure {
    let mut host = Host::new(&KEY);
    let mut records: Vec<_> = message.chunks(RECORD_TEXT).map(|part| record(HANDSHAKE, part)).collect();
    let last = records.pop().unwrap();
    for record in records {
        host.receive(&record).unwrap();
    }
    host.fails(&last)
}

fn accepted(change: impl FnOnce(&mut Hello)) {
    let mut hello = ordinary();
    change(&mut hello);
    connected(&hello);
}

/// The alert, and the words for the log.
#[track_caller]
fn expect(failure: Failure, alert: Alert, words: &str) {
    assert_eq!(failure.alert, Some(alert), "{failure}");
    assert!(failure.to_string().contains(words), "{failure}");
}

/// A hello with a body cut off anywhere is not well-formed, but for where a TLS 1.2 hello may end.
#[test]
fn cut_short() {
    let whole = ordinary().message();
    let body = &whole[4..];
    let end_of_old_hello = 2 + 32 + 33 + 2 + 4 + 2;
    for length in 0..body.len() {
        let failure = refused(&message(1, &body[..length]));
        let expected = if length == end_of_old_hello { Alert::PROTOCOL_VERSION } else { Alert::DECODE_ERROR };
        assert_eq!(failure.alert, Some(expected), "{length} bytes");
    }
}

/// The same with all lengths around the cut made right: an extension that ends too early.
#[test]
fn extensions_cut_short_or_too_long() {
    for (number, contents) in ordinary().extensions {
        for length in 0..contents.len() {
            let failure = changed(|hello| hello.set(number, contents[..length].to_vec()));
            expect(failure, Alert::DECODE_ERROR, "hello is malformed");
        }
        let longer = [&contents[..], &[0]].concat();
        expect(changed(|hello| hello.set(number, longer)), Alert::DECODE_ERROR, "malformed");
    }
}

#[test]
fn fields_out_of_range() {
    let malformed = |change: fn(&mut Hello)| expect(changed(change), Alert::DECODE_ERROR, "malformed");
    malformed(|hello| hello.session_id = vec![1; 33]);
    malformed(|hello| hello.suites.clear());
    malformed(|hello| hello.set(10, list16(&[])));
    malformed(|hello| hello.set(10, list16(&[0, 0x1d, 0])));
    malformed(|hello| hello.set(13, list16(&[])));
    malformed(|hello| hello.set(43, list8(&[])));
    malformed(|hello| hello.set(43, list8(&[3, 4, 3])));
    malformed(|hello| hello.set(45, list8(&[])));
    malformed(|hello| hello.set(42, vec![0]));
    malformed(|hello| hello.identities = Some(vec![]));
    malformed(|hello| hello.identities = Some(vec![b"lrmd".to_vec(), vec![]]));

    // An odd list of suites, and something after the extensions.
    let mut body = ordinary().message()[4..].to_vec();
    let suites = 2 + 32 + 33;
    assert_eq!(body[suites..suites + 2], [0, 4]);
    body[suites + 1] = 3;
    body.remove(suites + 2);
    assert_eq!(refused(&message(1, &body)).alert, Some(Alert::DECODE_ERROR));
    let mut body = ordinary().message()[4..].to_vec();
    body.push(0);
    assert_eq!(refused(&message(1, &body)).alert, Some(Alert::DECODE_ERROR));
}

/// pre_shared_key as these bytes, for what [`Hello`] cannot build.
fn with_psks(contents: Vec<u8>) -> Failure {
    changed(|hello| {
        hello.identities = None;
        hello.set(41, contents);
    })
}

#[test]
fn psks_out_of_range() {
    let identity = [list16(b"lrmd"), vec![0; 4]].concat();
    let binder = list8(&[0; 32]);
    let malformed = |identities: &[u8], binders: &[u8]| {
        let failure = with_psks([list16(identities), list16(binders)].concat());
        expect(failure, Alert::DECODE_ERROR, "malformed");
    };
    malformed(&[], &binder);
    malformed(&identity, &[]);
    malformed(&identity[..7], &binder);
    malformed(&identity, &list8(&[0; 31]));
    malformed(&identity, &binder[..32]);
    malformed(&[list16(&[]), vec![0; 4]].concat(), &binder);
    let mut longer = [list16(&identity), list16(&binder)].concat();
    longer.push(0);
    expect(with_psks(longer), Alert::DECODE_ERROR, "malformed");

    let two = [&identity[..], &identity].concat();
    let failure = with_psks([list16(&two), list16(&binder)].concat());
    expect(failure, Alert::ILLEGAL_PARAMETER, "a different number of binders");
}

#[test]
fn the_length_in_the_header() {
    let mut host = Host::new(&KEY);
    // Judged before the hello is there.
    let failure = host.fails(&record(HANDSHAKE, &[1, 0, 0xff, 0xfd]));
    expect(failure, Alert::DECODE_ERROR, "hello is malformed");
    let mut host = Host::new(&KEY);
    host.receive(&record(HANDSHAKE, &[1, 0, 0xff, 0xfc])).unwrap();
    let more = [&ordinary().message()[..], &[0]].concat();
    expect(Host::new(&KEY).fails(&record(HANDSHAKE, &more)), Alert::UNEXPECTED_MESSAGE, "more after");
}

#[test]
fn versions() {
    let old = |version, change: fn(&mut Hello)| {
        let failure = changed(change);
        assert_eq!(failure.cause, Cause::OldProtocol(version));
        expect(failure, Alert::PROTOCOL_VERSION, "TLS 1.3 is needed");
    };
    old(0x0303, |hello| hello.remove(43));
    old(0x0303, |hello| hello.set(43, list8(&[3, 2, 3, 3, 3, 1])));
    old(0x0302, |hello| hello.set(43, list8(&[3, 2, 3, 1])));
    old(0x0303, |hello| {
        hello.remove(43);
        hello.legacy_version = 0x0304;
    });
    old(0x0301, |hello| {
        hello.remove(43);
        hello.legacy_version = 0x0301;
    });
    // Drafts, and what may come after 1.3, are not 1.3.
    old(0x0303, |hello| hello.set(43, list8(&[0x7f, 28])));
    old(0x0303, |hello| hello.set(43, list8(&[3, 5])));
    // RFC 8446 section D.5.
    old(0x0300, |hello| hello.legacy_version = 0x0300);
    old(0x0002, |hello| hello.legacy_version = 0x0002);
    expect(changed(|hello| hello.remove(43)), Alert::PROTOCOL_VERSION, "only TLS 1.2");

    accepted(|hello| hello.legacy_version = 0x0301);
    accepted(|hello| hello.legacy_version = 0x0304);
    accepted(|hello| hello.set(43, list8(&[0x0a, 0x0a, 3, 3, 3, 4])));
}

#[test]
fn compression() {
    for compression in [vec![], vec![1], vec![0, 1], vec![1, 0], vec![0, 0]] {
        let failure = changed(|hello| hello.compression = compression);
        expect(failure, Alert::ILLEGAL_PARAMETER, "compression");
    }
    // TLS 1.2 hellos may list more.
    let failure = changed(|hello| {
        hello.remove(43);
        hello.compression = vec![1, 0];
    });
    assert_eq!(failure.cause, Cause::OldProtocol(0x0303));
}

#[test]
fn extensions_twice_or_behind_the_last() {
    for number in [10, 43, 45, 51, 0x1234] {
        let failure = changed(|hello| {
            hello.set(number, list16(&[0, 0x1d]));
            let copy = hello.extensions.iter().find(|(its, _)| *its == number).cloned().unwrap();
            if number != 0x1234 {
                *hello = ordinary();
            }
            hello.extensions.push(copy);
        });
        expect(failure, Alert::ILLEGAL_PARAMETER, "an extension twice");
    }
    let whole = [list16(&[list16(b"lrmd"), vec![0; 4]].concat()), list16(&list8(&[0; 32]))].concat();
    let failure = changed(|hello| {
        hello.identities = None;
        hello.set(41, whole);
        hello.set(0x1234, vec![]);
    });
    expect(failure, Alert::ILLEGAL_PARAMETER, "after pre_shared_key");
}

#[test]
fn unknown_extensions_are_passed_over() {
    accepted(|hello| {
        hello.extensions.insert(0, (0x0a0a, vec![]));
        hello.extensions.insert(2, (0xffff, vec![1, 2, 3]));
        // Known ones that mean nothing here: server_name, status_request, ALPN, session_ticket,
        // record_size_limit, cookie, post_handshake_auth.
        for number in [0, 5, 16, 35, 28, 44, 49] {
            hello.extensions.insert(1, (number, vec![9; 3]));
        }
        hello.session_id = vec![1];
    });
}

#[test]
fn missing_extensions() {
    let missing = |name, change: fn(&mut Hello)| expect(changed(change), Alert::MISSING_EXTENSION, name);
    missing("psk_key_exchange_modes", |hello| hello.remove(45));
    missing("supported_groups", |hello| hello.remove(10));
    missing("key_share", |hello| hello.remove(51));
    missing("supported_groups", |hello| {
        hello.remove(10);
        hello.remove(51);
        hello.set(45, list8(&[1]));
    });
    // One without the other is not allowed, even if neither is needed.
    for modes in [&[0][..], &[0, 1]] {
        expect(
            changed(|hello| {
                hello.remove(10);
                hello.set(45, list8(modes))
            }),
            Alert::MISSING_EXTENSION,
            "supported_groups",
        );
        expect(
            changed(|hello| {
                hello.remove(51);
                hello.set(45, list8(modes))
            }),
            Alert::MISSING_EXTENSION,
            "key_share",
        );
    }
    missing("supported_groups", |hello| {
        hello.identities = None;
        hello.remove(10);
    });
    missing("signature_algorithms", |hello| {
        hello.identities = None;
        hello.remove(13);
    });
    missing("key_share", |hello| {
        hello.identities = None;
        hello.remove(51);
    });
    // With a pre-shared key there is nothing to sign.
    accepted(|hello| hello.remove(13));
}

#[test]
fn nothing_in_common() {
    let nothing = |words, change: fn(&mut Hello)| expect(changed(change), Alert::HANDSHAKE_FAILURE, words);
    nothing("no common cipher suite", |hello| hello.suites = vec![0x1302, 0x1304, 0x00ab]);
    nothing("no pre-shared key", |hello| hello.identities = None);
    nothing("no common key exchange", |hello| hello.set(45, list8(&[2, 255])));
    nothing("no common group", |hello| {
        hello.set(10, list16(&[0, 0x19, 0, 0x1e]));
        hello.set(45, list8(&[1]));
        hello.set(51, list16(&[]));
    });
}

/// `psk_ke`: only if nothing better is offered.
#[test]
fn a_key_that_stands_alone() {
    let group = |change: fn(&mut Hello)| {
        let mut hello = ordinary();
        change(&mut hello);
        connected(&hello).1.group
    };
    assert_eq!(group(|hello| hello.set(45, list8(&[0, 1]))), X25519);
    assert_eq!(group(|hello| hello.set(45, list8(&[0]))), 0);
    assert_eq!(group(|hello| hello.set(45, list8(&[2, 0, 255]))), 0);
    let without = |hello: &mut Hello| {
        hello.remove(10);
        hello.remove(51);
    };
    let mut hello = ordinary();
    without(&mut hello);
    assert_eq!(connected(&hello).1.group, 0);
    assert_eq!(
        group(|hello| {
            hello.set(10, list16(&[0, 0x1e, 0, 0x19]));
            hello.set(51, list16(&[vec![0, 0x1e], list16(&[5; 56])].concat()));
        }),
        0
    );
    // Bad shares are bad also where none is needed.
    let failure = changed(|hello| {
        hello.set(45, list8(&[0]));
        hello.set(51, list16(&[vec![0, 0x1e], list16(&[5; 56])].concat()));
    });
    expect(failure, Alert::ILLEGAL_PARAMETER, "does not list");
}

#[test]
fn shares_that_are_not_allowed() {
    let entry = |group: u16, share: &[u8]| [group.to_be_bytes().to_vec(), list16(share)].concat();
    let illegal = |words, shares: Vec<u8>| {
        let failure = changed(|hello| hello.set(51, list16(&shares)));
        expect(failure, Alert::ILLEGAL_PARAMETER, words);
    };
    let good = share(X25519);
    illegal("does not list", entry(0x001e, &[1; 56]));
    illegal("does not list", [entry(X25519, &good), entry(0x0a0a, &[0])].concat());
    illegal("two key shares", [entry(X25519, &good), entry(X25519, &good)].concat());
    illegal(
        "two key shares",
        [entry(X25519, &good), entry(SECP384R1, &[4]), entry(SECP384R1, &[5])].concat(),
    );

    for length in [0, 1, 31, 33, 65] {
        illegal("not 32 bytes", entry(X25519, &vec![9; length]));
    }
    // All points of small order (RFC 7748 section 7): they give zero whatever our key is.
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let point: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&point[2 * at..2 * at + 2], 16).unwrap()).collect();
        illegal("small order", entry(X25519, &point));
    }

    for group in [SECP256R1, SECP384R1] {
        let good = share(group);
        let last = good.len() - 1;
        let mut off_curve = good.clone();
        off_curve[last] ^= 1;
        let mut compressed = good[..=last / 2].to_vec();
        compressed[0] = 2 + (good[last] & 1);
        let mut hybrid = good.clone();
        hybrid[0] = 6 + (good[last] & 1);
        let longer = [&good[..], &[0]].concat();
        let mut zero = vec![0; good.len()];
        zero[0] = 4;
        let mut beyond_the_field = vec![0xff; good.len()];
        beyond_the_field[0] = 4;
        let shorter = &good[..last];
        for share in [
            &off_curve[..],
            &compressed,
            &hybrid,
            &longer,
            &zero,
            &beyond_the_field,
            shorter,
            &[4],
            &[0],
            &[],
        ] {
            illegal("no point of its curve", entry(group, share));
        }
    }
}

#[test]
fn wrong_key_and_unknown_identity() {
    let wrong = changed(|hello| hello.key = vec![8; 32]);
    assert_eq!(wrong.cause, Cause::WrongKey);
    let unknown = changed(|hello| hello.identities = Some(vec![b"root\n".to_vec(), b"lrm".to_vec()]));
    assert_eq!(unknown.cause, Cause::UnknownIdentity(b"root\n"[..].into()));
    expect(unknown.clone(), Alert::DECRYPT_ERROR, "unknown identity: the peer calls itself \"root\\x0a\"");
    assert_eq!(wrong.alert, unknown.alert);
    // The alert in the clear is all that `Host::fails` lets pass.

    let mut host = Host::new(&KEY);
    host.psk = None;
    let none = host.fails(&record(HANDSHAKE, &ordinary().message()));
    assert_eq!((none.alert, none.cause), (wrong.alert, Cause::NoKey));

    // With our key, and even with an empty one, an unknown identity and no key of ours stay refused.
    let mut hello = ordinary();
    hello.key.clear();
    let mut host = Host::new(&KEY);
    host.psk = None;
    assert_eq!(host.fails(&record(HANDSHAKE, &hello.message())).cause, Cause::NoKey);
}

/// The same steps, and none of them on a curve, which would draw a private key: what remains to differ is
/// measured by `interop_tls`'s `timing`.
#[test]
fn wrong_key_and_unknown_identity_are_the_same_work() {
    use crate::tls::schedule::WORK;
    let work = |change: fn(&mut Hello)| {
        let mut hello = ordinary();
        change(&mut hello);
        let mut host = Host::new(&KEY);
        let bytes = record(HANDSHAKE, &hello.message());
        let (before, entropy) = (WORK.get(), host.entropy.0);
        host.fails(&bytes);
        assert_eq!(host.entropy.0, entropy, "a private key was made");
        WORK.get() - before
    };
    let wrong = work(|hello| hello.key = vec![8; 32]);
    assert!(wrong > 0);
    assert_eq!(wrong, work(|hello| hello.identities = Some(vec![b"root".to_vec()])));
    assert_eq!(wrong, work(|hello| hello.identities = Some(vec![b"root".to_vec(), b"nobody".to_vec()])));
    assert_eq!(
        wrong,
        work(|hello| (hello.key, hello.identities) = (vec![8; 32], Some(vec![b"root".to_vec()])))
    );
    // The same where a share would have to be asked for.
    assert_eq!(
        wrong,
        work(|hello| {
            hello.set(51, list16(&[]));
            hello.identities = Some(vec![b"root".to_vec()]);
        })
    );
}

#[test]
fn a_long_identity_is_cut() {
    let failure = changed(|hello| hello.identities = Some(vec![vec![b'x'; 40_000]]));
    let Cause::UnknownIdentity(identity) = &failure.cause else { panic!("{failure}") };
    assert_eq!(identity.len(), Escaped::LIMIT + 1);
    assert!(failure.to_string().contains("x…\""));
}

/// Another identity's binder does not count for ours, and ours counts only in its place.
#[test]
fn binders_in_the_wrong_place() {
    let mut hello = ordinary();
    hello.identities = Some(vec![b"root".to_vec(), b"lrmd".to_vec()]);
    let mut message = hello.message();
    let end = message.len();
    message[end - 1] ^= 1;
    assert_eq!(refused(&message).cause, Cause::WrongKey);
    message[end - 1] ^= 1;
    message[end - 34] ^= 1;
    let mut host = Host::new(&KEY);
    host.receive(&record(HANDSHAKE, &message)).unwrap();
}

/// Each bit of the binder, and each bit that it covers.
#[test]
fn nothing_in_a_hello_can_be_altered() {
    let whole = ordinary().message();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut message = whole.clone();
            message[at] ^= 1 << bit;
            let mut host = Host::new(&KEY);
            // A longer length waits for the rest.
            let failure = host.receive(&record(HANDSHAKE, &message)).err();
            assert!(failure.is_some() || at < 4, "bit {bit} of byte {at}");
            assert!(records(&host.sent()).iter().all(|(kind, _)| *kind == ALERT));
        }
    }
}

/// A binder of another hash's length is a binder that does not fit.
#[test]
fn a_binder_of_48_bytes() {
    let identity = [list16(b"lrmd"), vec![0; 4]].concat();
    let failure = with_psks([list16(&identity), list16(&list8(&[0; 48]))].concat());
    assert_eq!((failure.alert, failure.cause), (Some(Alert::DECRYPT_ERROR), Cause::WrongKey));
}

/// The binder is judged before the share is looked at: no work on curves for strangers.
#[test]
fn no_key_exchange_for_strangers() {
    let failure = changed(|hello| {
        hello.key = vec![8; 32];
        hello.set(51, list16(&[vec![0, 0x1d], list16(&[0; 32])].concat()));
    });
    assert_eq!(failure.cause, Cause::WrongKey);
}
