//! What the first process does next: a table, without system calls.
//!
//! It looks after one child: the worker, which is the daemon. In a container, as in stock
//! (daemon-lifecycle.md section 8), the container ends when the worker does. As `/init` of a machine there
//! is nothing to end: a preparation runs first, and the worker is started again and again.
//!
//! | state | child ended | told to end | interrupted | nobody is left | time is up |
//! |---|---|---|---|---|---|
//! | Preparing (init) | start the worker | – | – | – | start the worker |
//! | Running, in a container | → Leaving | pass it on | exit 0 | – | – |
//! | Running, as init | → Pausing | pass it on | – | – | – |
//! | Leaving (container) | – | – | exit | exit | exit |
//! | Pausing (init) | – | – | – | – | start the worker |
//!
//! *Leaving* lets what the worker leaves behind, the process that writes its log file above all, come to
//! its end: what is there when process 1 exits is killed. It takes [`LEAVE`] if something stays.

use crate::agent::Ending;
use crate::time::Instant;

use super::super::core::ExitCode;

/// How long the preparation may take, in milliseconds, until the worker is started beside it.
pub const PREPARE: u64 = 60_000;
/// How long a container waits for what else ends after the worker, in milliseconds.
const LEAVE: u64 = 500;
/// How soon the worker is started again, in milliseconds; each time it lives for less than the longest pause that
/// takes twice as long…
const FIRST_PAUSE: u64 = 1_000;
/// …up to this.
const LONGEST_PAUSE: u64 = 30_000;
/// Stock's status for a worker that was ended by a signal.
const SIGNALLED: u8 = 1;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The child ended so.
    Ended(Ending),
    /// A signal that asks for an orderly end.
    Told,
    /// SIGINT: ends stock's first process, and so the container.
    Interrupted,
    /// This process has no child, its own or adopted, any more.
    Alone,
    /// [`Keeper::deadline`] has come.
    TimeIsUp,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Wait,
    /// Start the worker.
    Start,
    /// Send SIGTERM to the worker.
    PassOn,
    /// End this process with that status.
    Exit(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preparing,
    Running { since: Instant },
    Leaving { status: u8 },
    Pausing,
}

/// The first process's mind.
#[derive(Debug)]
pub struct Keeper {
    is_init: bool,
    state: State,
    deadline: Option<Instant>,
    /// How long the next pause is.
    pause: u64,
}

impl Keeper {
    /// In a container: the worker runs.
    pub fn of_container(now: Instant) -> Self {
        Self { is_init: false, state: State::Running { since: now }, deadline: None, pause: 0 }
    }

    /// As init: the preparation runs, if there is one.
    pub fn of_machine(now: Instant, is_prepared: bool) -> Self {
        let deadline = Some(now.after(if is_prepared { PREPARE } else { 0 }));
        Self { is_init: true, state: State::Preparing, deadline, pause: FIRST_PAUSE }
    }

    /// When [`Event::TimeIsUp`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether [`Event::Alone`] would change anything.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// Whether the worker was not started yet.
    pub fn is_preparing(&self) -> bool {
        self.state == State::Preparing
    }

    /// After [`Action::Start`], if that failed: the next try is due later.
    pub fn not_started(&mut self, now: Instant) {
        self.handle(Event::Ended(Ending::Exited(ExitCode::OsError as u8)), now);
    }

    /// One cell of the table.
    pub fn handle(&mut self, event: Event, now: Instant) -> Action {
        match (self.state, event) {
            (State::Preparing, Event::Ended(_) | Event::TimeIsUp) | (State::Pausing, Event::TimeIsUp) => {
                self.deadline = None;
                self.state = State::Running { since: now };
                Action::Start
            }
            (State::Running { since }, Event::Ended(ending)) if self.is_init => {
                if since.after(LONGEST_PAUSE) <= now {
                    self.pause = FIRST_PAUSE;
                }
                // What it says with this status is that the next start would fail in the same way.
                if ending == Ending::Exited(ExitCode::Fatal as u8) {
                    self.pause = LONGEST_PAUSE;
                }
                self.deadline = Some(now.after(self.pause));
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.state = State::Pausing;
                Action::Wait
            }
            (State::Running { .. }, Event::Ended(ending)) => {
                let status = match ending {
                    Ending::Exited(status) => status,
                    _ => SIGNALLED,
                };
                self.deadline = Some(now.after(LEAVE));
                self.state = State::Leaving { status };
                Action::Wait
            }
            (State::Running { .. }, Event::Told) => Action::PassOn,
            (State::Running { .. }, Event::Interrupted) if !self.is_init => Action::Exit(0),
            (State::Leaving { status }, Event::Interrupted | Event::Alone | Event::TimeIsUp) => {
                Action::Exit(status)
            }
            (State::Preparing, Event::Told | Event::Interrupted | Event::Alone)
            | (State::Running { .. }, Event::Interrupted | Event::Alone | Event::TimeIsUp)
            | (State::Leaving { .. }, Event::Ended(_) | Event::Told)
            | (State::Pausing, Event::Ended(_) | Event::Told | Event::Interrupted | Event::Alone) => {
                Action::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Alone, Ended, Interrupted, TimeIsUp, Told};

    const START: Instant = Instant::from_millis(1_000_000);
    const KILLED: Event = Ended(Ending::Signalled(9));
    const ALL: [Event; 5] = [KILLED, Told, Interrupted, Alone, TimeIsUp];

    /// What each event does in the state that `make` gives.
    fn row(make: impl Fn() -> Keeper) -> [Action; 5] {
        ALL.map(|event| make().handle(event, START))
    }

    #[test]
    fn a_container_ends_with_its_worker() {
        use Action::{Exit, PassOn, Wait};
        assert_eq!(row(|| Keeper::of_container(START)), [Wait, PassOn, Exit(0), Wait, Wait]);
        for (ending, status) in
            [(Ending::Exited(0), 0), (Ending::Exited(100), 100), (Ending::Signalled(9), 1)]
        {
            let leaving = || {
                let mut keeper = Keeper::of_container(START);
                assert_eq!(keeper.handle(Ended(ending), START), Wait);
                assert!(keeper.is_leaving());
                assert_eq!(keeper.deadline(), Some(START.after(LEAVE)));
                keeper
            };
            assert_eq!(row(leaving), [Wait, Wait, Exit(status), Exit(status), Exit(status)]);
        }
    }

    #[test]
    fn init_never_exits() {
        use Action::{PassOn, Start, Wait};
        let preparing = || Keeper::of_machine(START, true);
        assert_eq!(preparing().deadline(), Some(START.after(PREPARE)));
        assert_eq!(row(preparing), [Start, Wait, Wait, Wait, Start]);
        let running = || {
            let mut keeper = preparing();
            assert_eq!(keeper.handle(Ended(Ending::Exited(3)), START), Start);
            assert_eq!(keeper.deadline(), None);
            keeper
        };
        assert_eq!(row(running), [Wait, PassOn, Wait, Wait, Wait]);
        let pausing = || {
            let mut keeper = running();
            assert_eq!(keeper.handle(Ended(Ending::Exited(0)), START), Wait);
            keeper
        };
        assert_eq!(row(pausing), [Wait, Wait, Wait, Wait, Start]);
    }

    /// How long the pauses are when the worker ends as told, after so many milliseconds.
    fn pauses(lives: &[(u64, Ending)]) -> Vec<u64> {
        let mut keeper = Keeper::of_machine(START, false);
        assert_eq!(keeper.deadline(), Some(START));
        let mut now = START;
        assert_eq!(keeper.handle(TimeIsUp, now), Action::Start);
        let mut pauses = Vec::new();
        for &(millis, ending) in lives {
            now = now.after(millis);
            assert_eq!(keeper.handle(Ended(ending), now), Action::Wait);
            let end = keeper.deadline().unwrap();
            pauses.push(end.since(now));
            now = end;
            assert_eq!(keeper.handle(TimeIsUp, now), Action::Start);
        }
        pauses
    }

    #[test]
    fn who_ends_again_and_again_is_started_ever_later() {
        let soon = (10, Ending::Exited(1));
        assert_eq!(pauses(&[soon; 7]), [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        let later = (30_000, Ending::Signalled(11));
        assert_eq!(pauses(&[soon, soon, later, soon]), [1_000, 2_000, 1_000, 2_000]);
        let fatal = (30_000, Ending::Exited(100));
        assert_eq!(pauses(&[soon, fatal, soon, later]), [1_000, 30_000, 30_000, 1_000]);
    }

    #[test]
    fn who_cannot_be_started_is_tried_again() {
        let mut keeper = Keeper::of_machine(START, false);
        assert_eq!(keeper.deadline(), Some(START));
        assert_eq!(keeper.handle(TimeIsUp, START), Action::Start);
        keeper.not_started(START);
        assert_eq!(keeper.deadline(), Some(START.after(FIRST_PAUSE)));
        assert_eq!(keeper.handle(TimeIsUp, START), Action::Start);
    }
}
