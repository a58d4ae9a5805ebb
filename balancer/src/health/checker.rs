//! The loop that probes one target.

use std::sync::{Arc, Weak};

use tokio::time::{self, MissedTickBehavior};

use super::config::HealthCheckConfig;
use super::probe;
use crate::target_group::{Core, TargetGroup};

/// Probes `target` at once and then each interval, and tells `group`. Ends with the group, or when it is aborted.
pub(crate) async fn run(group: Weak<TargetGroup>, target: Arc<Core>, config: HealthCheckConfig) {
    let mut ticks = time::interval(config.interval);
    // One probe at a time, and no burst after a pause of the host.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = probe::probe(&*target.target, &config).await;
        match group.upgrade() {
            Some(group) => group.observe(target.key, outcome),
            None => return,
        }
    }
}
