//! GnuTLS: `gnutls-cli`, as it is on this machine; priority strings are in `matrix`.

use pacelet::tls::Alert;

use crate::server::{Plan, Report};
use crate::{Ran, data, hex, is_installed, run};

struct Client<'a> {
    priority: &'a str,
    identity: &'a str,
    key: &'a [u8],
}

impl Default for Client<'_> {
    fn default() -> Self {
        Self { priority: "NORMAL:+DHE-PSK:+PSK", identity: "lrmd", key: &[7; 32] }
    }
}

impl Client<'_> {
    /// Runs the client against a server.
    fn talk(&self, plan: Plan, input: &[u8]) -> (Ran, Report) {
        let end = plan.close_after.is_none();
        let server = plan.serve();
        let (port, key) = (server.port(), hex(self.key));
        let arguments = [
            "--port",
            &port,
            "--priority",
            self.priority,
            "--pskusername",
            self.identity,
            "--pskkey",
            &key,
            "--no-ca-verification",
            "127.0.0.1",
        ];
        let ran = run("gnutls-cli", &arguments, input, end);
        (ran, server.report())
    }

    fn exchanges(&self, count: usize) {
        let data = data(count);
        let (ran, report) = self.talk(Plan::with_key(self.key).close_after(count), &data);
        assert!(report.connected, "{report:?}\n{ran:?}");
        assert_eq!(report.failure, None, "{ran:?}");
        assert!(report.received == data, "{} bytes came", report.received.len());
        // Its last words follow the data on the same pipe.
        assert!(ran.stdout.windows(count).any(|window| window == data), "{ran:?}");
    }

    /// The handshake fails; the client says which alert it got, and we say why.
    fn fails(&self, plan: Plan, alert: Alert, its_words: &str, our_words: &str) {
        let (ran, report) = self.talk(plan, b"");
        assert!(!report.connected, "{ran:?}");
        assert_eq!(report.failure.as_ref().and_then(|failure| failure.alert), Some(alert), "{ran:?}");
        assert!(ran.says(its_words), "{ran:?}");
        assert!(report.line().contains(our_words), "{}", report.line());
    }
}

/// `gnutls-cli` refuses keys shorter than four bytes. The longest just fits in what the kernel allows
/// for one argument.
#[test]
fn gnutls_key_sizes() {
    if !is_installed("gnutls-cli", "gnutls-bin") {
        return;
    }
    for size in [4, 31, 32, 33, 64, 65, 512, 4096, 65_535] {
        println!("key of {size} bytes");
        let key: Vec<u8> = (1..=size).map(|at| (at % 251) as u8).collect();
        Client { key: &key, ..Client::default() }.exchanges(10);
    }
}

#[test]
fn gnutls_one_mebibyte() {
    if !is_installed("gnutls-cli", "gnutls-bin") {
        return;
    }
    for priority in ["NORMAL:+DHE-PSK:+PSK", "PERFORMANCE:+DHE-PSK:+PSK"] {
        Client { priority, ..Client::default() }.exchanges(1 << 20);
    }
}

/// The client sends 25 records, which come back as 25 at most and 7 at least: one to five KeyUpdates,
/// and GnuTLS allows eight a second.
#[test]
fn gnutls_follows_our_key_updates() {
    if !is_installed("gnutls-cli", "gnutls-bin") {
        return;
    }
    let client = Client::default();
    let data = data(100_000);
    let plan = Plan { update_after: 5, ..Plan::with_key(client.key).close_after(data.len()) };
    let (ran, report) = client.talk(plan, &data);
    assert!(report.received == data, "{report:?}\n{ran:?}");
    assert!(ran.stdout.windows(data.len()).any(|window| window == data), "{ran:?}");
}

#[test]
fn gnutls_in_single_bytes() {
    if !is_installed("gnutls-cli", "gnutls-bin") {
        return;
    }
    let client = Client::default();
    let data = data(1000);
    let plan = Plan { piece: 1, ..Plan::with_key(client.key).close_after(data.len()) };
    let (ran, report) = client.talk(plan, &data);
    assert!(report.received == data, "{report:?}\n{ran:?}");
}

#[test]
fn gnutls_closes() {
    if !is_installed("gnutls-cli", "gnutls-bin") {
        return;
    }
    let client = Client::default();
    let (ran, report) = client.talk(Plan::with_key(client.key), b"");
    assert!(report.connected && report.closed, "{report:?}\n{ran:?}");
    assert_eq!(report.failure, None);
}

#[test]
fn gnutls_wrong_key_and_unknown_identity_see_the_same() {
    if !is_installed("gnutls-cli", "gnutls-bin") {
        return;
    }
    let decrypt_error = "Received alert [51]: Decrypt error";
    Client::default().fails(Plan::with_key(&[8; 32]), Alert::DECRYPT_ERROR, decrypt_error, "wrong key");
    Client { identity: "root\u{1b}[2J", ..Client::default() }.fails(
        Plan::with_key(&[7; 32]),
        Alert::DECRYPT_ERROR,
        decrypt_error,
        "unknown identity: the peer calls itself \"root\\x1b[2J\"",
    );
    Client::default().fails(
        Plan { key: None, ..Plan::with_key(&[7]) },
        Alert::DECRYPT_ERROR,
        decrypt_error,
        "we have no key",
    );
}
