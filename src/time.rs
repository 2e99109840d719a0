//! The clock values that are handed in: nothing in the middle of pacelet reads a clock itself.
#![forbid(unsafe_code)]

/// A moment on the monotonic clock, in milliseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment `millis` milliseconds after the clock's arbitrary start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's arbitrary start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment plus `millis` milliseconds; the far end of the clock when that overflows.
    #[must_use]
    pub const fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment, 0 if `earlier` is later: never negative.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What the clocks say when an event is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For durations, deadlines and order. Never goes back.
    pub mono: Instant,
    /// Seconds since 1970, for what the cluster shows to people. May jump either way.
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_never_negative() {
        let early = Instant::from_millis(5);
        let late = early.after(7);
        assert_eq!(late.since(early), 7);
        assert_eq!(early.since(late), 0);
    }

    #[test]
    fn the_far_end_does_not_wrap() {
        assert_eq!(Instant::from_millis(u64::MAX - 1).after(10).as_millis(), u64::MAX);
    }
}
