//! The life of operations; `cancel`: what takes them away; `stuck`: those whose process cannot be killed; `unit`: those
//! that systemd works on; `alerts`.

mod alerts;
mod cancel;
mod stuck;
mod unit;

use super::*;
use crate::agent::{Ending, Step, Stream};

/// An executor in virtual time, with children that end when a test says so.
struct Lab {
    executor: Executor,
    now: Now,
    calls: u32,
    spawned: Vec<(ChildId, Command)>,
    killed: Vec<(ChildId, bool)>,
    examined: Vec<ChildId>,
    asked: Vec<(ChildId, u32)>,
    forgotten: Vec<ChildId>,
    told: Vec<Completion>,
    lines: Vec<Line>,
}

impl Lab {
    fn new() -> Self {
        let place = Place { agent_path: vec![c"/agents".into()], ocf_root: c"/".into() };
        let now = Now { mono: Instant::from_millis(1_000_000), epoch: 1_700_000_000 };
        let mut lab = Self {
            executor: Executor::new(place),
            now,
            calls: 0,
            spawned: vec![],
            killed: vec![],
            examined: vec![],
            asked: vec![],
            forgotten: vec![],
            told: vec![],
            lines: vec![],
        };
        lab.register("r");
        lab
    }

    fn agent(kind: &str) -> Agent {
        Agent { class: "ocf".into(), provider: Some("p".into()), kind: kind.into() }
    }

    fn register(&mut self, name: &str) {
        self.executor.register(name, Self::agent("T"), true, self.now).unwrap();
        self.settle();
    }

    fn request(&mut self, action: &str, interval: u32) -> Request {
        self.calls += 1;
        Request {
            call_id: self.calls,
            client: ClientId(7),
            resource: "r".into(),
            action: action.into(),
            interval,
            timeout: 20_000,
            start_delay: 0,
            user_data: Some(format!("data {}", self.calls)),
            notify_requester_only: false,
            notify_changes_only: true,
            parameters: Rc::default(),
        }
    }

    /// Queues an operation and lets start what can start.
    fn execute(&mut self, action: &str, interval: u32) -> u32 {
        let request = self.request(action, interval);
        self.submit(request)
    }

    fn submit(&mut self, request: Request) -> u32 {
        let call_id = request.call_id;
        self.executor.execute(request, self.now).unwrap();
        self.settle();
        call_id
    }

    fn settle(&mut self) {
        self.executor.dispatch(self.now);
        while let Some(action) = self.executor.poll() {
            match action {
                Action::Spawn(child, command) => self.spawned.push((child, command)),
                Action::Kill { child, group } => self.killed.push((child, group)),
                Action::Examine(child) => self.examined.push(child),
                Action::Ask { child, timeout, .. } => self.asked.push((child, timeout)),
                Action::Forget(child) => self.forgotten.push(child),
                Action::Notify(completion) => self.told.push(*completion),
                Action::Log(line) => self.lines.push(line),
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now.mono.after(millis);
        while let Some(at) = self.executor.deadline().filter(|at| *at <= end) {
            self.advance_to(at);
            self.executor.wake(self.now);
            self.settle();
        }
        self.advance_to(end);
    }

    fn advance_to(&mut self, at: Instant) {
        let before = self.now.mono.as_millis() / 1000;
        self.now.mono = at;
        self.now.epoch += at.as_millis() / 1000 - before;
    }

    /// The child that was started last ends.
    fn end(&mut self, ending: Ending) {
        let child = self.spawned.last().unwrap().0;
        self.end_child(child, ending);
    }

    fn end_child(&mut self, child: ChildId, ending: Ending) {
        self.executor.ended(child, ending, self.now);
        self.settle();
    }

    /// What was asked for last is told: the child hangs in the kernel.
    fn hangs(&mut self, place: Option<&str>) -> ChildId {
        let child = self.examined.pop().unwrap();
        self.executor.examined(child, place, self.now);
        self.settle();
        child
    }

    fn cancel(&mut self, action: &str, interval: u32) -> Result<(), Refusal> {
        let result = self.executor.cancel("r", action, interval, self.now);
        self.settle();
        result
    }

    fn unregister(&mut self) -> bool {
        let active = self.executor.unregister("r", self.now);
        self.settle();
        active
    }

    /// What was told since the last call: call id, rc, status.
    fn results(&mut self) -> Vec<(u32, u8, i32)> {
        std::mem::take(&mut self.told).into_iter().map(|c| (c.call_id, c.rc, c.status as i32)).collect()
    }

    /// The actions of the children started since the last call.
    fn started(&mut self) -> Vec<String> {
        let actions =
            self.spawned.iter().map(|(_, command)| command.arguments[0].to_str().unwrap().to_owned());
        let actions = actions.collect();
        let last = self.spawned.pop();
        self.spawned = last.clone().into_iter().collect();
        actions
    }

    /// Nothing is left but registrations.
    fn assert_idle(&self) {
        assert!(self.executor.operations.is_empty(), "{:?}", self.executor.operations);
        assert!(self.executor.children.is_empty() && self.executor.deadlines.is_empty());
        assert!(self.executor.left_behind.is_empty());
        assert!(self.executor.ready.is_empty());
    }
}

const DONE: Ending = Ending::Exited(0);
const KILLED: Ending = Ending::Signalled(9);

#[test]
fn a_one_shot_runs_and_is_told_with_its_times() {
    let mut lab = Lab::new();
    let call = lab.execute("start", 0);
    assert_eq!(lab.spawned.len(), 1);
    lab.pass(250);
    let child = lab.spawned[0].0;
    lab.executor.output(child, Stream::Stdout, b"out");
    lab.executor.output(child, Stream::Stderr, b"err ocf-exit-reason:so\n");
    lab.end(Ending::Exited(5));
    let told = lab.told.pop().unwrap();
    assert_eq!((told.call_id, told.rc, told.status), (call, 5, Status::Done));
    assert_eq!((told.exec_time, told.queue_time, told.run_time), (250, 0, 1_700_000_000));
    assert_eq!(told.change_time, 1_700_000_000);
    assert_eq!(told.output.as_deref(), Some(&b"err ocf-exit-reason:so\n"[..]));
    assert_eq!(told.reason.as_deref(), Some("so"));
    assert_eq!(told.user_data.as_deref(), Some("data 1"));
    assert!(!told.deleted);
    lab.assert_idle();
}

#[test]
fn nothing_starts_before_dispatch() {
    let mut lab = Lab::new();
    let request = lab.request("start", 0);
    lab.executor.execute(request, lab.now).unwrap();
    assert!(lab.executor.poll().is_none());
    lab.settle();
    assert_eq!(lab.started(), ["start"]);
}

#[test]
fn operations_of_one_resource_follow_each_other() {
    let mut lab = Lab::new();
    lab.register("other");
    let first = lab.execute("start", 0);
    let second = lab.execute("promote", 0);
    let mut other = lab.request("start", 0);
    other.resource = "other".into();
    let other = lab.submit(other);
    assert_eq!(lab.spawned.len(), 2);
    let (start, start_other) = (lab.spawned[0].0, lab.spawned[1].0);
    lab.pass(100);
    lab.end_child(start, DONE);
    assert_eq!(lab.spawned.len(), 3);
    lab.end_child(start_other, DONE);
    lab.pass(50);
    lab.end(DONE);
    let times: Vec<_> = lab.told.iter().map(|c| (c.call_id, c.queue_time, c.exec_time)).collect();
    assert_eq!(times, [(first, 0, 100), (other, 0, 100), (second, 100, 50)]);
    lab.assert_idle();
}

#[test]
fn a_delayed_head_holds_up_what_is_behind_it() {
    let mut lab = Lab::new();
    let mut delayed = lab.request("monitor", 0);
    delayed.start_delay = 5000;
    lab.submit(delayed);
    lab.execute("start", 0);
    assert_eq!(lab.started().len(), 0);
    lab.pass(5000);
    assert_eq!(lab.started(), ["monitor"]);
    lab.end(DONE);
    assert_eq!(lab.told[0].queue_time, 5000);
}

#[test]
fn recurring_runs_count_from_the_end_of_the_last_and_only_changes_are_told() {
    let mut lab = Lab::new();
    let call = lab.execute("monitor", 10_000);
    lab.pass(300);
    lab.end(DONE);
    assert_eq!((lab.told[0].exec_time, lab.told[0].run_time > 0, lab.told[0].change_time), (300, true, 0));
    assert_eq!(lab.results(), [(call, 0, 0)]);
    lab.started();
    lab.pass(9_999);
    assert_eq!(lab.spawned.len(), 1);
    lab.pass(1);
    assert_eq!(lab.spawned.len(), 2);
    lab.end(DONE);
    assert_eq!(lab.results(), []);
    lab.pass(10_000);
    lab.end(Ending::Exited(7));
    let told = &lab.told[0];
    assert_eq!((told.exec_time, told.queue_time, told.run_time), (0, 0, 0));
    assert_eq!(told.change_time, lab.now.epoch);
    assert_eq!(lab.results(), [(call, 7, 0)]);
    lab.pass(10_000);
    lab.end(Ending::Exited(7));
    assert_eq!(lab.results(), []);
}

#[test]
fn without_the_flag_every_result_is_told() {
    let mut lab = Lab::new();
    let mut request = lab.request("monitor", 1000);
    request.notify_changes_only = false;
    request.notify_requester_only = true;
    lab.submit(request);
    lab.end(DONE);
    lab.pass(1000);
    lab.end(DONE);
    assert_eq!(lab.told.len(), 2);
    assert_eq!(lab.told[0].only, Some(ClientId(7)));
}

#[test]
fn a_time_out_kills_and_is_told_when_reaped() {
    let mut lab = Lab::new();
    let call = lab.execute("start", 0);
    lab.pass(19_999);
    assert!(lab.killed.is_empty());
    lab.pass(1);
    assert_eq!(lab.killed, [(lab.spawned[0].0, true)]);
    assert_eq!(lab.results(), []);
    lab.pass(4999);
    assert_eq!((lab.killed.len(), lab.examined.len()), (1, 0));
    lab.end(KILLED);
    assert_eq!(lab.told[0].reason.as_deref(), Some("Resource agent did not complete within 20s"));
    assert_eq!(lab.results(), [(call, 1, 2)]);
    lab.assert_idle();
}

#[test]
fn what_ends_by_itself_just_before_the_kill_keeps_its_result() {
    let mut lab = Lab::new();
    let call = lab.execute("start", 0);
    lab.pass(20_000);
    lab.end(DONE);
    assert_eq!(lab.results(), [(call, 0, 0)]);
}

#[test]
fn on_fail_block_spares_the_group() {
    let mut lab = Lab::new();
    let mut request = lab.request("start", 0);
    let mut parameters = Parameters::default();
    parameters.insert("CRM_meta_on_fail".into(), "Block".into()).unwrap();
    request.parameters = Rc::new(parameters);
    lab.submit(request);
    lab.pass(20_000);
    assert!(!lab.killed[0].1);
}

#[test]
fn no_time_out_means_none() {
    let mut lab = Lab::new();
    let mut request = lab.request("start", 0);
    request.timeout = 0;
    lab.submit(request);
    assert_eq!(lab.executor.deadline(), None);
}

#[test]
fn a_signal_is_an_error() {
    let mut lab = Lab::new();
    let call = lab.execute("monitor", 0);
    lab.end(Ending::Signalled(11));
    assert_eq!(
        lab.told[0].reason.as_deref(),
        Some("Resource agent interrupted by Segmentation fault signal")
    );
    assert_eq!(lab.results(), [(call, 1, 4)]);
}

#[test]
fn a_missing_agent_is_not_installed_and_its_monitor_goes_on() {
    let mut lab = Lab::new();
    let call = lab.execute("monitor", 1000);
    lab.end(Ending::NotRun(Step::Lookup, 2));
    assert_eq!((lab.told[0].change_time, lab.told[0].reason.is_some()), (0, true));
    assert_eq!(lab.results(), [(call, 5, 7)]);
    lab.pass(1000);
    lab.end(DONE);
    assert_eq!((lab.told[0].change_time, lab.results()), (lab.now.epoch, vec![(call, 0, 0)]));
    assert_eq!(lab.cancel("monitor", 1000), Ok(()));
}

#[test]
fn a_known_result_needs_no_child_and_recurs() {
    let mut lab = Lab::new();
    let agent = Agent { class: "upstart".into(), provider: None, kind: "x".into() };
    lab.executor.register("u", agent, true, lab.now).unwrap();
    let mut request = lab.request("monitor", 1000);
    request.resource = "u".into();
    request.notify_changes_only = false;
    let call = lab.submit(request);
    assert_eq!(lab.results(), [(call, 5, 7)]);
    lab.pass(2000);
    assert_eq!(lab.results(), [(call, 5, 7), (call, 5, 7)]);
    assert!(lab.spawned.is_empty());
}

#[test]
fn a_monitor_that_is_due_waits_for_the_lane() {
    let mut lab = Lab::new();
    lab.execute("monitor", 1000);
    lab.end(DONE);
    lab.execute("reload", 0);
    lab.started();
    lab.pass(3000);
    assert_eq!(lab.spawned.len(), 1);
    lab.end(DONE);
    assert_eq!(lab.started(), ["reload", "monitor"]);
    // And a one-shot waits for a later run of the monitor, as execution, not as queueing.
    lab.results();
    lab.told.clear();
    lab.execute("reload", 0);
    lab.pass(200);
    lab.end(DONE);
    lab.pass(100);
    lab.end(DONE);
    assert_eq!((lab.told[0].queue_time, lab.told[0].exec_time), (0, 300));
}

#[test]
fn a_repeated_monitor_takes_over_the_existing_one() {
    let mut lab = Lab::new();
    // Pending.
    lab.execute("start", 0);
    lab.execute("monitor", 10_000);
    let second = lab.execute("Monitor", 10_000);
    lab.end(DONE);
    lab.results();
    // Running: nothing more than the names.
    let third = lab.execute("monitor", 10_000);
    assert!(third > second);
    lab.end(DONE);
    assert_eq!(lab.told[0].user_data.as_deref(), Some(&*format!("data {third}")));
    assert_eq!(lab.results(), [(third, 0, 0)]);
    lab.started();
    // Idle: runs now, and tells the same result again.
    let fourth = lab.execute("monitor", 10_000);
    assert_eq!(lab.spawned.len(), 2);
    lab.end(DONE);
    assert_eq!(lab.results(), [(fourth, 0, 0)]);
    assert_eq!(lab.executor.recurring().next().unwrap().1.count(), 1);
}

#[test]
fn what_is_recurring_is_listed_once_it_has_started() {
    let mut lab = Lab::new();
    lab.execute("start", 0);
    lab.execute("monitor", 10_000);
    assert_eq!(lab.executor.recurring().next().unwrap().1.count(), 0);
    lab.end(DONE);
    let (name, operations) = lab.executor.recurring().next().unwrap();
    assert_eq!((name, operations.collect::<Vec<_>>()), ("r", vec![("monitor", 10_000, 20_000)]));
    // Cancelled while it runs, it is none any more.
    lab.cancel("monitor", 10_000).unwrap();
    assert_eq!((lab.killed.len(), lab.executor.recurring().next().unwrap().1.count()), (1, 0));
}

#[test]
fn requests_that_lack_something_are_refused() {
    let mut lab = Lab::new();
    let request = lab.request("", 0);
    assert_eq!(lab.executor.execute(request, lab.now), Err(Refusal::Invalid));
    let mut request = lab.request("start", 0);
    request.resource = "nobody".into();
    assert_eq!(lab.executor.execute(request, lab.now), Err(Refusal::NoSuchResource));
    assert_eq!(lab.executor.register("", Lab::agent("T"), true, lab.now), Err(Refusal::Invalid));
    assert_eq!(lab.executor.register("x", Lab::agent(""), true, lab.now), Err(Refusal::Invalid));
}

#[test]
fn an_unknown_child_is_our_fault_and_logged() {
    let mut lab = Lab::new();
    lab.executor.ended(ChildId(99), DONE, lab.now);
    assert!(matches!(lab.executor.poll(), Some(Action::Log(line)) if line.level == crate::log::Level::Error));
}
