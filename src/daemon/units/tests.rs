use super::*;
use crate::agent::{Agent, Call, Parameters, Place, Plan, Status};
use crate::dbus::marshal::Endian;
use crate::dbus::message::Serial;
use crate::dbus::peer::{Called, Peer};
use crate::dbus::samples::HELLO_RETURN;

const UNIT: &str = "/org/freedesktop/systemd1/unit/a_2eservice";
const JOB: &str = "/org/freedesktop/systemd1/job/1";
const GONE: (&str, &str) = ("org.freedesktop.DBus.Error.NoReply", "Message recipient disconnected");

/// Both ends of the bus, and what was to be done outside.
struct Lab {
    units: Units,
    peer: Peer,
    now: u64,
    last: u64,
    calls: Vec<Called>,
    opens: usize,
    closes: usize,
    marks: Vec<(ChildId, bool)>,
}

fn unit(action: &str) -> Box<Unit> {
    let agent = Agent { class: "systemd".into(), provider: None, kind: "a".into() };
    let place = Place { agent_path: vec![], ocf_root: c"/".into() };
    let call = Call { resource: "r", agent: &agent, action, interval: 0, parameters: &Parameters::default() };
    let Plan::Ask(unit) = call.plan(&place) else { panic!("{action}") };
    unit
}

impl Lab {
    fn new() -> Self {
        let peer = Peer::new(Endian::Big);
        let (units, calls, marks) = (Units::default(), vec![], vec![]);
        Self { units, peer, now: 1000, last: 0, calls, opens: 0, closes: 0, marks }
    }

    /// A bus that has let us in.
    fn open() -> Self {
        let mut lab = Self::new();
        lab.ask("monitor", 1);
        lab.let_in();
        lab.answer_load();
        let [get] = &lab.calls()[..] else { panic!() };
        lab.receive(&lab.peer.property(get.serial, "active"));
        assert_eq!(lab.done(), [(ChildId(1), 0, 0)]);
        lab
    }

    fn tell(&mut self, event: BusEvent<'_>) {
        let now = Now { mono: Instant::from_millis(self.now), epoch: 0 };
        self.units.handle(event, now);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(effect) = self.units.effects().pop_front() {
            match effect {
                Effect::Bus(BusEffect::Open) => self.opens += 1,
                Effect::Bus(BusEffect::Close) => self.closes += 1,
                Effect::Bus(BusEffect::Mark(child, drop_in)) => {
                    self.marks.push((child, drop_in.text.is_some()))
                }
                Effect::Bus(BusEffect::Transmit) => {
                    let bytes = self.units.outgoing().to_vec();
                    // Nothing, if it was closed meanwhile.
                    self.sent(&bytes);
                    self.tell(BusEvent::Sent(bytes.len()));
                }
                Effect::Log(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let bytes = if bytes.starts_with(b"\0AUTH") { return } else { bytes };
        let messages = bytes.strip_prefix(b"BEGIN\r\n").unwrap_or(bytes);
        self.calls.extend(self.peer.calls(messages));
    }

    fn ask(&mut self, action: &str, timeout: u32) -> ChildId {
        self.last += 1;
        let child = ChildId(self.last);
        self.units.ask(child, unit(action), timeout * 1000, Instant::from_millis(self.now));
        self.settle();
        child
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.tell(BusEvent::Received(bytes));
    }

    /// The bus answers what makes the connection usable.
    fn let_in(&mut self) {
        self.tell(BusEvent::Opened(0));
        self.receive(b"OK 2fa8bcd8d3b7bbf2ffa48f3f68fdf1fb\r\n");
        self.receive(HELLO_RETURN);
        let at = self.calls.iter().position(|call| call.member == "AddMatch").unwrap();
        let add_match = self.calls.remove(at).serial;
        self.calls.retain(|call| call.member != "Hello");
        self.receive(&self.peer.empty(add_match));
    }

    /// The calls made since the last time.
    fn calls(&mut self) -> Vec<Called> {
        std::mem::take(&mut self.calls)
    }

    fn members(&mut self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.member).collect()
    }

    fn answer_load(&mut self) {
        let [load] = &self.calls()[..] else { panic!() };
        assert_eq!((&*load.member, &*load.arguments[0]), ("LoadUnit", "a.service"));
        self.receive(&self.peer.path(load.serial, UNIT));
    }

    /// Asks for a start, up to its job. Gives the number of the call.
    fn start(&mut self) -> (ChildId, Serial) {
        let child = self.ask("start", 20);
        self.answer_load();
        assert_eq!(self.marks.pop(), Some((child, true)));
        self.tell(BusEvent::Marked(child, Ok(true)));
        let calls = self.calls();
        let members: Vec<_> = calls.iter().map(|call| &*call.member).collect();
        assert!(
            members.ends_with(&["Reload", "Subscribe", "StartUnit"])
                || members.ends_with(&["Reload", "StartUnit"])
        );
        (child, calls.last().unwrap().serial)
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.units.wake(Instant::from_millis(self.now));
        self.settle();
    }

    fn done(&mut self) -> Vec<(ChildId, u8, i32)> {
        let done = std::iter::from_fn(|| self.units.poll());
        done.map(|(child, outcome, _)| (child, outcome.rc, outcome.status as i32)).collect()
    }
}

#[test]
fn the_bus_is_opened_when_it_is_needed_and_stays_open() {
    let mut lab = Lab::new();
    assert_eq!(lab.opens, 0);
    let first = lab.ask("monitor", 20);
    let second = lab.ask("monitor", 20);
    assert_eq!(lab.opens, 1);
    lab.let_in();
    assert_eq!(lab.members(), ["LoadUnit", "LoadUnit"]);
    lab.units.forget(first);
    let third = lab.ask("monitor", 20);
    assert_eq!((lab.opens, lab.members()), (1, vec!["LoadUnit".to_owned()]));
    assert_eq!(lab.units.runs.iter().map(|run| run.child).collect::<Vec<_>>(), [second, third]);
}

#[test]
fn a_job_is_waited_for_though_its_end_comes_first() {
    for early in [true, false] {
        let mut lab = Lab::open();
        let (child, serial) = lab.start();
        let (reply, signal) = (lab.peer.path(serial, JOB), lab.peer.job_removed(JOB, "done", None));
        lab.receive(if early { &signal } else { &reply });
        assert_eq!(lab.done(), []);
        lab.receive(if early { &reply } else { &signal });
        assert_eq!(lab.done(), [(child, 0, 0)]);
    }
}

#[test]
fn a_job_has_a_moment_longer_than_its_operation() {
    let mut lab = Lab::open();
    let (child, serial) = lab.start();
    lab.receive(&lab.peer.path(serial, JOB));
    lab.pass(20_000 + GRACE - 1);
    assert_eq!(lab.done(), []);
    lab.pass(1);
    assert_eq!(lab.done(), [(child, 1, 2)]);
    // An answer has not.
    let child = lab.ask("monitor", 20);
    lab.pass(20_000);
    assert_eq!(lab.done(), [(child, 1, 2)]);
    // Without a limit a job may take for ever.
    let child = lab.ask("restart", 0);
    lab.calls.drain(..1);
    lab.answer_load();
    let serial = lab.calls().pop().unwrap().serial;
    lab.receive(&lab.peer.path(serial, JOB));
    lab.pass(1_000_000_000);
    assert_eq!(lab.done(), []);
    lab.receive(&lab.peer.job_removed(JOB, "done", None));
    assert_eq!(lab.done(), [(child, 0, 0)]);
}

#[test]
fn systemd_executes_itself_anew() {
    let mut lab = Lab::open();
    let (child, serial) = lab.start();
    lab.receive(&lab.peer.error(serial, GONE.0, GONE.1));
    assert_eq!(lab.done(), []);
    lab.answer_load();
    lab.tell(BusEvent::Marked(child, Ok(true)));
    let serial = lab.calls().pop().unwrap().serial;
    lab.receive(&lab.peer.path(serial, JOB));
    lab.receive(&lab.peer.job_removed(JOB, "done", None));
    assert_eq!(lab.done(), [(child, 0, 0)]);
}

#[test]
fn what_a_lost_bus_takes_with_it_is_asked_on_the_next() {
    let mut lab = Lab::open();
    let (started, _) = lab.start();
    let monitored = lab.ask("monitor", 20);
    lab.calls();
    lab.tell(BusEvent::Lost(Some(104)));
    assert_eq!((lab.done(), lab.opens), (vec![], 1));
    lab.pass(PAUSE / 2);
    let late = lab.ask("monitor", 20);
    lab.pass(PAUSE / 2);
    assert_eq!(lab.opens, 2);
    // One that begins may refuse us first.
    lab.tell(BusEvent::Refused { reason: "/b: connect: why".into(), is_absent: true });
    assert_eq!(lab.done(), []);
    lab.pass(2 * PAUSE);
    assert_eq!(lab.opens, 3);
    lab.let_in();
    assert_eq!(lab.members(), ["LoadUnit"; 3]);
    // What the new one does not know is an answer of its own.
    assert_eq!(lab.units.runs.len(), 3);
    // Who has waited for longer than he may fails.
    lab.pass(19_700);
    assert_eq!(lab.done(), [(started, 1, 2), (monitored, 1, 2)]);
    lab.pass(PAUSE / 2);
    assert_eq!(lab.done(), [(late, 1, 2)]);
    // One that breaks the protocol is lost as well.
    let child = lab.ask("monitor", 20);
    lab.calls();
    lab.receive(b"HTTP/1.1 400 Bad");
    assert_eq!((lab.closes, lab.done()), (1, vec![]));
    lab.pass(PAUSE);
    lab.let_in();
    lab.answer_load();
    lab.units.forget(child);
    lab.opens -= 1;
    // With nobody waiting there is no hurry.
    lab.tell(BusEvent::Lost(None));
    lab.pass(PAUSE);
    assert_eq!((lab.opens, lab.units.deadline()), (3, None));
}

#[test]
fn a_bus_that_is_not_there_fails_who_waits_and_is_tried_for_the_next() {
    let mut lab = Lab::new();
    for attempt in 1..3 {
        let child = lab.ask("monitor", 20);
        assert_eq!(lab.opens, attempt);
        lab.tell(BusEvent::Refused { reason: "/b: connect: why".into(), is_absent: true });
        let (told, outcome, _) = lab.units.poll().unwrap();
        assert_eq!((told, outcome.rc, outcome.status), (child, 1, Status::Error));
        assert_eq!(outcome.reason.as_deref(), Some("No DBus connection (/b: connect: why)"));
    }
}

#[test]
fn a_bus_that_does_not_let_us_in() {
    let mut lab = Lab::new();
    for end in 0..5 {
        let child = lab.ask("monitor", 60);
        lab.tell(BusEvent::Opened(0));
        match end {
            0 => {
                for tried in 1..TRIES {
                    lab.tell(BusEvent::Lost(None));
                    lab.pass((PAUSE << (tried - 1)) - 1);
                    assert_eq!((lab.done(), lab.opens), (vec![], tried.into()));
                    lab.pass(1);
                    lab.tell(BusEvent::Opened(0));
                }
                lab.tell(BusEvent::Lost(None));
            }
            1 => lab.receive(b"REJECTED EXTERNAL\r\n"),
            2 => lab.pass(USABLE),
            3 => {
                lab.receive(b"OK 2fa8bcd8d3b7bbf2ffa48f3f68fdf1fb\r\n");
                lab.receive(HELLO_RETURN);
                let add_match = lab.calls().into_iter().find(|call| call.member == "AddMatch").unwrap();
                lab.receive(&lab.peer.error(
                    add_match.serial,
                    "org.freedesktop.DBus.Error.AccessDenied",
                    "no",
                ));
                assert_eq!((lab.closes, lab.units.deadline()), (3, None));
            }
            _ => {
                lab.pass(USABLE - 1);
                lab.ask("monitor", 60);
                lab.receive(b"OK 2fa8bcd8d3b7bbf2ffa48f3f68fdf1fb\r\nHTTP/1.1 400 Bad");
                let (told, outcome, _) = lab.units.poll().unwrap();
                let reason =
                    "No DBus connection (the bus broke the protocol: a message in no known byte order)";
                assert_eq!((told, outcome.reason.as_deref()), (child, Some(reason)));
                assert_eq!((lab.done().len(), lab.closes), (1, 4));
                break;
            }
        }
        assert_eq!(lab.done(), [(child, 1, 4)], "{end}");
    }
}

#[test]
fn each_cell_is_reached() {
    for test in [
        the_bus_is_opened_when_it_is_needed_and_stays_open,
        a_job_has_a_moment_longer_than_its_operation,
        what_a_lost_bus_takes_with_it_is_asked_on_the_next,
        a_bus_that_is_not_there_fails_who_waits_and_is_tried_for_the_next,
        a_bus_that_does_not_let_us_in,
    ] {
        test();
    }
    println!("{}", trial::compare("bus", include_str!("../units.rs"), &trial::reached()).unwrap());
}
