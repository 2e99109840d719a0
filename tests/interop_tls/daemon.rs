//! The daemon as a process, as strangers and clients meet it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::client::{CHACHA, HANDSHAKE, Hello, X25519, record};
use crate::{PATIENCE, hex, is_installed, retrying, run};

/// Killed with the value.
pub struct Daemon {
    process: Child,
    address: SocketAddr,
    place: PathBuf,
}

impl Daemon {
    pub fn start(name: &str, key: &[u8]) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = port.expect("a port on loopback");
        let place = std::env::temp_dir().join(format!("pacelet-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).expect("a directory");
        fs::write(place.join("key"), key).expect("a key file");
        fs::set_permissions(place.join("key"), PermissionsExt::from_mode(0o600)).expect("its mode");
        let process = Command::new(env!("CARGO_BIN_EXE_pacelet"))
            .arg("daemon")
            .env_clear()
            .env("PCMK_logfacility", "none")
            .env("PCMK_logfile", "none")
            .env("PACELET_tools", "no")
            .env("PCMK_authkey_location", place.join("key"))
            .env("PCMK_remote_address", "127.0.0.1")
            .env("PCMK_remote_port", address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(place.join("log")).expect("a log file"))
            .spawn()
            .expect("the daemon");
        let daemon = Self { process, address, place };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < PATIENCE, "the daemon does not listen: {}", daemon.log());
            sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.join("log")).expect("the log file")
    }

    /// Kilobytes of memory in use.
    fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.place);
    }
}

fn gnutls(port: u16, key: &[u8]) -> crate::Ran {
    let (port, key) = (port.to_string(), hex(key));
    let priority = "NORMAL:+DHE-PSK:+PSK";
    let arguments = ["--port", &port, "--priority", priority, "--pskusername", "lrmd", "--pskkey", &key];
    run("gnutls-cli", &[&arguments[..], &["127.0.0.1"]].concat(), b"", true)
}

#[test]
fn the_alert_arrives() {
    let daemon = Daemon::start("alert", &[7; 32]);
    if is_installed("gnutls-cli", "gnutls-bin") {
        let ran = gnutls(daemon.address.port(), &[8; 32]);
        assert!(ran.says("Received alert [51]: Decrypt error"), "{ran:?}");
    }
    // Also at a peer that goes on sending before it looks.
    let mut stream = daemon.connect();
    stream.write_all(&record(HANDSHAKE, &Hello::new(&[8; 32], CHACHA, X25519).message())).expect("room");
    for _ in 0..3 {
        sleep(Duration::from_millis(50));
        stream.write_all(&[0; 30_000]).expect("an open connection");
    }
    sleep(Duration::from_millis(50));
    let mut answer = Vec::new();
    retrying(|| stream.read_to_end(&mut answer)).expect("an end, not a reset");
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 51]);
    // But not at any price.
    let mut stream = daemon.connect();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("room");
    let begin = Instant::now();
    while stream.write_all(&[0; 30_000]).is_ok() {
        assert!(begin.elapsed() < PATIENCE, "it takes everything");
    }
}

/// What opens connections, says nothing, and opens more.
fn flood(address: SocketAddr, opened: &AtomicUsize, ends: &AtomicBool) {
    let mut open = VecDeque::new();
    while !ends.load(Ordering::Relaxed) {
        if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            opened.fetch_add(1, Ordering::Relaxed);
            open.push_back(stream);
        }
        if open.len() > 400 {
            open.pop_front();
        }
    }
}

/// A client whose hello comes half a second after its connection, as a cluster node's may.
#[test]
fn a_late_hello_survives_a_flood() {
    if !is_installed("gnutls-cli", "gnutls-bin") {
        return;
    }
    let daemon = Daemon::start("flood", &[7; 32]);
    let before = daemon.resident();
    let (opened, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| flood(daemon.address, &opened, &ends));
        }
        let begin = Instant::now();
        while opened.load(Ordering::Relaxed) < 2_000 && begin.elapsed() < PATIENCE {
            sleep(Duration::from_millis(10));
        }
        let mut completed = 0;
        for _ in 0..3 {
            let begin = Instant::now();
            let connection = daemon.connect();
            println!("connected after {:?} of the flood", begin.elapsed());
            sleep(Duration::from_millis(500));
            completed += usize::from(through(connection).says("Handshake was completed"));
        }
        let rate = opened.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
        let growth = daemon.resident() - before;
        ends.store(true, Ordering::Relaxed);
        println!("{rate:.0} connections a second; the daemon grew by {growth} kB");
        assert_eq!(completed, 3);
        assert!(growth <= 3 * 1024, "{growth} kB for 1024 strangers");
    });
}

/// Runs the client over a connection that is there already.
fn through(daemon: TcpStream) -> crate::Ran {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
    let port = listener.local_addr().expect("its address").port();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (client, _) = listener.accept().expect("the client");
            let pass = |mut from: &TcpStream, mut to: &TcpStream| {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            };
            thread::scope(|scope| {
                scope.spawn(|| pass(&client, &daemon));
                pass(&daemon, &client);
            });
        });
        gnutls(port, &[7; 32])
    })
}
