//! The daemon as a process: what it does with its command line, environment, key file, sockets,
//! signals and children. What it says to a cluster is tested elsewhere.

mod address;
mod log;

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client};
use pacelet::tools::cluster::{Completion, Operation, Resource};
use pacelet::xml::Writer;

/// Whatever takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

const KEY: &[u8] = b"the key of the tests";

/// A private directory; it goes with the value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pacelet-daemon-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write_key(&self, key: &[u8]) {
        // As an administrator should: the file is never half there.
        fs::write(self.path("new"), key).unwrap();
        fs::set_permissions(self.path("new"), PermissionsExt::from_mode(0o600)).unwrap();
        fs::rename(self.path("new"), self.path("key")).unwrap();
    }

    fn write_agent(&self, name: &str, script: &str) {
        let directory = self.path("agents/test");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A daemon; killed with the value.
struct Daemon {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
}

fn program(place: &Place) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pacelet"));
    command
        .arg("daemon")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PCMK_logfacility", "none")
        .env("PCMK_logfile", "none")
        .env("PACELET_tools", "no")
        .env("PCMK_authkey_location", place.path("key"))
        .env("OCF_RA_PATH", place.path("agents"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Daemon {
    fn start(place: &Place, change: impl FnOnce(&mut Command)) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let log = place.path("log");
        let mut command = program(place);
        command
            .arg("-VV")
            .env("PCMK_remote_address", "127.0.0.1")
            .env("PCMK_remote_port", address.port().to_string())
            .stderr(File::create(&log).unwrap());
        change(&mut command);
        Self { process: command.spawn().unwrap(), address, log }
    }

    /// A daemon with a key, once it listens.
    fn with_key(place: &Place, change: impl FnOnce(&mut Command)) -> Self {
        place.write_key(KEY);
        let daemon = Self::start(place, change);
        daemon.wait_for("successfully started");
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log holds `text`.
    fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "{text:?} is not in the log:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn status(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
    }

    fn connect<'b>(&self, key: &[u8], buffers: &'b mut Buffers) -> Result<Client<'b>, String> {
        Client::connect(self.address, key, PATIENCE, buffers, &mut Entropy::new())
            .map_err(|error| error.to_string())
    }

    /// Ticks of processor time it has used.
    fn processor_time(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Registers a resource of a test's agent and runs one action of it.
fn run(client: &mut Client<'_>, agent: &str, action: &str) -> Completion {
    let resource = Resource { id: agent, class: "ocf", provider: Some("test"), kind: agent };
    client.register("test").unwrap();
    client.register_resource(&resource).unwrap();
    let operation = operation(agent, action);
    let call = client.execute(&operation).unwrap().number("lrmd_callid").unwrap();
    client.completion(call).unwrap()
}

fn operation<'a>(resource: &'a str, action: &'a str) -> Operation<'a> {
    Operation { resource, action, interval: 0, timeout: 60_000, user_data: "", parameters: &[] }
}

/// Runs the program without a daemon coming of it: its status and what it wrote to both streams.
fn answer(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = program(place).args(arguments).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_wrong_command_line_is_status_64() {
    let place = Place::new("usage");
    let (status, stdout, stderr) = answer(&place, &["--prt=1"]);
    assert_eq!((status, stdout.as_str()), (Some(64), ""));
    assert!(stderr.starts_with("There is no option \"--prt\"."), "{stderr}");
    let (status, stdout, stderr) = answer(&place, &["-$"]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with(pacelet::daemon::VERSION), "{stdout}");
}

#[test]
fn without_a_key_the_port_stays_closed_until_there_is_one() {
    let place = Place::new("late-key");
    let daemon = Daemon::start(&place, |_| {});
    daemon.wait_for("A cluster connection will not be possible until the key is available");
    assert!(TcpStream::connect(daemon.address).is_err());
    place.write_key(KEY);
    daemon.wait_for("successfully started");
    let mut buffers = Buffers::new();
    daemon.connect(KEY, &mut buffers).unwrap().register("test").unwrap();
    let log = daemon.log();
    assert_eq!(log.matches("is of no use: cannot open it").count(), 1, "{log}");
}

#[test]
fn a_replaced_key_counts_from_the_next_connection_on() {
    let place = Place::new("new-key");
    let daemon = Daemon::with_key(&place, |_| {});
    let (mut one, mut two, mut three) = (Buffers::new(), Buffers::new(), Buffers::new());
    let mut old = daemon.connect(KEY, &mut one).unwrap();
    place.write_key(b"another key");
    daemon.connect(b"another key", &mut two).unwrap().register("new").unwrap();
    assert!(daemon.connect(KEY, &mut three).is_err());
    // Who is connected stays so.
    old.register("old").unwrap();
    // Without a key there is no port, for newcomers.
    fs::remove_file(place.path("key")).unwrap();
    daemon.wait_for("The port is closed for new connections until there is a key again: the key file");
    assert!(TcpStream::connect(daemon.address).is_err());
    old.register("still there").unwrap();
    place.write_key(KEY);
    daemon.wait_for("There is a key again");
    daemon.connect(KEY, &mut three).unwrap().register("newer").unwrap();
    let log = daemon.log();
    assert_eq!(log.matches("The port is closed").count(), 1, "{log}");
}

#[test]
fn an_address_that_cannot_be_had_is_status_100() {
    let place = Place::new("address");
    place.write_key(KEY);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut daemon = Daemon::start(&place, |command| {
        command.env("PCMK_remote_port", "1").arg(format!("--port={port}"));
    });
    assert_eq!(daemon.status().code(), Some(100));
    let expected = format!("shutting down and staying down: 127.0.0.1:{port}: bind: Address");
    assert!(daemon.log().contains(&expected), "{}", daemon.log());
}

#[test]
fn a_port_that_is_given_up_in_time_is_had() {
    let place = Place::new("predecessor");
    place.write_key(KEY);
    let predecessor = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = predecessor.local_addr().unwrap().port();
    let daemon = Daemon::start(&place, |command| {
        command.env("PCMK_remote_port", port.to_string());
    });
    daemon.wait_for("trying again for 3 s");
    drop(predecessor);
    daemon.wait_for("successfully started");
}

#[test]
fn sigterm_is_an_orderly_end_and_sigint_is_not() {
    use rustix::process::Signal;
    let place = Place::new("signals");
    let mut daemon = Daemon::with_key(&place, |_| {});
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.status().code(), Some(0));
    for signal in [Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut daemon = Daemon::with_key(&place, |_| {});
        daemon.signal(signal);
        assert_eq!(daemon.status().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn agents_get_what_stock_gives_them() {
    let place = Place::new("agents");
    let script = "#!/bin/sh\nenv; echo umask=$(umask); grep -E '^Sig(Blk|Ign)' /proc/self/status; ls -l /proc/$$/fd; \
                  exit 7\n";
    place.write_agent("environment", script);
    let daemon = Daemon::with_key(&place, |command| {
        command.env("NOTIFY_SOCKET", "/nowhere").env("LISTEN_FDS", "1").env("KEPT", "yes");
    });
    let mut buffers = Buffers::new();
    let mut client = daemon.connect(KEY, &mut buffers).unwrap();
    let completion = run(&mut client, "environment", "monitor");
    assert_eq!((completion.rc(), completion.status()), (Some(7), Some(0)));
    let output = completion.message().attribute("lrmd_rsc_output").unwrap();
    for wanted in [
        "KEPT=yes\n",
        "PCMK_service=pacemaker-remoted\n",
        "OCF_RESOURCE_INSTANCE=environment\n",
        "PATH=/usr/bin:/bin\n",
        "umask=0026\n",
        "SigBlk:\t0000000000000000\n",
        " 0 -> /dev/null\n",
    ] {
        assert!(output.contains(wanted), "{wanted:?} is not in\n{output}");
    }
    for unwanted in ["NOTIFY_SOCKET", "LISTEN_FDS", " 3 -> "] {
        assert!(!output.contains(unwanted), "{unwanted:?} is in\n{output}");
    }
    // SIGPIPE is number 13.
    let ignored = output.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 1 << 12, 0);
}

#[test]
fn who_does_not_read_gets_everything_later_and_stops_nobody() {
    const RUNS: usize = 40;
    let place = Place::new("stalled");
    place.write_agent("chatty", "#!/bin/sh\nhead -c 500000 /dev/zero | tr '\\0' x\n");
    place.write_agent("quick", "#!/bin/sh\nexit 7\n");
    let daemon = Daemon::with_key(&place, |_| {});
    let (mut one, mut two) = (Buffers::new(), Buffers::new());
    let mut lazy = daemon.connect(KEY, &mut one).unwrap();
    run(&mut lazy, "chatty", "monitor");
    // Twenty megabytes of results are more than the sockets hold.
    for run in 0..RUNS {
        lazy.send(execution("chatty", run)).unwrap();
    }
    // The requests are too short to tell when all are done, but what a second client asks for comes at once.
    let mut quick = daemon.connect(KEY, &mut two).unwrap();
    assert_eq!(run(&mut quick, "quick", "monitor").rc(), Some(7));
    assert_eq!(quick.poke().unwrap().number("lrmd_rc"), Some(0));
    let mut results = 0;
    while results < RUNS {
        let message = lazy.receive(Instant::now() + PATIENCE).unwrap();
        let output = message.attribute("lrmd_rsc_output");
        if message.attribute("lrmd_rsc_id").as_deref() == Some("chatty") && output.is_some() {
            assert_eq!(output.map(|output| output.len()), Some(500_000));
            results += 1;
        }
    }
}

#[test]
fn a_big_request_is_answered_in_its_turn() {
    let place = Place::new("big");
    let mark = place.path("mark");
    place.write_agent("quick", "#!/bin/sh\nexit 7\n");
    place.write_agent("marks", &format!("#!/bin/sh\necho done > {}\n", mark.display()));
    let daemon = Daemon::with_key(&place, |_| {});
    let mut buffers = Buffers::new();
    let mut client = daemon.connect(KEY, &mut buffers).unwrap();
    run(&mut client, "quick", "monitor");
    // It is looked at in steps, and what follows it waits.
    client.send(big(execution("quick", 1))).unwrap();
    client.send(execution("quick", 2)).unwrap();
    let mut replies = Vec::new();
    while replies.len() < 2 {
        let message = client.receive(Instant::now() + PATIENCE).unwrap();
        if message.attribute("lrmd_remote_msg_type").as_deref() == Some("reply") {
            replies.push(message.number("lrmd_remote_msg_id"));
        }
    }
    assert_eq!(replies, [Some(1001), Some(1002)]);
    // What has come whole is done, whatever becomes of who asked for it.
    let resource = Resource { id: "marks", class: "ocf", provider: Some("test"), kind: "marks" };
    client.register_resource(&resource).unwrap();
    client.send(big(execution("marks", 3))).unwrap();
    client.close();
    wait_for_file(&mark);
}

/// The same request with a few million bytes that nobody looks for.
fn big(request: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(request).unwrap();
    let (start, end) = text.split_at(text.rfind("</lrmd_command>").unwrap());
    [start, &"<child name='value' other='thing'/>".repeat(100_000), end].concat().into_bytes()
}

/// A request to run a monitor, as bytes.
fn execution(resource: &str, number: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut request = Writer::new(&mut payload, "lrmd_command");
    request
        .number("lrmd_remote_msg_id", 1000 + number as i64)
        .attribute("lrmd_remote_msg_type", "request")
        .attribute("t", "lrmd")
        .attribute("lrmd_op", "lrmd_rsc_exec")
        .number("lrmd_timeout", 60_000)
        .number("lrmd_callopt", 0);
    request
        .child("lrmd_calldata")
        .child("lrmd_rsc")
        .attribute("lrmd_rsc_id", resource)
        .attribute("lrmd_rsc_action", "monitor")
        .number("lrmd_rsc_interval", 0)
        .number("lrmd_timeout", 60_000);
    drop(request);
    payload
}

#[test]
fn without_descriptors_it_waits_and_does_not_spin() {
    let place = Place::new("descriptors");
    let daemon = Daemon::with_key(&place, |_| {});
    let pid = rustix::process::Pid::from_child(&daemon.process);
    let few = rustix::process::Rlimit { current: Some(20), maximum: Some(20) };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, few).unwrap();
    let crowd: Vec<_> = (0..40).map(|_| TcpStream::connect(daemon.address).unwrap()).collect();
    daemon.wait_for("Cannot accept connections for now");
    let before = daemon.processor_time();
    sleep(Duration::from_secs(1));
    // A hundred ticks are a second. Trying again every 100 ms takes none.
    assert!(daemon.processor_time() - before < 30, "it spins");
    assert_eq!(daemon.log().matches("Cannot accept connections for now").count(), 1);
    drop(crowd);
    let mut buffers = Buffers::new();
    daemon.connect(KEY, &mut buffers).unwrap().register("test").unwrap();
}

#[test]
fn a_client_that_says_nothing_stops_nobody() {
    let place = Place::new("silent");
    let daemon = Daemon::with_key(&place, |_| {});
    let mut silent = TcpStream::connect(daemon.address).unwrap();
    let mut buffers = Buffers::new();
    daemon.connect(KEY, &mut buffers).unwrap().register("test").unwrap();
    // And is shown the door in the end.
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut end = Vec::new();
    assert!(silent.read_to_end(&mut end).is_ok(), "a reset instead of an end");
}

#[test]
fn agents_outlive_the_daemon() {
    use rustix::process::Signal;
    let place = Place::new("outlive");
    let mark = place.path("mark");
    place.write_agent(
        "slow",
        &format!("#!/bin/sh\necho $$ > {0}.pid\nsleep 1\necho done > {0}\n", mark.display()),
    );
    let mut daemon = Daemon::with_key(&place, |_| {});
    let mut buffers = Buffers::new();
    let mut client = daemon.connect(KEY, &mut buffers).unwrap();
    let resource = Resource { id: "slow", class: "ocf", provider: Some("test"), kind: "slow" };
    client.register_resource(&resource).unwrap();
    client.execute(&operation("slow", "start")).unwrap();
    wait_for_file(&mark.with_extension("pid"));
    client.close();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.status().code(), Some(0));
    wait_for_file(&mark);
}

fn wait_for_file(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < PATIENCE, "{} does not come", path.display());
        sleep(Duration::from_millis(5));
    }
}
