//! The loop that probes one target.

use std::sync::{Arc, Weak};

use tokio::time;

use super::config::HealthCheckConfig;
use super::probe;
use crate::target_group::{Core, TargetGroup};

/// Of an interval, how much earlier or later a probe may come: targets that were registered at one moment are else
/// probed at one moment for ever, and by every balancer that was started with this one.
const JITTER: f64 = 0.1;

/// Probes `target` at once and then about each interval, and tells `group`. Ends with the group, or when it is aborted.
pub(crate) async fn run(group: Weak<TargetGroup>, target: Arc<Core>, config: HealthCheckConfig) {
    loop {
        let next =
            time::Instant::now() + config.interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0));
        let outcome = probe::probe(&*target.target, &config).await;
        match group.upgrade() {
            Some(group) => group.observe(target.key, outcome),
            None => return,
        }
        // One probe at a time, and no burst after a pause of the host.
        time::sleep_until(next).await;
    }
}
