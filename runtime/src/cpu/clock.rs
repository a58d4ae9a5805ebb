//! The two clocks that metering reads. Real time on purpose: CPU time does not pause with a test's clock.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds on the monotonic clock.
pub(crate) fn monotonic_nanos() -> u64 {
    nanos(ClockId::Monotonic)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Both clocks start at zero or later and count 584 years in a u64.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Measures the CPU time this thread uses from its making on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadTimer {
    start: u64,
}

impl ThreadTimer {
    pub(crate) fn start() -> Self {
        Self { start: nanos(ClockId::ThreadCPUTime) }
    }

    pub(crate) fn elapsed(mut self) -> Duration {
        self.lap()
    }

    /// The time since the last lap, or the start.
    pub(crate) fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.start, nanos(ClockId::ThreadCPUTime));
        Duration::from_nanos(self.start.saturating_sub(before))
    }
}
