//! A pool of targets with a health check, as ELBv2's.
//!
//! Two sides meet here. The control side (`register`, `deregister`, health checks) changes a table under a lock and
//! publishes the list of usable targets as a snapshot. The request side only reads the snapshot.

mod algorithm;
mod attributes;
mod description;
mod entry;
mod hold;
mod latency;
mod members;
mod outliers;
mod retry;
mod slow_start;
mod usable;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::health::{Health, HealthCheckConfig, Outcome, checker};
use crate::{Target, TargetId};
pub use algorithm::AlgorithmType;
use algorithm::Turn;
pub use attributes::{DEFAULT_DEREGISTRATION_DELAY, MinimumHealthy, Stickiness, TargetGroupAttributes};
pub use description::{CustomHealth, TargetCounters, TargetDescription, TargetState};
use entry::Entry;
pub(crate) use entry::{Core, InFlight};
pub use hold::HoldPolicy;
pub(crate) use latency::BOUNDS;
pub use latency::LatencyHistogram;
use members::{Member, Members};
use outliers::Ejections;
pub use outliers::OutlierDetection;
use retry::Budget;
pub(crate) use retry::Retry;
pub use retry::RetryPolicy;
pub(crate) use usable::Asking;
use usable::Usable;

const WEIGHTS: RangeInclusive<u32> = 1..=256;

/// What a [`TargetGroup`] is created with.
#[derive(Clone, Debug)]
pub struct TargetGroupConfig {
    /// Name for logs and descriptions.
    pub name: String,
    /// ELBv2's name for it, if it has one.
    pub arn: Option<String>,
    /// How its targets are checked, to begin with.
    pub health_check: HealthCheckConfig,
    /// How it treats its targets and their clients, to begin with.
    pub attributes: TargetGroupAttributes,
}

impl TargetGroupConfig {
    /// ELB's defaults under the given name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            arn: None,
            health_check: HealthCheckConfig::default(),
            attributes: TargetGroupAttributes::default(),
        }
    }
}

/// How a target enters its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterOptions {
    /// [`TargetState::Initial`] (the default) until its first health check succeeds, or [`TargetState::Healthy`] when
    /// whoever registers it vouches for it. Any other state counts as `Initial`.
    pub initial: TargetState,
    /// Its share of the requests against that of the others, 1 (the default) to 256; what is outside counts as the
    /// nearest. (ELB weighs groups only.)
    pub weight: u32,
    /// What is known of its health by other means: [`CustomHealth::Healthy`] is the default.
    pub custom_health: CustomHealth,
}

impl RegisterOptions {
    /// Of weight 1, and well as far as is known.
    pub const fn new(initial: TargetState) -> Self {
        Self { initial, weight: 1, custom_health: CustomHealth::Healthy }
    }
}

impl Default for RegisterOptions {
    fn default() -> Self {
        Self::new(TargetState::Initial)
    }
}

/// A pool of targets: who is in it, who is usable, and whose turn it is.
pub struct TargetGroup {
    name: String,
    arn: Option<String>,
    /// The usable targets. Requests read it, only [`TargetGroup::publish`] writes it.
    usable: ArcSwap<Usable>,
    turn: Turn,
    budget: Arc<Budget>,
    /// Requests that wait for a target.
    held: AtomicUsize,
    /// Tells that one begins to.
    demand: Notify,
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
            name: config.name,
            arn: config.arn,
            usable: ArcSwap::default(),
            turn: Turn::default(),
            budget: Arc::default(),
            held: AtomicUsize::new(0),
            demand: Notify::new(),
            members: Mutex::new(Members::new(config.attributes, config.health_check)),
            changes: watch::Sender::new(0),
            runtime,
            me: me.clone(),
        })
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// ELBv2's name for it, if it has one.
    pub fn arn(&self) -> Option<&str> {
        self.arn.as_deref()
    }

    /// How it treats its targets and their clients now.
    pub fn attributes(&self) -> TargetGroupAttributes {
        self.members().attributes.clone()
    }

    /// Treats targets and clients in another way from now on. Slow starts and drains under way end as they began.
    pub fn set_attributes(&self, attributes: TargetGroupAttributes) {
        let mut members = self.members();
        members.attributes = attributes;
        for member in members.iter() {
            self.watch_failures(&member.entry, &members);
        }
        self.publish(&members);
    }

    /// How its targets are checked now.
    pub fn health_check(&self) -> HealthCheckConfig {
        self.members().health_check.clone()
    }

    /// Checks targets in another way from now on, the first time at once. Each keeps the state it has until that says
    /// otherwise.
    pub fn set_health_check(&self, health_check: HealthCheckConfig) {
        let mut members = self.members();
        members.health_check = health_check.clone();
        for member in members.iter_mut().filter(|member| member.health.state() != TargetState::Draining) {
            member.stop_checks();
            member.health.set_checked(health_check.enabled);
            member.checker = self.checker(&member.entry, &health_check);
        }
        self.publish(&members);
    }

    /// Starts the probes of a target, unless they are disabled.
    fn checker(&self, entry: &Entry, health_check: &HealthCheckConfig) -> Option<AbortHandle> {
        health_check.enabled.then(|| {
            let check = checker::run(self.me.clone(), Arc::clone(&entry.core), health_check.clone());
            self.runtime.spawn(check).abort_handle()
        })
    }

    /// Adds a target and starts its health check, the first probe at once. A target already registered under `id` is
    /// replaced; it finishes the requests it has.
    pub fn register(&self, id: impl Into<TargetId>, target: Arc<dyn Target>, options: RegisterOptions) {
        let id = id.into();
        let replaced = {
            let mut members = self.members();
            let replaced = members.active(&id).map(|member| Arc::clone(&member.entry));
            let key = members.next_key();
            let entry = Arc::new(Entry::new(id, key, target, self.me.clone()));
            self.watch_failures(&entry, &members);
            let checker = self.checker(&entry, &members.health_check);
            let health = Health::new(options.initial, checker.is_some());
            let usable = health.state().is_usable();
            let weight = options.weight.clamp(*WEIGHTS.start(), *WEIGHTS.end());
            members.insert(Member {
                entry,
                health,
                custom_health: options.custom_health,
                checker,
                weight,
                ramp: None,
                ejections: Ejections::default(),
            });
            if usable {
                self.begin_ramp(&mut members, key);
            }
            // Published before the old one drains, so that there is no moment without either.
            self.publish(&members);
            replaced
        };
        if let Some(entry) = replaced {
            self.drain(&entry);
        }
    }

    /// Tells what is known of a target's health by other means than the group's checks. Nothing happens for an unknown id.
    pub fn vouch(&self, id: &TargetId, health: CustomHealth) {
        let mut members = self.members();
        if members.vouch(id, health) {
            self.publish(&members);
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
                entry.core.gone.cancelled().await;
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

    /// What one target does from now on, told even after it has left the group; of several under one id the newest.
    pub fn meter(&self, id: &TargetId) -> Option<TargetMeter> {
        self.members().latest(id).map(|member| TargetMeter(Arc::clone(&member.entry)))
    }

    /// A counter that grows at each change of membership or state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The target for this request, claimed. `None`: no target is usable.
    pub(crate) fn pick(&self, asking: &Asking<'_>) -> Option<InFlight> {
        // It began to drain after the snapshot was loaded: take the next that did not.
        self.usable.load().pick(asking).or_else(|| self.pick_other(&[]))
    }

    /// A usable target that is not among those tried, without taking anybody's turn.
    pub(crate) fn pick_other(&self, tried: &[u64]) -> Option<InFlight> {
        let usable = self.usable.load();
        let count = usable.targets.len();
        // Start behind the one tried last, so that the load of a failing target spreads as it would in turn.
        let start = tried
            .last()
            .and_then(|last| usable.targets.iter().position(|entry| entry.core.key == *last))
            .map_or(0, |index| index + 1);
        (start..start + count)
            .map(|index| index % count)
            .filter(|index| !tried.contains(&usable.targets[*index].core.key))
            .find_map(|index| usable.enter(index))
    }

    /// Where other programs reach the usable targets by themselves.
    pub(crate) fn reached_at(&self) -> Vec<SocketAddr> {
        self.usable.load().targets.iter().filter_map(|entry| entry.core.target.reached_at()).collect()
    }

    /// Takes in the outcome of one health check of the target with this key, and tells the state that follows. `None`: the
    /// target is gone.
    pub(crate) fn observe(&self, key: u64, outcome: Outcome) -> Option<TargetState> {
        let mut members = self.members();
        if let Some(changed) = members.observe(key, outcome) {
            if let Some((id, state)) = changed.state {
                tracing::info!(group = self.name, target = %id, %state, %outcome, "target changed state");
                if state.is_usable() {
                    self.begin_ramp(&mut members, key);
                }
            }
            self.publish(&members);
        }
        members.by_key(key).map(|member| member.health.state())
    }

    fn begin_ramp(&self, members: &mut Members, key: u64) {
        let ramping = |members: &Members| members.iter().any(|member| member.ramp.is_some());
        let advanced = ramping(members);
        members.begin_ramp(key);
        if !advanced && ramping(members) {
            self.runtime.spawn(slow_start::run(self.me.clone()));
        }
    }

    fn watch_failures(&self, entry: &Entry, members: &Members) {
        let after = members.attributes.outlier_detection.consecutive_failures;
        entry.core.eject_after.store(after, Ordering::Relaxed);
    }

    /// Sets a target aside that failed as many requests in a row as it may.
    pub(crate) fn eject(&self, key: u64) {
        let mut members = self.members();
        let Some(length) = members.eject(key) else { return };
        tracing::warn!(group = self.name, key, ?length, "target ejected for failing requests");
        self.publish(&members);
        let group = self.me.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(length).await;
            if let Some(group) = group.upgrade() {
                group.publish(&group.members());
            }
        });
    }

    /// Gives targets in slow start the share of this moment. False if there is none left.
    fn advance_ramps(&self) -> bool {
        let mut members = self.members();
        let mut left = false;
        for member in members.iter_mut() {
            member.ramp = member.ramp.filter(|ramp| !ramp.is_over());
            left |= member.ramp.is_some();
        }
        self.publish(&members);
        left
    }

    /// Begins to drain `entry`; idempotent. Its end is announced through `entry.gone`.
    fn drain(&self, entry: &Arc<Entry>) {
        let delay = {
            let mut members = self.members();
            let Some(member) = members.by_key(entry.core.key) else { return };
            if !member.begin_drain() {
                return;
            }
            self.publish(&members);
            members.attributes.deregistration_delay
        };
        // Only now that no new snapshot holds it. A request with an old snapshot is turned away by this flag.
        entry.begin_drain();
        let (group, entry) = (self.me.clone(), Arc::clone(entry));
        // Made out here, so that nobody waits for ever when the task is dropped unpolled with its runtime.
        let gone = entry.core.gone.clone().drop_guard();
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
        let (targets, weights) = members.usable();
        self.usable.store(Arc::new(Usable::new(
            targets,
            &weights,
            &self.turn,
            &self.budget,
            &members.attributes,
        )));
        self.changes.send_modify(|count| *count += 1);
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // A panic while it was held cannot have left it half changed in a way that matters: each change is one step.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target's counters, for those who look at them again and again.
#[derive(Clone)]
pub struct TargetMeter(Arc<Entry>);

impl TargetMeter {
    /// What the target has done so far.
    pub fn counters(&self) -> TargetCounters {
        self.0.counters()
    }
}

impl fmt::Debug for TargetMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TargetMeter").field(&self.counters()).finish()
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
        f.debug_struct("TargetGroup").field("name", &self.name).field("targets", &self.targets()).finish()
    }
}

#[cfg(test)]
mod tests;
