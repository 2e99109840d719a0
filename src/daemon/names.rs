//! The names that tools connect to: when to ask for one, and when to ask again (ipc.md section C.6).
//!
//! ```text
//!          start         serving   taken                     lasting   deadline
//! Closed   ask -> Asked  -         -                         -         -
//! Asked    -             -> Open   for 30 s: -> Waiting      give up   -
//!                                  after that: give up
//! Waiting  -             -         -                         -         ask -> Asked
//! Open     -             -         -                         -         -
//! ```
//!
//! Who has them is another daemon of this node that ends just now, or a full cluster node's, and then this one has
//! no business here: stock ends at once, with exit status 100, so that it is not started again.
#![forbid(unsafe_code)]

use crate::line;
use crate::proxy::Name;
use crate::time::{Instant, Now};

use super::core::{Core, Effect, ExitCode};

/// For how long a name that somebody else has is asked for, in milliseconds.
const PATIENCE: u64 = 30_000;
/// How often, in milliseconds.
const INTERVAL: u64 = 1_000;

/// How far one name has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    /// It was asked for, for the first time at `since`.
    Asked {
        since: Instant,
    },
    /// It is to be asked for again at `at`.
    Waiting {
        since: Instant,
        at: Instant,
    },
    Open,
}

/// What to do about a name that could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Ask again; it is the first of all names for which that is so.
    Warn,
    /// Ask again.
    Wait,
    GiveUp,
    /// It was not asked for.
    Ignore,
}

/// All names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    states: [State; Name::ALL.len()],
    /// The administrator was told that a name is taken.
    has_warned: bool,
}

impl Names {
    fn state(&mut self, name: Name) -> Option<&mut State> {
        self.states.get_mut(name as usize)
    }

    /// Whether to ask for a name, at the start.
    fn start(&mut self, name: Name, now: Instant) -> bool {
        match self.state(name) {
            Some(state @ State::Closed) => {
                *state = State::Asked { since: now };
                true
            }
            _ => false,
        }
    }

    /// A name was had: whether that ends what was warned of.
    fn serving(&mut self, name: Name) -> bool {
        if let Some(state @ State::Asked { .. }) = self.state(name) {
            *state = State::Open;
        }
        let all = self.states.iter().all(|state| *state == State::Open);
        all && std::mem::take(&mut self.has_warned)
    }

    fn refused(&mut self, name: Name, taken: bool, now: Instant) -> Verdict {
        let Some(state) = self.state(name) else { return Verdict::Ignore };
        let State::Asked { since } = *state else { return Verdict::Ignore };
        if !taken || now.since(since) >= PATIENCE {
            return Verdict::GiveUp;
        }
        *state = State::Waiting { since, at: now.after(INTERVAL) };
        if std::mem::replace(&mut self.has_warned, true) { Verdict::Wait } else { Verdict::Warn }
    }

    /// When [`Core::ask_for_names`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.states.iter().filter_map(|state| match state {
            State::Waiting { at, .. } => Some(*at),
            _ => None,
        });
        waiting.min()
    }

    /// Whether to ask for a name again, now.
    fn is_due(&mut self, name: Name, now: Instant) -> bool {
        match self.state(name) {
            Some(state) => match *state {
                State::Waiting { since, at } if at <= now => {
                    *state = State::Asked { since };
                    true
                }
                _ => false,
            },
            None => false,
        }
    }
}

impl Core {
    /// At the start: asks for all names, if tools are to be served.
    pub(super) fn serve_names(&mut self, now: Now) {
        if self.settings.tools.is_none() {
            return;
        }
        for name in Name::ALL {
            if self.names.start(name, now.mono) {
                self.effects.push_back(Effect::Serve(name));
            }
        }
    }

    pub(super) fn name_served(&mut self, name: Name) {
        if self.names.serving(name) {
            self.log(line!(Notice, "Tools of this node can connect now"));
        }
    }

    pub(super) fn name_refused(&mut self, name: Name, reason: &str, taken: bool, now: Now) {
        let seconds = PATIENCE / 1000;
        match self.names.refused(name, taken, now.mono) {
            Verdict::Ignore => {}
            _ if self.shutdown.has_begun() => {}
            Verdict::Warn => {
                self.log(line!(
                    Warning,
                    "Tools of this node cannot connect: {reason}: trying again for {seconds} s"
                ));
            }
            Verdict::Wait => self.log(line!(Debug, "Tools cannot connect: {reason}")),
            Verdict::GiveUp => {
                let hint = if taken {
                    "a node runs pacemaker or pacemaker_remote, not both"
                } else {
                    "with PACELET_tools=no the daemon serves none"
                };
                self.log(line!(
                    Crit,
                    "Failed to serve tools: shutting down and staying down: {reason}; {hint}"
                ));
                // Stock's, by name.
                let is_own = name != Name::Pacemakerd;
                self.exit(if is_own { ExitCode::Fatal } else { ExitCode::OsError });
            }
        }
    }

    /// Asks again for names that are due.
    pub(super) fn ask_for_names(&mut self, now: Now) {
        for name in Name::ALL {
            if self.names.is_due(name, now.mono) && !self.shutdown.has_begun() {
                self.effects.push_back(Effect::Serve(name));
            }
        }
    }
}

#[cfg(test)]
mod tests;
