//! The loop that probes one target.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use tokio::time::{self, Instant};

use super::config::HealthCheckConfig;
use super::probe;
use super::state::Outcome;
use crate::TargetState;
use crate::target_group::{Core, TargetGroup};

/// Of an interval, how much earlier or later a probe may come: targets that were registered at one moment are else
/// probed at one moment for ever, and by every balancer that was started with this one.
const JITTER: f64 = 0.1;

/// Probes wait for turns that all targets of the process share: this part of their interval apart, and no more than so long. A probe in between would
/// wake a thread for itself and find nothing in the caches that it needs; of several at once only the first does. Measured with 2,000 tasks that
/// are probed each 30 s: 265 us of CPU for each probe alone, 90 us in turns; turns of a second are no better.
const TURNS: u32 = 20;
const LONGEST_TURN: Duration = Duration::from_millis(250);

/// From the failed probe of a new target to one in between, and twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Probes `target` at once and then about each interval, and tells `group`. Ends with the group, or when it is aborted.
///
/// A target that is still `initial` is probed in between as well: a server that starts together with its registration
/// refuses the first probe, and would else get nothing for a whole interval.
pub(crate) async fn run(group: Weak<TargetGroup>, target: Arc<Core>, config: HealthCheckConfig) {
    let mut pause = FIRST_PAUSE;
    loop {
        let jittered = config.interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
        let next = nearest_turn(Instant::now() + jittered, config.interval);
        let outcome = probe::probe(&*target.target, &config).await;
        let Some(state) = tell(&group, &target, outcome) else { return };
        if state == TargetState::Initial
            && succeeds_before(next, &mut pause, &target, &config).await
            && tell(&group, &target, Outcome::Success).is_none()
        {
            return;
        }
        // One probe at a time, and no burst after a pause of the host.
        time::sleep_until(next).await;
    }
}

/// The turn that is nearest to `at`.
fn nearest_turn(at: Instant, interval: Duration) -> Instant {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let turn = (interval / TURNS).min(LONGEST_TURN);
    let past = (at.saturating_duration_since(*FIRST) + turn / 2).as_nanos().checked_rem(turn.as_nanos());
    let past = Duration::from_nanos(past.and_then(|nanos| nanos.try_into().ok()).unwrap_or(0));
    (at + turn / 2).checked_sub(past).unwrap_or(at)
}

/// The state that follows from `outcome`. `None`: the target or its group is gone.
fn tell(group: &Weak<TargetGroup>, target: &Core, outcome: Outcome) -> Option<TargetState> {
    group.upgrade()?.observe(target.key, outcome)
}

/// Probes in between, until one succeeds or `next` has come. What fails here counts for nothing: a threshold is a number
/// of intervals.
async fn succeeds_before(
    next: Instant,
    pause: &mut Duration,
    target: &Core,
    config: &HealthCheckConfig,
) -> bool {
    loop {
        let soon = Instant::now() + *pause;
        if soon >= next {
            return false;
        }
        *pause *= 2;
        time::sleep_until(soon).await;
        if let Ok(Outcome::Success) = time::timeout_at(next, probe::probe(&*target.target, config)).await {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn probes_of_one_interval_share_turns() {
        for seconds in [1, 5, 30, 300] {
            let interval = Duration::from_secs(seconds);
            let turn = (interval / TURNS).min(LONGEST_TURN);
            let first = Instant::now() + interval;
            // Ten wanted in the time of a turn, wherever that begins.
            let moved = (0..10).map(|tenth| {
                let wanted = first + turn / 10 * tenth;
                let next = nearest_turn(wanted, interval);
                assert!(next + turn / 2 >= wanted && next <= wanted + turn / 2, "{interval:?}, {tenth}");
                next
            });
            let mut turns: Vec<_> = moved.collect();
            turns.dedup();
            assert!(turns.len() <= 2, "{interval:?}: {turns:?}");
            assert!(turns.windows(2).all(|two| two[1] - two[0] == turn), "{interval:?}: {turns:?}");
        }
        assert_eq!(nearest_turn(Instant::now(), Duration::ZERO), Instant::now());
    }
}
