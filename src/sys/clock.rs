//! The two clocks.
#![forbid(unsafe_code)]

use rustix::time::{ClockId, clock_gettime};

use crate::time::{Instant, Now};

/// What both clocks say. Neither call can fail or wait.
pub fn now() -> Now {
    let epoch = clock_gettime(ClockId::Realtime).tv_sec;
    // A clock that was never set may stand before 1970.
    Now { mono: monotonic(), epoch: u64::try_from(epoch).unwrap_or(0) }
}

/// Milliseconds since 1970, for log lines.
pub fn epoch_millis() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// The monotonic clock, rounded down to the millisecond, so that a deadline is never met too early.
pub fn monotonic() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    // Both parts are never negative; the conversions are for the types only.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    Instant::from_millis(seconds.saturating_mul(1000).saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run() {
        let first = now();
        let second = now();
        assert!(second.mono >= first.mono);
        assert!(first.epoch > 1_600_000_000, "the realtime clock is set on any machine that builds this");
    }
}
