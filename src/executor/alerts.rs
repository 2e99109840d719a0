//! Alerts in flight (executor-semantics.md section 9).
//!
//! They belong to no resource and wait for nothing. Nobody is told how they end but the log; only the daemon's own
//! end waits for them, for a while.
//!
//! ```text
//!            ended     deadline
//! Running    logged    -> Killed, with its process group
//! Killed     logged    said, once; still waited for
//! ```
#![forbid(unsafe_code)]

use crate::agent::{ChildId, Ending, Outcome, Parameters, alert, duration};
use crate::line;
use crate::log::{Escaped, Level, Line};
use crate::time::{Instant, Now};

use super::run::REAP_LIMIT;
use super::{Action, Executor, Refusal};

/// How much of what an alert says on standard error goes into the log, in bytes.
const SAID: usize = 200;

/// How much longer than its time-out the daemon's end waits for an alert, in milliseconds.
const PATIENCE: u64 = 5000;

/// What `lrmd_alert_exec` asks for.
#[derive(Debug)]
pub struct Alert {
    /// Its name, for the log.
    pub name: String,
    /// The program.
    pub path: String,
    /// Milliseconds it may take; 0 for no limit.
    pub timeout: u32,
    /// What it is told.
    pub parameters: Parameters,
}

/// An alert that has not ended.
#[derive(Debug)]
pub(super) struct Flight {
    child: ChildId,
    /// As the log has it: cut, however long it came.
    name: String,
    timeout: u32,
    since: Instant,
    deadline: Option<Instant>,
    killed: bool,
    said: Vec<u8>,
}

impl Executor {
    /// How many alerts may be in flight at once; a request beyond is refused.
    pub const ALERTS: usize = 1000;

    /// Runs an alert.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] without an absolute path, [`Refusal::TooMuch`] at [`Executor::ALERTS`].
    pub fn alert(&mut self, request: Alert, now: Now) -> Result<(), Refusal> {
        if self.alerts.len() >= Self::ALERTS {
            return Err(Refusal::TooMuch);
        }
        let number = self.last_alert + 1;
        let Some(command) = alert::command(&request.path, number, &request.parameters) else {
            return Err(Refusal::Invalid);
        };
        self.last_alert = number;
        self.last_child += 1;
        let child = ChildId(self.last_child);
        let (name, timeout) = (Escaped(request.name.as_bytes()).to_string(), request.timeout);
        let deadline = (timeout > 0).then(|| now.mono.after(timeout.into()));
        let (since, said) = (now.mono, Vec::new());
        self.alerts.push(Flight { child, name, timeout, since, deadline, killed: false, said });
        self.actions.push_back(Action::Spawn(child, command));
        Ok(())
    }

    /// Until when the daemon's end is to wait for the alerts in flight; `None` if there are none.
    pub fn alerts_end(&self) -> Option<Instant> {
        let end = |flight: &Flight| flight.since.after(u64::from(flight.timeout) + PATIENCE);
        self.alerts.iter().map(end).max()
    }

    pub(super) fn alert_deadline(&self) -> Option<Instant> {
        self.alerts.iter().filter_map(|flight| flight.deadline).min()
    }

    /// Takes note of what a child says on standard error if it is an alert.
    pub(super) fn alert_says(&mut self, child: ChildId, bytes: &[u8]) {
        if let Some(flight) = self.alerts.iter_mut().find(|flight| flight.child == child) {
            let room = SAID - flight.said.len();
            flight.said.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// Whether the child that ended is an alert.
    pub(super) fn alert_ended(&mut self, child: ChildId, ending: Ending, now: Now) -> bool {
        let Some(place) = self.alerts.iter().position(|flight| flight.child == child) else { return false };
        let flight = self.alerts.swap_remove(place);
        if self.alerts.is_empty() {
            self.alerts = Vec::new();
        }
        let name = &flight.name;
        let took = duration(u32::try_from(now.mono.since(flight.since)).unwrap_or(u32::MAX));
        let how = match ending {
            Ending::Exited(code) => format!("exited with status {code}"),
            Ending::Signalled(_) if flight.killed => "was killed".to_owned(),
            Ending::Signalled(signal) => format!("was ended by signal {signal}"),
            Ending::NotRun(step, errno) => {
                let outcome = Outcome::not_run("Alert agent", step, errno);
                format!("could not be executed: {}", outcome.reason.unwrap_or_default())
            }
        };
        let mut text = format!("Alert {name} {how} (execution time {took})");
        let fine = ending == Ending::Exited(0);
        let said = flight.said.trim_ascii();
        if !fine && !said.is_empty() {
            text.push_str(&format!(": {}", Escaped(said)));
        }
        self.log(Line { level: if fine { Level::Info } else { Level::Warning }, text });
        true
    }

    pub(super) fn wake_alerts(&mut self, now: Now) {
        for flight in &mut self.alerts {
            if flight.deadline.is_none_or(|at| at > now.mono) {
                continue;
            }
            let name = &flight.name;
            let line = if std::mem::replace(&mut flight.killed, true) {
                flight.deadline = None;
                line!(
                    Warning,
                    "Alert {name} was killed {} ago: SIGKILL does not end it",
                    duration(REAP_LIMIT)
                )
            } else {
                flight.deadline = Some(now.mono.after(REAP_LIMIT.into()));
                self.actions.push_back(Action::Kill { child: flight.child, group: true });
                let limit = duration(flight.timeout);
                line!(Warning, "Alert {name} did not complete within {limit}: killing it")
            };
            self.actions.push_back(Action::Log(line));
        }
    }
}
