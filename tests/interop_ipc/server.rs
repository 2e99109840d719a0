//! A server made of what the daemon will be made of: the reactor, and one task per connection.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pacelet::ipc::{Access, Geometry, Greeting, Place, Session, Shared, Written, create, granule};
use pacelet::proxy::Limits;
use pacelet::sys::entropy::Entropy;
use pacelet::sys::local::{Connection, Listener, Peer};
use pacelet::sys::reactor::{Reactor, sleep_until};
use pacelet::sys::shm::page_size;
use pacelet::sys::{Errno, clock};
use pacelet::wire::ipc::{Body, Header, Layout, View, flags};
use pacelet::wire::qb::{ConnectResponse, Machine};
use smol::LocalExecutor;

use super::lab::LIMIT;

/// The names that a remote node's daemon serves, but `lrmd`.
const NAMES: [&str; 7] = ["cib_ro", "cib_rw", "cib_shm", "attrd", "stonith-ng", "crmd", "pacemakerd"];
/// How often the server looks whether it is to stop.
const TICK_MILLIS: u64 = 20;
/// How long to wait for a client that has not read.
const RETRY_MILLIS: u64 = 2;

/// A request, as the answering function gets it.
pub struct Request<'a> {
    pub server: &'static str,
    pub wants_response: bool,
    pub text: &'a str,
}

/// What to send.
#[derive(Debug)]
pub enum Answer {
    Response(String),
    Event(String),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A client asked to connect, for messages of up to `longest` bytes.
    Connected { server: &'static str, peer: Peer, longest: u32 },
    /// It was told that it is connected; these are the paths of its rings.
    Accepted { paths: [String; 3] },
    /// It sent a request.
    Request { server: &'static str, layout: Layout },
    /// All answers to a request are in the rings, and all bytes for them on the socket.
    Answered { count: usize },
    /// It hung up.
    Closed { server: &'static str },
}

type Answering = fn(&Request<'_>) -> Vec<Answer>;

/// A running server.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    clients: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Starts to serve all names; they can be connected to when this returns. `haclient` is the group
    /// of that name in the tools' root.
    pub fn start(haclient: u32, answering: Answering) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let clients = Arc::new(AtomicUsize::new(0));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let (stop, clients, seen) = (stop.clone(), clients.clone(), seen.clone());
            move || {
                let reactor = Reactor::new().expect("epoll");
                let executor = Rc::new(LocalExecutor::new());
                let shared = Rc::new(Common { reactor: reactor.clone(), haclient, answering, clients, seen });
                for name in NAMES {
                    let listener = Listener::open(&reactor, name, None).expect("a name in a new namespace");
                    let task = listen(listener, name, shared.clone(), Rc::downgrade(&executor));
                    executor.spawn(task).detach();
                }
                ready.send(()).expect("the starter waits");
                executor.spawn(tick(reactor.clone())).detach();
                reactor.run(&executor, || stop.load(Ordering::Relaxed)).expect("epoll");
            }
        });
        is_ready.recv().expect("the server listens");
        Self { stop, thread, clients, seen }
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic holds it").clone()
    }

    /// Ends it once the last client has hung up, and tells what it saw.
    pub fn finish(self) -> Vec<Seen> {
        let end = Instant::now() + LIMIT;
        while self.clients.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < end, "a client does not hang up: {:?}", self.seen());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stop()
    }

    /// Ends it, and tells what it saw.
    pub fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the server does not fail");
        std::mem::take(&mut *self.seen.lock().expect("no panic holds it"))
    }
}

struct Common {
    reactor: Rc<Reactor>,
    haclient: u32,
    answering: Answering,
    clients: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Common {
    fn note(&self, seen: Seen) {
        self.seen.lock().expect("no panic holds it").push(seen);
    }

    async fn pause(&self, millis: u64) {
        sleep_until(&self.reactor, clock::monotonic().after(millis)).await;
    }
}

async fn tick(reactor: Rc<Reactor>) {
    loop {
        sleep_until(&reactor, clock::monotonic().after(TICK_MILLIS)).await;
    }
}

async fn listen(
    listener: Listener,
    name: &'static str,
    common: Rc<Common>,
    executor: Weak<LocalExecutor<'static>>,
) {
    loop {
        listener.ready().await;
        while let Some(fd) = listener.accept().expect("descriptors") {
            let Some(executor) = executor.upgrade() else { return };
            let common = common.clone();
            common.clients.fetch_add(1, Ordering::SeqCst);
            let task = async move {
                serve(fd, name, &common).await;
                common.clients.fetch_sub(1, Ordering::SeqCst);
            };
            executor.spawn(task).detach();
        }
    }
}

/// One client, from its connection to its end.
async fn serve(fd: OwnedFd, server: &'static str, common: &Common) {
    let connection = Connection::new(&common.reactor, fd).expect("a socket");
    let mut greeting = Greeting::default();
    let mut buffer = [0; 4096];
    let request = loop {
        connection.source().readable().await;
        let count = match connection.receive(&mut buffer) {
            Ok(Some(0)) | Err(_) => return,
            Ok(None) => continue,
            Ok(Some(count)) => count,
        };
        if let Some(request) = greeting.received(&buffer[..count]).expect("a stock tool's request") {
            break request;
        }
    };
    let peer = connection.peer();
    common.note(Seen::Connected { server, peer, longest: request.longest });
    if server == "pacemakerd" {
        let response = ConnectResponse::Refused(Errno::REMOTEIO.raw_os_error()).encode(Machine::NATIVE);
        assert_eq!(connection.send(&response), Ok(Some(response.len())));
        return;
    }

    let longest = Limits::default().negotiate(request.longest);
    let geometry = Geometry::new(longest, granule(page_size()));
    let place =
        Place { parent: c"/dev/shm", server, pid: std::process::id(), peer, number: connection.number() };
    let access = Access::of(peer, Some(common.haclient));
    let (session, rings) = create(place, access, geometry, &mut Entropy::new()).expect("room in /dev/shm");
    let [requests, responses, events] = &rings.paths;
    let response = ConnectResponse::Accepted { longest, paths: [requests, responses, events] };
    let response = response.encode(Machine::NATIVE);
    assert_eq!(connection.send(&response), Ok(Some(response.len())), "one call must take all");
    let paths = rings.paths.clone().map(|path| String::from_utf8(path).expect("a path in UTF-8"));
    common.note(Seen::Accepted { paths });
    talk(&connection, session, server, common).await;
    drop(rings);
    common.note(Seen::Closed { server });
}

/// An established session, until the client hangs up.
async fn talk(connection: &Connection, mut session: Session<Shared>, server: &'static str, common: &Common) {
    let mut notices = [0; 4096];
    let mut message = Vec::new();
    let mut events = 0;
    loop {
        connection.source().readable().await;
        match connection.receive(&mut notices) {
            Ok(Some(0)) | Err(_) => return,
            Ok(None) => continue,
            Ok(Some(_)) => {}
        }
        while session.next_request(&mut message).expect("a stock tool keeps the rules") {
            let view = View::new_checked(&message).expect("a stock tool's message");
            let Body::Text(text) = view.body() else {
                panic!("a compressed request: too long for this test")
            };
            let text = std::str::from_utf8(text).expect("UTF-8");
            common.note(Seen::Request { server, layout: view.layout() });
            let wants_response = view.flags() & flags::WANTS_RESPONSE != 0;
            let answers = (common.answering)(&Request { server, wants_response, text });
            let mut waiting: VecDeque<_> = answers.into();
            let count = waiting.len();
            while let Some(answer) = waiting.front() {
                let written = match answer {
                    Answer::Response(text) => {
                        let head = header(&view, view.id(), flags::SERVER, text);
                        session.respond(&[&head, text.as_bytes(), b"\0"])
                    }
                    Answer::Event(text) => {
                        let head = header(&view, events + 1, flags::SERVER | flags::EVENT, text);
                        session.notify(&[&head, text.as_bytes(), b"\0"])
                    }
                };
                match written.expect("a stock tool keeps the rules") {
                    Written::Done => {
                        events += i32::from(matches!(answer, Answer::Event(_)));
                        waiting.pop_front();
                    }
                    Written::Full => common.pause(RETRY_MILLIS).await,
                    Written::TooLong => panic!("a reply longer than agreed on"),
                }
                if pay(connection, &mut session).is_err() {
                    return;
                }
            }
            while session.owed() > 0 {
                connection.source().writable().await;
                if pay(connection, &mut session).is_err() {
                    return;
                }
            }
            common.note(Seen::Answered { count });
        }
    }
}

fn header(request: &View<'_>, id: i32, flags: u32, text: &str) -> Vec<u8> {
    let header = Header { layout: request.layout(), id, flags, part: 0 };
    header.encode(text.len()).expect("a short text").to_vec()
}

/// Sends what bytes are owed, as far as the socket takes them.
fn pay(connection: &Connection, session: &mut Session<Shared>) -> Result<(), Errno> {
    let bytes = [0; 4096];
    while session.owed() > 0 {
        match connection.send(&bytes[..session.owed().min(bytes.len())])? {
            Some(count) => session.paid(count),
            None => break,
        }
    }
    Ok(())
}
