//! What the controllers of a cluster do with a node in half an hour, by chance: two of them, four resources, at
//! least two hundred operations, a takeover, a cut in the middle of a message, and whatever else goes wrong.

use std::collections::BTreeSet;

use pacelet::agent::{Command, Ending, Step};
use pacelet::remote::ConnId;

use super::bus::Access;
use super::children::Script;
use super::client::Client;
use super::finale::Finale;
use super::generate::Generator;
use super::link::Meaning;
use super::memory;
use super::network::Path;
use super::oracle::{Checked, Rule, violation};
use super::random::Random;
use super::request::{Ask, Request};
use super::world::{Cut, IDENTITY, KEY, Notice, World};
use super::xml::Element;

/// How long controllers are at work, at least, in milliseconds.
const WORK: u64 = 30 * MINUTE;
/// How many operations they ask for, at least.
const OPERATIONS: u64 = 200;
/// After so long everything that runs has ended: the longest agent hangs for ten minutes.
const REST: u64 = 25 * MINUTE;
/// By then the daemon has ended, whatever the cluster does.
const END: u64 = 20 * MINUTE;
/// What the daemon may hold at rest beyond what it held after its first ten minutes, with both controllers there:
/// nothing grows with time. In bytes.
const GROWTH: isize = 16 * 1024;
/// What the daemon may hold with two idle connections, and no resources, in bytes.
const IDLE: isize = 32 * 1024;
/// What the daemon may hold when everybody has left, beyond what it held before anybody came, in bytes: the room
/// that its queues keep.
const KEPT: isize = 12 * 1024;

pub const MINUTE: u64 = 60_000;

// Timers.
const CHAOS: u64 = 1;
const TICK: u64 = 2;
/// The daemon gets its SIGTERM.
pub const TERMINATE: u64 = 3;
/// The cluster is done: this and the controller's number.
pub const LEAVE: u64 = 4;
/// The next bytes of who takes its time.
const DRIBBLE: u64 = 6;
const KEY_IS_BACK: u64 = 7;
/// Something goes wrong with the bus.
const BUS: u64 = 9;
/// Some tool's turn.
pub const TOOLS: u64 = 8;
/// A controller's turn: this, and how many it has had, and its number.
const TURN: u64 = 20;

/// What a run was like.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub operations: u64,
    pub messages: u64,
    pub takeovers: u64,
    pub cuts: u64,
    pub minutes: u64,
    /// How often systemd or the bus was called.
    pub calls: u64,
    /// What the daemon holds at rest, in bytes.
    pub memory: isize,
    pub hash: u64,
}

/// One cluster node's connection to this node, as long as it has one.
#[derive(Debug)]
pub struct Controller {
    number: usize,
    pub conn: Option<ConnId>,
    pub is_registered: bool,
    pub version: &'static str,
    last_id: i64,
    /// How often its next turn was fixed: only the last time counts.
    turns: u64,
    /// Requests without reply so far.
    open: BTreeSet<i64>,
}

pub struct Play {
    pub world: World,
    pub random: Random,
    pub controllers: [Controller; 2],
    pub generator: Generator,
    phase: Phase,
    /// Somebody whose hello comes a few bytes at a time, and what is left of it.
    dribbler: Option<(ConnId, Vec<u8>)>,
    began: u64,
    takeovers: u64,
    cuts: u64,
    first_memory: isize,
    early_memory: Option<isize>,
    memory: isize,
}

#[derive(Debug)]
enum Phase {
    Work,
    /// Nothing new; until nothing runs any more.
    Rest,
    /// Nobody there.
    Empty,
    End(Finale),
}

/// Plays one seed to its end.
///
/// # Errors
/// What the daemon did wrong.
pub fn run(seed: u64, is_shown: bool) -> Checked<Report> {
    let mut play = Play::new(seed, is_shown);
    play.world.start()?;
    play.first_memory = memory::live();
    play.turn(0, 0);
    let second = play.random.between(MINUTE, 6 * MINUTE);
    play.turn(1, second);
    play.world.timer(MINUTE, TICK);
    play.world.timer(20_000, CHAOS);
    play.world.timer(10_000, TOOLS);
    if play.generator.has_units() {
        play.world.timer(60_000, BUS);
    }
    while play.world.exited.is_none() || play.world.step()? {
        while let Some(notice) = play.world.notices.pop_front() {
            play.react(notice)?;
        }
        if play.world.exited.is_none() && !play.world.step()? {
            return violation(Rule::Shutdown, "nothing is left to happen, and the daemon has not ended");
        }
    }
    Ok(play.report())
}

impl Play {
    fn new(seed: u64, is_shown: bool) -> Self {
        let mut random = Random::new(seed, "scenario");
        let mut world = World::new(seed, act, is_shown);
        world.lateness = *random.pick(&[0, 0, 3, 30]);
        world.is_eager = random.percent(50);
        let controller = |number| Controller {
            number,
            conn: None,
            is_registered: false,
            version: "1.2",
            last_id: 0,
            turns: 0,
            open: BTreeSet::new(),
        };
        Self {
            began: world.now.mono.as_millis(),
            world,
            generator: Generator::new(Random::new(seed, "requests")),
            random,
            controllers: [controller(0), controller(1)],
            phase: Phase::Work,
            dribbler: None,
            takeovers: 0,
            cuts: 0,
            first_memory: 0,
            early_memory: None,
            memory: 0,
        }
    }

    fn report(&self) -> Report {
        Report {
            operations: self.world.oracle.operations,
            messages: self.world.oracle.messages,
            takeovers: self.takeovers,
            cuts: self.cuts,
            minutes: self.passed() / MINUTE,
            calls: self.world.socket.calls,
            memory: self.memory,
            hash: self.world.hash(),
        }
    }

    fn passed(&self) -> u64 {
        self.world.now.mono.as_millis() - self.began
    }

    fn react(&mut self, notice: Notice) -> Checked {
        match notice {
            Notice::Opened(conn) => self.opened(conn),
            Notice::Message(conn, message) => self.told(conn, &message),
            Notice::Gone(conn) => self.gone(conn),
            Notice::Timer(TICK) => return self.tick(),
            Notice::Timer(CHAOS) => return self.chaos(),
            Notice::Timer(BUS) => self.bus_trouble(),
            Notice::Timer(KEY_IS_BACK) => return self.world.key(Some(KEY)),
            Notice::Timer(DRIBBLE) => self.dribble(),
            Notice::Timer(TOOLS) => return self.tool_turn(),
            Notice::Tool(..) => {}
            Notice::Timer(timer) if timer >= TURN => {
                let (turn, number) = ((timer - TURN) / 2, ((timer - TURN) % 2) as usize);
                if self.controllers[number].turns == turn {
                    return self.act(number);
                }
            }
            Notice::Timer(timer) => {
                if let Phase::End(finale) = self.phase {
                    return finale.ring(self, timer);
                }
            }
        }
        Ok(())
    }

    /// Fixes when a controller has its next turn.
    pub fn turn(&mut self, number: usize, after: u64) {
        let controller = &mut self.controllers[number];
        controller.turns += 1;
        self.world.timer(after, TURN + 2 * controller.turns + number as u64);
    }

    /// Whether new things are still begun.
    pub fn is_working(&self) -> bool {
        matches!(self.phase, Phase::Work)
    }

    fn of(&mut self, conn: ConnId) -> Option<&mut Controller> {
        self.controllers.iter_mut().find(|controller| controller.conn == Some(conn))
    }

    fn opened(&mut self, conn: ConnId) {
        let other_is_there =
            self.controllers.iter().any(|other| other.conn != Some(conn) && other.is_registered);
        let Some(number) = self.of(conn).map(|controller| controller.number) else { return };
        self.takeovers += u64::from(other_is_there);
        if self.random.once_in(20) {
            self.ask(number, Ask::Poke);
        }
        let version = self.controllers[number].version;
        // Tools of the cluster register, too, and serve nobody.
        let provider = matches!(self.phase, Phase::End(_)) || !self.random.once_in(15);
        self.ask(number, Ask::Register { version, provider });
    }

    fn told(&mut self, conn: ConnId, message: &Element) {
        let rest = self.random.between(5_000, 4 * MINUTE);
        let gives_way = self.random.percent(40);
        let Some(controller) = self.of(conn) else { return };
        let number = controller.number;
        if message.name == "lrmd_reply" {
            controller.open.remove(&message.number("lrmd_remote_msg_id").unwrap_or(0));
            controller.is_registered |= message.get("lrmd_op") == Some("register");
        }
        if message.name == "lrmd_ipc_proxy" {
            self.told_of_tool(number, message);
        }
        if let Phase::End(finale) = &mut self.phase {
            let finale = *finale;
            return finale.told(self, number, message);
        }
        if message.get("lrmd_op") == Some("lrmd_rsc_new_client") && gives_way {
            // A takeover that was not expected.
            self.leave(number);
            self.turn(number, rest);
        }
    }

    fn gone(&mut self, conn: ConnId) {
        let Some(controller) = self.of(conn) else { return };
        let number = controller.number;
        controller.forget();
        if !matches!(self.phase, Phase::Work | Phase::Rest) {
            return;
        }
        let rest = self.random.between(500, 40_000);
        self.turn(number, rest);
    }

    /// Ends a controller's connection in order.
    pub fn leave(&mut self, number: usize) {
        if let Some(conn) = self.controllers[number].conn {
            self.world.close(conn);
            self.controllers[number].forget();
        }
    }

    pub fn ask(&mut self, number: usize, ask: Ask) {
        let controller = &mut self.controllers[number];
        let Some(conn) = controller.conn else { return };
        controller.last_id += 1;
        let id = controller.last_id;
        if !matches!(ask, Ask::Check) {
            controller.open.insert(id);
        }
        let is_named = matches!(ask, Ask::Register { .. });
        let name = is_named.then(|| format!("pacemaker-remote-node{number}:3121"));
        self.world.request(conn, Request { id, name, ask });
    }

    /// A controller's turn.
    fn act(&mut self, number: usize) -> Checked {
        if matches!(self.phase, Phase::Empty | Phase::End(_)) {
            // It goes on as ever.
            if self.controllers[number].is_registered {
                self.ask(number, Ask::Poke);
                self.turn(number, 5_000);
            }
            return Ok(());
        }
        let Some(conn) = self.controllers[number].conn else {
            let path = Path::random(&mut self.random);
            self.controllers[number].version = self.random.weighted(&[(12, "1.2"), (4, "1.1"), (1, "1.0")]);
            let conn = self.world.connect(path, KEY, IDENTITY)?;
            self.controllers[number].conn = conn;
            self.turn(number, 1_000);
            return Ok(());
        };
        let is_open = self.world.link(conn).is_some_and(|link| link.is_open());
        if !is_open || !self.controllers[number].is_registered {
            self.turn(number, 1_000);
            return Ok(());
        }
        let waits = !self.controllers[number].open.is_empty();
        if waits && self.random.percent(80) {
            self.turn(number, 100);
            return Ok(());
        }
        if matches!(self.phase, Phase::Work) {
            // Several in one go, or what a careful controller does: one.
            for _ in 0..self.random.weighted(&[(20, 1), (3, 2), (1, 8)]) {
                self.work(number, conn);
            }
        } else {
            self.ask(number, Ask::Poke);
        }
        let pause =
            if self.random.percent(25) { self.random.below(50) } else { self.random.between(2_000, 18_000) };
        self.turn(number, pause);
        Ok(())
    }

    fn work(&mut self, number: usize, conn: ConnId) {
        if self.random.once_in(150) {
            let text = self.generator.nonsense();
            return self.world.message(conn, 7, &text, Meaning::Nonsense);
        }
        let ask = self.generator.ask();
        self.ask(number, ask);
    }

    /// Something goes wrong.
    fn chaos(&mut self) -> Checked {
        if !matches!(self.phase, Phase::Work) {
            return Ok(());
        }
        let next = self.random.between(5_000, 60_000);
        self.world.timer(next, CHAOS);
        let number = self.random.below(2) as usize;
        let there = self.controllers[number].conn.filter(|_| self.controllers[number].is_registered);
        let path = Path::random(&mut self.random);
        match (self.random.below(15), there) {
            (0, _) => drop(self.world.connect(path, b"another key", IDENTITY)?),
            (1, _) => drop(self.world.connect(path, KEY, b"root")?),
            (2, _) => {
                // A port scan, or a health check.
                if let Some(conn) = self.world.connect_raw()? {
                    self.world.cut(conn, *self.random.pick(&[Cut::Fin, Cut::Reset]));
                }
            }
            // Nobody at the other end.
            (3, _) => drop(self.world.connect_raw()?),
            (4, _) => {
                if let Some(conn) = self.world.connect_raw()? {
                    let text = b"GET / HTTP/1.1\r\nHost: node\r\n\r\n";
                    self.world.send_bytes(conn, text, Some(Meaning::Doom("it does not speak TLS")));
                }
            }
            (5, _) => self.world.shift_clock(*self.random.pick(&[-7_200, -1, 3, 3_600, 86_400])),
            (6, _) if self.random.percent(50) => {
                self.world.key(None)?;
                // Nobody gets in until there is one again.
                let gone = self.random.between(500, 3 * MINUTE);
                self.world.timer(gone, KEY_IS_BACK);
            }
            (6, _) => self.world.key(Some(KEY))?,
            (7 | 8, Some(conn)) => {
                let millis = *self.random.pick(&[500, 5_000, 30_000, 50_000, 70_000, 150_000]);
                self.world.pause(conn, millis);
            }
            (9, Some(conn)) => {
                let request = Request { id: 1_000_000, name: None, ask: Ask::Poke };
                self.world.spoilt_request(conn, &request);
            }
            (10, Some(conn)) => {
                if let Some(link) = self.world.link(conn) {
                    link.spoil();
                }
                self.world.oracle.slow(conn, true);
            }
            (11, Some(_)) => self.cut(number),
            (12, Some(_)) => {
                self.leave(number);
                let rest = self.random.between(500, 90_000);
                self.turn(number, rest);
            }
            // The machine was busy, or asleep.
            (13, _) => self.world.delay_clock(*self.random.pick(&[300, 5_000, 120_000])),
            (14, _) if self.dribbler.is_none() => {
                let hello = Client::new(KEY, IDENTITY, Random::new(next, "hello")).outgoing();
                self.dribbler = self.world.connect_raw()?.map(|conn| (conn, hello));
                self.dribble();
            }
            _ => {}
        }
        Ok(())
    }

    /// Something goes wrong with the bus, or with systemd.
    fn bus_trouble(&mut self) {
        let next = self.random.between(5_000, 200_000);
        self.world.timer(next, BUS);
        let bus = &mut self.world.socket.bus;
        let now = self.world.now.mono;
        match self.random.below(12) {
            0 | 1 => bus.cut(now),
            2 => bus.spoil(now),
            3 | 4 => bus.reexecute(now),
            5 | 6 => {
                let millis = *self.random.pick(&[300, 3_000, 20_000, 60_000]);
                bus.silence(now, millis);
            }
            // It ends, and comes back some time.
            7 | 8 => {
                bus.access = *self.random.pick(&[Access::Refused, Access::Absent]);
                bus.cut(now);
            }
            _ => bus.access = Access::Open,
        }
    }

    /// As over a network that is about to die: nothing is ever long in coming, and it does not come to an end.
    fn dribble(&mut self) {
        let Some((conn, mut hello)) = self.dribbler.take().filter(|(_, hello)| !hello.is_empty()) else {
            return;
        };
        let rest = hello.split_off(hello.len().min(self.random.between(1, 60) as usize));
        self.world.send_bytes(conn, &hello, None);
        self.dribbler = Some((conn, rest));
        let next = self.random.between(500, 6_000);
        self.world.timer(next, DRIBBLE);
    }

    /// A controller's host or its network dies, in the middle of a message or between two.
    pub fn cut(&mut self, number: usize) {
        let Some(conn) = self.controllers[number].conn else { return };
        if self.random.percent(70) {
            let request = Request { id: 1_000_000, name: None, ask: self.generator.ask() };
            self.world.part_of_request(conn, request);
            self.cuts += 1;
        }
        let after = self.random.between(1_000, 120_000);
        self.world.cut(conn, *self.random.pick(&[Cut::Fin, Cut::Reset, Cut::Vanish(after)]));
        self.controllers[number].forget();
        let rest = self.random.between(500, 30_000);
        self.turn(number, rest);
    }

    /// Each minute.
    fn tick(&mut self) -> Checked {
        self.world.timer(MINUTE, TICK);
        self.world.oracle.overdue(self.world.now)?;
        let passed = self.passed();
        if passed >= 10 * MINUTE {
            // As at rest: what a connection needs is no growth.
            if self.controllers.iter().all(|controller| controller.is_registered) {
                self.early_memory.get_or_insert(memory::live());
            }
            self.see_to_what_is_missing();
        }
        match self.phase {
            Phase::Work => {
                let is_enough = passed >= WORK
                    && self.world.oracle.operations >= OPERATIONS
                    && self.takeovers > 0
                    && self.cuts > 0;
                if is_enough && self.random.percent(30) {
                    // In the middle of things.
                    self.leave(0);
                    self.leave(1);
                    self.begin_end()?;
                } else if is_enough {
                    self.phase = Phase::Rest;
                    self.began_rest();
                }
                if passed > 4 * WORK {
                    return violation(Rule::Edge, format!("the run does not get on: {:?}", self.report()));
                }
            }
            Phase::Rest if self.world.oracle.known_operations() == 0 && self.world.oracle.is_idle() => {
                self.memory = memory::live();
                let early = self.early_memory.map_or(IDLE, |early| early + GROWTH);
                check_memory("at rest", self.memory, IDLE.min(early))?;
                self.phase = Phase::Empty;
                self.leave(0);
                self.leave(1);
            }
            Phase::Rest => self.began_rest(),
            Phase::Empty => {
                check_memory("with everybody gone", memory::live(), self.first_memory + KEPT)?;
                self.begin_end()?;
            }
            Phase::End(_) => {}
        }
        if passed > 4 * WORK + REST + END {
            return violation(Rule::Shutdown, format!("it does not come to an end: {:?}", self.phase));
        }
        Ok(())
    }

    fn begin_end(&mut self) -> Checked {
        let finale = Finale::choose(&mut self.random);
        self.world.note("finale", 0, format!("{finale:?}").as_bytes());
        self.phase = Phase::End(finale);
        finale.begin(self)
    }

    fn see_to_what_is_missing(&mut self) {
        let there = self.controllers.iter().position(|controller| controller.is_registered);
        let Some(number) = there.filter(|_| matches!(self.phase, Phase::Work)) else { return };
        if self.takeovers == 0 && self.controllers[1 - number].conn.is_none() {
            self.turn(1 - number, 0);
        } else if self.cuts == 0 && self.passed() > 20 * MINUTE {
            self.cut(number);
        }
    }

    /// All operations are to end.
    fn began_rest(&mut self) {
        let Some(number) = self.controllers.iter().position(|controller| controller.is_registered) else {
            return;
        };
        for name in Generator::RESOURCES {
            self.ask(number, Ask::Unregister(name.into()));
        }
    }
}

fn check_memory(when: &str, holds: isize, may: isize) -> Checked {
    if holds <= may {
        return Ok(());
    }
    violation(Rule::Memory, format!("{when} the daemon holds {holds} bytes, where {may} are allowed"))
}

impl Controller {
    fn forget(&mut self) {
        self.conn = None;
        self.is_registered = false;
        self.open.clear();
    }
}

fn act(random: &mut Random, command: &Command) -> Script {
    let action = command.arguments.first().and_then(|action| action.to_str().ok()).unwrap_or_default();
    let script = Script::random(random, action);
    // Where the agent is a unit there is mostly no script.
    let is_unit = command.candidates.iter().any(|path| path.to_bytes().ends_with(b"-unit"));
    if is_unit && random.percent(90) {
        let end = (script.end.0 % 5, Ending::NotRun(Step::Lookup, 2));
        return Script { output: Vec::new(), end, outlives: 0 };
    }
    script
}
