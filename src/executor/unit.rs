//! Operations that systemd works on (executor-semantics.md section 7).
//!
//! ```text
//!          answered               between two states                    deadline        cancel, stop, unregister
//! Asked    as a child's end from  recurring: reported pending, or       -               recurring: reported cancelled,
//!          Running                timed out if it has been so too long                  gone; systemd is not waited for
//!                                 one-shot: -> Between, or reported                     one-shot: goes on
//!                                 timed out
//! Between  -                      -                                     asked: Asked    -
//! ```
//!
//! How long systemd may take for one answer is not known here: `daemon` keeps that time. A one-shot that asks for a
//! state waits until it is one that lasts.
#![forbid(unsafe_code)]

use crate::agent::{ChildId, Outcome, Plan, Status, Unit};
use crate::time::Now;
use crate::trial::{self, Mutant};

use super::operation::{OperationId, Phase};
use super::{Action, Executor};

/// How long to wait before a state is asked for again, at most, in milliseconds.
const LONGEST_PAUSE: u64 = 2_000;
/// And at least: with less time left it is over.
const SHORTEST_PAUSE: u64 = 20;

impl Executor {
    /// What was asked by [`Action::Ask`] has come to this, with this output.
    pub fn answered(&mut self, child: ChildId, outcome: Outcome, output: &[u8], now: Now) {
        let Some(id) = self.children.remove(&child) else { return };
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let is_pending = outcome.status == Status::Pending;
        operation.meets(if is_pending { "between two states" } else { "answered" });
        let timeout = u64::from(operation.request.timeout);
        let outcome = if is_pending {
            let passed = now.mono.since(*operation.since.get_or_insert(now.mono));
            // 0 is no limit.
            let left = if timeout == 0 || trial::is(Mutant::EndlessFollowUp) {
                u64::MAX
            } else {
                timeout.saturating_sub(passed)
            };
            let waits = operation.call().waits_for_state() && !trial::is(Mutant::ActivatingIsFailure);
            if waits && left >= SHORTEST_PAUSE {
                let pause = if timeout == 0 { LONGEST_PAUSE } else { LONGEST_PAUSE.min(timeout / 10) };
                let pause = if pause >= left { left / 2 } else { pause.max(1) };
                operation.phase = Phase::Between(child);
                return self.set_deadline(id, Some(now.mono.after(pause)));
            }
            if operation.is_recurring() && left > 0 { outcome } else { Outcome::never_settled() }
        } else {
            operation.since = None;
            outcome
        };
        self.output_of(id, output);
        self.leave_lane(id, child);
        self.finish(id, outcome, now);
    }

    /// Has systemd do what an operation asks for that has the lane.
    pub(super) fn ask(&mut self, id: OperationId, unit: Box<Unit>, now: Now) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        self.last_child += 1;
        let child = ChildId(self.last_child);
        operation.phase = Phase::Asked(child);
        let mut timeout = operation.request.timeout;
        if !operation.is_recurring() {
            let since = *operation.since.get_or_insert(now.mono);
            let passed = u32::try_from(now.mono.since(since)).unwrap_or(u32::MAX);
            // What is left of it, but 0 would be no limit.
            timeout = if timeout == 0 { 0 } else { timeout.saturating_sub(passed).max(1) };
            if trial::is(Mutant::FollowUpsTimeTold) {
                operation.request.timeout = timeout;
            }
        }
        if let Some(resource) = self.resources.get_mut(&operation.resource) {
            resource.running = Some(child);
        }
        self.children.insert(child, id);
        self.actions.push_back(Action::Ask { child, unit, timeout });
    }

    /// The pause is over.
    pub(super) fn ask_again(&mut self, id: OperationId, now: Now) {
        let Some(operation) = self.operations.get(&id) else { return };
        let plan = operation.call().again();
        self.carry_on(id, plan, now);
    }

    /// What an operation goes on with that has the lane.
    pub(super) fn carry_on(&mut self, id: OperationId, plan: Plan, now: Now) {
        match plan {
            Plan::Ask(unit) => {
                self.set_deadline(id, None);
                self.ask(id, unit, now);
            }
            Plan::Known(outcome) => {
                if let Some(Phase::Running(child) | Phase::Between(child)) =
                    self.operations.get(&id).map(|operation| operation.phase)
                {
                    self.leave_lane(id, child);
                }
                self.finish(id, outcome, now);
            }
            // Nothing goes on with a child.
            Plan::Run(_) => {}
        }
    }

    /// Cancels it while systemd works on it.
    pub(super) fn forget(&mut self, id: OperationId, child: ChildId, now: Now) {
        self.children.remove(&child);
        self.leave_lane(id, child);
        if !trial::is(Mutant::CancelledUnitGoesOn) {
            self.actions.push_back(Action::Forget(child));
        }
        self.finish(id, Outcome::cancelled(Outcome::OK), now);
    }

    fn output_of(&mut self, id: OperationId, output: &[u8]) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.stdout.push(output);
        }
    }

    fn leave_lane(&mut self, id: OperationId, child: ChildId) {
        let Some(operation) = self.operations.get(&id) else { return };
        if let Some(resource) = self.resources.get_mut(&operation.resource) {
            resource.running.take_if(|running| *running == child);
        }
    }
}
