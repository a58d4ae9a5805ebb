//! What goes wrong in the pretended world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::pending;
use rand::Rng;
use tokio::time::sleep;

use super::{SimulatedDriver, State, World};

/// What goes wrong, and how long things take.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Probability that a task cannot be prepared.
    pub prepare_fails: f64,
    /// Probability that a container cannot be started.
    pub start_fails: f64,
    /// Probability that a task cannot be put into its target group.
    pub register_fails: f64,
    /// Probability that a target never becomes healthy.
    pub never_healthy: f64,
    /// Probability that a service's listener cannot be bound.
    pub publish_fails: f64,
    /// Probability that preparing, starting, draining or stopping never comes to an end by itself.
    pub hangs: f64,
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
            register_fails: 0.0,
            never_healthy: 0.0,
            publish_fails: 0.0,
            hangs: 0.0,
            latency: Duration::ZERO,
            missing_images: BTreeSet::new(),
            lifetimes: BTreeMap::new(),
            sick_images: BTreeSet::new(),
        }
    }
}

impl SimulatedDriver {
    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.world.lock().faults);
    }

    /// What the process after this one finds: nothing runs. The dead one's loops may still be polled until they are dropped, and what they do then happens
    /// in a world that nobody sees any more.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        let state = State {
            tasks: BTreeMap::new(),
            listeners: BTreeMap::new(),
            routings: BTreeMap::new(),
            offers: BTreeMap::new(),
            knocks: BTreeMap::new(),
            ..self.world.lock().clone()
        };
        Self { world: Arc::new(World { state: Mutex::new(state) }) }
    }
}

impl World {
    pub(super) async fn pause(&self) {
        let latency = self.lock().latency();
        if !latency.is_zero() {
            sleep(latency).await;
        }
    }

    pub(super) async fn pause_or_hang(&self) {
        let hangs = self.lock().hangs();
        if hangs {
            pending::<()>().await;
        }
        self.pause().await;
    }
}

impl State {
    pub(super) fn latency(&mut self) -> Duration {
        let most = self.faults.latency;
        most.mul_f64(self.rng.random_range(0.0..=1.0))
    }

    pub(super) fn hangs(&mut self) -> bool {
        let chance = self.faults.hangs;
        // Luck is used up only where there is a choice: a run without this fault goes as it did before there was one.
        chance > 0.0 && self.rng.random_bool(chance)
    }
}
