//! Units and init scripts as resources: by the stock daemon and by pacelet, beside one real systemd.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client};
use pacelet::tools::cluster::{Completion, Operation, Resource};

use crate::systemd::Systemd;

/// Whatever takes longer than this does not happen.
const PATIENCE: Duration = Duration::from_secs(180);
const KEY: [u8; 64] = [0x5A; 64];
pub const OURS: &str = "/usr/local/bin/pacelet";
const STOCK: &str = "/usr/sbin/pacemaker-remoted";

/// What makes init scripts, a masked unit, and units that differ in their names only.
const PREPARE: &str = "set -eu
    mkfifo /run/pacelet-release
    mkdir -p /etc/pacemaker /etc/init.d
    for name in pacelet-script pacelet-path pacelet-codes pacelet-served pacelet-both; do
        cat >/etc/init.d/$name <<'END'
#!/bin/sh
case $1 in
start) [ -z \"$OCF_RESKEY_fail\" ] && touch /run/$(basename $0) && echo started ;;
stop) rm -f /run/$(basename $0) ;;
status) [ -e /run/$(basename $0) ] || exit 3 ;;
hang) sleep 60 ;;
code-*) exit ${1#code-} ;;
*) echo usage >&2; exit 2 ;;
esac
END
        chmod 755 /etc/init.d/$name
    done
    echo 'echo no interpreter' >/etc/init.d/pacelet-plain
    ln -s /dev/null /etc/systemd/system/pacelet-masked.service
    for name in pacelet-whole pacelet-again pacelet-either pacelet-both; do
        cp /etc/systemd/system/pacelet-good.service /etc/systemd/system/$name.service
    done
    systemctl daemon-reload";

/// A daemon inside, and who speaks to it.
pub struct Daemon {
    process: Child,
    log: String,
}

impl Daemon {
    pub fn start(systemd: &Systemd, program: &str, change: &[&str]) -> Self {
        let log = format!("/proc/{}/root/run/{}.log", systemd.pid, program.rsplit('/').next().unwrap());
        let process = Command::new("nsenter")
            .args([
                "--all",
                "--target",
                &systemd.pid.to_string(),
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            ])
            .args([
                "PCMK_authkey_location=/etc/pacemaker/authkey",
                "PCMK_logfile=none",
                "PCMK_logfacility=none",
            ])
            .args(["PCMK_dh_max_bits=512", "PCMK_stderr=yes"])
            .args(change)
            .args(["setpriv", "--pdeathsig", "KILL", program])
            .args((program == OURS).then_some("daemon"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("nsenter of util-linux");
        Self { process, log }
    }

    /// The log of a daemon that is ours.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn connect<'b>(&self, buffers: &'b mut Buffers) -> Client<'b> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 3121));
        let begin = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < PATIENCE, "it does not listen:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
        let mut client = Client::connect(address, &KEY, PATIENCE, buffers, &mut Entropy::new()).unwrap();
        // A provider would be asked for schemas.
        client.register_guest("test").unwrap();
        client
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What this thread opens from now on is inside.
pub fn enter_network(systemd: &Systemd) {
    let file = File::open(format!("/proc/{}/ns/net", systemd.pid)).unwrap();
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
}

pub fn install(systemd: &Systemd) {
    systemd.run(PREPARE);
    let inside = |path: &str| format!("/proc/{}/root{path}", systemd.pid);
    fs::copy(env!("CARGO_BIN_EXE_pacelet"), inside(OURS)).unwrap();
    fs::write(inside("/etc/pacemaker/authkey"), KEY).unwrap();
    fs::set_permissions(inside("/etc/pacemaker/authkey"), PermissionsExt::from_mode(0o600)).unwrap();
}

/// A resource's life: class and type, and its operations: action, time-out in seconds. What has a state of its own is
/// nobody else's, as all live at the same time.
type Case = (&'static str, &'static str, &'static [(&'static str, u32)]);

const LIFE: &[(&str, u32)] =
    &[("monitor", 20), ("start", 20), ("monitor", 20), ("stop", 20), ("monitor", 20)];
/// What is stopped may be stopped again.
const LONG: &[(&str, u32)] = &[
    ("monitor", 20),
    ("start", 20),
    ("start", 20),
    ("status", 20),
    ("stop", 20),
    ("status", 20),
    ("stop", 20),
];
const CASES: &[Case] = &[
    ("systemd", "pacelet-good", LONG),
    ("SystemD", "pacelet-whole.service", LIFE),
    ("systemd", "pacelet-slow", LIFE),
    ("systemd", "pacelet-bad", LIFE),
    ("systemd", "pacelet-needy", LIFE),
    ("systemd", "pacelet-late", &[("start", 6), ("stop", 20)]),
    ("systemd", "pacelet-missing", LONG),
    ("systemd", "pacelet-masked", LIFE),
    ("systemd", "pacelet-twin@x", LIFE),
    ("systemd", "pacelet-twin@.service", LIFE),
    ("systemd", "pacelet-twin@", LIFE),
    ("systemd", "pacelet-door.socket", LIFE),
    ("systemd", "no unit name", LIFE),
    (
        "systemd",
        "pacelet-again",
        &[("promote", 20), ("reload", 20), ("START", 20), ("Monitor", 20), ("restart", 20), ("stop", 20)],
    ),
    ("systemd", "pacelet-held", &[("start", 1), ("monitor", 2), ("stop", 20)]),
    ("lsb", "pacelet-script", LONG),
    ("lsb", "pacelet-missing", LIFE),
    ("lsb", "/etc/init.d/pacelet-path", LIFE),
    ("lsb", "pacelet-plain", &[("start", 20), ("monitor", 20)]),
    (
        "lsb",
        "pacelet-codes",
        &[
            ("hang", 1),
            ("code-4", 20),
            ("code-7", 20),
            ("code-8", 20),
            ("code-150", 20),
            ("odd", 20),
            ("meta-data", 20),
        ],
    ),
    ("service", "pacelet-served", LIFE),
    ("service", "pacelet-either", LONG),
    ("service", "pacelet-both", LIFE),
    ("service", "pacelet-missing", LIFE),
    ("service", "pacelet-masked", &[("monitor", 20), ("start", 20)]),
    ("systemd", "pacelet-door", &[("meta-data", 20), ("Meta-Data", 20)]),
    ("upstart", "pacelet-good", &[("monitor", 20)]),
    ("nagios", "check_tcp", &[("monitor", 20)]),
];

/// What was told of an operation.
#[derive(Debug)]
struct Told {
    what: String,
    result: (i64, i64),
    reason: Option<String>,
    output: Option<String>,
    millis: i64,
    /// What marks the unit as the cluster's afterwards.
    mark: Option<String>,
}

pub fn run(client: &mut Client<'_>, resource: &str, action: &str, interval: u32, timeout: u32) -> Completion {
    let call = begin(client, resource, action, interval, timeout);
    client.completion(call).unwrap()
}

pub fn begin(client: &mut Client<'_>, resource: &str, action: &str, interval: u32, timeout: u32) -> i64 {
    let operation =
        Operation { resource, action, interval, timeout, user_data: "u", parameters: &[("fail", "yes")] };
    client.execute(&operation).unwrap().number("lrmd_callid").unwrap()
}

pub fn result(completion: &Completion) -> (i64, i64) {
    (completion.rc().unwrap(), completion.status().unwrap())
}

/// All resources live side by side, an operation of each at a time: the stock daemon waits for seconds in most.
fn lives(systemd: &Systemd, client: &mut Client<'_>) -> Vec<Told> {
    let id = |number: usize| format!("r{number}");
    for (number, (class, kind, _)) in CASES.iter().enumerate() {
        client.register_resource(&Resource { id: &id(number), class, provider: None, kind }).unwrap();
    }
    let mut all = Vec::new();
    let rounds = CASES.iter().map(|(_, _, operations)| operations.len()).max().unwrap();
    for round in 0..rounds {
        let mut begun = Vec::new();
        for (number, (class, kind, operations)) in CASES.iter().enumerate() {
            if let Some((action, timeout)) = operations.get(round) {
                let call = begin(client, &id(number), action, 0, timeout * 1000);
                begun.push((format!("{class}:{kind} {action}"), *kind, call));
            }
        }
        for (what, kind, call) in begun {
            let completion = client.completion(call).unwrap();
            let message = completion.message();
            let unit = if kind.contains('.') { kind.to_string() } else { format!("{kind}.service") };
            let mark = format!("/proc/{}/root/run/systemd/system/{unit}.d/50-pacemaker.conf", systemd.pid);
            all.push(Told {
                what,
                result: result(&completion),
                reason: message.attribute("lrmd_rsc_exit_reason"),
                output: message.attribute("lrmd_rsc_output"),
                millis: message.number("lrmd_exec_time").unwrap(),
                mark: fs::read_to_string(mark).ok(),
            });
        }
    }
    all
}

#[test]
fn resources_of_a_real_systemd() {
    let Some(mut systemd) = Systemd::boot() else { return };
    install(&systemd);
    enter_network(&systemd);
    let mut buffers = Buffers::new();
    let theirs = {
        let stock = Daemon::start(&systemd, STOCK, &[]);
        lives(&systemd, &mut stock.connect(&mut buffers))
    };
    systemd.run("systemctl reset-failed; rm -rf /run/systemd/system/pacelet-*; systemctl daemon-reload");
    let pacelet = Daemon::start(&systemd, OURS, &[]);
    let mut client = pacelet.connect(&mut buffers);
    let ours = lives(&systemd, &mut client);
    let wrong: Vec<_> =
        theirs.iter().zip(&ours).filter_map(|(theirs, ours)| difference(theirs, ours)).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), pacelet.log());
    let marked = |kind: &str| {
        let path = format!("/proc/{}/root/run/systemd/system/{kind}.d/50-pacemaker.conf", systemd.pid);
        fs::read_to_string(path).ok()
    };
    for (id, kind) in [("socket", "pacelet-door.socket"), ("twin", "pacelet-twin@.service")] {
        client.register_resource(&Resource { id, class: "systemd", provider: None, kind }).unwrap();
        let name = kind.replace('@', "@pacemaker");
        assert_eq!(marked(&name), None);
        assert_eq!(result(&run(&mut client, id, "start", 0, 20_000)), (0, 0));
        let text = marked(&name).unwrap();
        assert!(text.starts_with(&format!("[Unit]\nDescription=Cluster Controlled {name}\n")), "{text}");
        assert_eq!(text.contains("[Service]"), id == "twin");
        assert_eq!(result(&run(&mut client, id, "stop", 0, 20_000)), (0, 0));
        assert_eq!(marked(&name), None);
    }
    drop(pacelet);
    systemd.shut_down();
}

/// What is not as in stock, but for what is known: the stock daemon is 3.0.0, which asks for a unit's state again and
/// again in the place of waiting for its job, and so takes two seconds or more, gives that state as the reason, and
/// does not follow a probe; and it marks units as if all were services.
fn difference(theirs: &Told, ours: &Told) -> Option<String> {
    let Told { what, result, reason, millis, .. } = theirs;
    println!(
        "{what}: stock {result:?} {reason:?} {millis} ms, pacelet {:?} {:?} {} ms",
        ours.result, ours.reason, ours.millis
    );
    let is_unit = what.to_ascii_lowercase().starts_with("systemd:") || what == "service:pacelet-either stop";
    let polled = is_unit && (what.ends_with(" start") || what.ends_with(" stop"));
    let starts_with = |start: &str| ours.reason.as_ref().is_some_and(|reason| reason.starts_with(start));
    let same_reason = match reason {
        // Ours says more.
        Some(reason) => starts_with(reason),
        None => ours.reason.is_none() || starts_with("Child process was unable to execute file"),
    };
    let same = match (result, ours.result) {
        ((0, 0), (0, 0)) if polled => ours.reason.is_none(),
        ((1, 0), (1, 4)) if polled => starts_with("systemd start job for "),
        ((1, 2), (1, 2)) if polled => {
            starts_with("systemd start job for ") || starts_with("start action for ")
        }
        // It looks for the last time when it may be too late for anything.
        (_, (1, 2)) if what.ends_with("held start") => starts_with("start action for "),
        // On a busy machine it waits longer for an answer than it was told to.
        ((193, -1), (1, 2)) => {
            starts_with("Investigate reason for timeout") || starts_with("monitor action for ")
        }
        (theirs, ours) => *theirs == ours && same_reason,
    };
    // Stock repeats its own reason as if the agent had written it.
    let same_output = words(&theirs.output) == words(&ours.output) || starts_with("Child process");
    let same_mark = what.contains(".s") || theirs.mark.is_some() == ours.mark.is_some();
    (!same || !same_output || !same_mark).then(|| format!("{theirs:?}\n{ours:?}"))
}

/// Neither blanks matter nor the order of attributes.
fn words(text: &Option<String>) -> Vec<&str> {
    let is_between = |letter: char| letter.is_whitespace() || "<>/".contains(letter);
    let mut words: Vec<_> = text.iter().flat_map(|text| text.split(is_between)).collect();
    words.retain(|word| !word.is_empty());
    words.sort();
    words
}
