//! Local tools: who may connect, and what becomes of their rings (ipc.md sections A and B).
//!
//! One task for each name that they connect to, and one for each tool:
//!
//! | event on \ state   | silent          | asking            | connected                             |
//! |--------------------|-----------------|-------------------|---------------------------------------|
//! | bytes              | a greeting, and | fault             | thrown away: look into the ring       |
//! |                    | then: asking    |                   |                                       |
//! | end of the socket  | forgotten       | gone              | gone, after what is still in the ring |
//! |                    |                 |                   | and is wanted in five seconds         |
//! | five seconds       | forgotten       | -                 | -                                     |
//! | too many           | forgotten       | -                 | -                                     |
//! | Admit              | -               | rings; connected  | -                                     |
//! | Refuse             | -               | answered, closed  | -                                     |
//! | Take               | -               | -                 | look into the ring                    |
//! | Deliver            | -               | -                 | written to the rings                  |
//! | Dismiss            | -               | closed            | closed                                |
//! | trouble in a ring  | -               | -                 | gone, with the fault                  |
//!
//! In any state in which [`Core`](super::Core) knows of a tool it is in [`Tools::known`]; what is not in there has
//! ended, and its task finds that out when it goes on.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};

use smol::future::yield_now;

use super::{ACCEPT_PAUSE, ACCEPTS_PER_TURN, Edge, Event};
use crate::ipc::{
    Access, GREETING_LIMIT_MILLIS, Geometry, Greeting, Place, Rings, Session, Shared, Sweep, Trouble,
    Written, create, granule,
};
use crate::line;
use crate::proxy::{Client, Delivery, Errand, Name, Ring, ToolId};
use crate::sys::local::{Connection, Listener};
use crate::sys::reactor::{Notifier, sleep_until};
use crate::sys::shm::page_size;
use crate::sys::users::Users;
use crate::sys::{Errno, clock};
use crate::time::Instant;
use crate::wire::qb::{ConnectResponse, Machine, RESPONSE_LEN};

/// Where rings are: a memory file system that every program may use.
pub const SHARED_MEMORY: &CStr = c"/dev/shm";
/// Whose members may use Pacemaker's tools.
const GROUP: &str = "haclient";
/// How many connections of one user may be silent; then the oldest of them gives way…
const SILENT_PER_USER: usize = 64;
/// …and of all users together; then one of the user with most of them does.
const SILENT: usize = 256;
/// How long the requests of a tool that has hung up may wait, in milliseconds.
const LAST_REQUESTS: u64 = 5_000;
/// Room for a message that is kept from one to the next, in bytes.
const MESSAGE_KEPT: usize = 16 * 1024;
/// How many bytes that tell of events are sent at once.
const NOTICES: usize = 512;

/// All tools, and what their tasks share.
#[derive(Debug)]
pub(super) struct Tools {
    /// Where sockets are files, if they are.
    directory: Option<PathBuf>,
    listeners: RefCell<Vec<Rc<Listener>>>,
    /// Those that have not asked yet, the oldest first.
    silent: RefCell<VecDeque<Rc<Tool>>>,
    /// Those that [`Core`](super::Core) knows of.
    known: RefCell<BTreeMap<ToolId, Rc<Tool>>>,
    users: RefCell<Users>,
    /// A request, while it is told.
    message: RefCell<Vec<u8>>,
}

/// One tool's connection.
#[derive(Debug)]
struct Tool {
    name: Name,
    socket: Connection,
    /// The longest message of the session that is to be made.
    admitted: Cell<Option<u32>>,
    session: RefCell<Option<(Session<Shared>, Rings)>>,
    /// It was closed from our side.
    is_over: Cell<bool>,
    /// When it is to have asked; when it is to end, once it has hung up.
    until: Cell<Option<Instant>>,
    /// One of the above has changed, or a request may be taken.
    changed: Notifier,
}

impl Tool {
    /// Closes it from our side; its files are gone at once, its task ends soon.
    fn end(&self) {
        self.is_over.set(true);
        self.session.take();
        self.socket.hang_up();
        self.changed.notify();
    }

    /// Answers what it asked; whether it took the answer, which old clients take as a whole only.
    fn answer(&self, response: &ConnectResponse<'_>) -> Result<bool, Errno> {
        Ok(self.socket.send(&response.encode(Machine::NATIVE))? == Some(RESPONSE_LEN))
    }

    /// Sends the bytes that are owed for events, as far as the socket takes them. If it fails nothing is owed any more:
    /// a tool that has only stopped to read would be ready for them for ever, and its end cannot be read.
    fn pay(&self) {
        let mut session = self.session.borrow_mut();
        let Some((session, _)) = &mut *session else { return };
        while let Some(notices) = [0; NOTICES].get(..session.owed().min(NOTICES)).filter(|it| !it.is_empty())
        {
            match self.socket.send(notices) {
                Ok(Some(count)) => session.paid(count),
                Ok(None) => return,
                Err(_) => session.paid(session.owed()),
            }
        }
    }

    fn has_request(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(|(session, _)| session.has_request())
    }

    fn is_owing(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(|(session, _)| session.owed() > 0)
    }

    /// Whether there is something to do.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let changed = self.changed.poll_notified(cx);
        let readable = self.socket.source().poll_readable(cx);
        let writable = if self.is_owing() { self.socket.source().poll_writable(cx) } else { Poll::Pending };
        if changed.is_ready() || readable.is_ready() || writable.is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// What [`Effect`](super::Effect)s ask for.
impl Tools {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            listeners: RefCell::default(),
            silent: RefCell::default(),
            known: RefCell::default(),
            users: RefCell::default(),
            message: RefCell::default(),
        }
    }

    fn find(&self, id: ToolId) -> Option<Rc<Tool>> {
        self.known.borrow().get(&id).cloned()
    }

    fn forget(&self, id: ToolId) -> Option<Rc<Tool>> {
        self.known.borrow_mut().remove(&id)
    }

    pub(super) fn admit(&self, id: ToolId, longest: u32) {
        if let Some(tool) = self.find(id) {
            tool.admitted.set(Some(longest));
            tool.changed.notify();
        }
    }

    pub(super) fn refuse(&self, id: ToolId, errno: i32) {
        if let Some(tool) = self.forget(id) {
            // Whoever does not wait for an answer gets none.
            let _ = tool.answer(&ConnectResponse::Refused(errno));
            tool.end();
        }
    }

    pub(super) fn wake(&self, id: ToolId) {
        if let Some(tool) = self.find(id) {
            tool.changed.notify();
        }
    }

    pub(super) fn dismiss(&self, id: ToolId) {
        if let Some(tool) = self.forget(id) {
            tool.end();
        }
    }

    /// Removes all files, and lets all tools see the end.
    pub(super) fn close(&self) {
        for listener in self.listeners.take() {
            // Its task may still hold it.
            listener.remove_file();
        }
        for tool in self.known.take().into_values() {
            tool.end();
        }
    }

    /// Ends those whose time has come. To be called every second or so.
    pub(super) fn expire(&self) {
        let now = clock::monotonic();
        let is_late = |tool: &&Rc<Tool>| tool.until.get().is_some_and(|until| until <= now);
        for tool in self.silent.borrow().iter().take_while(is_late) {
            tool.end();
        }
        for tool in self.known.borrow().values().filter(is_late) {
            tool.changed.notify();
        }
    }

    /// The one that is to give way, if so many are silent.
    fn one_too_many(&self, user: u32) -> Option<Rc<Tool>> {
        let silent = self.silent.borrow();
        let of = |user| silent.iter().filter(move |tool| tool.socket.peer().uid == user);
        if of(user).count() >= SILENT_PER_USER {
            return of(user).next().cloned();
        }
        if silent.len() < SILENT {
            return None;
        }
        let worst = silent.iter().max_by_key(|tool| of(tool.socket.peer().uid).count())?;
        of(worst.socket.peer().uid).next().cloned()
    }
}

/// Set-up.
impl Edge {
    pub(super) fn serve_tools(self: &Rc<Self>, name: Name) {
        match Listener::open(&self.reactor, name.text(), self.tools.directory.as_deref()) {
            Ok(listener) => {
                let listener = Rc::new(listener);
                self.tools.listeners.borrow_mut().push(listener.clone());
                self.executor.spawn(self.clone().accept_tools(name, listener)).detach();
                self.handle(Event::Serving(name));
            }
            Err(failure) => {
                self.handle(Event::ServeFailed { name, reason: failure.reason, taken: failure.taken });
            }
        }
    }

    /// Removes what a daemon that was killed left behind.
    pub(super) async fn sweep(&self) {
        if self.tools.listeners.borrow().is_empty() {
            return;
        }
        let Ok(mut sweep) = Sweep::open(SHARED_MEMORY, Name::ALL.map(Name::text).to_vec()) else { return };
        while sweep.step() {
            yield_now().await;
        }
        if sweep.removed() > 0 {
            let count = sweep.removed();
            self.log(&line!(
                Info,
                "Removed the files of {count} sessions that a daemon before this one left"
            ));
        }
    }

    async fn accept_tools(self: Rc<Self>, name: Name, listener: Rc<Listener>) {
        let mut no_room = false;
        loop {
            for _ in 0..ACCEPTS_PER_TURN {
                match listener.accept() {
                    Ok(Some(fd)) => {
                        no_room = false;
                        self.accepted_tool(name, fd);
                    }
                    Ok(None) => listener.ready().await,
                    Err(errno) => {
                        // The connection stays in the backlog, so an immediate try would spin.
                        if !std::mem::replace(&mut no_room, true) {
                            let (name, error) = (name.text(), io::Error::from(errno));
                            self.log(&line!(Error, "Cannot accept tools for {name} for now: {error}"));
                        }
                        sleep_until(&self.reactor, clock::monotonic().after(ACCEPT_PAUSE)).await;
                    }
                }
            }
            listener.pass_turn().await;
        }
    }

    fn accepted_tool(self: &Rc<Self>, name: Name, fd: OwnedFd) {
        let socket = match Connection::new(&self.reactor, fd) {
            Ok(socket) => socket,
            Err((step, errno)) => {
                let (name, error) = (name.text(), io::Error::from(errno));
                return self.log(&line!(Error, "Cannot serve a tool of {name}: {step}: {error}"));
            }
        };
        if let Some(tool) = self.tools.one_too_many(socket.peer().uid) {
            let (peer, name) = (tool.socket.peer(), tool.name.text());
            self.log(&line!(
                Debug,
                "Closed a silent connection to {name} (process {}, user {}): there are too many",
                peer.pid,
                peer.uid
            ));
            self.tools.silent.borrow_mut().retain(|other| !Rc::ptr_eq(other, &tool));
            tool.end();
        }
        let tool = Rc::new(Tool {
            name,
            socket,
            admitted: Cell::new(None),
            session: RefCell::new(None),
            is_over: Cell::new(false),
            until: Cell::new(Some(clock::monotonic().after(GREETING_LIMIT_MILLIS))),
            changed: Notifier::default(),
        });
        self.tools.silent.borrow_mut().push_back(tool.clone());
        self.executor.spawn(self.clone().serve_tool(tool)).detach();
    }

    async fn serve_tool(self: Rc<Self>, tool: Rc<Tool>) {
        let longest = self.greeting(&tool).await;
        self.tools.silent.borrow_mut().retain(|other| !Rc::ptr_eq(other, &tool));
        let Some(longest) = longest else { return };
        let id = ToolId(self.next_number());
        let peer = tool.socket.peer();
        let (user, group) = {
            let mut users = self.tools.users.borrow_mut();
            (users.name(peer.uid), users.group(GROUP))
        };
        // A kernel that does not tell leaves it to the files.
        let is_in = |group| peer.gid == group || tool.socket.has_group(group).unwrap_or(true);
        let may_open = peer.uid == 0 || group.is_some_and(is_in);
        self.tools.known.borrow_mut().insert(id, tool.clone());
        let client = Client { pid: peer.pid, uid: peer.uid, user, may_open };
        self.tell(Event::ToolAsks { tool: id, name: tool.name, client, longest });
        let fault = match self.asking(&tool).await {
            Ok(()) => {
                // It may have been sent something before it had rings.
                self.deliver(id);
                self.pump();
                self.connected(id, &tool).await
            }
            Err(fault) => fault,
        };
        if self.tools.forget(id).is_some() {
            tool.end();
            self.tell(Event::ToolGone { tool: id, fault });
        }
    }

    /// What it asks for; `None` if it ends, says too little for too long, or something else.
    async fn greeting(&self, tool: &Tool) -> Option<u32> {
        let mut greeting = Greeting::default();
        while !tool.is_over.get() {
            let mut bytes = [0; 32];
            match tool.socket.receive(&mut bytes) {
                Ok(Some(0)) | Err(_) => return None,
                Ok(Some(count)) => match greeting.received(bytes.get(..count)?) {
                    Ok(Some(request)) => return Some(request.longest),
                    Ok(None) => {}
                    Err(error) => {
                        let (peer, name) = (tool.socket.peer(), tool.name.text());
                        self.log(&line!(
                            Debug,
                            "Closed a connection to {name} (process {}, user {}): {error}",
                            peer.pid,
                            peer.uid
                        ));
                        return None;
                    }
                },
                Ok(None) => tool.socket.source().readable().await,
            }
        }
        None
    }

    /// Waits for what is decided about a tool: `Ok` when it has rings, else what it or the system did wrong.
    async fn asking(&self, tool: &Tool) -> Result<(), Option<String>> {
        loop {
            if tool.is_over.get() {
                return Err(None);
            }
            if let Some(longest) = tool.admitted.take() {
                return self.make_rings(tool, longest);
            }
            match tool.socket.receive(&mut [0]) {
                Ok(Some(0)) | Err(_) => return Err(None),
                Ok(Some(_)) => return Err(Some("it sent something before it was answered".to_owned())),
                Ok(None) => poll_fn(|cx| tool.poll_ready(cx)).await,
            }
        }
    }

    fn make_rings(&self, tool: &Tool, longest: u32) -> Result<(), Option<String>> {
        let peer = tool.socket.peer();
        let access = Access::of(peer, self.tools.users.borrow_mut().group(GROUP));
        let place = Place {
            parent: SHARED_MEMORY,
            server: tool.name.text(),
            pid: std::process::id(),
            peer,
            number: tool.socket.number(),
        };
        let geometry = Geometry::new(longest, granule(page_size()));
        match create(place, access, geometry, &mut *self.entropy.borrow_mut()) {
            Ok((session, rings)) => {
                let [requests, responses, events] = &rings.paths;
                let paths = [requests.as_slice(), responses, events];
                let response = ConnectResponse::Accepted { longest: geometry.longest(), paths };
                match tool.answer(&response) {
                    Ok(true) => {
                        tool.session.replace(Some((session, rings)));
                        Ok(())
                    }
                    Ok(false) => Err(Some("its socket had no room for the answer".to_owned())),
                    // It did not wait.
                    Err(_) => Err(None),
                }
            }
            Err(failure) => {
                let _ = tool.answer(&ConnectResponse::Refused(failure.errno.raw_os_error()));
                Err(Some(failure.to_string()))
            }
        }
    }
}

/// Sessions.
impl Edge {
    /// Takes requests until the tool hangs up, or breaks the rules: which, if that was it.
    async fn connected(self: &Rc<Self>, id: ToolId, tool: &Tool) -> Option<String> {
        tool.until.set(None);
        loop {
            // Tools turn busily while the socket is full of bytes that nobody takes.
            let (is_full, has_ended) = {
                let mut buffer = self.buffer.borrow_mut();
                match tool.socket.receive(&mut buffer) {
                    Ok(Some(0)) | Err(_) => (false, true),
                    Ok(count) => (count == Some(buffer.len()), false),
                }
            };
            tool.pay();
            let has_taken = match self.take(id, tool) {
                Ok(has_taken) => has_taken,
                Err(trouble) => return Some(trouble.to_string()),
            };
            self.pump();
            if tool.is_over.get() {
                return None;
            }
            if has_taken || is_full {
                tool.socket.source().pass_turn().await;
            } else if has_ended {
                // What some tools send last they do not wait for.
                let now = clock::monotonic();
                let until = tool.until.get().unwrap_or_else(|| now.after(LAST_REQUESTS));
                tool.until.set(Some(until));
                if !tool.has_request() || now >= until {
                    return None;
                }
                tool.changed.notified().await;
            } else {
                poll_fn(|cx| tool.poll_ready(cx)).await;
            }
        }
    }

    /// Takes one request, and tells it, if there is one and it is wanted. Others stay in the ring, which tells
    /// the tool to wait when it is full; to hold it back before makes it turn busily.
    fn take(&self, id: ToolId, tool: &Tool) -> Result<bool, Trouble> {
        if !self.core.borrow().wants_request(id) {
            return Ok(false);
        }
        let mut message = self.tools.message.borrow_mut();
        {
            let mut session = tool.session.borrow_mut();
            let Some((session, _)) = &mut *session else { return Ok(false) };
            if !session.next_request(&mut message)? {
                return Ok(false);
            }
        }
        self.handle(Event::ToolRequest { tool: id, message: &message });
        if message.capacity() > MESSAGE_KEPT {
            *message = Vec::new();
        }
        Ok(true)
    }

    pub(super) fn do_errand(&self, errand: Errand) {
        match errand {
            Errand::Admit { tool, longest } => self.tools.admit(tool, longest),
            Errand::Refuse { tool, errno } => self.tools.refuse(tool, errno),
            Errand::Deliver(tool) => self.deliver(tool),
            Errand::Take(tool) => self.tools.wake(tool),
            Errand::Dismiss(tool) => self.tools.dismiss(tool),
        }
    }

    /// Writes what waits for a tool into its rings, and tells what became of it.
    fn deliver(&self, id: ToolId) {
        let Some(tool) = self.tools.find(id) else { return };
        let fault = loop {
            let written = {
                let core = self.core.borrow();
                let Some(message) = core.tool_outgoing(id) else { break None };
                let mut session = tool.session.borrow_mut();
                let Some((session, _)) = &mut *session else { return };
                let nul: &[u8] = if message.nul { b"\0" } else { b"" };
                let pieces = [&message.header, message.body, nul];
                match message.ring {
                    Ring::Response => session.respond(&pieces),
                    Ring::Event => session.notify(&pieces),
                }
            };
            let delivery = match written {
                Ok(Written::Done) => Delivery::Done,
                Ok(Written::Full) => Delivery::Full,
                Ok(Written::TooLong) => break Some("a message is longer than agreed on".to_owned()),
                Err(trouble) => break Some(trouble.to_string()),
            };
            self.handle(Event::ToolDelivery { tool: id, delivery });
            if delivery == Delivery::Full {
                break None;
            }
        };
        tool.pay();
        if tool.is_owing() {
            tool.changed.notify();
        }
        if let Some(fault) = fault
            && let Some(tool) = self.tools.forget(id)
        {
            tool.end();
            self.handle(Event::ToolGone { tool: id, fault: Some(fault) });
        }
    }
}
