//! Operations that systemd works on (executor-semantics.md section 7), and the connection to the bus as the header of
//! `daemon::units` has it: what must be asked, what the answers come to, and until when there must be one.
//!
//! What is asked is taken from the bytes that the daemon has ready for the bus, what is answered from those that have
//! reached it. Each resource of the simulation has a unit of its own: by its name a call belongs to one operation.

use std::collections::BTreeMap;

use pacelet::agent::DropIn;
use pacelet::time::{Instant, Now};

use super::super::super::bus::wire::Call;
use super::super::super::bus::{Answer, Meaning};
use super::super::results::{ERROR, NOT_INSTALLED, Outcome, PENDING, Reason, TIMEOUT};
use super::super::{Checked, Rule, violation};
use super::agents::{of_job, of_state};
use super::{Operation, Resources, State};

/// How long the bus may take to let the daemon in.
const USABLE: u64 = 15_000;
/// How long an answer may take if the operation has no limit.
const UNLIMITED: u64 = 25_000;
/// How much longer than its operation a job may take.
const GRACE: u64 = 5_000;
/// How often a bus that was lost is tried.
const TRIES: u32 = 6;
/// How many calls there may be without answer.
const WINDOW: usize = 64;

#[derive(Debug, Default)]
pub enum Bus {
    #[default]
    Closed,
    /// It is to be opened; whether the daemon has said so.
    Opening(bool),
    Open(Open),
    Paused(Instant),
}

#[derive(Debug, Default)]
pub struct Open {
    usable_by: Instant,
    is_named: bool,
    is_let_in: bool,
    is_subscribed: bool,
    subscription: u32,
    /// The last call was for all unit files to be read again.
    has_reloaded: bool,
    /// How many calls were made, and how many are unanswered.
    calls: usize,
    unanswered: usize,
    /// First calls to come of runs that nobody waits for any more, by unit.
    orphans: BTreeMap<String, u32>,
}

/// What systemd is doing for an operation.
#[derive(Clone, Debug)]
pub struct Run {
    stage: Stage,
    answer_by: Instant,
    job_by: Option<Instant>,
    /// What it comes to if there is no such unit, where that is not certain.
    unless: Option<Outcome>,
    path: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// It is to be asked for the unit.
    Begin,
    Loading(u32),
    /// It is to be asked whether the unit exists.
    ToLook,
    Looking(u32),
    /// A file is to be written or removed.
    ToMark,
    /// What was wanted is to be asked; before it, that all files are read again.
    ToWork {
        reloads: bool,
    },
    Working(u32),
    /// A job of this path runs; or, before that is known, these have ended.
    Job(u32, Option<String>, Vec<(String, String)>),
}

impl Operation {
    fn run(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Asked(run) => Some(run),
            _ => None,
        }
    }

    fn stage(&self) -> Option<&Stage> {
        match &self.state {
            State::Asked(run) => Some(&run.stage),
            _ => None,
        }
    }
}

// What goes in.
impl Resources {
    /// An operation has its resource's name, and systemd is to work for it.
    pub fn ask(&mut self, serial: &str, unless: Option<Outcome>, now: Now) {
        let operation = self.operations.get_mut(serial).expect("it is there to be begun");
        let mut limit = u64::from(operation.request.timeout);
        if !operation.is_recurring() && limit > 0 {
            let passed = now.mono.since(*operation.since.get_or_insert(now.mono));
            limit = limit.saturating_sub(passed).max(1);
        }
        let answer_by = now.mono.after(if limit == 0 { UNLIMITED } else { limit });
        let job_by = (limit > 0).then(|| now.mono.after(limit + GRACE));
        operation.state =
            State::Asked(Run { stage: Stage::Begin, answer_by, job_by, unless, path: String::new() });
        self.lanes.insert(operation.request.resource.clone(), serial.into());
        if matches!(self.bus, Bus::Closed) {
            self.bus = Bus::Opening(false);
        }
    }

    /// It was cancelled.
    pub fn forget(&mut self, serial: &str) {
        let operation = self.operations.get_mut(serial).expect("it is there to be cancelled");
        let name = operation.unit_name();
        let is_called = operation.stage() != Some(&Stage::Begin);
        self.lanes.remove(&operation.request.resource);
        if let Bus::Open(open) = &mut self.bus
            && open.is_named
            && open.unanswered < WINDOW
            && !is_called
        {
            *open.orphans.entry(name).or_default() += 1;
        }
    }

    pub fn bus_opened(&mut self, now: Now) {
        self.bus = Bus::Open(Open { usable_by: now.mono.after(USABLE), ..Open::default() });
        self.end_overdue(now);
    }

    pub fn bus_refused(&mut self, is_absent: bool, now: Now) {
        self.bus = Bus::Closed;
        self.pause(is_absent, self.tried == 0, now);
    }

    pub fn bus_lost(&mut self, is_ours: bool, now: Now) {
        let Bus::Open(open) = std::mem::take(&mut self.bus) else { return };
        self.bus_must_close = is_ours;
        self.pause(false, is_ours && !open.is_let_in, now);
    }

    fn pause(&mut self, is_absent: bool, is_hopeless: bool, now: Now) {
        let asked = self.operations.iter().filter(|(_, operation)| operation.stage().is_some());
        let asked: Vec<_> = asked.map(|(serial, _)| serial.clone()).collect();
        self.tried += 1;
        if !is_hopeless && self.tried < TRIES && !asked.is_empty() {
            self.bus = Bus::Paused(now.mono.after(50 << self.tried));
            for run in self.operations.values_mut().filter_map(Operation::run) {
                run.stage = Stage::Begin;
            }
            return;
        }
        self.tried = 0;
        for serial in asked {
            let unless = self.operations.get_mut(&serial).and_then(Operation::run).unwrap().unless.take();
            let none = Outcome::ours(1, ERROR, "No DBus connection");
            self.unit_over(&serial, unless.filter(|_| is_absent).unwrap_or(none), now);
        }
    }

    /// Bytes have reached the daemon, which mean this.
    pub fn bus_told(&mut self, meanings: &[Meaning], now: Now) {
        for meaning in meanings {
            let Bus::Open(open) = &mut self.bus else { return };
            match meaning {
                Meaning::Named => open.is_named = true,
                Meaning::LetIn => {
                    open.is_let_in = true;
                    open.unanswered -= 1;
                    self.tried = 0;
                }
                Meaning::Reply(number, answer) => {
                    open.unanswered -= 1;
                    // Then it asks once more.
                    open.is_subscribed &= *number != open.subscription || matches!(answer, Answer::Empty);
                    self.answered(*number, answer, now);
                }
                Meaning::JobEnds(path, result) => self.job_ended(path, result, now),
                Meaning::Broken => self.bus_lost(true, now),
                Meaning::Noise => {}
            }
        }
    }

    fn answered(&mut self, number: u32, answer: &Answer, now: Now) {
        let is_this = |operation: &&mut Operation| {
            operation.stage().is_some_and(|stage| match stage {
                Stage::Loading(call) | Stage::Looking(call) | Stage::Working(call) => *call == number,
                Stage::Job(call, path, _) => *call == number && path.is_none(),
                _ => false,
            })
        };
        let Some(operation) = self.operations.values_mut().find(is_this) else { return };
        let (kind, action) = (operation.agent.kind.clone(), operation.request.action.clone());
        let serial = operation.request.parameters[super::SERIAL].clone();
        let next = match (operation.is_status(), &*action) {
            (true, _) | (_, "restart") => Stage::ToWork { reloads: false },
            _ => Stage::ToMark,
        };
        let Some(run) = operation.run() else { return };
        let failed = |why: &str| Outcome { ran: true, ..Outcome::ours(1, ERROR, why) };
        let outcome = match (&mut run.stage, answer) {
            (stage, Answer::Error { name, text }) if is_disconnect(name, text) => {
                *stage = Stage::Begin;
                return;
            }
            (stage @ Stage::Loading(_), Answer::Path(path)) => {
                *stage = if run.unless.is_some() { Stage::ToLook } else { next };
                run.path.clone_from(path);
                return;
            }
            (stage @ Stage::Looking(_), Answer::Word(word)) if word == "loaded" || word == "masked" => {
                *stage = next;
                return;
            }
            (Stage::Loading(_) | Stage::Looking(_), _) => run
                .unless
                .clone()
                .unwrap_or_else(|| failed(&format!("No DBus object found for systemd unit {kind}"))),
            (Stage::Working(_), Answer::Word(word)) => of_state(word),
            (Stage::Working(_), _) => failed(&format!("Could not get state for unit {kind} from DBus")),
            (Stage::Job(_, job, ends), Answer::Path(path)) => {
                *job = Some(path.clone());
                let Some((_, result)) = ends.iter().find(|(ended, _)| ended == path) else { return };
                of_job(result)
            }
            (_, Answer::Error { name, .. }) if is_missing_unit(name) && action == "stop" => of_job("done"),
            (_, Answer::Error { name, .. }) if is_missing_unit(name) => {
                let reason = Reason::Ours(format!("systemd unit {kind} not found"));
                Outcome { rc: 5, status: NOT_INSTALLED, reason, ran: true }
            }
            _ => failed("Unable to invoke systemd DBus method"),
        };
        self.unit_over(&serial, outcome, now);
    }

    fn job_ended(&mut self, path: &str, result: &str, now: Now) {
        let mut over = Vec::new();
        for (serial, operation) in &mut self.operations {
            match operation.run().map(|run| &mut run.stage) {
                Some(Stage::Job(_, Some(job), _)) if job == path => over.push(serial.clone()),
                Some(Stage::Job(_, None, ends)) => ends.push((path.into(), result.into())),
                _ => {}
            }
        }
        for serial in over {
            self.unit_over(&serial, of_job(result), now);
        }
    }

    /// What is due.
    pub fn fire_units(&mut self, now: Now) {
        for serial in self.operations.keys().cloned().collect::<Vec<_>>() {
            if matches!(self.operations[&serial].state, State::Between(at) if at <= now.mono) {
                self.ask(&serial, None, now);
            }
        }
        match self.bus {
            Bus::Paused(until) if until <= now.mono => self.bus = Bus::Opening(false),
            _ => self.end_overdue(now),
        }
    }

    /// Only while there is a bus: who waits for one waits for so long, too.
    fn end_overdue(&mut self, now: Now) {
        let Bus::Open(open) = &self.bus else { return };
        let is_late = !open.is_let_in && open.usable_by <= now.mono;
        let overdue = |operation: &&Operation| {
            let State::Asked(run) = &operation.state else { return false };
            let is_job = !operation.is_status() && matches!(run.stage, Stage::ToWork { .. } | Stage::Job(..));
            let limit = if is_job { run.job_by } else { Some(run.answer_by) };
            limit.is_some_and(|at| at <= now.mono)
        };
        let overdue = self.operations.values().filter(overdue);
        let overdue: Vec<_> =
            overdue.map(|operation| operation.request.parameters[super::SERIAL].clone()).collect();
        for serial in overdue {
            let late = Outcome::ours(1, TIMEOUT, "did not complete in time");
            self.unit_over(&serial, Outcome { ran: true, ..late }, now);
        }
        if is_late {
            self.bus_lost(true, now);
        }
    }

    /// systemd has done what it should, or has not. A state that does not last is waited for.
    fn unit_over(&mut self, serial: &String, mut outcome: Outcome, now: Now) {
        let operation = self.operations.get_mut(serial).expect("it is there to be ended");
        if outcome.status == PENDING {
            let timeout = u64::from(operation.request.timeout);
            let passed = now.mono.since(*operation.since.get_or_insert(now.mono));
            let left = if timeout == 0 { u64::MAX } else { timeout.saturating_sub(passed) };
            if !operation.is_recurring() && left >= 20 {
                let pause = if timeout == 0 { 2_000 } else { (timeout / 10).clamp(1, 2_000) };
                let pause = if pause >= left { left / 2 } else { pause };
                operation.state = State::Between(now.mono.after(pause));
                return;
            }
            if !operation.is_recurring() || left == 0 {
                let why = "Investigate reason for timeout";
                outcome = Outcome { ran: true, ..Outcome::ours(1, TIMEOUT, why) };
            }
        } else {
            operation.since = None;
        }
        self.lanes.remove(&operation.request.resource);
        self.finish(serial, outcome, now);
    }
}

// What comes out.
impl Resources {
    /// The daemon opens the bus.
    pub fn bus_opens(&mut self) -> Checked {
        match &mut self.bus {
            Bus::Opening(told @ false) if !self.bus_must_close => *told = true,
            bus => return violation(Rule::Bus, format!("the bus is opened, which is {bus:?}")),
        }
        Ok(())
    }

    /// The daemon closes the bus.
    pub fn bus_closed(&mut self) -> Checked {
        if !std::mem::take(&mut self.bus_must_close) {
            return violation(Rule::Bus, format!("the bus is closed, which is {:?}", self.bus));
        }
        Ok(())
    }

    /// The daemon calls somebody.
    pub fn called(&mut self, call: &Call) -> Checked {
        let Bus::Open(open) = &mut self.bus else {
            return violation(Rule::Bus, format!("{call:?} while the bus is {:?}", self.bus));
        };
        let wrong = |why: &str| violation(Rule::Bus, format!("{why}: {call:?}"));
        let manager =
            ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
        let properties = [manager[0], &call.path, "org.freedesktop.DBus.Properties"];
        let bus = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
        let to = match &*call.member {
            "Hello" | "AddMatch" => bus,
            "Get" => properties,
            _ => manager,
        };
        if to != [&*call.destination, &call.path, &call.interface] {
            return wrong("it goes to somebody else");
        }
        open.calls += 1;
        open.unanswered += usize::from(open.calls > 1);
        let has_reloaded = open.has_reloaded && call.member != "Subscribe";
        open.has_reloaded &= !has_reloaded;
        let arguments: Vec<_> = call.arguments.iter().map(|argument| &**argument).collect();
        match (open.calls, &*call.member, &*arguments) {
            (1, "Hello", []) => return Ok(()),
            (2, "AddMatch", [rule]) if rule.contains("member='JobRemoved'") => return Ok(()),
            (1 | 2, ..) => return wrong("jobs can end before they are listened for"),
            (_, "Subscribe", []) if !open.is_subscribed => {
                (open.is_subscribed, open.subscription) = (true, call.serial);
                return Ok(());
            }
            (_, "Reload", []) if !has_reloaded => {
                open.has_reloaded = true;
                return Ok(());
            }
            (_, "LoadUnit", [name]) => {
                if let Some(orphans) = open.orphans.get_mut(*name).filter(|count| **count > 0) {
                    *orphans -= 1;
                    return Ok(());
                }
            }
            _ => {}
        }
        let is_subscribed = open.is_subscribed;
        let number = call.serial;
        for operation in self.operations.values_mut() {
            let (name, action) = (operation.unit_name(), operation.request.action.clone());
            let is_status = operation.is_status();
            let Some(run) = operation.run() else { continue };
            let is_this = run.path == call.path;
            run.stage = match (&run.stage, &*call.member, &*arguments) {
                (Stage::Begin, "LoadUnit", [unit]) if *unit == name && !has_reloaded => {
                    Stage::Loading(number)
                }
                (Stage::ToLook, "Get", ["org.freedesktop.systemd1.Unit", "LoadState"]) if is_this => {
                    Stage::Looking(number)
                }
                (Stage::ToWork { .. }, "Get", ["org.freedesktop.systemd1.Unit", "ActiveState"])
                    if is_this && is_status =>
                {
                    Stage::Working(number)
                }
                (Stage::ToWork { reloads }, member, [unit, "replace"])
                    if *unit == name && *reloads == has_reloaded && is_subscribed =>
                {
                    let verb = member.strip_suffix("Unit").unwrap_or_default();
                    if !verb.eq_ignore_ascii_case(&action) {
                        return wrong("nobody wants that");
                    }
                    Stage::Job(number, None, Vec::new())
                }
                _ => continue,
            };
            return Ok(());
        }
        wrong("nobody wants that")
    }

    /// The daemon has a file written or removed; what comes of it.
    pub fn marked(&mut self, file: &DropIn, result: Result<bool, i32>, now: Now) -> Checked {
        let is_this = |operation: &&mut Operation| {
            let path = format!("/run/systemd/system/{}.d/50-pacemaker.conf", operation.unit_name());
            operation.stage() == Some(&Stage::ToMark) && file.path.to_str() == Ok(&*path)
        };
        let Some(operation) = self.operations.values_mut().find(is_this) else {
            return violation(Rule::Bus, format!("{file:?} belongs to no operation"));
        };
        let name = operation.unit_name();
        let mut text = format!(
            "[Unit]\nDescription=Cluster Controlled {name}\nBefore=pacemaker.service pacemaker_remote.service\n"
        );
        if name.ends_with(".service") {
            text += "\n[Service]\nRestart=no\n";
        }
        let is_start = operation.request.action == "start";
        let directory = format!("/run/systemd/system/{name}.d");
        if file.text != is_start.then_some(text) || file.directory.to_str() != Ok(&*directory) {
            return violation(Rule::Bus, format!("{file:?} is not what a unit needs"));
        }
        let serial = operation.request.parameters[super::SERIAL].clone();
        let kind = operation.agent.kind.clone();
        match (result, operation.run()) {
            (Err(errno), _) if is_start => {
                let rc = if errno == 13 { 4 } else { 1 };
                let why = format!("Failed to create systemd override file for {kind}");
                self.unit_over(&serial, Outcome { ran: true, ..Outcome::ours(rc, ERROR, &why) }, now);
            }
            (_, Some(run)) => run.stage = Stage::ToWork { reloads: result == Ok(true) },
            (_, None) => {}
        }
        Ok(())
    }

    /// Nothing that could be asked may be left.
    pub fn units_settled(&self) -> Checked {
        if self.bus_must_close || matches!(self.bus, Bus::Opening(false)) {
            return violation(Rule::Lost, format!("the bus should be opened or closed: {:?}", self.bus));
        }
        let Bus::Open(open) = &self.bus else { return Ok(()) };
        for operation in self.operations.values() {
            let waits = match operation.stage() {
                Some(Stage::Begin | Stage::ToLook | Stage::ToWork { .. }) => {
                    open.is_named && open.unanswered < WINDOW
                }
                Some(Stage::ToMark) => true,
                _ => false,
            };
            if waits {
                return violation(Rule::Lost, format!("systemd should have been asked: {operation:?}"));
            }
        }
        if open.orphans.values().any(|count| *count > 0) || open.has_reloaded {
            return violation(Rule::Lost, format!("calls are missing: {open:?}"));
        }
        Ok(())
    }
}

/// systemd has left the bus before it answered (section 7).
fn is_disconnect(name: &str, text: &str) -> bool {
    name == "org.freedesktop.DBus.Error.NoReply" && text.contains("disconnected")
}

fn is_missing_unit(name: &str) -> bool {
    ["NoSuchUnit", "LoadFailed", "InvalidName"]
        .iter()
        .any(|error| name == format!("org.freedesktop.systemd1.{error}"))
}
