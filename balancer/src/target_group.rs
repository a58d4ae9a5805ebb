//! A pool of targets with a health check, as ELBv2's.
//!
//! Two sides meet here. The control side (`register`, `deregister`, health checks) changes a table under a lock and
//! publishes the list of usable targets as a snapshot. The request side only reads the snapshot.

mod algorithm;
mod description;
mod entry;
mod members;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::health::{Health, HealthCheckConfig, Outcome, checker};
use crate::{Target, TargetId};
use algorithm::{Algorithm, RoundRobin};
pub use description::{TargetCounters, TargetDescription, TargetState};
use entry::Entry;
pub(crate) use entry::{Core, InFlight};
use members::{Member, Members};

/// ELB's `deregistration_delay.timeout_seconds`: 300 s.
pub const DEFAULT_DEREGISTRATION_DELAY: Duration = Duration::from_secs(300);

/// What a [`TargetGroup`] is created with.
#[derive(Clone, Debug)]
pub struct TargetGroupConfig {
    /// Name for logs and descriptions.
    pub name: String,
    /// ELBv2's name for it, if it has one.
    pub arn: Option<String>,
    /// How its targets are checked.
    pub health_check: HealthCheckConfig,
    /// Longest time a deregistered target may finish its requests in (ELB: 0 to 3600 s, default 300 s). Ends early
    /// when nothing is in flight.
    pub deregistration_delay: Duration,
}

impl TargetGroupConfig {
    /// ELB's defaults under the given name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            arn: None,
            health_check: HealthCheckConfig::default(),
            deregistration_delay: DEFAULT_DEREGISTRATION_DELAY,
        }
    }
}

/// How a target enters its group.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegisterOptions {
    /// [`TargetState::Initial`] (the default) until its first health check succeeds, or [`TargetState::Healthy`] when
    /// whoever registers it vouches for it. Any other state counts as `Initial`.
    pub initial: TargetState,
}

/// A pool of targets: who is in it, who is usable, and whose turn it is.
pub struct TargetGroup {
    config: TargetGroupConfig,
    /// The usable targets. Requests read it, only [`TargetGroup::publish`] writes it.
    usable: ArcSwap<Vec<Arc<Entry>>>,
    algorithm: Box<dyn Algorithm>,
    members: Mutex<Members>,
    changes: watch::Sender<u64>,
    /// Where health checks and drains run.
    runtime: Handle,
    me: Weak<Self>,
}

impl TargetGroup {
    /// An empty group. Its health checks and drains run on the tokio runtime this is called in.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(config: TargetGroupConfig) -> Arc<Self> {
        let runtime = Handle::current();
        Arc::new_cyclic(|me| Self {
            config,
            usable: ArcSwap::default(),
            algorithm: Box::new(RoundRobin::default()),
            members: Mutex::default(),
            changes: watch::Sender::new(0),
            runtime,
            me: me.clone(),
        })
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it was created with.
    pub fn config(&self) -> &TargetGroupConfig {
        &self.config
    }

    /// Adds a target and starts its health check, the first probe at once. A target already registered under `id` is
    /// replaced; it finishes the requests it has.
    pub fn register(&self, id: impl Into<TargetId>, target: Arc<dyn Target>, options: RegisterOptions) {
        let id = id.into();
        let replaced = {
            let mut members = self.members();
            let replaced = members.active(&id).map(|member| Arc::clone(&member.entry));
            let entry = Arc::new(Entry::new(id, members.next_key(), target));
            let checked = self.config.health_check.enabled;
            let checker = checked.then(|| {
                let check =
                    checker::run(self.me.clone(), Arc::clone(&entry.core), self.config.health_check.clone());
                self.runtime.spawn(check).abort_handle()
            });
            members.insert(Member { entry, health: Health::new(options.initial, checked), checker });
            // Published before the old one drains, so that there is no moment without either.
            self.publish(&members);
            replaced
        };
        if let Some(entry) = replaced {
            self.drain(&entry);
        }
    }

    /// Takes a target out of rotation, at once. The future resolves when nothing is in flight for it any more, or when
    /// the deregistration delay has passed; until then it is listed as draining. Dropping the future changes nothing.
    /// Resolves immediately for an unknown id.
    pub fn deregister(&self, id: &TargetId) -> impl Future<Output = ()> + Send + 'static + use<> {
        let entry = self.members().latest(id).map(|member| Arc::clone(&member.entry));
        if let Some(entry) = &entry {
            self.drain(entry);
        }
        async move {
            if let Some(entry) = entry {
                entry.gone.cancelled().await;
            }
        }
    }

    /// All targets, in the order they were registered in, those that drain included.
    pub fn targets(&self) -> Vec<TargetDescription> {
        self.members().iter().map(Member::describe).collect()
    }

    /// One target; of several under one id (an old one may still drain) the newest.
    pub fn target(&self, id: &TargetId) -> Option<TargetDescription> {
        self.members().latest(id).map(Member::describe)
    }

    /// A counter that grows at each change of membership or state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The target whose turn it is, claimed for one request. `None`: no target is usable.
    pub(crate) fn pick(&self) -> Option<InFlight> {
        let usable = self.usable.load();
        if usable.is_empty() {
            return None;
        }
        let chosen = self.algorithm.pick(&usable);
        // It began to drain after the snapshot was loaded: take the next that did not.
        usable[chosen].enter().or_else(|| self.pick_other(&[]))
    }

    /// A usable target that is not among those tried, without taking anybody's turn.
    pub(crate) fn pick_other(&self, tried: &[u64]) -> Option<InFlight> {
        let usable = self.usable.load();
        // Start behind the one tried last, so that the load of a failing target spreads as it would in turn.
        let start = tried
            .last()
            .and_then(|last| usable.iter().position(|entry| entry.core.key == *last))
            .map_or(0, |index| index + 1);
        let (before, after) = usable.split_at(start);
        after
            .iter()
            .chain(before)
            .filter(|entry| !tried.contains(&entry.core.key))
            .find_map(|entry| entry.enter())
    }

    /// Takes in the outcome of one health check of the target with this key.
    pub(crate) fn observe(&self, key: u64, outcome: Outcome) {
        let mut members = self.members();
        let Some(member) = members.by_key(key) else { return };
        let before = member.health.state();
        if member.health.observe(outcome, &self.config.health_check) {
            let after = member.health.state();
            if before != after {
                tracing::info!(group = self.config.name, target = %member.entry.core.id, %after, %outcome, "target changed state");
            }
            self.publish(&members);
        }
    }

    /// Begins to drain `entry`; idempotent. Its end is announced through `entry.gone`.
    fn drain(&self, entry: &Arc<Entry>) {
        {
            let mut members = self.members();
            let Some(member) = members.by_key(entry.core.key) else { return };
            if !member.begin_drain() {
                return;
            }
            self.publish(&members);
        }
        // Only now that no new snapshot holds it. A request with an old snapshot is turned away by this flag.
        entry.begin_drain();
        let (group, entry) = (self.me.clone(), Arc::clone(entry));
        let delay = self.config.deregistration_delay;
        // Made out here, so that nobody waits for ever when the task is dropped unpolled with its runtime.
        let gone = entry.gone.clone().drop_guard();
        self.runtime.spawn(async move {
            if tokio::time::timeout(delay, entry.drained()).await.is_err() {
                tracing::warn!(target = %entry.core.id, in_flight = entry.in_flight(), "deregistration delay ended");
            }
            if let Some(group) = group.upgrade() {
                let mut members = group.members();
                members.remove(entry.core.key);
                group.publish(&members);
            }
            drop(gone);
        });
    }

    /// Makes `members` what requests see. Called with the lock held, so that snapshots follow each other in order.
    fn publish(&self, members: &Members) {
        self.usable.store(Arc::new(members.usable()));
        self.changes.send_modify(|count| *count += 1);
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // A panic while it was held cannot have left it half changed in a way that matters: each change is one step.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TargetGroup {
    fn drop(&mut self) {
        for member in self.members().iter() {
            member.stop_checks();
        }
    }
}

impl fmt::Debug for TargetGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetGroup")
            .field("name", &self.config.name)
            .field("targets", &self.targets())
            .finish()
    }
}

#[cfg(test)]
mod tests;
