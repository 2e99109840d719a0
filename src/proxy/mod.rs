//! Local tools: their sessions, and what goes between them and the cluster connection that serves them
//! (ipc.md sections C and D).
//!
//! A tool connects to one of eight [`Name`]s. Two of them this daemon answers by itself: `lrmd` takes the
//! executor's own requests ([`Action::Execute`]), `pacemakerd` refuses everybody, by which tools know that they run on a
//! remote node. The others are channels to the cluster: a session on one is bound to the provider that was
//! the newest when it began.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use rand_core::CryptoRngCore;

use crate::line;
use crate::log::Line;
use crate::remote::ConnId;
use crate::time::Instant;

/// What a tool is told that nobody can serve: EREMOTEIO, by which it knows that it runs on a remote node.
const NOBODY: i32 = 121;

/// A tool's connection, numbered by the edge out of the same counter as [`ConnId`]: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolId(pub u64);

/// What a tool can connect to (ipc.md section C.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The executor's own requests.
    Lrmd,
    /// The CIB.
    CibRo,
    /// The CIB.
    CibRw,
    /// The CIB; the cluster is told `cib_rw`.
    CibShm,
    /// Node attributes.
    Attrd,
    /// The fencer.
    StonithNg,
    /// The controller.
    Crmd,
    /// Refuses everybody.
    Pacemakerd,
}

impl Name {
    /// All, in the order in which they are opened.
    pub const ALL: [Self; 8] = [
        Self::Lrmd,
        Self::CibRo,
        Self::CibRw,
        Self::CibShm,
        Self::Attrd,
        Self::StonithNg,
        Self::Pacemakerd,
        Self::Crmd,
    ];

    /// As libqb has it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Lrmd => "lrmd",
            Self::CibRo => "cib_ro",
            Self::CibRw => "cib_rw",
            Self::CibShm => "cib_shm",
            Self::Attrd => "attrd",
            Self::StonithNg => "stonith-ng",
            Self::Crmd => "crmd",
            Self::Pacemakerd => "pacemakerd",
        }
    }

    /// What the cluster calls it, if it is served by the cluster.
    pub const fn channel(self) -> Option<&'static str> {
        match self {
            Self::Lrmd | Self::Pacemakerd => None,
            Self::CibShm => Some("cib_rw"),
            Self::CibRo | Self::CibRw | Self::Attrd | Self::StonithNg | Self::Crmd => Some(self.text()),
        }
    }
}

/// Who connects, as the kernel and /etc/passwd say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its process; 0 when it is not in this process's namespace.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// The user's name, if it has one (ipc.md section C.7).
    pub user: Option<String>,
}

impl Client {
    /// Whether it may ask the executor to change something (ipc.md section C.6).
    pub fn is_privileged(&self) -> bool {
        self.uid == 0 || self.user.as_deref() == Some("hacluster")
    }
}

/// What sessions may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of shared memory for the rings of all sessions.
    pub memory: u64,
    /// The longest message answered to a client that asks for less: `PCMK_ipc_buffer`, if it is set.
    pub longest: Option<u32>,
    /// What a ring's size is rounded up to: [`granule`](crate::wire::ring::granule).
    pub granule: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 128 * 1024 * 1024, longest: None, granule: 4096 }
    }
}

/// Which of a session's two rings a message goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Responses.
    Response,
    /// Events.
    Event,
}

/// The next message for a tool: header, a part of a text, and the NUL, in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub ring: Ring,
    /// Pacemaker's header.
    pub header: [u8; crate::wire::ipc::LEN],
    /// What follows it.
    pub body: &'a [u8],
    /// Whether a NUL follows that: text has one, compressed bytes bring their own.
    pub nul: bool,
}

/// What became of [`Outgoing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the ring.
    Done,
    /// There was no room.
    Full,
}

/// Something for the daemon to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the tool's rings for messages of up to `longest` bytes, and answer it.
    Admit {
        /// Its number.
        tool: ToolId,
        /// Bytes, header included.
        longest: u32,
    },
    /// Answer the tool with an errno, and close its connection: no more is heard of it.
    Refuse {
        /// Its number.
        tool: ToolId,
        /// A positive errno.
        errno: i32,
    },
    /// The outgoing queue has something for this tool.
    Deliver(ToolId),
    /// The tool's next request can be taken from its ring.
    Take(ToolId),
    /// End the tool's session and close its connection: no more is heard of it.
    Dismiss(ToolId),
    /// Send a message to a cluster connection.
    Send(ConnId, Vec<u8>),
    /// A request for this daemon's own executor, whose text was checked.
    Execute {
        /// Its number.
        tool: ToolId,
        /// The number that the response must have.
        id: i32,
        /// XML, one element.
        text: String,
    },
    /// Write a line to the log.
    Log(Line),
}

/// The sessions of all tools.
#[derive(Debug)]
pub struct Proxy {
    limits: Limits,
    actions: VecDeque<Action>,
}

impl Proxy {
    /// No session yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, actions: VecDeque::new() }
    }

    /// The next thing to do, `None` when all has been told.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A tool asks to be connected; `provider` is who would serve it.
    pub fn asks(
        &mut self,
        tool: ToolId,
        name: Name,
        client: &Client,
        longest: u32,
        provider: Option<ConnId>,
        now: Instant,
        entropy: &mut dyn CryptoRngCore,
    ) {
        let _ = (client, longest, provider, now, entropy, self.limits);
        self.actions.push_back(Action::Log(line!(Debug, "Refused a connection to {}", name.text())));
        self.actions.push_back(Action::Refuse { tool, errno: NOBODY });
    }

    /// A tool's request came: a whole message of its ring.
    pub fn request(&mut self, tool: ToolId, message: &[u8], now: Instant) {
        let _ = (tool, message, now);
    }

    /// What became of [`Proxy::outgoing`].
    pub fn delivered(&mut self, tool: ToolId, delivery: Delivery, now: Instant) {
        let _ = (tool, delivery, now);
    }

    /// A tool hung up or broke the rules.
    pub fn gone(&mut self, tool: ToolId, fault: Option<&str>) {
        let _ = (tool, fault);
    }

    /// The next message for a tool.
    pub fn outgoing(&self, tool: ToolId) -> Option<Outgoing<'_>> {
        let _ = tool;
        None
    }

    /// Whether a tool's next request may be taken from its ring.
    pub fn wants(&self, tool: ToolId) -> bool {
        let _ = tool;
        false
    }

    /// When to call [`Proxy::wake`] if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// [`Proxy::deadline`] has come.
    pub fn wake(&mut self, now: Instant) {
        let _ = now;
    }
}
