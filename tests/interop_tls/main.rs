//! The TLS server against foreign clients on loopback: GnuTLS (which cluster nodes use), OpenSSL and
//! embedded-tls.

mod daemon;
mod embedded;
mod gnutls;
mod matrix;
mod openssl;
mod server;
mod timing;

#[path = "../../src/tls/tests/client.rs"]
#[allow(dead_code, reason = "the unit tests use the rest")]
mod client;

use std::io::{self, ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a peer may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a peer's program wrote.
struct Ran {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Ran {
    /// Whether it wrote these words, to standard output or error.
    fn says(&self, words: &str) -> bool {
        [&self.stdout, &self.stderr].iter().any(|text| String::from_utf8_lossy(text).contains(words))
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr));
        write!(f, "stdout: {:.2000}\nstderr: {:.2000}", out, err)
    }
}

/// Whether a peer's program is there; if not, that is said, and counted by whoever counts.
fn is_installed(program: &str, package: &str) -> bool {
    let ran = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if ran.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        println!("skipped: no {program}: apt-get install {package}");
        assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped");
        return false;
    }
    true
}

/// Runs a peer's program to its end. It is given `input`, and then the end of input only if `end`:
/// otherwise it is the server who ends the connection.
fn run(program: &str, arguments: &[&str], input: &[u8], end: bool) -> Ran {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let mut stdin = child.stdin.take();
    let stdout = collect(child.stdout.take().expect("the pipe asked for"));
    let stderr = collect(child.stderr.take().expect("the pipe asked for"));
    // A peer that gives up closes the pipe: what matters is what it says then.
    let _ = stdin.as_mut().expect("the pipe asked for").write_all(input);
    if end {
        stdin = None;
    }

    let deadline = Instant::now() + PATIENCE;
    let mut late = false;
    while child.try_wait().expect("a child of ours").is_none() {
        if Instant::now() >= deadline {
            late = true;
            child.kill().expect("a child of ours that has not been waited for");
        }
        thread::sleep(Duration::from_millis(10));
    }
    drop(stdin);
    let ran = Ran { stdout: stdout.join().expect("output"), stderr: stderr.join().expect("errors") };
    assert!(!late, "{program} {arguments:?} did not end: {ran:?}");
    ran
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("a child's pipe");
        all
    })
}

/// Does it again when a signal, from a child of another test, was in the way.
fn retrying<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that do not repeat soon, without line ends: both tools work by lines, and read commands at
/// the beginning of one.
fn data(count: usize) -> Vec<u8> {
    (0..count as u32).map(|at| b'a' + (at.wrapping_mul(2_654_435_761) >> 24) as u8 % 26).collect()
}
