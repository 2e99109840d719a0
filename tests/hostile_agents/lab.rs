//! A daemon, its agents, a client that asks, and another that pokes all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client};
use pacelet::tools::cluster::{Operation, Resource};
use pacelet::xml::{Element, Writer};
use rustix::process::{Pid, Rlimit, Signal};

/// Whatever takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(100);
/// How long the 99th percentile of all pokes may take.
const POKE_LIMIT: Duration = Duration::from_millis(50);
/// How long between two pokes.
const POKE_PAUSE: Duration = Duration::from_millis(3);
/// How many pokes there are at least: until then they go on when the agents have ended.
const POKES: usize = 2000;
/// The priority of the daemon and of the client that pokes, where that is allowed.
const PRIORITY: i32 = -10;

const KEY: &[u8] = b"the key of the tests";

/// One at a time: they measure.
static TURN: Mutex<()> = Mutex::new(());

/// What a test looks at in a result.
#[derive(Debug)]
pub struct Result {
    pub rc: i64,
    pub status: i64,
    pub reason: Option<String>,
    pub output: Option<String>,
}

pub struct Lab {
    place: PathBuf,
    daemon: Child,
    address: SocketAddr,
    client: Client<'static>,
    poker: Option<Poker>,
    /// All operations that were asked for, and whether their results have come.
    calls: BTreeMap<i64, bool>,
}

/// Runs one test beside a client that pokes.
pub fn hostile(name: &str, test: impl FnOnce(&mut Lab)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lab = Lab::new(&name.replace(' ', "-"));
    test(&mut lab);
    lab.finish(name);
}

/// Says that something cannot be tested here.
pub fn skip(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "on CI this must not be skipped: {what}: {why}");
    println!("skipped: {what}: {why}");
}

impl Lab {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("pacelet-hostile-{name}-{}", std::process::id()));
        fs::create_dir_all(place.join("agents/test")).unwrap();
        fs::write(place.join("key"), KEY).unwrap();
        fs::set_permissions(place.join("key"), PermissionsExt::from_mode(0o600)).unwrap();
        let (daemon, address) = start(&place, None);
        let client = connect(address, "hostile");
        let poker = Some(Poker::start(address));
        Self { place, daemon, address, client, poker, calls: BTreeMap::new() }
    }

    /// Starts another daemon instead of the one there is, from this thread, perhaps with a log file.
    pub fn restart(&mut self, log_file: Option<&Path>) {
        if let Some(poker) = self.poker.take() {
            poker.stop();
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        (self.daemon, self.address) = start(&self.place, log_file);
        self.client = connect(self.address, "hostile");
        self.poker = Some(Poker::start(self.address));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.place.join("log")).unwrap()
    }

    pub fn daemon_id(&self) -> u32 {
        self.daemon.id()
    }

    /// Writes an agent, and registers a resource of the same name that has it.
    pub fn agent(&mut self, name: &str, script: &str) {
        let path = self.place.join("agents/test").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        self.register(name);
    }

    pub fn register(&mut self, name: &str) {
        let resource = Resource { id: name, class: "ocf", provider: Some("test"), kind: name };
        assert_eq!(self.client.register_resource(&resource).unwrap().number("lrmd_rc"), Some(0));
    }

    pub fn execute(&mut self, resource: &str, action: &str, timeout: u32) -> i64 {
        self.execute_recurring(resource, action, 0, timeout)
    }

    pub fn execute_recurring(&mut self, resource: &str, action: &str, interval: u32, timeout: u32) -> i64 {
        // Everybody is told of the other client's pokes, and nobody here wants to know.
        while self.client.take(&|element| !is_result(element)).is_some() {}
        let operation = Operation { resource, action, interval, timeout, user_data: "", parameters: &[] };
        let reply = self.client.execute(&operation).unwrap();
        let call = reply.number("lrmd_callid").unwrap();
        assert_eq!(reply.number("lrmd_rc"), Some(call));
        assert_eq!(self.calls.insert(call, false), None);
        call
    }

    pub fn cancel(&mut self, resource: &str, action: &str, interval: u32) -> i64 {
        self.client.cancel(resource, action, interval).unwrap().number("lrmd_rc").unwrap()
    }

    /// Waits for the result of an operation.
    pub fn result(&mut self, call: i64) -> Result {
        let completion = self.client.completion(call).unwrap();
        assert_eq!(self.calls.insert(call, true), Some(false));
        let message = completion.message();
        Result {
            rc: completion.rc().unwrap(),
            status: completion.status().unwrap(),
            reason: message.attribute("lrmd_rsc_exit_reason"),
            output: message.attribute("lrmd_rsc_output"),
        }
    }

    /// The numbers of the daemon's descriptors.
    pub fn descriptors(&self) -> BTreeSet<u64> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.daemon.id())).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// Leaves the daemon so many descriptors to open.
    pub fn leave_descriptors(&self, left: usize) {
        let open = self.descriptors();
        // It may have been started with some that have high numbers.
        let last = (0..).filter(|number| !open.contains(number)).nth(left).unwrap();
        let limit = Rlimit { current: Some(last), maximum: Some(16384) };
        let pid = Pid::from_child(&self.daemon);
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).unwrap();
    }

    /// Each result has come once, to both clients, and pokes were answered in time.
    fn finish(mut self, name: &str) {
        while self.poker.as_ref().is_some_and(|poker| poker.count() < POKES) {
            sleep(Duration::from_millis(20));
        }
        let Some(poker) = self.poker.take() else { return };
        let (mut times, seen) = poker.stop();
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!(
            "{name}: {} pokes, p50 {:.1?}, p99 {:.1?}, max {:.1?}",
            times.len(),
            at(50),
            at(99),
            at(100)
        );
        // What was told before this poke's answer has come before it.
        self.client.poke().unwrap();
        if let Some(message) = self.client.take(&is_result) {
            panic!("a result that nobody waits for: {message:?}");
        }
        assert!(self.calls.values().all(|came| *came), "lost: {:?}", self.calls);
        let own: BTreeMap<i64, usize> = self.calls.keys().map(|&call| (call, 1)).collect();
        assert_eq!(seen, own, "what the other client was told");
        assert!(at(99) < POKE_LIMIT, "pokes took too long:\n{}", self.log());
        let log = self.log();
        assert!(!log.contains("please report"), "{log}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.place);
    }
}

fn start(place: &Path, log_file: Option<&Path>) -> (Child, SocketAddr) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let path = [place.join("agents"), place.join("hung")].map(|path| path.display().to_string());
    let daemon = Command::new(env!("CARGO_BIN_EXE_pacelet"))
        .arg("daemon")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PCMK_logfacility", "none")
        .env("PCMK_logfile", log_file.unwrap_or(Path::new("none")))
        .env("PCMK_stderr", "1")
        .env("PACELET_tools", "no")
        .env("PCMK_authkey_location", place.join("key"))
        .env("PCMK_remote_address", "127.0.0.1")
        .env("PCMK_remote_port", port.to_string())
        .env("OCF_RA_PATH", path.join(":"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(place.join("log")).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !fs::read_to_string(place.join("log")).unwrap().contains("successfully started") {
        assert!(begun.elapsed() < PATIENCE, "the daemon does not start");
        sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_child(&daemon);
    if rustix::process::setpriority_process(Some(pid), PRIORITY).is_err() {
        println!("    at the usual priority: {PRIORITY} is not allowed here");
    }
    (daemon, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn connect(address: SocketAddr, name: &str) -> Client<'static> {
    // Few, and until the tests end.
    let buffers = Box::leak(Box::new(Buffers::new()));
    let mut client = Client::connect(address, KEY, PATIENCE, buffers, &mut Entropy::new()).unwrap();
    client.register(name).unwrap();
    client
}

/// A second client, which asks whether the daemon is alive, again and again.
struct Poker {
    done: Arc<AtomicBool>,
    times: Arc<Mutex<Vec<Duration>>>,
    /// Gives how often which call's result came.
    thread: JoinHandle<BTreeMap<i64, usize>>,
}

impl Poker {
    fn start(address: SocketAddr) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let times = Arc::new(Mutex::new(Vec::new()));
        let ready = Arc::new(AtomicBool::new(false));
        let (ends, measured, is_ready) = (done.clone(), times.clone(), ready.clone());
        let thread = spawn(move || {
            // Of this thread only.
            let _ = rustix::process::setpriority_process(None, PRIORITY);
            let mut client = connect(address, "poker");
            is_ready.store(true, Ordering::Release);
            let mut seen = BTreeMap::new();
            loop {
                let last = ends.load(Ordering::Acquire);
                let begun = Instant::now();
                client.send(poke()).unwrap();
                // The reply, others' results and the notification that counts, each looked at once: they may
                // have half a megabyte.
                loop {
                    let message = client.receive(begun + PATIENCE).unwrap();
                    let root = message.root();
                    if is_result(&root) {
                        let call = root.attribute("lrmd_callid").unwrap().parse().unwrap();
                        *seen.entry(call).or_default() += 1;
                    } else if root.attribute("lrmd_op").as_deref() == Some("lrmd_rsc_poke") {
                        break;
                    }
                }
                measured.lock().unwrap().push(begun.elapsed());
                if last {
                    return seen;
                }
                sleep(POKE_PAUSE);
            }
        });
        while !ready.load(Ordering::Acquire) && !thread.is_finished() {
            sleep(Duration::from_millis(1));
        }
        Self { done, times, thread }
    }

    fn count(&self) -> usize {
        self.times.lock().unwrap().len()
    }

    fn stop(self) -> (Vec<Duration>, BTreeMap<i64, usize>) {
        self.done.store(true, Ordering::Release);
        let seen = self.thread.join().unwrap();
        let times = std::mem::take(&mut *self.times.lock().unwrap());
        (times, seen)
    }
}

fn poke() -> Vec<u8> {
    let mut payload = Vec::new();
    Writer::new(&mut payload, "lrmd_command")
        .attribute("t", "lrmd")
        .attribute("lrmd_op", "lrmd_rsc_poke")
        .number("lrmd_remote_msg_id", 1)
        .attribute("lrmd_remote_msg_type", "request");
    payload
}

fn is_result(element: &Element<'_>) -> bool {
    element.attribute("lrmd_op").as_deref() == Some("lrmd_rsc_exec")
}

/// Whether a process is there, and no zombie.
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}
