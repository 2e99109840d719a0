//! `pacelet demo` must see when a daemon is right, and when it is wrong in any one step.
//!
//! The daemon here is a small honest one with one fault at a time; without a fault the demo is content
//! with it, so it is the fault that is found.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use pacelet::sys::entropy::Entropy;
use pacelet::tls::{Psk, Server};
use pacelet::wire::header::{self, Header};
use pacelet::xml::{Document, Element, Writer};

/// What a daemon does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    OtherKey,
    Registration,
    RegistrationUnmarked,
    KnowsTheUnknown,
    OtherAgent,
    CallIdZero,
    ResultBeforeReply,
    Probe,
    Start,
    StartStatus,
    NoResult,
    ParameterLost,
    ParameterAdded,
    ParameterAltered,
    UserData,
    Monitor,
    BlindMonitor,
    Cancel,
    NotCancelled,
    Stop,
    Unregister,
    NoPoke,
    SharedRecord,
    NoNul,
    IllFormed,
}

/// Each fault, the step that must find it, and a part of what must be said about it.
const FAULTS: [(Fault, &str, &str); 25] = [
    (Fault::OtherKey, "connect", "refuses"),
    (Fault::Registration, "register", "expected lrmd_rc 0, got lrmd_rc -71"),
    (Fault::RegistrationUnmarked, "register", "not marked"),
    (Fault::KnowsTheUnknown, "ask for the resource", "expected lrmd_rc -19, got lrmd_rc 0"),
    (Fault::OtherAgent, "register the resource", "lrmd_type"),
    (Fault::CallIdZero, "probe", "expected a call id"),
    (Fault::ResultBeforeReply, "probe", "before the reply"),
    (Fault::Probe, "probe", "expected rc 7 (not running), got rc 0 (ok)"),
    (Fault::Start, "start", "expected rc 0 (ok), got rc 1 (error): the fault"),
    (Fault::StartStatus, "start", "lrmd_exec_op_status 4"),
    (Fault::NoResult, "start", "nothing came within 1 s"),
    (Fault::ParameterLost, "probe", "parameter pacelet_demo is None"),
    (Fault::ParameterAdded, "probe", "5 parameters instead of 4"),
    (Fault::ParameterAltered, "probe", "parameter pacelet_demo is"),
    (Fault::UserData, "probe", "lrmd_rsc_userdata_str"),
    (Fault::Monitor, "monitor every 200 ms", "expected rc 0 (ok), got rc 7 (not running)"),
    (Fault::BlindMonitor, "break it", "nothing came within 1 s"),
    (Fault::Cancel, "cancel the monitor", "expected lrmd_rc 0, got lrmd_rc -95"),
    (Fault::NotCancelled, "cancel the monitor", "nothing came within 1 s"),
    (Fault::Stop, "recover: stop", "expected rc 0 (ok), got rc 1 (error)"),
    (Fault::Unregister, "unregister the resource", "expected lrmd_rc 0, got lrmd_rc -115"),
    (Fault::NoPoke, "poke", "nothing came within 1 s"),
    (Fault::SharedRecord, "register", "a TLS record of"),
    (Fault::NoNul, "register", "NUL"),
    (Fault::IllFormed, "register", "a message that a cluster drops"),
];

#[test]
fn the_round_with_a_daemon_of_its_own() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-own");
    fs::create_dir_all(&directory).expect("a directory");
    let output = pacelet().arg("demo").env("TMPDIR", &directory).output().expect("the program runs");
    let (table, faults) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{table}{faults}");
    println!("{table}");
    assert!(table.ends_with("all 19 steps as a cluster expects\n"), "{table}");
    assert_eq!(faults, "");
    // It leaves nothing behind.
    fs::remove_dir(&directory).expect("an empty directory");
    let process = table.split("process ").nth(1).and_then(|text| text.split(' ').next()).expect("its number");
    assert!(!Path::new("/proc").join(process).exists(), "the daemon still runs");
}

#[test]
fn an_honest_daemon_is_right() {
    let output = demo(Fault::None, &[]);
    let (table, faults) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{table}{faults}");
    assert_eq!(faults, "");
    assert!(table.ends_with("all 17 steps as a cluster expects\n"), "{table}");
    assert_eq!(table.lines().count(), 19, "{table}");
}

#[test]
fn the_figures_as_json() {
    let output = demo(Fault::None, &["--json"]);
    let json = text(&output.stdout);
    assert!(output.status.success(), "{json}");
    assert!(json.starts_with(r#"{"ok":true,"steps":[{"name":"read the key","microseconds":"#), "{json}");
    assert_eq!(json.matches(r#""verdict":"right""#).count(), 17, "{json}");
    let output = demo(Fault::Start, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with(r#"{"ok":false,"#));
    assert!(text(&output.stderr).contains("(start) is wrong"));
}

#[test]
fn each_fault_is_found_in_its_step() {
    let threads: Vec<_> = FAULTS
        .into_iter()
        .map(|(fault, step, words)| (fault, step, words, thread::spawn(move || demo(fault, &[]))))
        .collect();
    for (fault, step, words, thread) in threads {
        let output = thread.join().expect("the demo ran");
        let faults = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{fault:?}: {}{faults}", text(&output.stdout));
        let last = faults.lines().last().unwrap_or_default();
        assert!(last.contains(&format!(" ({step}) is wrong: ")), "{fault:?}: {faults}");
        assert!(last.contains(words), "{fault:?}: {faults}");
    }
}

#[test]
fn wrong_command_lines() {
    for arguments in [&["--against", "127.0.0.1:1"][..], &["--key", "/dev/null"], &["--unknown"], &["word"]] {
        let output = pacelet().arg("demo").args(arguments).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

fn pacelet() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pacelet"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the demo against a daemon with this fault.
fn demo(fault: Fault, arguments: &[&str]) -> Output {
    let key = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{fault:?}-{}", arguments.len()));
    let content = [0x5A; 4096];
    fs::write(&key, if fault == Fault::OtherKey { &content[1..] } else { &content }).expect("the key file");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("its number").to_string();
    let daemon = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        Daemon::new(stream, fault).serve(&Psk::new(&content).expect("a key"))
    });
    let output = pacelet()
        .args(["demo", "--against", &address, "--patience", "1", "--key"])
        .arg(&key)
        .args(arguments)
        .output()
        .expect("the program runs");
    // It ends with the connection.
    let _ = daemon.join().expect("no panic in the daemon");
    let _ = fs::remove_file(&key);
    output
}

/// A remote node for one connection, one resource, and one monitor.
struct Daemon {
    fault: Fault,
    stream: TcpStream,
    tls: Server,
    plaintext: Vec<u8>,
    out: Vec<u8>,
    messages: u64,
    call_id: i64,
    /// The registered resource: its `lrmd_rsc` as it came.
    resource: Option<String>,
    state: PathBuf,
    monitor: Option<Monitor>,
}

struct Monitor {
    call_id: i64,
    /// The request as it came.
    request: String,
    last_rc: i64,
}

impl Daemon {
    fn new(stream: TcpStream, fault: Fault) -> Self {
        Self {
            fault,
            stream,
            tls: Server::new(),
            plaintext: Vec::new(),
            out: Vec::new(),
            messages: 0,
            call_id: 0,
            resource: None,
            state: PathBuf::new(),
            monitor: None,
        }
    }

    fn serve(mut self, psk: &Psk) -> io::Result<()> {
        self.stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let (plaintext, out) = (&mut self.plaintext, &mut self.out);
                    let failed =
                        self.tls.receive(&buffer[..count], Some(psk), &mut Entropy::new(), plaintext, out);
                    self.messages();
                    self.stream.write_all(&self.out)?;
                    self.out.clear();
                    if failed.is_err() {
                        return Ok(());
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.look();
                    self.stream.write_all(&self.out)?;
                    self.out.clear();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Handles what has come completely.
    fn messages(&mut self) {
        while let Some(bytes) = self.plaintext.first_chunk() {
            let header = Header::parse(bytes, header::LIMIT).expect("a good header");
            let end = header::LEN + header.payload as usize;
            if self.plaintext.len() < end {
                return;
            }
            let rest = self.plaintext.split_off(end);
            let message = std::mem::replace(&mut self.plaintext, rest);
            assert_eq!(message.last(), Some(&0));
            let document = Document::parse(&message[header::LEN..end - 1]).expect("a good message");
            self.request(document.root());
        }
    }

    fn request(&mut self, request: Element<'_>) {
        self.call_id += 1;
        let value = |name| request.attribute(name).unwrap_or_default().into_owned();
        let operation = value("lrmd_op");
        let id = value("lrmd_remote_msg_id");
        let fault = self.fault;
        let resource = request.descendant("lrmd_rsc");
        match operation.as_str() {
            "register" => {
                let rc = if fault == Fault::Registration { -71 } else { 0 };
                self.reply(&id, rc, |reply| {
                    if fault != Fault::RegistrationUnmarked {
                        reply.attribute("lrmd_op", "register");
                    }
                    reply.attribute("lrmd_clientid", "session").attribute("lrmd_protocol_version", "1.2");
                });
            }
            "lrmd_rsc_info" => match self.resource.clone() {
                None => {
                    let rc = if fault == Fault::KnowsTheUnknown { 0 } else { -19 };
                    self.reply(&id, rc, |_| {});
                }
                Some(text) => self.reply(&id, 0, |reply| {
                    let registered = Document::parse(text.as_bytes()).expect("checked before").root();
                    for name in ["lrmd_rsc_id", "lrmd_class", "lrmd_provider", "lrmd_type"] {
                        reply.optional(name, registered.attribute(name).as_deref());
                    }
                }),
            },
            "lrmd_rsc_register" => {
                let text = resource.expect("a resource").source().to_owned();
                let text = if fault == Fault::OtherAgent { text.replace("Dummy", "Stateful") } else { text };
                self.resource = Some(text);
                self.reply(&id, 0, |_| {});
                self.generic(&operation, Some("pacelet-demo"));
            }
            "lrmd_rsc_unregister" => {
                self.resource = None;
                self.reply(&id, if fault == Fault::Unregister { -115 } else { 0 }, |_| {});
                self.generic(&operation, Some("pacelet-demo"));
            }
            "lrmd_rsc_poke" => {
                self.reply(&id, 0, |_| {});
                if fault != Fault::NoPoke {
                    self.generic(&operation, None);
                }
            }
            "lrmd_rsc_cancel" => {
                self.reply(&id, if fault == Fault::Cancel { -95 } else { 0 }, |_| {});
                let monitor = self.monitor.take().expect("a monitor to cancel");
                if fault != Fault::NotCancelled {
                    self.result(&monitor.request, monitor.call_id, monitor.last_rc, 1);
                }
            }
            "lrmd_rsc_exec" => self.execute(&id, resource.expect("a resource")),
            other => panic!("the demo asks for {other}"),
        }
    }

    fn execute(&mut self, id: &str, resource: Element<'_>) {
        let parameters = resource.first_child().expect("parameters");
        self.state = PathBuf::from(&*parameters.attribute("state").expect("the parameter"));
        let action = resource.attribute("lrmd_rsc_action").expect("an action").into_owned();
        let recurring = resource.attribute("lrmd_rsc_interval").as_deref() != Some("0");
        let rc = match (action.as_str(), self.fault) {
            ("start", Fault::Start) | ("stop", Fault::Stop) => 1,
            ("start", _) => fs::write(&self.state, "").map_or(1, |()| 0),
            ("stop", _) => fs::remove_file(&self.state).map_or(0, |()| 0),
            (_, Fault::Probe) if !recurring => 0,
            (_, Fault::Monitor) if recurring => 7,
            _ => self.running(),
        };
        let call_id = self.call_id;
        let request = resource.source().to_owned();
        if self.fault == Fault::ResultBeforeReply {
            self.result(&request, call_id, rc, 0);
        }
        self.reply(id, if self.fault == Fault::CallIdZero { 0 } else { call_id }, |_| {});
        if self.fault != Fault::NoResult || action != "start" {
            let status = if self.fault == Fault::StartStatus && action == "start" { 4 } else { 0 };
            self.result(&request, call_id, rc, status);
        }
        if recurring {
            self.monitor = Some(Monitor { call_id, request, last_rc: rc });
        }
    }

    fn running(&self) -> i64 {
        if self.state.exists() { 0 } else { 7 }
    }

    /// The recurring monitor.
    fn look(&mut self) {
        let rc = self.running();
        let Some(monitor) = &mut self.monitor else { return };
        if monitor.last_rc != rc && self.fault != Fault::BlindMonitor {
            monitor.last_rc = rc;
            let (request, call_id) = (monitor.request.clone(), monitor.call_id);
            self.result(&request, call_id, rc, 0);
        }
    }

    fn reply(&mut self, id: &str, rc: i64, fill: impl FnOnce(&mut Writer<'_>)) {
        let mut message = Vec::new();
        let mut reply = Writer::new(&mut message, "lrmd_reply");
        reply.attribute("lrmd_remote_msg_id", id).attribute("lrmd_remote_msg_type", "reply");
        reply.number("lrmd_rc", rc).number("lrmd_callid", self.call_id);
        fill(&mut reply);
        drop(reply);
        self.send(message);
    }

    fn generic(&mut self, operation: &str, id: Option<&str>) {
        let mut message = Vec::new();
        let mut notice = Writer::new(&mut message, "lrmd_notify");
        notice.number("lrmd_remote_msg_id", 0).attribute("lrmd_remote_msg_type", "notify");
        notice.number("lrmd_rc", 0).attribute("lrmd_op", operation).optional("lrmd_rsc_id", id);
        drop(notice);
        self.send(message);
    }

    fn result(&mut self, request: &str, call_id: i64, rc: i64, status: i64) {
        let request = Document::parse(request.as_bytes()).expect("checked before").root();
        let mut message = Vec::new();
        let mut notice = Writer::new(&mut message, "lrmd_notify");
        notice.number("lrmd_remote_msg_id", 0).attribute("lrmd_remote_msg_type", "notify");
        notice.attribute("lrmd_op", "lrmd_rsc_exec").number("lrmd_callid", call_id);
        notice.number("lrmd_exec_rc", rc).number("lrmd_exec_op_status", status).number("lrmd_rsc_deleted", 0);
        if rc == 1 {
            notice.attribute("lrmd_rsc_exit_reason", "the fault");
        }
        for name in ["lrmd_rsc_id", "lrmd_rsc_action", "lrmd_rsc_interval", "lrmd_timeout"] {
            notice.optional(name, request.attribute(name).as_deref());
        }
        if self.fault != Fault::UserData {
            notice.optional("lrmd_rsc_userdata_str", request.attribute("lrmd_rsc_userdata_str").as_deref());
        }
        let mut attributes = notice.child("attributes");
        for attribute in request.first_child().expect("parameters").attributes() {
            match (attribute.name, self.fault) {
                ("pacelet_demo", Fault::ParameterLost) => {}
                ("pacelet_demo", Fault::ParameterAltered) => drop(attributes.attribute("pacelet_demo", "?")),
                (name, _) => drop(attributes.attribute(name, &attribute.value())),
            }
        }
        if self.fault == Fault::ParameterAdded {
            attributes.attribute("more", "");
        }
        drop(attributes);
        drop(notice);
        self.send(message);
    }

    fn send(&mut self, mut payload: Vec<u8>) {
        match self.fault {
            Fault::NoNul => payload.push(b'\n'),
            Fault::IllFormed => {
                payload.insert(1, b' ');
                payload.push(0);
            }
            _ => payload.push(0),
        }
        self.messages += 1;
        let header = Header::new(self.messages, payload.len()).expect("a short message").encode();
        let sealed = if self.fault == Fault::SharedRecord {
            self.tls.seal(&[&header, &payload[..]].concat(), &mut self.out)
        } else {
            self.tls.seal(&header, &mut self.out).and_then(|()| self.tls.seal(&payload, &mut self.out))
        };
        sealed.expect("an open connection");
    }
}
