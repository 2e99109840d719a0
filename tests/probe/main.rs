//! `pacelet probe` must name the step that goes wrong, and what may have caused it, against real servers:
//! pacelet, the stock daemons of several releases, GnuTLS, OpenSSL, and what is no TLS server at all.

// The same namespaces, for the stock daemons.
#[allow(dead_code, reason = "what the tests of the local tools need")]
#[path = "../interop_ipc/lab.rs"]
mod lab;
mod nowhere;
mod servers;
mod stock;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whatever takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(30);

const KEY: [u8; 64] = [0x5A; 64];

/// What the probe did.
#[derive(Debug)]
struct Probed {
    status: i32,
    table: String,
    faults: String,
}

impl Probed {
    /// Every step went right.
    fn is_right(&self) {
        assert_eq!(self.status, 0, "{self:?}");
        assert_eq!(self.faults, "");
        assert!(self.table.ends_with("all 6 steps as a cluster expects\n"), "{self:?}");
    }

    /// The steps up to this one went right, and what is said about it has these words.
    fn fails(&self, number: i32, step: &str, words: &[&str]) {
        assert_eq!(self.status, number, "{self:?}");
        assert!(self.faults.starts_with(&format!("step {number} ({step}) is wrong: ")), "{self:?}");
        assert!(self.faults.lines().nth(1).is_some_and(|line| line.starts_with("  - ")), "{self:?}");
        for word in words {
            assert!(self.faults.contains(word), "{word}: {self:?}");
        }
        assert_eq!(self.table.lines().count() as i32, number + 1, "{self:?}");
    }
}

/// Runs the probe with a key file of this content.
fn probe_with(key: &[u8], target: &str, more: &[&str]) -> Probed {
    let file = Scratch::new("probe", key);
    let output = Command::new(env!("CARGO_BIN_EXE_pacelet"))
        .args(["probe", target, "--timeout", "1", "--key"])
        .arg(&file.0)
        .args(more)
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Probed {
        status: output.status.code().expect("no signal"),
        table: text(&output.stdout),
        faults: text(&output.stderr),
    }
}

fn probe(target: SocketAddr) -> Probed {
    probe_with(&KEY, &target.to_string(), &[])
}

/// A file that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("pacelet-probe-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).expect("a file in the directory for temporary ones");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
    listener.local_addr().expect("its address")
}

/// A server's process; killed with the value.
struct Server(Child);

impl Server {
    /// Starts it, and waits until its port takes connections.
    fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < PATIENCE, "{command:?} does not listen at {address}");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    fn pacelet(key: &Scratch, address: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pacelet"));
        command
            .arg("daemon")
            .env_clear()
            .env("PCMK_logfacility", "none")
            .env("PACELET_tools", "no")
            .env("PCMK_authkey_location", &key.0)
            .env("PCMK_remote_address", address.ip().to_string())
            .env("PCMK_remote_port", address.port().to_string())
            .stdin(Stdio::null());
        Self::start(&mut command, address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
