//! When to ask for the listener, and when to ask again.
//!
//! ```text
//!          a key            no key            taken               missing     lasting   deadline
//! Closed   ask -> Asked     nothing           -                   -           -         -
//! Asked    nothing          close -> Closed   soon: -> Waiting    -> Waiting  give up   -
//!                                             after 3 s: give up
//! Waiting  nothing          close -> Closed   -                   -           -         ask -> Asked
//! ```
//!
//! A daemon that was killed leaves children behind, and one that has not come as far as to close what it
//! inherited holds the port for a moment: on a busy machine, a tenth of a second. Who is started right after
//! that, and gives up, stays down for good (exit status 100). Stock does not meet this: it needs longer than
//! that before it listens.
//!
//! An interface that is not there is waited for as long as it takes: at boot they come late.
#![forbid(unsafe_code)]

use crate::time::Instant;
use crate::trial;

/// For how long a port that somebody else has is asked for, in milliseconds.
pub(super) const PATIENCE: u64 = 3_000;
/// How often, in milliseconds.
const INTERVAL: u64 = 20;
/// How often an interface is looked for, in milliseconds.
const INTERFACE_INTERVAL: u64 = 1_000;

/// Why nothing could be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody else has the port.
    Taken,
    /// The interface is not there.
    Missing,
    /// Something that will not go by itself.
    Lasting,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Port {
    /// Nothing has been asked for.
    #[default]
    Closed,
    /// The listener has been asked for, for the first time at `since`, and was refused so often.
    Asked { since: Instant, refused: u32 },
    /// It is to be asked for at `at`.
    Waiting { since: Instant, at: Instant, refused: u32 },
}

impl Port {
    /// What happens, a column of the table.
    fn meets(&self, event: &'static str) {
        let state = match self {
            Self::Closed => "Closed",
            Self::Asked { .. } => "Asked",
            Self::Waiting { .. } => "Waiting",
        };
        trial::reach("port", state, event);
    }

    /// There is a key: whether to ask for the listener now.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        self.meets("a key");
        let is_first = matches!(self, Self::Closed);
        if is_first {
            *self = Self::Asked { since: now, refused: 0 };
        }
        is_first
    }

    /// There is no key any more: whether there is something to close.
    pub(super) fn close(&mut self) -> bool {
        self.meets("no key");
        !matches!(std::mem::take(self), Self::Closed)
    }

    /// It could not be had: how often that was so, or `None` if it is not to be asked for again.
    pub(super) fn refused(&mut self, obstacle: Obstacle, now: Instant) -> Option<u32> {
        self.meets(match obstacle {
            Obstacle::Taken => "taken",
            Obstacle::Missing => "missing",
            Obstacle::Lasting => "lasting",
        });
        let Self::Asked { since, refused } = *self else { return None };
        let pause = match obstacle {
            Obstacle::Taken if now.since(since) < PATIENCE => INTERVAL,
            Obstacle::Missing => INTERFACE_INTERVAL,
            Obstacle::Taken | Obstacle::Lasting => return None,
        };
        let refused = refused.saturating_add(1);
        *self = Self::Waiting { since, at: now.after(pause), refused };
        Some(refused)
    }

    /// When [`Port::is_due`] is to be asked.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match *self {
            Self::Waiting { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Whether to ask for the listener again, now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        match *self {
            Self::Waiting { since, at, refused } if at <= now => {
                self.meets("deadline");
                *self = Self::Asked { since, refused };
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn patience_ends() {
        let mut port = Port::default();
        assert!(port.refused(Obstacle::Taken, at(0)).is_none() && !port.is_due(at(0)));
        assert!(port.ask(at(0)) && !port.ask(at(1)));
        assert!(!port.is_due(at(1)) && port.deadline().is_none());
        let mut now = 0;
        let mut count = 0;
        while let Some(refused) = port.refused(Obstacle::Taken, at(now)) {
            count += 1;
            assert_eq!(refused, count);
            // It is waiting: neither a new key nor a second answer to the same question asks.
            assert!(!port.ask(at(now)) && port.refused(Obstacle::Taken, at(now)).is_none());
            assert!(!port.is_due(at(now + INTERVAL - 1)));
            now += INTERVAL;
            assert_eq!(port.deadline(), Some(at(now)));
            assert!(port.is_due(at(now)) && port.deadline().is_none());
        }
        assert_eq!(now, PATIENCE);
    }

    #[test]
    fn what_was_asked_for_is_closed_once() {
        let mut port = Port::default();
        assert!(!port.close());
        for is_waiting in [false, true] {
            assert!(port.ask(at(0)));
            assert_eq!(is_waiting, is_waiting && port.refused(Obstacle::Taken, at(0)).is_some());
            assert!(port.close() && !port.close());
            assert!(port.deadline().is_none() && !port.is_due(at(INTERVAL)));
        }
    }

    #[test]
    fn an_interface_is_waited_for() {
        let mut port = Port::default();
        assert!(port.ask(at(0)));
        for second in 0..100 {
            assert_eq!(port.refused(Obstacle::Missing, at(second * 1_000)), Some(second as u32 + 1));
            assert!(!port.is_due(at(second * 1_000 + 999)) && port.is_due(at((second + 1) * 1_000)));
        }
        assert_eq!(port.refused(Obstacle::Lasting, at(0)), None);
    }
}
