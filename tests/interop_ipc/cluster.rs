//! The daemon with a cluster: one connection over TLS that registers as a controller does, answers what tools ask
//! through the daemon, and lets it go when it wants to end (ipc.md section D).

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client, Error, Failure, Message};
use pacelet::wire::ipc::flags;
use pacelet::xml::Element;

use super::daemon::Daemon;
use super::lab::{LIMIT, Lab};
use super::sessions;

const KEY: &[u8] = b"the key of the lab";
const KEY_FILE: &str = "/dev/shm/key";
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 3121);
/// The flag by which the controller knows a request of a tool on another node.
const PROXIED: u32 = 0x100;
/// How many messages may be on their way, without the daemon's reply.
const ON_THE_WAY: usize = 64;

/// A request, as the answering function gets it.
pub struct Request<'a> {
    pub channel: &'a str,
    pub wants_response: bool,
    pub root: Element<'a>,
}

/// What to send.
#[derive(Debug)]
pub enum Answer {
    Response(String),
    Event(String),
    /// An event for every client of the CIB, as all are told of a change that one asked for.
    Change(String),
    /// The session's end.
    Destroy,
}

/// What happened, as the cluster sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A tool has connected.
    New { channel: String },
    /// It asked something; `files` are its rings as they were then, if they were still there.
    Request { channel: String, user: String, pid: i32, length: usize, files: Option<Files> },
    /// The daemon has taken all answers to a request.
    Answered { count: usize },
    /// The session has ended, says the daemon.
    Destroyed { channel: String },
}

/// The files of a session's rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// The paths of the ring of events: header and data.
    pub paths: [String; 2],
    /// Bytes of the data.
    pub len: u64,
}

/// A running daemon with a cluster.
pub struct Cluster {
    pub daemon: Daemon,
    thread: JoinHandle<()>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Cluster {
    /// Starts a daemon and connects to it; tools can be run when this returns.
    pub fn start(answering: impl FnMut(&Request<'_>) -> Vec<Answer> + Send + 'static) -> Self {
        Self::start_with(&[], answering)
    }

    /// The same, with more settings.
    pub fn start_with(
        settings: &[(&str, &str)],
        answering: impl FnMut(&Request<'_>) -> Vec<Answer> + Send + 'static,
    ) -> Self {
        let lo = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip of iproute2");
        assert!(lo.success());
        let key = File::options().create(true).truncate(true).write(true).mode(0o600).open(KEY_FILE);
        key.and_then(|mut file| file.write_all(KEY)).expect("a file in /dev/shm");
        let settings =
            [&[("PCMK_authkey_location", KEY_FILE), ("PCMK_remote_address", "127.0.0.1")], settings];
        let daemon = Daemon::start(&settings.concat());
        daemon.wait_for("successfully started");

        let seen = Arc::new(Mutex::new(Vec::new()));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let (seen, daemon) = (seen.clone(), daemon.pid());
            move || {
                let mut buffers = Buffers::new();
                let client =
                    Client::connect(SocketAddr::from(ADDRESS), KEY, LIMIT, &mut buffers, &mut Entropy::new());
                let mut client = client.expect("the daemon has this key");
                client.register("pacemaker-remote-127.0.0.1:3121").expect("an answer");
                ready.send(()).expect("the starter waits");
                let controller = Controller {
                    client,
                    answering,
                    daemon,
                    seen,
                    sessions: BTreeMap::new(),
                    last_message: 1000,
                    on_the_way: 0,
                    later: VecDeque::new(),
                };
                controller.serve();
            }
        });
        is_ready.recv().expect("the cluster connects");
        Self { daemon, thread, seen }
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic holds it").clone()
    }

    pub fn wait_for(&self, what: &str, is_seen: impl Fn(&Seen) -> bool) {
        self.daemon.wait_until(what, || self.seen().iter().any(&is_seen));
    }

    /// Ends both once no tool is connected any more, and tells what the cluster saw.
    pub fn finish(self, lab: &Lab) -> Vec<Seen> {
        self.daemon.wait_until("a session does not end", || sessions(lab).is_empty());
        self.stop()
    }

    /// Ends both, and tells what the cluster saw.
    pub fn stop(self) -> Vec<Seen> {
        assert!(self.daemon.terminate().success());
        self.thread.join().expect("the cluster does not fail");
        std::mem::take(&mut *self.seen.lock().expect("no panic holds it"))
    }
}

/// The cluster's end of the connection.
struct Controller<'b, F> {
    client: Client<'b>,
    answering: F,
    daemon: u32,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Channels, by session.
    sessions: BTreeMap<String, String>,
    last_message: i64,
    on_the_way: usize,
    /// What came while the daemon's replies were waited for.
    later: VecDeque<Message>,
}

impl<F: FnMut(&Request<'_>) -> Vec<Answer>> Controller<'_, F> {
    /// Until the daemon has ended.
    fn serve(mut self) {
        while let Some(message) = self.next() {
            let root = message.root();
            let session = text(root, "lrmd_ipc_session");
            match text(root, "lrmd_ipc_op").as_str() {
                "new" => {
                    let channel = text(root, "lrmd_ipc_server");
                    self.sessions.insert(session, channel.clone());
                    self.note(Seen::New { channel });
                }
                "request" => self.answer(root, &session),
                "destroy" => {
                    // What is sent to a session that has ended is answered in this way, too.
                    if let Some(channel) = self.sessions.remove(&session) {
                        self.note(Seen::Destroyed { channel });
                    }
                }
                "shutdown_req" => {
                    self.forward(r#"lrmd_ipc_op="shutdown_ack""#, "");
                    while self.on_the_way > 0 && self.wait() {}
                    return self.client.close();
                }
                other => panic!("nothing that a daemon says: {other:?} in {message:?}"),
            }
        }
    }

    fn answer(&mut self, root: Element<'_>, session: &str) {
        let channel = self.sessions.get(session).expect("a session that was announced").clone();
        let number = |name| text(root, name).parse::<u32>().expect("a number");
        let (id, told) = (number("lrmd_ipc_msg_id"), number("lrmd_ipc_msg_flags"));
        assert_ne!(told & PROXIED, 0, "{told:x}");
        let name = text(root, "lrmd_ipc_client");
        let pid: i32 =
            name.rsplit('-').nth(1).and_then(|pid| pid.parse().ok()).expect("proxy-CHANNEL-PID-ID");
        let said = root.first_child().filter(|wrapper| wrapper.name() == "lrmd_ipc_msg");
        let said = said.and_then(|wrapper| wrapper.first_child()).expect("a request");
        let (user, length) = (text(root, "lrmd_ipc_user"), said.source().len());
        let files = files(self.daemon, pid, &channel);
        self.note(Seen::Request { channel: channel.clone(), user, pid, length, files });

        let wants_response = told & flags::WANTS_RESPONSE != 0;
        let answers = (self.answering)(&Request { channel: &channel, wants_response, root: said });
        let count = answers.len();
        for answer in answers {
            let (what, body) = match answer {
                Answer::Response(body) => (format!(r#"lrmd_ipc_op="response" lrmd_ipc_msg_id="{id}""#), body),
                Answer::Event(body) => (r#"lrmd_ipc_op="event""#.to_owned(), body),
                Answer::Change(body) => {
                    let of_the_cib = self.sessions.iter().filter(|(_, channel)| channel.starts_with("cib"));
                    for session in of_the_cib.map(|(session, _)| session.clone()).collect::<Vec<_>>() {
                        let event = format!(r#"lrmd_ipc_op="event" lrmd_ipc_session="{session}""#);
                        self.forward(&event, &body);
                    }
                    continue;
                }
                Answer::Destroy => (r#"lrmd_ipc_op="destroy""#.to_owned(), String::new()),
            };
            self.forward(&format!(r#"{what} lrmd_ipc_session="{session}""#), &body);
        }
        while self.on_the_way > 0 && self.wait() {}
        self.note(Seen::Answered { count });
    }

    fn forward(&mut self, attributes: &str, body: &str) {
        while self.on_the_way >= ON_THE_WAY && self.wait() {}
        self.last_message += 1;
        let id = self.last_message;
        let wrapped =
            if body.is_empty() { body.to_owned() } else { format!("<lrmd_ipc_msg>{body}</lrmd_ipc_msg>") };
        let message = format!(
            "<lrmd_ipc_proxy {attributes} lrmd_op=\"ipc_fwd\" lrmd_remote_msg_id=\"{id}\" \
             lrmd_remote_msg_type=\"request\">{wrapped}</lrmd_ipc_proxy>"
        );
        self.client.send(message.into_bytes()).expect("the daemon takes messages");
        self.on_the_way += 1;
    }

    /// The next notification; `None` if the daemon has ended.
    fn next(&mut self) -> Option<Message> {
        while self.later.is_empty() && self.wait() {}
        self.later.pop_front()
    }

    /// Waits for whatever comes; `false` if the daemon has ended.
    fn wait(&mut self) -> bool {
        // The test's own patience ends before.
        let message = match self.client.receive(Instant::now() + 20 * LIMIT) {
            Ok(message) => message,
            Err(Error::Connection(Failure::Closed)) => return false,
            Err(error) => panic!("{error}"),
        };
        match message.attribute("lrmd_remote_msg_type").as_deref() {
            Some("reply") => self.on_the_way -= 1,
            _ => self.later.push_back(message),
        }
        true
    }

    fn note(&self, seen: Seen) {
        self.seen.lock().expect("no panic holds it").push(seen);
    }
}

fn text(element: Element<'_>, name: &str) -> String {
    element.attribute(name).map(|value| value.into_owned()).unwrap_or_default()
}

/// The files of a tool's session, if it has not hung up yet.
fn files(daemon: u32, pid: i32, channel: &str) -> Option<Files> {
    let prefix = format!("qb-{daemon}-{pid}-");
    let directories = fs::read_dir("/dev/shm").expect("/dev/shm").filter_map(Result::ok);
    let mut own = directories.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    own.find_map(|directory| {
        let path = directory.path().join(format!("qb-event-{channel}"));
        let paths = ["header", "data"].map(|end| format!("{}-{end}", path.display()));
        let data = fs::metadata(&paths[1]).ok()?;
        Some(Files { uid: data.uid(), gid: data.gid(), mode: data.mode() & 0o7777, paths, len: data.len() })
    })
}
