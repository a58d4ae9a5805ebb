//! What goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What goes wrong, and how long things take.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Probability that a task cannot be prepared.
    pub prepare_fails: f64,
    /// Probability that a container cannot be started.
    pub start_fails: f64,
    /// Probability that a target never becomes healthy.
    pub never_healthy: f64,
    /// Each step takes a random time up to this.
    pub latency: Duration,
    /// Images that do not exist: tasks of them always fail to start.
    pub missing_images: BTreeSet<String>,
    /// Containers of these images end by themselves after this time with this code.
    pub lifetimes: BTreeMap<String, (Duration, i32)>,
    /// Containers of these images fail their health checks.
    pub sick_images: BTreeSet<String>,
}

impl Default for Faults {
    /// Nothing fails and nothing takes time.
    fn default() -> Self {
        Self {
            prepare_fails: 0.0,
            start_fails: 0.0,
            never_healthy: 0.0,
            latency: Duration::ZERO,
            missing_images: BTreeSet::new(),
            lifetimes: BTreeMap::new(),
            sick_images: BTreeSet::new(),
        }
    }
}
