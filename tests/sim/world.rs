//! The daemon's surroundings in virtual time: the edge as the contract in `daemon::core` wants it, the network,
//! children, signals and the clocks. Everything that happens is told to the oracle, too.

mod bus;
mod edge;
mod ends;
mod tools;

use std::collections::{BTreeMap, VecDeque};

use pacelet::agent::{ChildId, Command, Ending};
use pacelet::daemon::{Core, Event, ExitCode};
use pacelet::log::Line;
use pacelet::proxy::ToolId;
use pacelet::remote::ConnId;
use pacelet::time::{Instant, Now};

use self::bus::Socket;
use self::tools::Tool;
use super::children::Script;
use super::link::Link;
use super::memory::inside;
use super::oracle::{self, Checked, Oracle, Rule, violation};
use super::random::Random;
use super::xml::Element;

/// The key of every honest client.
pub const KEY: &[u8] = &[0x5a; 4096];

/// And the name that each gives itself.
pub const IDENTITY: &[u8] = b"lrmd";

/// In no log line at any time.
pub const SECRET: &str = "correct-horse-battery";

/// What an agent does when it is run.
pub type Acting = fn(&mut Random, &Command) -> Script;

/// Something for whoever drives the clients.
#[derive(Debug)]
pub enum Notice {
    /// The handshake of a client is complete.
    Opened(ConnId),
    Message(ConnId, Element),
    /// A connection is over.
    Gone(ConnId),
    Timer(u64),
    /// A tool has read something: a response with its number, or an event.
    Tool(ToolId, Option<i32>, Element),
}

/// How a client is cut off.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Its host says so.
    Fin,
    /// Its host says so, with an errno.
    Reset,
    /// Nobody says anything; after so many milliseconds the edge's keepalive finds out.
    Vanish(u64),
}

enum Happening {
    Output(ChildId, usize),
    End(ChildId, Ending),
    /// The edge has found out what keeps a child.
    Examined(ChildId),
    Timer(u64),
    /// The keepalive gives a connection up.
    Timeout(ConnId),
    /// A client reads again.
    Read(ConnId),
    ToolReads(ToolId),
    BusOpens,
}

enum Next {
    Wake,
    Up(ConnId),
    Down(ConnId),
    Bus,
    Agenda,
}

pub struct World {
    pub now: Now,
    pub oracle: Oracle,
    pub random: Random,
    pub notices: VecDeque<Notice>,
    /// All lines of level Info and more severe.
    pub lines: Vec<Line>,
    pub listens: bool,
    pub exited: Option<ExitCode>,
    /// How late the clock may ring, in milliseconds.
    pub lateness: u64,
    /// The edge tells at once what comes of an effect, before it asks for the next: both ways are allowed.
    pub is_eager: bool,
    pub socket: Socket,
    /// Who has this one is no stranger.
    key: &'static [u8],
    core: Core,
    entropy: Random,
    acting: Acting,
    agenda: BTreeMap<(Instant, u64), Happening>,
    happenings: u64,
    links: BTreeMap<ConnId, Link>,
    last_conn: u64,
    children: BTreeMap<ChildId, Script>,
    tools: BTreeMap<ToolId, Tool>,
    clock_shift: i64,
    late: u64,
    trace: Trace,
}

// The daemon's life.
impl World {
    pub fn new(seed: u64, acting: Acting, is_shown: bool) -> Self {
        let now = Now { mono: Instant::from_millis(86_400_000), epoch: 1_750_000_000 };
        Self {
            now,
            oracle: Oracle::new(now.mono),
            random: Random::new(seed, "world"),
            notices: VecDeque::new(),
            lines: Vec::new(),
            listens: false,
            exited: None,
            lateness: 0,
            is_eager: false,
            socket: Socket::new(seed),
            key: KEY,
            core: inside(|| Core::new(oracle::settings())),
            entropy: Random::new(seed, "entropy"),
            acting,
            agenda: BTreeMap::new(),
            happenings: 0,
            links: BTreeMap::new(),
            last_conn: 0,
            children: BTreeMap::new(),
            tools: BTreeMap::new(),
            clock_shift: 0,
            late: 0,
            trace: Trace { hash: 0xcbf2_9ce4_8422_2325, is_shown },
        }
    }

    /// The daemon starts and finds its key.
    pub fn start(&mut self) -> Checked {
        self.tell(Event::Start)?;
        self.key(Some(KEY))
    }

    /// Something else happens.
    pub fn tell(&mut self, event: Event<'_>) -> Checked {
        self.handle(event);
        self.pump()
    }

    /// The key file was read.
    pub fn key(&mut self, key: Option<&[u8]>) -> Checked {
        self.tell(Event::Key(key.ok_or("it is not there")))
    }

    /// For how long nobody is to be accepted, in milliseconds.
    pub fn full_for(&self) -> Option<u64> {
        Some(self.core.full_until(self.now.mono)?.since(self.now.mono))
    }

    /// The key file was replaced.
    pub fn change_key(&mut self, key: &'static [u8]) -> Checked {
        self.key = key;
        self.key(Some(key))
    }

    /// SIGTERM.
    pub fn terminate(&mut self) -> Checked {
        self.note("SIGTERM", 0, b"");
        self.oracle.terminated(self.now);
        self.handle(Event::Terminate);
        self.pump()
    }

    /// The wall clock jumps.
    pub fn shift_clock(&mut self, seconds: i64) {
        self.clock_shift += seconds;
        self.advance(self.now.mono);
    }

    /// The next time the daemon waits for is told so many milliseconds late.
    pub fn delay_clock(&mut self, millis: u64) {
        self.late = millis;
        self.oracle.clock_stops();
    }

    /// Rings by a [`Notice::Timer`] after so many milliseconds.
    pub fn timer(&mut self, after: u64, token: u64) {
        self.plan(self.now.mono.after(after), Happening::Timer(token));
    }

    /// What the trace comes to: the same for the same seed.
    pub fn hash(&self) -> u64 {
        self.trace.hash
    }

    /// Lets so many milliseconds pass; notices wait.
    pub fn pass(&mut self, millis: u64) -> Checked {
        let end = self.now.mono.after(millis);
        while self.next_time().is_some_and(|at| at <= end) {
            self.step()?;
        }
        self.advance(end);
        Ok(())
    }

    /// Lets the next thing happen; false if there is nothing more.
    pub fn step(&mut self) -> Checked<bool> {
        let Some((at, next)) = self.next() else { return Ok(false) };
        self.advance(at.max(self.now.mono));
        match next {
            Next::Wake => self.wake()?,
            Next::Up(conn) => self.deliver_up(conn),
            Next::Down(conn) => self.deliver_down(conn)?,
            Next::Bus => self.step_bus()?,
            Next::Agenda => self.happen()?,
        }
        self.pump()?;
        Ok(true)
    }

    fn advance(&mut self, at: Instant) {
        let seconds = self.now.mono.as_millis() / 1000;
        self.now.mono = at;
        let passed = at.as_millis() / 1000 - seconds + self.clock_shift as u64;
        self.now.epoch = self.now.epoch.wrapping_add(passed);
        self.clock_shift = 0;
    }

    fn next_time(&self) -> Option<Instant> {
        self.times().map(|(at, _)| at).min()
    }

    fn times(&self) -> impl Iterator<Item = (Instant, Next)> {
        let lives = self.exited.is_none();
        let wake = self.core.deadline().filter(|_| lives).map(|at| (at.after(self.late), Next::Wake));
        let agenda = self.agenda.first_key_value().filter(|_| lives).map(|((at, _), _)| (*at, Next::Agenda));
        let links = self.links.iter().flat_map(move |(&conn, link)| {
            let up = link.up.next().filter(|_| lives).map(|at| (at, Next::Up(conn)));
            let down = link.down.next().filter(|_| link.reads).map(|at| (at, Next::Down(conn)));
            [up, down]
        });
        let bus = self.socket.bus.next().filter(|_| lives).map(|at| (at, Next::Bus));
        wake.into_iter().chain(agenda).chain(bus).chain(links.flatten())
    }

    /// What happens next; of several at the same time any.
    fn next(&mut self) -> Option<(Instant, Next)> {
        let first = self.next_time()?.max(self.now.mono);
        let count = self.times().filter(|(at, _)| *at <= first).count();
        let choice = if count > 1 { self.random.below(count as u64) as usize } else { 0 };
        self.times().filter(|(at, _)| *at <= first).nth(choice)
    }

    fn plan(&mut self, at: Instant, happening: Happening) {
        self.happenings += 1;
        self.agenda.insert((at, self.happenings), happening);
    }

    fn happen(&mut self) -> Checked {
        let Some((_, happening)) = self.agenda.pop_first() else { return Ok(()) };
        match happening {
            Happening::Output(child, which) => {
                let Some(script) = self.children.get(&child) else { return Ok(()) };
                let (_, stream, bytes) = script.output[which].clone();
                self.note("output", child.0, &bytes);
                self.oracle.output(child, stream, &bytes);
                self.handle(Event::Output { child, stream, bytes: &bytes });
            }
            Happening::End(child, ending) => self.ended(child, ending),
            Happening::Examined(child) => self.examined(child),
            Happening::Timer(token) => self.notices.push_back(Notice::Timer(token)),
            Happening::Timeout(conn) => self.lose(conn, Some(110)),
            Happening::Read(conn) => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.reads = true;
                }
            }
            Happening::ToolReads(tool) => self.read_tool(tool)?,
            Happening::BusOpens => self.open_bus(false),
        }
        Ok(())
    }

    fn ended(&mut self, child: ChildId, ending: Ending) {
        if self.children.remove(&child).is_none() {
            return;
        }
        self.note("ended", child.0, format!("{ending:?}").as_bytes());
        self.oracle.ended(child, ending, self.now);
        self.handle(Event::Ended { child, ending });
    }

    fn examined(&mut self, child: ChildId) {
        if !self.children.contains_key(&child) {
            return;
        }
        self.note("examined", child.0, b"");
        self.oracle.examined(child, self.now);
        let place = *self.random.pick(&[Some("request_wait_answer"), None]);
        self.handle(Event::Examined { child, place });
    }

    fn wake(&mut self) -> Checked {
        self.late =
            if self.lateness > 0 && self.random.percent(20) { self.random.below(self.lateness) } else { 0 };
        self.oracle.woken(self.now);
        self.handle(Event::Wake);
        self.pump()?;
        match self.core.deadline().filter(|_| self.exited.is_none()) {
            Some(at) if at <= self.now.mono => {
                violation(Rule::Edge, format!("at {:?} the daemon wants to be woken at {at:?}", self.now))
            }
            _ => Ok(()),
        }
    }
}

/// A running digest of everything that happens, and the means to look at it.
struct Trace {
    hash: u64,
    is_shown: bool,
}

impl World {
    pub fn note(&mut self, what: &str, id: u64, detail: &[u8]) {
        let time = self.now.mono.as_millis();
        for piece in [[time, id].map(u64::to_le_bytes).as_flattened(), what.as_bytes(), detail] {
            for word in piece.chunks(8) {
                let mut bytes = [0; 8];
                bytes[..word.len()].copy_from_slice(word);
                let mixed = self.trace.hash.rotate_left(5) ^ u64::from_le_bytes(bytes);
                self.trace.hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
        }
        if self.trace.is_shown {
            let shown = if matches!(what, "up" | "down") { b"..." } else { detail };
            let text = String::from_utf8_lossy(&shown[..shown.len().min(2000)]).escape_debug().to_string();
            let seconds = (time - 86_400_000) as f64 / 1000.0;
            println!("{seconds:>9.3} {what} {id} ({} bytes) {}", detail.len(), text.replace("\\\"", "\""));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The daemon's memory is given back where it was taken.
        let empty = Core::new(oracle::settings());
        drop(std::mem::replace(&mut self.core, empty));
    }
}
