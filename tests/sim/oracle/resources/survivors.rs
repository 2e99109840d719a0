//! Processes that SIGKILL does not end: each is reported after 5 s, and keeps its resource's name until it has
//! ended (executor-semantics.md section 6.7 and what pacelet does beyond it).

use pacelet::agent::ChildId;
use pacelet::time::Now;

use super::super::results::TIMEOUT;
use super::super::{Checked, Rule, violation};
use super::{Kill, Operation, Outcome, Resources, SERIAL, State};

/// After so long a process that survives SIGKILL is reported all the same.
pub const PATIENCE: u64 = 5_000;

impl Resources {
    /// Only what was killed long ago is worth asking about, and once.
    pub fn examine(&mut self, child: ChildId, now: Now) -> Checked {
        let operation = self.children.get(&child).and_then(|serial| self.operations.get_mut(serial));
        match operation.map(|operation| &mut operation.state) {
            Some(State::Running { kill: Some(Kill { at: Some(at), asked: asked @ false, .. }), .. })
                if at.after(PATIENCE) <= now.mono =>
            {
                *asked = true;
                Ok(())
            }
            state => violation(Rule::Kill, format!("child {} is examined: {state:?}", child.0)),
        }
    }

    /// A process survives SIGKILL: it is reported, and its resource's name stays taken.
    pub fn examined(&mut self, child: ChildId, now: Now) {
        let Some(serial) = self.children.remove(&child) else { return };
        let operation = &self.operations[&serial];
        self.left.insert(child, operation.request.resource.clone());
        let outcome = if operation.is_being_cancelled() {
            Outcome::cancelled(0)
        } else {
            Outcome { ran: true, ..Outcome::ours(1, TIMEOUT, "SIGKILL does not end it") }
        };
        self.finish(&serial, outcome, now);
        self.limit_waits(now);
    }

    /// Who waits for a process that cannot be killed does so no longer than its time-out.
    pub fn limit_waits(&mut self, now: Now) {
        for operation in self.operations.values_mut() {
            let is_stuck = self.left.values().any(|name| *name == operation.request.resource);
            if !is_stuck || !matches!(operation.state, State::Due(..)) {
                operation.gives_up = None;
            } else if operation.request.timeout > 0 {
                operation.gives_up.get_or_insert(now.mono.after(operation.request.timeout.into()));
            }
        }
    }

    /// Who has waited for so long is reported, although it could not be run.
    pub fn give_up_waiting(&mut self, now: Now) {
        let has_given_up = |operation: &&Operation| operation.gives_up.is_some_and(|at| at <= now.mono);
        let mut given_up: Vec<_> = self.operations.values().filter(has_given_up).collect();
        given_up.sort_by_key(|operation| operation.gives_up);
        let given_up: Vec<_> =
            given_up.iter().map(|operation| operation.request.parameters[SERIAL].clone()).collect();
        for serial in given_up {
            let outcome = Outcome { ran: true, ..Outcome::ours(1, TIMEOUT, "cannot be killed") };
            self.finish(&serial, outcome, now);
        }
    }
}
