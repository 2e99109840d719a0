//! Pacelet beside the stock daemons of several releases: the same is asked of both, and the answers compared.
//!
//! Where they differ, the table or the rule that says so also says why. Root is needed, and the roots that
//! `tests/cluster/root` makes.

mod execs;
// The same namespaces, for the stock daemons.
#[allow(dead_code, reason = "what the tests of the local tools need")]
#[path = "../interop_ipc/lab.rs"]
mod lab;
mod told;
mod words;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::{Lab, Running, User};

/// Oldest first.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// Whatever takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

const KEY: [u8; 64] = [0x5A; 64];

/// Both daemons' settings, as `env` takes them. Stock looks for a large prime at its start, for seconds on a busy
/// machine, if it is not told to be content with a small one; nobody uses it.
const SETTINGS: [&str; 5] = [
    "PCMK_authkey_location=/tmp/key",
    "PCMK_logfile=none",
    "PCMK_logfacility=none",
    "PCMK_dh_max_bits=512",
    "PCMK_node_start_state=standby",
];

/// Without the right to look into any directory, which root has.
const CONFINED: [&str; 3] = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];

/// Where the stock daemon is, in its root.
const STOCK: &str = "/tmp/pacemaker-remoted";

/// Makes the inside of the namespaces ready for both.
fn prepare(lab: &Lab) {
    let lo = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip of iproute2");
    assert!(lo.success());
    fs::copy(lab.stock().join("usr/sbin/pacemaker-remoted"), lab.at(STOCK)).expect("a copy");
    fs::write(lab.at("/tmp/key"), KEY).expect("the key");
}

fn start_stock(lab: &Lab, words: &[&str]) -> Running {
    lab.start(User::ROOT, &[&CONFINED[..], &["env"], &SETTINGS, &[STOCK], words].concat())
}

fn start_pacelet(lab: &Lab, words: &[&str]) -> Child {
    let [setpriv, confined @ ..] = CONFINED;
    Command::new(setpriv)
        .args(confined)
        .args([env!("CARGO_BIN_EXE_pacelet"), "daemon"])
        .args(words)
        .env_clear()
        .envs(SETTINGS.iter().filter_map(|setting| setting.split_once('=')))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PACELET_tools", "no")
        .env("PCMK_authkey_location", lab.at("/tmp/key"))
        .env("OCF_RA_PATH", lab.at(execs::AGENTS))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv of util-linux")
}

/// The first port that somebody listens on in these namespaces.
fn listening() -> Option<u16> {
    // Local address, remote address, state 0A, among others.
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok().filter(|_| state == "0A")
    };
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .find_map(|table| fs::read_to_string(table).ok()?.lines().find_map(port))
}

/// Waits for a port, or until `has_ended`.
fn await_port(mut has_ended: impl FnMut() -> bool) -> Option<u16> {
    let begin = Instant::now();
    loop {
        let ended = has_ended();
        let port = listening();
        if ended || port.is_some() {
            return port;
        }
        assert!(begin.elapsed() < PATIENCE, "it neither listens nor ends");
        sleep(Duration::from_millis(2));
    }
}

/// Ends a daemon of ours.
fn end(mut daemon: Child) {
    daemon.kill().expect("a child of this process");
    daemon.wait().expect("a child of this process");
}
