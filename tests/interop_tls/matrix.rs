//! GnuTLS as Debian's releases have it, with each priority string of tls.md section 1 and its outcome.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pacelet::tls::Alert;

use crate::server::Plan;
use crate::{data, hex, run};

/// What comes of a handshake.
enum Outcome {
    Works,
    /// It works after the client was asked for another share.
    WorksAtSecond,
    /// It fails with this alert and these words in our log.
    Fails(Alert, &'static str),
}
use Outcome::{Fails, Works, WorksAtSecond};

const ONLY_TLS12: Outcome =
    Fails(Alert::PROTOCOL_VERSION, "the peer offers only TLS 1.2 and TLS 1.3 is needed");

const MATRIX: &[(&str, Outcome)] = &[
    ("NORMAL:+DHE-PSK:+PSK", Works),
    ("PERFORMANCE:+DHE-PSK:+PSK", Works),
    ("SECURE128:+DHE-PSK:+PSK", Works),
    ("SECURE192:+DHE-PSK:+PSK", Works),
    ("SECURE256:+DHE-PSK:+PSK", Works),
    ("PFS:+DHE-PSK:+PSK", Works),
    ("NORMAL:+DHE-PSK", Works),
    ("NORMAL:+ECDHE-PSK", Works),
    // The key alone.
    ("NORMAL:+PSK", Works),
    // As crypto policies leave it: FIPS, FUTURE.
    ("NORMAL:-CHACHA20-POLY1305:-GROUP-X25519:-GROUP-X448:+DHE-PSK:+PSK", Works),
    ("NORMAL:-AES-128-GCM:-AES-128-CCM:-AES-128-CBC:-GROUP-FFDHE2048:+DHE-PSK:+PSK:%PROFILE_HIGH", Works),
    ("NORMAL:-GROUP-ALL:+GROUP-SECP256R1:+DHE-PSK:+PSK", Works),
    ("NORMAL:-GROUP-ALL:+GROUP-SECP384R1:+DHE-PSK:+PSK", Works),
    ("NORMAL:-GROUP-ALL:+GROUP-X25519:+DHE-PSK:+PSK:%DISABLE_TLS13_COMPAT_MODE", Works),
    ("NORMAL:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP384R1:+DHE-PSK:+PSK", WorksAtSecond),
    ("NORMAL:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP256R1:+DHE-PSK:+PSK", WorksAtSecond),
    (
        "NORMAL:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP256R1:+DHE-PSK:%DISABLE_TLS13_COMPAT_MODE",
        WorksAtSecond,
    ),
    // No group in common: the key alone, if that may be.
    ("NORMAL:-GROUP-ALL:+GROUP-X448:+DHE-PSK:+PSK", Works),
    ("NORMAL:-GROUP-ALL:+GROUP-X448:+DHE-PSK", Fails(Alert::HANDSHAKE_FAILURE, "no common group")),
    (
        "NORMAL:-CIPHER-ALL:+AES-256-GCM:+DHE-PSK:+PSK",
        Fails(Alert::HANDSHAKE_FAILURE, "no common cipher suite"),
    ),
    ("NORMAL", Fails(Alert::HANDSHAKE_FAILURE, "no pre-shared key")),
    ("NORMAL:-VERS-TLS1.3:+DHE-PSK:+PSK", ONLY_TLS12),
    ("SECURE192:-VERS-TLS1.3:+DHE-PSK:+PSK", ONLY_TLS12),
    ("SECURE256:-VERS-TLS1.3:+DHE-PSK:+PSK", ONLY_TLS12),
    ("SUITEB128:+DHE-PSK:+PSK", ONLY_TLS12),
    ("SUITEB192:+DHE-PSK:+PSK", ONLY_TLS12),
    // As CentOS 7 says it.
    ("NORMAL:-VERS-TLS1.3:-GROUP-DH-ALL:+DHE-PSK:+PSK:%NO_ETM:%NO_SESSION_HASH", ONLY_TLS12),
    ("NORMAL:-VERS-TLS1.3:+DHE-PSK:+PSK:%NO_EXTENSIONS", ONLY_TLS12),
    ("NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC:+DHE-PSK:+PSK", ONLY_TLS12),
    (
        "NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0:+DHE-PSK:+PSK",
        Fails(Alert::PROTOCOL_VERSION, "the peer offers only TLS 1.1 and TLS 1.3 is needed"),
    ),
];

#[test]
fn gnutls_of_bullseye() {
    release("bullseye");
}

#[test]
fn gnutls_of_bookworm() {
    release("bookworm");
}

#[test]
fn gnutls_of_trixie() {
    release("trixie");
}

fn release(suite: &str) {
    let root = match root(suite) {
        Ok(root) => root,
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "on CI this must not be skipped: {reason}");
            return println!("skipped: GnuTLS of {suite}: {reason}");
        }
    };
    let mut surprises = Vec::new();
    for (priority, outcome) in MATRIX {
        let data = data(2_000);
        let plan = Plan::with_key(&[7; 32]);
        let plan = if matches!(outcome, Fails(..)) { plan } else { plan.close_after(data.len()) };
        let ends = plan.close_after.is_none();
        let server = plan.serve();
        let (port, key) = (server.port(), hex(&[7; 32]));
        let arguments = [
            &root,
            "gnutls-cli",
            "--port",
            &port,
            "--priority",
            priority,
            "--pskusername",
            "lrmd",
            "--pskkey",
            &key,
            "--no-ca-verification",
            "127.0.0.1",
        ];
        let ran = run("chroot", &arguments, if ends { b"" } else { &data }, ends);
        let report = server.report();
        let alert = report.failure.as_ref().and_then(|failure| failure.alert);
        let is_expected = match outcome {
            Works | WorksAtSecond => {
                report.received == data
                    && ran.stdout.windows(data.len()).any(|window| window == data)
                    && report.asked_again == matches!(outcome, WorksAtSecond)
            }
            Fails(expected, words) => {
                alert == Some(*expected)
                    && report.line().contains(words)
                    && ran.says(&format!("Received alert [{}]", expected.0))
            }
        };
        if !is_expected {
            surprises.push(format!("{priority}: {report:?} {}\n{ran:?}", report.line()));
        }
    }
    assert!(surprises.is_empty(), "{suite}: {}", surprises.join("\n\n"));
    println!("{suite}: {} priority strings", MATRIX.len());
}

/// The root of a release with `gnutls-cli`, made if there is none; this machine's own if that will do.
fn root(suite: &str) -> Result<String, String> {
    if !std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Err("run it as root: it changes its root directory".to_owned());
    }
    let host = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if host.contains(&format!("VERSION_CODENAME={suite}\n")) && Path::new("/usr/bin/gnutls-cli").exists() {
        return Ok("/".to_owned());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/root");
    let child = Command::new(&script)
        .args([suite, "gnutls"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| format!("{}: {error}", script.display()))?;
    let (mut path, mut reasons) = (String::new(), String::new());
    let _ = child.stderr.take().expect("the pipe asked for").read_to_string(&mut reasons);
    let _ = child.stdout.take().expect("the pipe asked for").read_to_string(&mut path);
    if child.wait().is_ok_and(|status| status.success()) {
        return Ok(path.trim_end().to_owned());
    }
    Err(reasons.trim_end().lines().last().unwrap_or("no reason was given").to_owned())
}
