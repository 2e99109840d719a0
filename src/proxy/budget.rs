//! What sessions may take of the machine, and how often what tools do may be said.

use crate::wire::qb::RESPONSE_LEN;
use crate::wire::ring::{Geometry, MESSAGE_LIMIT};

use super::name::Client;
use crate::log::{Level, Line};
use crate::time::Instant;

/// How many sessions there may be: each takes nine descriptors at most.
pub(super) const SESSIONS: usize = 1024;

/// The part of the sessions, and of their memory, that only root can have: one in so many.
const RESERVE: u64 = 16;

/// The longest message if neither side asks for more.
const MESSAGE_DEFAULT: u32 = 128 * 1024;

/// No client of libqb asks for less: its own answer to a connection request must fit.
const MESSAGE_LEAST: u32 = RESPONSE_LEN as u32;

/// What sessions may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of shared memory for the rings of all sessions.
    pub memory: u64,
    /// The longest message answered to a client that asks for less: `PCMK_ipc_buffer`, if it is set.
    pub longest: Option<u32>,
    /// What a ring's size is rounded up to: [`granule`](crate::wire::ring::granule).
    pub granule: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 128 * 1024 * 1024, longest: None, granule: 4096 }
    }
}

impl Limits {
    /// The longest message for a session (ipc.md section A.2): the larger of what the client asks for and of what
    /// is configured, up to [`MESSAGE_LIMIT`].
    pub fn negotiate(&self, asked: u32) -> u32 {
        asked.max(self.longest.unwrap_or(MESSAGE_DEFAULT)).clamp(MESSAGE_LEAST, MESSAGE_LIMIT)
    }

    /// Bytes of the three rings of a session.
    pub(super) fn memory_of(&self, longest: u32) -> u64 {
        3 * Geometry::new(longest, self.granule).len() as u64
    }

    /// Why a client cannot have a session that takes `memory`; `all` and `own` is what there is of everybody
    /// and of its user.
    pub(super) fn check(&self, client: &Client, memory: u64, all: Usage, own: Usage) -> Result<(), Over> {
        let (whole, half) = (SESSIONS as u64, SESSIONS as u64 / 2);
        let is_root = client.uid == 0;
        let kept = |of: u64| if is_root { of } else { of - of / RESERVE };
        if all.sessions + 1 > kept(whole) {
            return Err(Over::Sessions(kept(whole)));
        }
        if all.memory + memory > kept(self.memory) {
            return Err(Over::Memory(kept(self.memory)));
        }
        if !is_root && own.sessions + 1 > half {
            return Err(Over::OwnSessions(half));
        }
        if !is_root && own.memory + memory > self.memory / 2 {
            return Err(Over::OwnMemory(self.memory / 2));
        }
        Ok(())
    }
}

/// What sessions take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) sessions: u64,
    /// Bytes of their rings.
    pub(super) memory: u64,
}

impl Usage {
    pub(super) fn add(&mut self, memory: u64) {
        self.sessions += 1;
        self.memory += memory;
    }
}

/// What there is too much of, and how much of it there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Sessions(u64),
    OwnSessions(u64),
    /// Bytes.
    Memory(u64),
    /// Bytes.
    OwnMemory(u64),
}

/// Milliseconds for which [`Seldom`] counts.
const WINDOW: u64 = 10_000;
/// Lines of one kind in that time.
const LINES: u32 = 10;

/// Lines of one kind, which tools can cause at will: so many in a time are said, the others counted.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    since: Instant,
    count: u32,
}

impl Seldom {
    /// What of a line is to be said now: itself or nothing, and before it how many were left out.
    pub(super) fn say(&mut self, now: Instant, text: impl FnOnce() -> Line) -> [Option<Line>; 2] {
        let mut left_out = None;
        if now.since(self.since) >= WINDOW {
            if let Some(count @ 1..) = self.count.checked_sub(LINES) {
                let text = format!("{count} more lines like the next one were left out");
                left_out = Some(Line { level: Level::Warning, text });
            }
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
        [left_out, (self.count <= LINES).then(text)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;

    fn client(uid: u32) -> Client {
        Client { pid: 1, uid, user: None, may_open: true }
    }

    #[test]
    fn the_larger_figure_counts_up_to_a_limit() {
        let limits = |longest| Limits { longest, ..Limits::default() };
        assert_eq!(limits(None).negotiate(12_328), MESSAGE_DEFAULT);
        assert_eq!(limits(None).negotiate(524_288), 524_288);
        assert_eq!(limits(Some(1 << 24)).negotiate(131_072), 1 << 24);
        assert_eq!(limits(Some(0)).negotiate(0), MESSAGE_LEAST);
        assert_eq!(limits(None).negotiate(u32::MAX), MESSAGE_LIMIT);
        assert_eq!(limits(Some(u32::MAX)).negotiate(0), MESSAGE_LIMIT);
    }

    #[test]
    fn sixty_four_sessions_of_each_usual_size_fit() {
        let limits = Limits::default();
        let mut all = Usage::default();
        for longest in [524_288, 131_072].repeat(64) {
            let memory = limits.memory_of(longest);
            assert_eq!(limits.check(&client(0), memory, all, Usage::default()), Ok(()));
            all.add(memory);
        }
        assert_eq!(all.sessions, 128);
    }

    #[test]
    fn one_user_has_half_at_most_and_root_what_nobody_else_can_take() {
        let limits = Limits { memory: 1600, ..Limits::default() };
        let (none, some) = (Usage::default(), |sessions, memory| Usage { sessions, memory });
        let check = |uid, memory, all, own| limits.check(&client(uid), memory, all, own);
        assert_eq!(check(1000, 800, none, none), Ok(()));
        assert_eq!(check(1000, 801, none, none), Err(Over::OwnMemory(800)));
        assert_eq!(check(1000, 700, some(1, 800), none), Ok(()));
        assert_eq!(check(1000, 701, some(1, 800), none), Err(Over::Memory(1500)));
        assert_eq!(check(0, 800, some(1, 800), some(1, 800)), Ok(()));
        assert_eq!(check(0, 801, some(1, 800), none), Err(Over::Memory(1600)));
        assert_eq!(check(1000, 1, some(512, 0), some(511, 0)), Ok(()));
        assert_eq!(check(1000, 1, some(512, 0), some(512, 0)), Err(Over::OwnSessions(512)));
        assert_eq!(check(1000, 1, some(960, 0), none), Err(Over::Sessions(960)));
        assert_eq!(check(0, 1, some(1023, 0), some(1023, 0)), Ok(()));
        assert_eq!(check(0, 1, some(1024, 0), none), Err(Over::Sessions(1024)));
    }

    #[test]
    fn lines_of_one_kind_are_counted_when_there_are_too_many() {
        let mut seldom = Seldom::default();
        let at = Instant::from_millis;
        let said =
            |seldom: &mut Seldom, now| seldom.say(at(now), || line!(Warning, "x")).map(|l| l.map(|l| l.text));
        for _ in 0..LINES {
            assert_eq!(said(&mut seldom, 5), [None, Some("x".into())]);
        }
        for _ in 0..3 {
            assert_eq!(said(&mut seldom, 9_999), [None, None]);
        }
        let [Some(count), Some(_)] = said(&mut seldom, 10_000) else { panic!() };
        assert!(count.starts_with("3 more"), "{count}");
        assert_eq!(said(&mut seldom, 10_001), [None, Some("x".into())]);
    }
}
