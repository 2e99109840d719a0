//! The life of operations: turns, processes, results. The table is in the room's header.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::rc::Rc;

use crate::agent::{ChildId, Ending, Outcome, Plan, Status, Stream, duration};
use crate::line;
use crate::log::{Escaped, Level, Line};
use crate::time::{Instant, Now};
use crate::trial::{self, Mutant};

use super::operation::{Cause, Operation, OperationId, Phase};
use super::{Action, Executor};

/// How long after SIGKILL a process may take to be reaped before it is left behind, in milliseconds.
pub(super) const REAP_LIMIT: u32 = 5000;

impl Executor {
    /// Starts what can start. Call it after the replies to what was requested have been queued.
    pub fn dispatch(&mut self, now: Now) {
        while let Some(name) = self.ready.pop_front() {
            let Some(resource) = self.resources.get_mut(&name) else { continue };
            resource.ready = false;
            self.turn(&name, now);
            self.lane(&name, now);
            self.forget_empty(&name);
        }
    }

    /// A child wrote something.
    pub fn output(&mut self, child: ChildId, stream: Stream, bytes: &[u8]) {
        let Some(operation) = self.children.get(&child).and_then(|id| self.operations.get_mut(id)) else {
            if stream == Stream::Stderr {
                self.alert_says(child, bytes);
            }
            return;
        };
        match stream {
            Stream::Stdout => operation.stdout.push(bytes),
            Stream::Stderr => operation.stderr.push(bytes),
        }
    }

    /// A child ended and was reaped.
    pub fn ended(&mut self, child: ChildId, ending: Ending, now: Now) {
        if let Some(name) = self.left_behind.remove(&child) {
            return self.buried_late(child, &name);
        }
        let operation = self.children.remove(&child).and_then(|id| Some((id, self.operations.get(&id)?)));
        let Some((id, operation)) = operation else {
            if self.alert_ended(child, ending, now) {
                return;
            }
            self.log(line!(
                Error,
                "Child {} ended, which no operation waits for: please report this",
                child.0
            ));
            return;
        };
        operation.meets("ended");
        let cause = match operation.phase {
            Phase::Killed(_, cause) => Some(cause),
            _ => None,
        };
        if cause.is_none()
            && let Some(plan) = operation.call().second(ending)
        {
            return self.carry_on(id, plan, now);
        }
        let timed_out = cause == Some(Cause::TimedOut);
        let outcome =
            operation.call().outcome(ending, timed_out, operation.request.timeout, &operation.stderr);
        let outcome = match (cause, ending) {
            _ if trial::is(Mutant::CancelIsFailure) => outcome,
            // What ended by itself just before the kill keeps its result code.
            (Some(Cause::Cancelled), Ending::Exited(_)) => Outcome::cancelled(outcome.rc),
            (Some(Cause::Cancelled), _) => Outcome::cancelled(Outcome::OK),
            _ => outcome,
        };
        if let Some(resource) = self.resources.get_mut(&operation.resource) {
            resource.running.take_if(|running| *running == child);
        }
        self.finish(id, outcome, now);
    }

    /// What was asked by [`Action::Examine`]: `place` is the function of the kernel in which the child waits,
    /// if that can be told. Its operation ends now, and the child is left behind.
    pub fn examined(&mut self, child: ChildId, place: Option<&str>, now: Now) {
        let Some(&id) = self.children.get(&child) else { return };
        let Some(operation) = self.operations.get(&id) else { return };
        let Phase::Killed(_, cause) = operation.phase else { return };
        let name = operation.resource.clone();
        let stuck = match place {
            Some(place) => format!("SIGKILL does not end it, it waits in the kernel ({place})"),
            None => "SIGKILL does not end it".to_owned(),
        };
        let outcome = match cause {
            Cause::TimedOut => Outcome::timed_out(operation.request.timeout, Some(&stuck)),
            Cause::Cancelled => Outcome::cancelled(Outcome::OK),
        };
        self.warn(id, &format!("was killed {} ago: {stuck}", duration(REAP_LIMIT)));
        self.children.remove(&child);
        self.left_behind.insert(child, name.clone());
        self.finish(id, outcome, now);
        let waiting = self.resources.get(&name).map(|resource| resource.waiting.clone());
        for id in waiting.into_iter().flatten() {
            self.limit_wait(id, now);
        }
    }

    /// A process that was left behind has been reaped after all.
    fn buried_late(&mut self, child: ChildId, name: &Rc<str>) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        resource.running.take_if(|running| *running == child);
        // From now on who waits does so for one whose time is limited.
        for id in resource.waiting.clone() {
            self.set_deadline(id, None);
        }
        self.log(line!(
            Notice,
            "The process of {} that SIGKILL did not end has ended: the resource is free again",
            Escaped(name.as_bytes())
        ));
        self.make_ready(name);
    }

    /// The time is [`Executor::deadline`] or later.
    pub fn wake(&mut self, now: Now) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now.mono
        {
            self.set_deadline(id, None);
            self.deadline_passed(id, now);
        }
        self.wake_alerts(now);
    }

    fn deadline_passed(&mut self, id: OperationId, now: Now) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.meets("deadline");
        match operation.phase {
            Phase::Delayed => {
                operation.phase = Phase::Queued;
                let name = operation.resource.clone();
                self.make_ready(&name);
            }
            Phase::Idle => self.make_due(id, now),
            Phase::Running(child) => {
                let limit = duration(operation.request.timeout);
                let text = format!("did not complete within {limit}: killing it");
                self.warn(id, &text);
                self.kill(id, child, Cause::TimedOut, now);
            }
            Phase::Killed(child, _) => self.actions.push_back(Action::Examine(child)),
            Phase::Blocked => {
                let why = "an earlier process of the resource cannot be killed";
                let outcome = Outcome::timed_out(operation.request.timeout, Some(why));
                self.finish(id, outcome, now);
            }
            Phase::Between(_) => self.ask_again(id, now),
            // These have no deadline.
            Phase::Queued | Phase::Asked(_) => {}
        }
    }

    /// Gives the head of the queue its turn if nothing is active. A head whose delay has not passed holds up
    /// all behind it (executor-semantics.md section 2).
    fn turn(&mut self, name: &Rc<str>, now: Now) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        let Some(registration) = resource.registration.as_mut() else { return };
        if registration.active.is_some() {
            return;
        }
        let Some(&id) = registration.pending.front() else { return };
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.meets("turn");
        if operation.phase != Phase::Queued {
            return;
        }
        registration.pending.pop_front();
        registration.active = Some(id);
        if operation.is_recurring() {
            registration.recurring.push(id);
        }
        resource.waiting.push_back(id);
        operation.activate(now);
        let line = line!(
            Info,
            "executing - rsc:{} action:{} call_id:{}",
            Escaped(name.as_bytes()),
            Escaped(operation.request.action.as_bytes()),
            operation.request.call_id
        );
        self.log(line);
        self.limit_wait(id, now);
    }

    /// Gives a free lane to the first operation that waits for it.
    fn lane(&mut self, name: &Rc<str>, now: Now) {
        let Some(resource) = self.resources.get_mut(name) else { return };
        if resource.running.is_some() && !trial::is(Mutant::MonitorCollides) {
            return;
        }
        let Some(id) = resource.waiting.pop_front() else { return };
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.meets("lane");
        match operation.call().plan(&self.place) {
            Plan::Known(outcome) => self.finish(id, outcome, now),
            Plan::Ask(unit) => self.ask(id, unit, now),
            Plan::Run(command) => {
                self.last_child += 1;
                let child = ChildId(self.last_child);
                resource.running = Some(child);
                operation.phase = Phase::Running(child);
                let timeout = operation.request.timeout;
                self.children.insert(child, id);
                self.set_deadline(id, (timeout > 0).then(|| now.mono.after(timeout.into())));
                self.actions.push_back(Action::Spawn(child, command));
            }
        }
    }

    /// A recurring operation that rested is to run again.
    pub(super) fn make_due(&mut self, id: OperationId, now: Now) {
        self.set_deadline(id, None);
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.phase = Phase::Blocked;
        let name = operation.resource.clone();
        if let Some(resource) = self.resources.get_mut(&name) {
            resource.waiting.push_back(id);
        }
        self.limit_wait(id, now);
        self.make_ready(&name);
    }

    /// Limits an operation's wait for a lane that a process has which was left behind.
    fn limit_wait(&mut self, id: OperationId, now: Now) {
        let Some(operation) = self.operations.get(&id) else { return };
        let running = self.resources.get(&operation.resource).and_then(|resource| resource.running);
        let timeout = operation.request.timeout;
        if timeout > 0 && running.is_some_and(|child| self.left_behind.contains_key(&child)) {
            self.set_deadline(id, Some(now.mono.after(timeout.into())));
        }
    }

    /// Cancels operations; one that runs is killed, and reported when it has been reaped.
    pub(super) fn cancel_all(&mut self, ids: &[OperationId], now: Now) {
        for &id in ids {
            let Some(operation) = self.operations.get(&id) else { continue };
            operation.meets("cancel, stop, unregister");
            match operation.phase {
                Phase::Delayed | Phase::Queued | Phase::Blocked | Phase::Idle => {
                    let outcome = Outcome::cancelled(operation.last_rc);
                    self.finish(id, outcome, now);
                }
                Phase::Running(child) | Phase::Killed(child, _) => {
                    self.kill(id, child, Cause::Cancelled, now)
                }
                Phase::Asked(child) | Phase::Between(child) => self.forget(id, child, now),
            }
        }
    }

    fn kill(&mut self, id: OperationId, child: ChildId, cause: Cause, now: Now) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let was = std::mem::replace(&mut operation.phase, Phase::Killed(child, cause));
        if matches!(was, Phase::Killed(..)) {
            return;
        }
        let group = operation.kills_group();
        self.actions.push_back(Action::Kill { child, group });
        self.set_deadline(id, Some(now.mono.after(REAP_LIMIT.into())));
    }

    /// Tells of a result; then the operation rests until its next run, or is gone.
    pub(super) fn finish(&mut self, id: OperationId, outcome: Outcome, now: Now) {
        self.set_deadline(id, None);
        let Some(mut operation) = self.operations.remove(&id) else { return };
        let name = operation.resource.clone();
        let goes_on = operation.is_recurring() && outcome.status != Status::Cancelled;
        let is_zombie = trial::is(Mutant::ZombieMonitor) && !outcome.ran;
        operation.take_result(&outcome, now);
        self.log(completion_line(&operation, &outcome, now));
        let deleted = self.registration(&name).is_none();
        if let Some(completion) = operation.completion(outcome, deleted, now) {
            self.actions.push_back(Action::Notify(Box::new(completion)));
        }
        if let Some(resource) = self.resources.get_mut(&name) {
            if !trial::is(Mutant::CancelledStillWaits) {
                resource.waiting.retain(|&waiting| waiting != id);
            }
            if let Some(registration) = resource.registration.as_mut() {
                registration.active.take_if(|active| *active == id);
                if !goes_on {
                    registration.pending.retain(|&pending| pending != id);
                    registration.recurring.retain(|&recurring| recurring != id);
                }
            }
        }
        self.make_ready(&name);
        if goes_on {
            let next = now.mono.after(operation.request.interval.into());
            operation.rest();
            self.operations.insert(id, operation);
            self.set_deadline(id, (!is_zombie).then_some(next));
        }
    }

    /// Sets or clears the one deadline of an operation.
    pub(super) fn set_deadline(&mut self, id: OperationId, at: Option<Instant>) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut operation.deadline, at) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, id));
        }
    }

    /// Has [`Executor::dispatch`] look at a resource.
    pub(super) fn make_ready(&mut self, name: &Rc<str>) {
        if let Some(resource) = self.resources.get_mut(name)
            && !std::mem::replace(&mut resource.ready, true)
        {
            self.ready.push_back(name.clone());
        }
    }

    /// Forgets a name that is not registered and whose lane is empty.
    pub(super) fn forget_empty(&mut self, name: &str) {
        let empty = self.resources.get(name).is_some_and(|resource| {
            resource.registration.is_none() && resource.running.is_none() && resource.waiting.is_empty()
        });
        if empty {
            self.resources.remove(name);
        }
    }

    fn warn(&mut self, id: OperationId, what: &str) {
        let Some(operation) = self.operations.get(&id) else { return };
        let line = line!(
            Warning,
            "{} of {} (call {}) {what}",
            Escaped(operation.request.action.as_bytes()),
            Escaped(operation.resource.as_bytes()),
            operation.request.call_id
        );
        self.log(line);
    }
}

/// What administrators look for in the log (executor-semantics.md section 4).
fn completion_line(operation: &Operation, outcome: &Outcome, now: Now) -> Line {
    let (ran, waited) = operation.times(now);
    let request = &operation.request;
    let mut text = format!(
        "{} {} (call {}) ",
        Escaped(operation.resource.as_bytes()),
        Escaped(request.action.as_bytes()),
        request.call_id
    );
    // Writing to a String cannot fail.
    let _ = match outcome.status {
        Status::Done => write!(text, "exited with status {}", outcome.rc),
        Status::Cancelled => write!(text, "cancelled"),
        Status::Pending => write!(text, "is between two states"),
        other => write!(text, "could not be executed: {}", other.text()),
    };
    if let Some(reason) = &outcome.reason {
        let _ = write!(text, " ({})", Escaped(reason.as_bytes()));
    }
    let _ = write!(text, " (execution time {}", span(ran));
    if waited > 0 {
        let _ = write!(text, " after being queued {}", span(waited));
    }
    text.push(')');
    let is_monitor = request.action.eq_ignore_ascii_case("monitor");
    Line { level: if is_monitor { Level::Debug } else { Level::Info }, text }
}

fn span(millis: u64) -> String {
    duration(u32::try_from(millis).unwrap_or(u32::MAX))
}
