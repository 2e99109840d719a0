//! OpenSSL: `openssl s_client`, whose keys are at most 512 bytes long.

use crate::server::{Plan, Report};
use crate::{Ran, data, hex, is_installed, run};

fn talk(plan: Plan, identity: &str, key: &[u8], more: &[&str], input: &[u8]) -> (Ran, Report) {
    let server = plan.serve();
    let (address, key) = (server.address.to_string(), hex(key));
    let mut arguments =
        vec!["s_client", "-connect", &address, "-quiet", "-psk_identity", identity, "-psk", &key];
    arguments.extend_from_slice(more);
    let ran = run("openssl", &arguments, input, false);
    (ran, server.report())
}

#[test]
fn openssl_suites_groups_and_key_sizes() {
    if !is_installed("openssl", "openssl") {
        return;
    }
    for suite in ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"] {
        for group in ["P-256", "P-384", "X25519", "P-521:P-256", "X448:P-384"] {
            for size in [1, 32, 512] {
                println!("{suite} {group}, key of {size} bytes");
                let (key, data) = (vec![9; size], data(100_000));
                let plan = Plan::with_key(&key).close_after(data.len());
                let more = ["-tls1_3", "-ciphersuites", suite, "-groups", group];
                let (ran, report) = talk(plan, "lrmd", &key, &more, &data);
                assert_eq!(report.failure, None, "{ran:?}");
                assert!(report.received == data, "{ran:?}");
                assert!(ran.stdout == data, "{ran:?}");
            }
        }
    }
}

/// OpenSSL sends a ChangeCipherSpec only when asked to look like TLS 1.2, which is its default.
#[test]
fn openssl_without_middlebox_compatibility() {
    if !is_installed("openssl", "openssl") {
        return;
    }
    let (key, data) = ([9; 32], data(1000));
    let more = ["-tls1_3", "-no_middlebox", "-ciphersuites", "TLS_AES_128_GCM_SHA256"];
    let plan = Plan::with_key(&key).close_after(data.len());
    let (ran, report) = talk(plan, "lrmd", &key, &more, &data);
    assert_eq!(report.failure, None, "{ran:?}");
    assert!(ran.stdout == data, "{ran:?}");
}

#[test]
fn openssl_wrong_key_and_unknown_identity_see_the_same() {
    if !is_installed("openssl", "openssl") {
        return;
    }
    let more = ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"];
    for (identity, key) in [("lrmd", [8; 32]), ("root", [7; 32])] {
        let (ran, report) = talk(Plan::with_key(&[7; 32]), identity, &key, &more, b"");
        assert!(!report.connected, "{ran:?}");
        assert!(ran.says("decrypt error") && ran.says("SSL alert number 51"), "{ran:?}");
    }
}

#[test]
fn openssl_with_tls12_only() {
    if !is_installed("openssl", "openssl") {
        return;
    }
    let (ran, report) = talk(Plan::with_key(&[7; 32]), "lrmd", &[7; 32], &["-tls1_2"], b"");
    assert!(ran.says("protocol version") && ran.says("SSL alert number 70"), "{ran:?}");
    assert!(report.line().contains("the peer offers only TLS 1.2"), "{}", report.line());
}
