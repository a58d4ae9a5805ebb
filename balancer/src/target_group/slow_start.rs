//! The growing share of a target that has just become healthy.
//!
//! Done by weights alone: while a target ramps up, the group is published anew each second with the weights of that
//! moment. Picking knows nothing of it and costs nothing more.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::{self, Instant};

use super::TargetGroup;

/// Steps are small against the 30 s the shortest ramp lasts.
const STEP: Duration = Duration::from_secs(1);
/// Parts of a weight that can be told apart in a ramp.
pub(super) const FULL: u32 = 1000;

/// One target's way up, from its first moment in rotation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    since: Instant,
    duration: Duration,
}

impl Ramp {
    pub(super) fn begin(duration: Duration) -> Self {
        Self { since: Instant::now(), duration }
    }

    pub(super) fn is_over(self) -> bool {
        self.since.elapsed() >= self.duration
    }

    /// Of [`FULL`], linear ("the load balancer linearly increases the number of requests"), and never nothing.
    #[expect(clippy::cast_possible_truncation, reason = "at most FULL")]
    pub(super) fn share(self) -> u32 {
        let share = u128::from(FULL) * self.since.elapsed().as_millis() / self.duration.as_millis().max(1);
        (share.min(u128::from(FULL)) as u32).max(1)
    }
}

/// Republishes the group until nobody ramps up any more.
pub(super) async fn run(group: Weak<TargetGroup>) {
    loop {
        time::sleep(STEP).await;
        let Some(group) = group.upgrade() else { return };
        if !group.advance_ramps() {
            return;
        }
    }
}
