//! One operation: its request, its phase, its times and what was told of it.
#![forbid(unsafe_code)]

use std::rc::Rc;

use crate::agent::{Agent, Call, ChildId, Outcome, Output, Status};
use crate::time::{Instant, Now};
use crate::trial::{self, Mutant};

use super::{Completion, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OperationId(pub u64);

/// Where an operation is in its life; the table is in the room's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the queue, with a start delay that has not passed.
    Delayed,
    /// In the queue.
    Queued,
    /// Due, and waiting for the lane.
    Blocked,
    /// Its process has the lane.
    Running(ChildId),
    /// Its process was killed and has not been reaped.
    Killed(ChildId, Cause),
    /// systemd works on it, in its lane.
    Asked(ChildId),
    /// Its unit is being started or stopped: systemd is to be asked again. It keeps its lane.
    Between(ChildId),
    /// Recurring, between two runs.
    Idle,
}

impl Phase {
    /// As in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Delayed => "Delayed",
            Self::Queued => "Queued",
            Self::Blocked => "Blocked",
            Self::Running(_) => "Running",
            Self::Killed(..) => "Killed",
            Self::Asked(_) => "Asked",
            Self::Between(_) => "Between",
            Self::Idle => "Idle",
        }
    }
}

/// Why a process was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    TimedOut,
    Cancelled,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) request: Request,
    pub(super) resource: Rc<str>,
    agent: Rc<Agent>,
    pub(super) phase: Phase,
    pub(super) deadline: Option<Instant>,
    /// Since when a one-shot has asked systemd, a recurring one been told that its unit is between two states.
    pub(super) since: Option<Instant>,
    /// The times of the first run; `None` for later ones.
    first: Option<FirstRun>,
    /// The result code of the last run, 0 before.
    pub(super) last_rc: u8,
    change_time: u64,
    /// The result that was told last.
    pub(super) told: Option<(u8, Status)>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

#[derive(Clone, Copy, Debug)]
struct FirstRun {
    queued: Instant,
    activated: Option<Now>,
}

impl Operation {
    pub(super) fn new(request: Request, resource: Rc<str>, agent: Rc<Agent>, now: Instant) -> Self {
        Self {
            phase: if request.start_delay > 0 { Phase::Delayed } else { Phase::Queued },
            request,
            resource,
            agent,
            deadline: None,
            since: None,
            first: Some(FirstRun { queued: now, activated: None }),
            last_rc: Outcome::OK,
            change_time: 0,
            told: None,
            stdout: Output::default(),
            stderr: Output::default(),
        }
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            resource: &self.resource,
            agent: &self.agent,
            action: &self.request.action,
            interval: self.request.interval,
            parameters: &self.request.parameters,
        }
    }

    /// What happens to it, a column of the table.
    pub(super) fn meets(&self, event: &'static str) {
        let is_unit = matches!(self.phase, Phase::Asked(_) | Phase::Between(_));
        trial::reach(if is_unit { "unit" } else { "operation" }, self.phase.name(), event);
    }

    pub(super) fn is_recurring(&self) -> bool {
        self.request.interval > 0
    }

    pub(super) fn is_being_cancelled(&self) -> bool {
        matches!(self.phase, Phase::Killed(_, Cause::Cancelled))
    }

    /// Whether a kill takes the whole process group. With `on-fail=block` an administrator is to find
    /// what the agent left (executor-semantics.md section 6.7).
    pub(super) fn kills_group(&self) -> bool {
        let on_fail = self.request.parameters.value("CRM_meta_on_fail");
        !on_fail.is_some_and(|value| value.eq_ignore_ascii_case("block"))
    }

    /// Its turn has come: the time from here on is execution.
    pub(super) fn activate(&mut self, now: Now) {
        self.phase = Phase::Blocked;
        if let Some(first) = &mut self.first {
            first.activated = Some(now);
        }
    }

    /// Takes note of a result. Only what really ran counts as a change, and a cancellation is no result.
    pub(super) fn take_result(&mut self, outcome: &Outcome, now: Now) {
        if outcome.status == Status::Cancelled {
            return;
        }
        if outcome.ran && outcome.rc != self.last_rc {
            self.change_time = now.epoch;
        }
        self.last_rc = outcome.rc;
    }

    /// What to tell of a result; `None` if clients want only changes and this is none
    /// (executor-semantics.md section 4).
    pub(super) fn completion(&mut self, outcome: Outcome, deleted: bool, now: Now) -> Option<Completion> {
        let result = (outcome.rc, outcome.status);
        if self.request.notify_changes_only && self.told == Some(result) {
            return None;
        }
        self.told = Some(result);
        let (exec_time, queue_time) = self.times(now);
        let streams = [&mut self.stderr, &mut self.stdout].map(std::mem::take);
        let output = streams.into_iter().find(|stream| !stream.is_empty());
        Some(Completion {
            only: self.request.notify_requester_only.then_some(self.request.client),
            call_id: self.request.call_id,
            resource: self.resource.clone(),
            action: self.request.action.clone(),
            interval: self.request.interval,
            timeout: self.request.timeout,
            start_delay: self.request.start_delay,
            user_data: self.request.user_data.clone(),
            rc: outcome.rc,
            status: outcome.status,
            deleted,
            run_time: self.activated().map_or(0, |at| at.epoch),
            change_time: self.change_time,
            exec_time,
            queue_time,
            reason: outcome.reason,
            output: output.map(Output::into_bytes),
            parameters: self.request.parameters.clone(),
        })
    }

    /// Milliseconds it has been active and, before that, waited; 0 for later runs and what never started.
    pub(super) fn times(&self, now: Now) -> (u64, u64) {
        match (self.first, self.activated()) {
            (Some(first), Some(activated)) if trial::is(Mutant::WallClockTimes) => {
                // Milliseconds by which the wall clock is ahead of the other one.
                let ahead =
                    |at: Now| at.epoch.wrapping_mul(1000).wrapping_sub(at.mono.as_millis() / 1000 * 1000);
                let jump = ahead(now).wrapping_sub(ahead(activated));
                (now.mono.since(activated.mono).wrapping_add(jump), activated.mono.since(first.queued))
            }
            (Some(first), Some(activated)) => {
                (now.mono.since(activated.mono), activated.mono.since(first.queued))
            }
            _ => (0, 0),
        }
    }

    fn activated(&self) -> Option<Now> {
        self.first?.activated
    }

    /// A run of a recurring operation is over: the next one is a later one.
    pub(super) fn rest(&mut self) {
        self.phase = Phase::Idle;
        self.first = None;
        self.stdout = Output::default();
        self.stderr = Output::default();
    }
}
