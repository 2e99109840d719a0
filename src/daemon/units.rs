//! The system bus, and what systemd does for operations on it: who waits for which answer, and for how long.
//!
//! ```text
//!          asked                opened           refused    let in   lost                  broken or late  deadline
//! Closed   open it: -> Opening  -                -          -        -                     -               -
//! Opening  waits                asks:            all fail:  -        -                     -               -
//!                               -> Strange       -> Closed;
//!                                                after a
//!                                                loss as
//!                                                lost
//! Strange  asks                 -                -          -> Open  all wait: -> Paused,  all fail:       as broken
//!                                                                    the sixth time all    -> Closed
//!                                                                    fail: -> Closed
//! Open     asks                 -                -          -        all wait: -> Paused   as lost         the overdue
//!                                                                                                          have failed
//! Paused   waits                -                -          -        -                     -               open it:
//!                                                                                                          -> Opening
//! ```
//!
//! Nothing is opened before the first operation needs it. What a bus took with it that had let us in is asked again on
//! the next one: a bus or a systemd that was started anew costs an operation a moment, not its result. A job that was
//! queued twice is the same job.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::agent::{ChildId, DropIn, Outcome, Todo, Unit};
use crate::dbus::manager::Manager;
use crate::dbus::systemd::{Done, Failure, Reply, Request, RequestId};
use crate::line;
use crate::time::{Instant, Now};
use crate::trial::{self, Mutant};

use super::core::Effect;

/// How long a bus may take to let us in, in milliseconds: one that is started for us takes a moment.
const USABLE: u64 = 15_000;
/// How long to wait before a bus that was lost is opened again, in milliseconds: twice as long each time…
const PAUSE: u64 = 100;
/// …and one time less than this, if it does not let us in: one that ends, or begins, may take us on for a moment, or
/// refuse us.
const TRIES: u8 = 6;
/// How much longer than its operation a job may take, in milliseconds (executor-semantics.md section 7).
const GRACE: u64 = 5_000;
/// How long an answer may take if the operation has no limit, in milliseconds.
const UNLIMITED: u64 = 25_000;

/// What happened on the bus, or to a unit's file.
#[derive(Debug)]
pub enum BusEvent<'a> {
    /// It was opened, as this user.
    Opened(u32),
    /// It could not be opened.
    Refused {
        /// The address, the step and the error.
        reason: String,
        /// There is no bus at all.
        is_absent: bool,
    },
    /// Bytes came; never empty.
    Received(&'a [u8]),
    /// The socket took so many bytes of [`Core::bus_outgoing`](super::Core::bus_outgoing).
    Sent(usize),
    /// The bus closed it; the edge has forgotten it. The errno, `None` for an orderly end.
    Lost(Option<i32>),
    /// What [`BusEffect::Mark`] came to: whether a file is there now, or gone, that was not before; or the errno.
    Marked(ChildId, Result<bool, i32>),
}

/// What is to be done with the bus, or a unit's file.
#[derive(Debug, PartialEq, Eq)]
pub enum BusEffect {
    /// Open it: [`BusEvent::Opened`] or [`BusEvent::Refused`] follows.
    Open,
    /// [`Core::bus_outgoing`](super::Core::bus_outgoing) has bytes: write them as the socket takes them, tell each
    /// portion by [`BusEvent::Sent`], and go on until there are none.
    Transmit,
    /// Close it. No [`BusEvent::Lost`] follows.
    Close,
    /// Write or remove a file: [`BusEvent::Marked`] follows.
    Mark(ChildId, DropIn),
}

/// Operations that systemd works on.
#[derive(Debug, Default)]
pub(super) struct Units {
    bus: Bus,
    /// In the order in which they were asked for.
    runs: Vec<Run>,
    /// What came of those that are over, and their output.
    done: VecDeque<(ChildId, Outcome, String)>,
    effects: VecDeque<Effect>,
    /// [`BusEffect::Transmit`] was given out, and bytes are left.
    is_sending: bool,
    /// How often the bus was lost or refused since it let us in, while somebody waited.
    tried: u8,
}

#[derive(Debug, Default)]
enum Bus {
    #[default]
    Closed,
    Opening,
    Open(Box<Manager>),
    /// Until then.
    Paused(Instant),
}

#[derive(Debug)]
struct Run {
    child: ChildId,
    unit: Box<Unit>,
    /// By when an answer must have come.
    answer_by: Instant,
    /// By when a job must have ended.
    job_by: Instant,
    /// How many requests it has made, in a circle.
    asked: u8,
    /// It is to begin, once more, when the bus is open.
    waits: bool,
}

/// What a run goes on with.
enum Input {
    Begin,
    Answer(Result<Reply, Failure>),
    Marked(Result<bool, i32>),
}

impl Units {
    /// Has systemd do something. `timeout`: milliseconds, 0 for no limit.
    pub(super) fn ask(&mut self, child: ChildId, unit: Box<Unit>, timeout: u32, now: Instant) {
        self.meets("asked");
        let limit = u64::from(timeout);
        let (answer, job) = if limit == 0 { (UNLIMITED, u64::MAX) } else { (limit, limit + GRACE) };
        let (answer_by, job_by) = (now.after(answer), now.after(job));
        self.runs.push(Run { child, unit, answer_by, job_by, asked: 0, waits: true });
        match self.bus {
            Bus::Closed => self.open(),
            Bus::Open(_) => self.advance(child, Input::Begin),
            Bus::Opening | Bus::Paused(_) => {}
        }
        self.drain();
    }

    /// Nobody wants to know any more.
    pub(super) fn forget(&mut self, child: ChildId) {
        if let (Some(run), Bus::Open(manager)) = (self.remove(child), &mut self.bus) {
            manager.forget(number(child, run.asked));
        }
    }

    pub(super) fn handle(&mut self, event: BusEvent<'_>, now: Now) {
        match (event, &mut self.bus) {
            (BusEvent::Opened(uid), bus) => {
                trial::reach("bus", bus.state(), "opened");
                *bus = Bus::Open(Box::new(Manager::new(uid, now.mono.after(USABLE))));
                let waiting = self.runs.iter().filter(|run| run.waits);
                let waiting: Vec<_> = waiting.map(|run| run.child).collect();
                for child in waiting {
                    self.advance(child, Input::Begin);
                }
                // Whose time has passed while there was no bus.
                self.wake(now.mono);
            }
            (BusEvent::Refused { reason, is_absent }, bus) => {
                trial::reach("bus", bus.state(), "refused");
                *bus = Bus::Closed;
                // For the first time there is nothing to be waited for.
                let is_hopeless = self.tried == 0;
                self.pause(&reason, is_absent, is_hopeless, now.mono);
            }
            (BusEvent::Received(bytes), Bus::Open(manager)) => {
                let was_usable = manager.is_usable();
                let received = manager.receive(bytes);
                if manager.is_usable() && !was_usable {
                    trial::reach("bus", "Strange", "let in");
                    self.tried = 0;
                }
                self.drain();
                if let Err(error) = received {
                    self.lost(&error.to_string(), true, now.mono);
                }
            }
            (BusEvent::Sent(count), Bus::Open(manager)) => {
                manager.sent(count);
                self.is_sending = !manager.outgoing().is_empty();
            }
            (BusEvent::Lost(errno), _) => {
                let why = errno.map(|errno| std::io::Error::from_raw_os_error(errno).to_string());
                self.lost(why.as_deref().unwrap_or("it was closed"), false, now.mono);
            }
            (BusEvent::Marked(child, changed), _) => self.advance(child, Input::Marked(changed)),
            // Of a bus that was closed meanwhile.
            (BusEvent::Received(_) | BusEvent::Sent(_), _) => {}
        }
        self.drain();
    }

    /// When to call [`Units::wake`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.bus {
            Bus::Closed | Bus::Opening => None,
            Bus::Open(manager) => manager.deadline(),
            Bus::Paused(until) => Some(*until),
        }
    }

    pub(super) fn wake(&mut self, now: Instant) {
        if self.deadline().is_none_or(|at| at > now) {
            return;
        }
        self.meets("deadline");
        match &mut self.bus {
            Bus::Open(manager) => {
                let woken = manager.wake(now);
                self.drain();
                if let Err(error) = woken {
                    self.lost(&error.to_string(), true, now);
                }
            }
            _ => self.open(),
        }
        self.drain();
    }

    /// The next run that is over, with its result and output.
    pub(super) fn poll(&mut self) -> Option<(ChildId, Outcome, String)> {
        self.done.pop_front()
    }

    /// What is to be done outside.
    pub(super) fn effects(&mut self) -> &mut VecDeque<Effect> {
        &mut self.effects
    }

    /// The bytes that wait for the bus's socket.
    pub(super) fn outgoing(&self) -> &[u8] {
        match &self.bus {
            Bus::Open(manager) => manager.outgoing(),
            _ => &[],
        }
    }

    fn open(&mut self) {
        self.bus = Bus::Opening;
        self.effects.push_back(Effect::Bus(BusEffect::Open));
    }

    /// The bus is gone, or is given up.
    fn lost(&mut self, why: &str, is_ours: bool, now: Instant) {
        self.meets(if is_ours { "broken or late" } else { "lost" });
        let Bus::Open(manager) = std::mem::take(&mut self.bus) else { return };
        self.is_sending = false;
        if is_ours {
            self.effects.push_back(Effect::Bus(BusEffect::Close));
        }
        let is_usable = manager.is_usable();
        if is_usable {
            let line = line!(Notice, "The connection to the system bus ended: {why}");
            self.effects.push_back(Effect::Log(line));
        }
        self.pause(why, false, is_ours && !is_usable, now);
    }

    /// All wait for a bus, or fail if they have done so too often.
    fn pause(&mut self, why: &str, is_absent: bool, is_hopeless: bool, now: Instant) {
        self.tried += 1;
        if is_hopeless || self.tried >= TRIES || self.runs.is_empty() {
            self.tried = 0;
            return self.fail_all(why, is_absent);
        }
        self.bus = Bus::Paused(now.after(PAUSE << (self.tried - 1)));
        if trial::is(Mutant::LostBusForgets) {
            self.runs.clear();
        }
        for run in &mut self.runs {
            run.waits = true;
        }
    }

    fn fail_all(&mut self, why: &str, is_absent: bool) {
        for run in std::mem::take(&mut self.runs) {
            self.done.push_back((run.child, run.unit.unreachable(why, is_absent), String::new()));
        }
    }

    /// Hands on what has been answered, and has sent what waits.
    fn drain(&mut self) {
        while let Bus::Open(manager) = &mut self.bus
            && let Some(Done { id, result }) = manager.poll()
        {
            let child = ChildId(id.0 >> 8);
            // Nobody waits for a reload of its own.
            if self.runs.iter().any(|run| run.child == child && number(child, run.asked) == id) {
                self.advance(child, Input::Answer(result));
            }
        }
        if !self.is_sending && !self.outgoing().is_empty() {
            self.is_sending = true;
            self.effects.push_back(Effect::Bus(BusEffect::Transmit));
        }
    }

    fn remove(&mut self, child: ChildId) -> Option<Run> {
        let place = self.runs.iter().position(|run| run.child == child)?;
        Some(self.runs.remove(place))
    }

    /// Takes a run one step further.
    fn advance(&mut self, child: ChildId, mut input: Input) {
        loop {
            let Some(run) = self.runs.iter_mut().find(|run| run.child == child) else { return };
            let Bus::Open(manager) = &mut self.bus else {
                run.waits = true;
                return;
            };
            run.waits = false;
            let (answer_by, job_by) = (run.answer_by, run.job_by);
            let todo = match input {
                Input::Begin => run.unit.begin(),
                Input::Answer(result) => run.unit.answer(result),
                Input::Marked(changed) => run.unit.marked(changed),
            };
            match todo {
                Todo::Ask { request, reload } => {
                    if reload {
                        run.asked = run.asked.wrapping_add(1);
                        manager.ask(number(child, run.asked), Request::Reload, job_by);
                    }
                    run.asked = run.asked.wrapping_add(1);
                    let deadline = if request.is_job() { job_by } else { answer_by };
                    return manager.ask(number(child, run.asked), request, deadline);
                }
                Todo::Mark(drop_in) => {
                    return self.effects.push_back(Effect::Bus(BusEffect::Mark(child, drop_in)));
                }
                Todo::Again => input = Input::Begin,
                Todo::End(outcome, output) => {
                    self.remove(child);
                    return self.done.push_back((child, outcome, output));
                }
            }
        }
    }

    /// What happens, a column of the table.
    fn meets(&self, event: &'static str) {
        trial::reach("bus", self.bus.state(), event);
    }
}

impl Bus {
    /// As in the table.
    fn state(&self) -> &'static str {
        match self {
            Self::Closed => "Closed",
            Self::Opening => "Opening",
            Self::Open(manager) if manager.is_usable() => "Open",
            Self::Open(_) => "Strange",
            Self::Paused(_) => "Paused",
        }
    }
}

/// A run's request: no number comes again before 256 others of the same run.
fn number(child: ChildId, asked: u8) -> RequestId {
    RequestId(child.0 << 8 | u64::from(asked))
}

#[cfg(test)]
mod tests;
