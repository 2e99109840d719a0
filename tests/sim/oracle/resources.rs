//! Resources and their operations as executor-semantics.md sections 1 to 5 and 8 describe them: what must be
//! running, what may start next, and what must be told.
//!
//! Where the pages leave a choice the daemon's is accepted: of several operations that fell due in the same
//! moment any may be first.

mod survivors;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pacelet::agent::{ChildId, Command, Ending, Stream};
use pacelet::remote::ConnId;
use pacelet::time::{Instant, Now};

use super::super::request::{Agent, Execute};
use super::results::{CANCELLED, Completion, ERROR_FATAL, NOT_INSTALLED, Outcome, Reason};
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
    /// It may run as soon as its resource's name is free; since which moment.
    Due(u64),
    /// It runs. The child is unknown as long as the daemon has not said so.
    Running { child: Option<ChildId>, started: Instant, kill: Option<Kill> },
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

    /// What it comes to without running anything (sections 5.3 and 10).
    fn known(&self) -> Option<Outcome> {
        let agent = &self.agent;
        if agent.class.eq_ignore_ascii_case("stonith") {
            let probe = self.request.action == "monitor" && self.request.interval == 0;
            let mut outcome = Outcome::ours(if probe { 7 } else { 1 }, 4, "No connection to fencer");
            if probe {
                outcome.reason = Reason::None;
            }
            return Some(outcome);
        }
        let missing = || Outcome::ours(5, NOT_INSTALLED, "No such file or directory");
        if !agent.class.eq_ignore_ascii_case("ocf") {
            return Some(missing());
        }
        match &agent.provider {
            None => Some(Outcome::ours(1, ERROR_FATAL, "Required agent or action information missing")),
            Some(provider) if provider.contains('/') || agent.kind.contains('/') => Some(missing()),
            Some(_) => None,
        }
    }

    /// The command that its process must run (sections 6.1 and 6.3).
    fn command(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let provider = self.agent.provider.clone().unwrap_or_default();
        let paths =
            AGENTS.iter().map(|place| format!("{}/{provider}/{}", place.to_str().unwrap(), self.agent.kind));
        let mut environment: Vec<_> = self
            .request
            .parameters
            .iter()
            .map(|(name, value)| match &**name {
                "OCF_CHECK_LEVEL" => format!("{name}={value}"),
                _ => format!("OCF_RESKEY_{name}={value}"),
            })
            .collect();
        environment.extend([
            "OCF_RA_VERSION_MAJOR=1".into(),
            "OCF_RA_VERSION_MINOR=1".into(),
            format!("OCF_ROOT={}", OCF_ROOT.to_str().unwrap()),
            "OCF_EXIT_REASON_PREFIX=ocf-exit-reason:".into(),
            format!("OCF_RESOURCE_INSTANCE={}", self.request.resource),
            format!("OCF_RESOURCE_TYPE={}", self.agent.kind),
            format!("OCF_RESOURCE_PROVIDER={provider}"),
        ]);
        environment.sort();
        (paths.collect(), vec![self.request.action.clone()], environment)
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
                operation.state = State::Due(moment);
            }
            self.limit_waits(now);
            return Ok(());
        }
        if request.action == "stop" {
            self.cancel_recurring(&request.resource, now);
        }
        let ready = (request.start_delay > 0).then(|| now.mono.after(request.start_delay.into()));
        let operation = Operation {
            request: request.clone(),
            call,
            requester,
            agent,
            state: State::Pending(ready),
            queued: now.mono,
            gives_up: None,
            activated: None,
            is_first: true,
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
            let outcome = Outcome::cancelled(operation.last_rc);
            self.finish(serial, outcome, now);
        }
    }
}

// Time and processes.
impl Resources {
    /// All timers that have passed.
    pub fn fire(&mut self, now: Now) {
        self.give_up_waiting(now);
        for operation in self.operations.values_mut() {
            let timeout = u64::from(operation.request.timeout);
            match &mut operation.state {
                State::Pending(ready) if ready.is_some_and(|at| at <= now.mono) => *ready = None,
                State::Idle(at) if *at <= now.mono => operation.state = State::Due(self.moment),
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
                operation.state = State::Due(self.moment);
                operation.activated = Some(now);
                if operation.is_recurring() {
                    registration.recurring.push(head.clone());
                }
                registration.active = registration.pending.pop_front();
                changed = true;
            }
            for (name, serials) in self.candidates() {
                let known =
                    serials.iter().find_map(|serial| Some((serial, self.operations[serial].known()?)));
                if let Some((serial, outcome)) = known {
                    self.finish(serial, outcome, now);
                    changed = true;
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

    /// For each free name, those of the operations that are due which have waited longest.
    fn candidates(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::<String, (u64, Vec<String>)>::new();
        for (serial, operation) in &self.operations {
            let name = &operation.request.resource;
            let State::Due(since) = operation.state else { continue };
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
        all.into_iter().map(|(name, (_, serials))| (name, serials)).collect()
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
        let name = value("OCF_RESOURCE_INSTANCE");
        if let Some(other) = self.alive.insert(name.clone(), child) {
            return violation(
                Rule::OneAtATime,
                format!("child {} starts while child {} of {name:?} still runs", child.0, other.0),
            );
        }
        let serial = value(&format!("OCF_RESKEY_{SERIAL}"));
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
        let got = (text(&command.candidates), text(&command.arguments), environment);
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
        self.lanes.remove(&operation.request.resource);
        let timed_out = matches!(kill, Some(Kill { cancelled: false, .. }));
        if matches!(kill, Some(Kill { at: None, .. })) {
            self.spared.insert(child);
        }
        let request = &operation.request;
        let (kind, stderr) = (&operation.agent.kind, &operation.stderr);
        let outcome = Outcome::of(ending, timed_out, request.timeout, kind, stderr);
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
            self.told.push((only, completion(&operation, outcome, deleted, now)));
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

fn completion(operation: &Operation, outcome: Outcome, deleted: bool, now: Now) -> Completion {
    let request = &operation.request;
    let activated = operation.activated;
    let output = if operation.stderr.is_empty() { &operation.stdout } else { &operation.stderr };
    Completion {
        call: operation.call,
        resource: request.resource.clone(),
        action: request.action.clone(),
        interval: request.interval,
        timeout: request.timeout,
        start_delay: request.start_delay,
        user_data: request.user_data.clone(),
        outcome,
        deleted,
        run_time: activated.map_or(0, |at| at.epoch),
        change_time: operation.change_time,
        exec_time: activated.map_or(0, |at| now.mono.since(at.mono)),
        queue_time: activated.map_or(0, |at| at.mono.since(operation.queued)),
        output: output.clone(),
        parameters: request.parameters.clone(),
    }
}
