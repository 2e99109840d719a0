//! Resources and their operations as executor-semantics.md sections 1 to 5 and 8 describe them: what must be
//! running, what may start next, and what must be told.
//!
//! Where the pages leave a choice the daemon's is accepted: of several operations that fell due in the same
//! moment any may be first. Only where the choice cannot be seen, because systemd is asked or a script is run that says
//! nothing of the operation, it is the one that has waited longest.

mod agents;
mod survivors;
mod units;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pacelet::agent::{ChildId, Command, Ending, Step, Stream};
use pacelet::remote::ConnId;
use pacelet::time::{Instant, Now};

use self::agents::Standard;
use self::units::{Bus, Run};
use super::super::request::{Agent, Execute};
use super::results::{CANCELLED, Completion, Outcome};
use super::{AGENTS, Checked, OCF_ROOT, Rule, violation};

/// The parameter by which the processes of an operation are known: each request has its own.
pub const SERIAL: &str = "sim_serial";

const NO_SUCH_RESOURCE: i64 = -19;
const NOT_SUPPORTED: i64 = -95;
const IN_PROGRESS: i64 = -115;

/// Something to be told, and to whom: `None` for all.
pub type Told = (Option<ConnId>, Completion);

#[derive(Debug, Default)]
pub struct Resources {
    /// Counts what has happened: what falls due in one moment has no order.
    moment: u64,
    registered: BTreeMap<String, Registration>,
    operations: BTreeMap<String, Operation>,
    /// The operation, by serial, whose run has a resource's name to itself.
    lanes: BTreeMap<String, String>,
    children: BTreeMap<ChildId, String>,
    /// Processes that survived SIGKILL and were reported, and the names that they keep from being free.
    left: BTreeMap<ChildId, String>,
    /// They ended before the kill that they were due: it may still come.
    spared: BTreeSet<ChildId>,
    /// Processes by the resource they say they belong to: independent of everything above.
    alive: BTreeMap<String, ChildId>,
    bus: Bus,
    /// The daemon must close it now.
    bus_must_close: bool,
    /// How often it was lost or refused since it let the daemon in.
    tried: u32,
    last_number: u64,
    pub told: Vec<Told>,
}

#[derive(Debug)]
struct Registration {
    agent: Agent,
    drop_recurring: bool,
    active: Option<String>,
    pending: VecDeque<String>,
    recurring: Vec<String>,
}

#[derive(Debug)]
struct Operation {
    /// In the order of the requests.
    number: u64,
    request: Execute,
    call: u32,
    requester: ConnId,
    agent: Agent,
    state: State,
    queued: Instant,
    /// When it is reported as timed out although it could not be run.
    gives_up: Option<Instant>,
    /// When it became its resource's active one; its first run only.
    activated: Option<Now>,
    is_first: bool,
    /// Since when systemd is asked, or says that the unit is between two states.
    since: Option<Instant>,
    last_rc: u8,
    change_time: u64,
    told: Option<(u8, i64)>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Clone, Debug)]
enum State {
    /// Behind others, or not before a moment.
    Pending(Option<Instant>),
    /// It may run as soon as its resource's name is free; since which moment, and of those of one moment in which
    /// order.
    Due(u64, Option<Instant>),
    /// It runs. The child is unknown as long as the daemon has not said so.
    Running { child: Option<ChildId>, started: Instant, kill: Option<Kill> },
    /// systemd works on it.
    Asked(Run),
    /// systemd is asked again then.
    Between(Instant),
    /// Until its next run.
    Idle(Instant),
}

/// A process that must be killed.
#[derive(Clone, Copy, Debug)]
struct Kill {
    cancelled: bool,
    /// When the daemon did it.
    at: Option<Instant>,
    /// The daemon has asked why it does not die.
    asked: bool,
}

impl Operation {
    fn is_recurring(&self) -> bool {
        self.request.interval > 0
    }

    fn is_being_cancelled(&self) -> bool {
        matches!(self.state, State::Running { kill: Some(Kill { cancelled: true, .. }), .. })
    }

    fn matches(&self, action: &str, interval: u32) -> bool {
        self.request.interval == interval && self.request.action.eq_ignore_ascii_case(action)
    }
}

// Requests.
impl Resources {
    /// Something happens: what is due from now on comes after what was due before.
    pub fn next_moment(&mut self) {
        self.moment += 1;
    }

    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.registered.get(name).map(|registration| &registration.agent)
    }

    /// Section 3.1 of executor-api.md.
    pub fn register(&mut self, name: &str, agent: &Agent, drop_recurring: bool, now: Now) {
        let lower = |agent: &Agent| {
            let provider = agent.provider.as_ref().map(|provider| provider.to_lowercase());
            (agent.class.to_lowercase(), provider, agent.kind.to_lowercase())
        };
        if self.agent(name).is_some_and(|present| lower(present) == lower(agent)) {
            return;
        }
        let old = self.registered.remove(name);
        if let Some(old) = &old {
            self.cancel_all(old.pending.iter(), now);
        }
        let registration = Registration {
            agent: agent.clone(),
            drop_recurring,
            active: None,
            pending: VecDeque::new(),
            recurring: Vec::new(),
        };
        self.registered.insert(name.into(), registration);
        if let Some(old) = &old {
            self.cancel_all(old.recurring.iter(), now);
        }
    }

    /// Section 3.3 of executor-api.md.
    pub fn unregister(&mut self, name: &str, now: Now) -> i64 {
        let Some(old) = self.registered.remove(name) else { return 0 };
        self.cancel_all(old.pending.iter().chain(&old.recurring), now);
        if old.active.is_some() { IN_PROGRESS } else { 0 }
    }

    pub fn execute(&mut self, request: &Execute, call: u32, requester: ConnId, now: Now) -> Result<(), i64> {
        let Some(registration) = self.registered.get(&request.resource) else {
            return Err(NO_SUCH_RESOURCE);
        };
        let agent = registration.agent.clone();
        if request.interval > 0
            && let Some(serial) = self.find(&request.resource, &request.action, request.interval)
        {
            let moment = self.moment;
            let operation = self.operations.get_mut(&serial).expect("found");
            operation.call = call;
            operation.request.user_data.clone_from(&request.user_data);
            operation.told = None;
            if matches!(operation.state, State::Idle(_)) {
                operation.state = State::Due(moment, Some(now.mono));
            }
            self.limit_waits(now);
            return Ok(());
        }
        if request.action == "stop" {
            self.cancel_recurring(&request.resource, now);
        }
        let ready = (request.start_delay > 0).then(|| now.mono.after(request.start_delay.into()));
        self.last_number += 1;
        let operation = Operation {
            number: self.last_number,
            request: request.clone(),
            call,
            requester,
            agent,
            state: State::Pending(ready),
            queued: now.mono,
            gives_up: None,
            activated: None,
            is_first: true,
            since: None,
            last_rc: 0,
            change_time: 0,
            told: None,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        let serial = request.parameters[SERIAL].clone();
        self.operations.insert(serial.clone(), operation);
        self.registered.get_mut(&request.resource).expect("checked").pending.push_back(serial);
        Ok(())
    }

    /// Section 3.4.
    pub fn cancel(&mut self, name: &str, action: &str, interval: u32, now: Now) -> i64 {
        if !self.registered.contains_key(name) {
            return NO_SUCH_RESOURCE;
        }
        let Some(serial) = self.find(name, action, interval) else { return NOT_SUPPORTED };
        self.cancel_all([&serial].into_iter(), now);
        0
    }

    /// Section 8: the last cluster connection is gone.
    pub fn clients_gone(&mut self, now: Now) {
        let names: Vec<_> = self
            .registered
            .iter()
            .filter(|(_, registration)| registration.drop_recurring)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.cancel_recurring(&name, now);
        }
    }

    /// What `lrmd_get_recurring` must tell: name, then action, interval, timeout.
    pub fn recurring(&self) -> BTreeMap<String, Vec<(String, u32, u32)>> {
        let describe = |serial: &String| {
            let operation = &self.operations[serial];
            let request = &operation.request;
            let described = (request.action.clone(), request.interval, request.timeout);
            (!operation.is_being_cancelled()).then_some(described)
        };
        self.registered
            .iter()
            .map(|(name, registration)| {
                (name.clone(), registration.recurring.iter().filter_map(describe).collect())
            })
            .collect()
    }

    fn find(&self, name: &str, action: &str, interval: u32) -> Option<String> {
        let registration = self.registered.get(name)?;
        let all = registration.pending.iter().chain(&registration.recurring);
        let fits = |serial: &&String| {
            let operation = &self.operations[*serial];
            operation.matches(action, interval) && !operation.is_being_cancelled()
        };
        all.into_iter().find(fits).cloned()
    }

    fn cancel_recurring(&mut self, name: &str, now: Now) {
        let Some(registration) = self.registered.get(name) else { return };
        let pending = registration.pending.iter().filter(|serial| self.operations[*serial].is_recurring());
        let all: Vec<_> = registration.recurring.iter().chain(pending).cloned().collect();
        self.cancel_all(all.iter(), now);
    }

    fn cancel_all<'a>(&mut self, serials: impl Iterator<Item = &'a String>, now: Now) {
        for serial in serials {
            let operation = self.operations.get_mut(serial).expect("listed");
            if let State::Running { kill, .. } = &mut operation.state {
                kill.get_or_insert(Kill { cancelled: true, at: None, asked: false }).cancelled = true;
                continue;
            }
            let outcome = if let State::Asked(_) = operation.state {
                self.forget(serial);
                Outcome::cancelled(0)
            } else {
                Outcome::cancelled(operation.last_rc)
            };
            self.finish(serial, outcome, now);
        }
    }
}

// Time and processes.
impl Resources {
    /// All timers that have passed.
    pub fn fire(&mut self, now: Now) {
        self.give_up_waiting(now);
        self.fire_units(now);
        for operation in self.operations.values_mut() {
            let timeout = u64::from(operation.request.timeout);
            match &mut operation.state {
                State::Pending(ready) if ready.is_some_and(|at| at <= now.mono) => *ready = None,
                State::Idle(at) if *at <= now.mono => operation.state = State::Due(self.moment, Some(*at)),
                State::Running { started, kill, .. }
                    if timeout > 0 && kill.is_none() && started.after(timeout) <= now.mono =>
                {
                    *kill = Some(Kill { cancelled: false, at: None, asked: false });
                }
                _ => {}
            }
        }
        self.limit_waits(now);
    }

    /// What can become active does, and what needs no process is finished. With `presume`, what can only be
    /// started is taken for started, although the daemon has not been heard of it.
    pub fn dispatch(&mut self, now: Now, presume: bool) {
        loop {
            let mut changed = false;
            for registration in self.registered.values_mut() {
                let Some(head) = registration.pending.front() else { continue };
                let operation = self.operations.get_mut(head).expect("listed");
                if registration.active.is_some() || !matches!(operation.state, State::Pending(None)) {
                    continue;
                }
                operation.state = State::Due(self.moment, None);
                operation.activated = Some(now);
                if operation.is_recurring() {
                    registration.recurring.push(head.clone());
                }
                registration.active = registration.pending.pop_front();
                changed = true;
            }
            for (name, serials) in self.candidates() {
                if let Some(outcome) = self.operations[&serials[0]].known() {
                    self.finish(&serials[0], outcome, now);
                    changed = true;
                } else if self.operations[&serials[0]].standard() == Standard::Systemd {
                    self.ask(&serials[0], None, now);
                } else if let ([serial], true) = (&*serials, presume) {
                    let operation = self.operations.get_mut(serial).expect("listed");
                    operation.state = State::Running { child: None, started: now.mono, kill: None };
                    self.lanes.insert(name, serial.clone());
                }
            }
            if !changed {
                return self.limit_waits(now);
            }
        }
    }

    /// For each free name, those of the operations that are due which have waited longest, and in order.
    fn candidates(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::<String, (u64, Vec<String>)>::new();
        for (serial, operation) in &self.operations {
            let name = &operation.request.resource;
            let State::Due(since, _) = operation.state else { continue };
            if self.lanes.contains_key(name) {
                continue;
            }
            let first = all.entry(name.clone()).or_insert((since, Vec::new()));
            if since < first.0 {
                *first = (since, Vec::new());
            }
            if since == first.0 {
                first.1.push(serial.clone());
            }
        }
        for (_, serials) in all.values_mut() {
            serials.sort_by_key(|serial| {
                let operation = &self.operations[serial];
                let State::Due(_, at) = operation.state else { return (true, None, 0) };
                // Those whose turn has just come are behind those whose time has come.
                (at.is_none(), at, operation.number)
            });
        }
        all.into_iter().map(|(name, (_, serials))| (name, serials)).collect()
    }

    /// The operation that a process belongs to whose environment does not say so.
    fn whose(&self, got: &(Vec<String>, Vec<String>, Vec<String>)) -> Option<&Operation> {
        let is_this = |operation: &&Operation| operation.command() == *got;
        let presumed = |operation: &&Operation| matches!(operation.state, State::Running { child: None, .. });
        let presumed = self.operations.values().filter(presumed).find(is_this);
        presumed.or_else(|| {
            let firsts = self.candidates();
            let firsts: Vec<_> = firsts.values().flatten().map(|serial| &self.operations[serial]).collect();
            firsts.into_iter().find(is_this)
        })
    }

    /// The daemon starts a process.
    pub fn spawned(&mut self, child: ChildId, command: &Command, now: Now) -> Checked {
        let text = |list: &[std::ffi::CString]| -> Vec<String> {
            list.iter().map(|entry| entry.to_string_lossy().into_owned()).collect()
        };
        let mut environment = text(&command.environment);
        environment.sort();
        let value = |name: &str| {
            let prefix = format!("{name}=");
            environment.iter().find_map(|entry| entry.strip_prefix(&prefix)).unwrap_or_default().to_owned()
        };
        let mut name = value("OCF_RESOURCE_INSTANCE");
        let mut serial = value(&format!("OCF_RESKEY_{SERIAL}"));
        let got = (text(&command.candidates), text(&command.arguments), environment.clone());
        if let Some(operation) = self.whose(&got).filter(|_| name.is_empty()) {
            name.clone_from(&operation.request.resource);
            serial.clone_from(&operation.request.parameters[SERIAL]);
        }
        if let Some(other) = self.alive.insert(name.clone(), child) {
            return violation(
                Rule::OneAtATime,
                format!("child {} starts while child {} of {name:?} still runs", child.0, other.0),
            );
        }
        let may = self.candidates().get(&name).is_some_and(|serials| serials.contains(&serial));
        let Some(operation) = self.operations.get_mut(&serial) else {
            return violation(Rule::Start, format!("child {} belongs to no operation: {serial:?}", child.0));
        };
        match &mut operation.state {
            State::Running { child: unknown @ None, .. } => *unknown = Some(child),
            _ if may => {
                operation.state = State::Running { child: Some(child), started: now.mono, kill: None };
                self.lanes.insert(name, serial.clone());
            }
            state => {
                let text = format!("child {} of operation {serial} starts, which is {state:?}", child.0);
                return violation(Rule::Start, text);
            }
        }
        operation.stdout.clear();
        operation.stderr.clear();
        let expected = operation.command();
        if got != expected {
            return violation(Rule::Start, format!("the command is {got:?} instead of {expected:?}"));
        }
        self.children.insert(child, serial);
        Ok(())
    }

    /// The daemon kills a process.
    pub fn killed(&mut self, child: ChildId, group: bool, now: Now) -> Checked {
        if self.spared.remove(&child) {
            return Ok(());
        }
        let operation = self.children.get(&child).and_then(|serial| self.operations.get_mut(serial));
        let Some(operation) = operation else {
            return violation(Rule::Kill, format!("child {} is killed, which does not run", child.0));
        };
        let spared = operation.request.parameters.get("CRM_meta_on_fail");
        let spared = spared.is_some_and(|value| value.eq_ignore_ascii_case("block"));
        if group == spared {
            return violation(Rule::Kill, format!("child {} is killed with group: {group}", child.0));
        }
        match &mut operation.state {
            State::Running { kill: Some(kill @ Kill { at: None, .. }), .. } => kill.at = Some(now.mono),
            state => {
                let text = format!("child {} is killed without need: {state:?}", child.0);
                return violation(Rule::Kill, text);
            }
        }
        Ok(())
    }

    pub fn output(&mut self, child: ChildId, stream: Stream, bytes: &[u8]) {
        let operation = self.children.get(&child).and_then(|serial| self.operations.get_mut(serial));
        let Some(operation) = operation else { return };
        match stream {
            Stream::Stdout => operation.stdout.extend(bytes),
            Stream::Stderr => operation.stderr.extend(bytes),
        }
    }

    /// A process has ended and was reaped.
    pub fn ended(&mut self, child: ChildId, ending: Ending, now: Now) {
        self.alive.retain(|_, alive| *alive != child);
        if let Some(name) = self.left.remove(&child) {
            self.lanes.remove(&name);
            return self.limit_waits(now);
        }
        let Some(serial) = self.children.remove(&child) else { return };
        let Some(operation) = self.operations.get(&serial) else { return };
        let State::Running { kill, .. } = operation.state else { return };
        let is_open = kill.is_none() && operation.standard() == Standard::Service;
        if let (true, Ending::NotRun(Step::Lookup, _)) = (is_open, ending) {
            // What is no script may be a unit.
            let missing = operation.outcome(ending, false);
            match operation.known_unit() {
                None => self.ask(&serial, Some(missing), now),
                Some(outcome) => {
                    self.lanes.remove(&operation.request.resource);
                    self.finish(&serial, outcome, now);
                }
            }
            return;
        }
        self.lanes.remove(&operation.request.resource);
        let timed_out = matches!(kill, Some(Kill { cancelled: false, .. }));
        if matches!(kill, Some(Kill { at: None, .. })) {
            self.spared.insert(child);
        }
        let outcome = operation.outcome(ending, timed_out);
        let outcome = match (kill, ending) {
            (Some(Kill { cancelled: true, .. }), Ending::Exited(_)) => Outcome::cancelled(outcome.rc),
            (Some(Kill { cancelled: true, .. }), _) => Outcome::cancelled(0),
            _ => outcome,
        };
        self.finish(&serial, outcome, now);
    }

    fn finish(&mut self, serial: &String, outcome: Outcome, now: Now) {
        let mut operation = self.operations.remove(serial).expect("it is there to be finished");
        let name = operation.request.resource.clone();
        let goes_on = operation.is_recurring() && outcome.status != CANCELLED;
        if outcome.status != CANCELLED {
            if outcome.ran && outcome.rc != operation.last_rc {
                operation.change_time = now.epoch;
            }
            operation.last_rc = outcome.rc;
        }
        let deleted = !self.registered.contains_key(&name);
        let result = (outcome.rc, outcome.status);
        let only_changes = operation.request.options & 4 != 0;
        if !(only_changes && operation.told == Some(result)) {
            operation.told = Some(result);
            let only = (operation.request.options & 2 != 0).then_some(operation.requester);
            self.told.push((only, operation.completion(outcome, deleted, now)));
        }
        if let Some(registration) = self.registered.get_mut(&name) {
            registration.active.take_if(|active| active == serial);
            if !goes_on {
                registration.pending.retain(|pending| pending != serial);
                registration.recurring.retain(|recurring| recurring != serial);
            }
        }
        if goes_on {
            operation.is_first = false;
            operation.activated = None;
            operation.gives_up = None;
            operation.stdout.clear();
            operation.stderr.clear();
            operation.state = State::Idle(now.mono.after(operation.request.interval.into()));
            self.operations.insert(serial.clone(), operation);
        }
    }

    /// The daemon has done what it wanted to do: nothing that could be done may be left.
    pub fn settled(&mut self, now: Now, timers: bool) -> Checked {
        self.spared.clear();
        if timers {
            self.fire(now);
        }
        self.dispatch(now, false);
        self.units_settled()?;
        if let Some((name, serials)) = self.candidates().into_iter().next() {
            let text = format!("{name:?} is free, and {serials:?} could run");
            return violation(Rule::Lost, text);
        }
        for (serial, operation) in &self.operations {
            let lost = match &operation.state {
                State::Running { child: None, .. } => "should have been started",
                State::Running { kill: Some(Kill { at: None, .. }), .. } => "should have been killed",
                State::Running { kill: Some(Kill { at: Some(at), asked: false, .. }), .. }
                    if timers && at.after(survivors::PATIENCE) <= now.mono =>
                {
                    "survives being killed, and nobody is told"
                }
                _ => continue,
            };
            return violation(Rule::Lost, format!("operation {serial} {lost}: {operation:?}"));
        }
        Ok(())
    }

    /// Whether nothing runs and nothing waits but recurring operations for their next run.
    pub fn is_idle(&self) -> bool {
        self.operations.values().all(|operation| matches!(operation.state, State::Idle(_)))
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }
}
