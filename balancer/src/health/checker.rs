//! The loop that probes one target.

use std::sync::{Arc, Weak};
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

/// From the failed probe of a new target to one in between, and twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Probes `target` at once and then about each interval, and tells `group`. Ends with the group, or when it is aborted.
///
/// A target that is still `initial` is probed in between as well: a server that starts together with its registration
/// refuses the first probe, and would else get nothing for a whole interval.
pub(crate) async fn run(group: Weak<TargetGroup>, target: Arc<Core>, config: HealthCheckConfig) {
    let mut pause = FIRST_PAUSE;
    loop {
        let next = Instant::now() + config.interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
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
