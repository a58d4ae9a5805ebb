//! The table behind a target group: every target registered or draining, with its health.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::attributes::TargetGroupAttributes;
use super::description::{CustomHealth, TargetDescription, TargetState};
use super::entry::Entry;
use super::outliers::Ejections;
use super::slow_start::{self, Ramp};
use crate::TargetId;
use crate::health::{Health, HealthCheckConfig, Outcome};

/// One target and what is known of it.
pub(super) struct Member {
    pub(super) entry: Arc<Entry>,
    pub(super) health: Health,
    pub(super) custom_health: CustomHealth,
    pub(super) checker: Option<AbortHandle>,
    /// 1 to 256.
    pub(super) weight: u32,
    pub(super) ramp: Option<Ramp>,
    pub(super) ejections: Ejections,
}

impl Member {
    /// False if it drains already.
    pub(super) fn begin_drain(&mut self) -> bool {
        if self.health.state() == TargetState::Draining {
            return false;
        }
        self.stop_checks();
        self.health.drain();
        true
    }

    pub(super) fn stop_checks(&self) {
        if let Some(checker) = &self.checker {
            checker.abort();
        }
    }

    pub(super) fn describe(&self) -> TargetDescription {
        TargetDescription {
            id: self.entry.core.id.clone(),
            address: self.entry.core.target.address(),
            state: self.health.state(),
            reason: self.health.reason(),
            description: self.health.description(),
            ejected: self.ejections.is_ejected(),
            ejections: self.ejections.total,
            counters: self.entry.counters(),
            latency: self.entry.latency(),
        }
    }
}

/// What an outcome of a health check changed of a target.
pub(super) struct Changed {
    /// Else only the reason for its state is another one.
    pub(super) state: Option<(TargetId, TargetState)>,
}

/// Keys grow with each registration, so the order of keys is the order of registration.
pub(super) struct Members {
    pub(super) attributes: TargetGroupAttributes,
    pub(super) health_check: HealthCheckConfig,
    by_key: BTreeMap<u64, Member>,
    /// The newest member of each id.
    latest: HashMap<TargetId, u64>,
    last_key: u64,
}

impl Members {
    pub(super) fn new(attributes: TargetGroupAttributes, health_check: HealthCheckConfig) -> Self {
        Self { attributes, health_check, by_key: BTreeMap::new(), latest: HashMap::new(), last_key: 0 }
    }

    pub(super) fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    pub(super) fn insert(&mut self, member: Member) {
        let core = &member.entry.core;
        self.latest.insert(core.id.clone(), core.key);
        self.by_key.insert(core.key, member);
    }

    pub(super) fn remove(&mut self, key: u64) {
        if let Some(member) = self.by_key.remove(&key) {
            let id = &member.entry.core.id;
            if self.latest.get(id) == Some(&key) {
                self.latest.remove(id);
            }
        }
    }

    pub(super) fn by_key(&mut self, key: u64) -> Option<&mut Member> {
        self.by_key.get_mut(&key)
    }

    /// Takes in the outcome of one health check. `None`: it changed nothing, or the target is gone.
    pub(super) fn observe(&mut self, key: u64, outcome: Outcome) -> Option<Changed> {
        let member = self.by_key.get_mut(&key)?;
        let before = member.health.state();
        if !member.health.observe(outcome, &self.health_check) {
            return None;
        }
        let after = member.health.state();
        if before == after {
            return Some(Changed { state: None });
        }
        member.ramp = None;
        Some(Changed { state: Some((member.entry.core.id.clone(), after)) })
    }

    pub(super) fn latest(&self, id: &TargetId) -> Option<&Member> {
        self.by_key.get(self.latest.get(id)?)
    }

    /// The newest member of this id, unless it drains.
    pub(super) fn active(&self, id: &TargetId) -> Option<&Member> {
        self.latest(id).filter(|member| member.health.state() != TargetState::Draining)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_key.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.by_key.values_mut()
    }

    /// Notes what is known of a target by other means. Whether it is news.
    pub(super) fn vouch(&mut self, id: &TargetId, health: CustomHealth) -> bool {
        let member = self.latest.get(id).and_then(|key| self.by_key.get_mut(key));
        member.is_some_and(|member| std::mem::replace(&mut member.custom_health, health) != health)
    }

    /// Where requests go, each with its weight: the healthy targets, and of these the ones that are best off by other means; if there are fewer healthy
    /// ones than the minimum and at least one was found unhealthy, all that do not drain ("fails open"). While all targets are new nobody has been found
    /// anything: they get no traffic yet.
    pub(super) fn usable(&self) -> (Vec<Arc<Entry>>, Vec<u32>) {
        let with = |wanted: &dyn Fn(TargetState) -> bool| {
            self.iter().filter(|member| wanted(member.health.state())).collect::<Vec<_>>()
        };
        let mut usable = with(&TargetState::is_usable);
        // They are never all of them, but the others may have left or become unhealthy since: then better those than none.
        if usable.iter().any(|member| !member.ejections.is_ejected()) {
            usable.retain(|member| !member.ejections.is_ejected());
        }
        let healthy = usable.len();
        if let Some(best) = usable.iter().map(|member| member.custom_health).min() {
            usable.retain(|member| member.custom_health == best);
        }
        let found_unhealthy = self.iter().any(|member| member.health.state() == TargetState::Unhealthy);
        if found_unhealthy {
            let all = with(&|state| state != TargetState::Draining);
            if healthy < self.attributes.minimum_healthy.of(all.len()) {
                usable = all;
            }
        }
        // Without a ramp weights stay as small as they are: the smaller they are, the sooner each had its turn.
        let ramping = usable.iter().any(|member| member.ramp.is_some());
        let weight = |member: &&Member| match (ramping, member.ramp) {
            (false, _) => member.weight,
            (true, None) => member.weight * slow_start::FULL,
            (true, Some(ramp)) => member.weight * ramp.share(),
        };
        (usable.iter().map(|member| Arc::clone(&member.entry)).collect(), usable.iter().map(weight).collect())
    }

    /// Ejects a target, unless it is already, or too many are. Tells for how long.
    pub(super) fn eject(&mut self, key: u64) -> Option<Duration> {
        let detection = self.attributes.outlier_detection;
        let usable: Vec<_> = self.iter().filter(|member| member.health.state().is_usable()).collect();
        let ejected = usable.iter().filter(|member| member.ejections.is_ejected()).count();
        let most = detection.most_of(usable.len());
        let member = self.by_key.get_mut(&key)?;
        let may = ejected < most && member.health.state().is_usable() && !member.ejections.is_ejected();
        may.then(|| member.ejections.begin(&detection))
    }

    /// Begins the ramp of a target that has just become usable. "Newly registered targets enter slow start mode only when
    /// there is at least one healthy target that is not in slow start mode" (ELB's guide): of targets that are all new
    /// none has anybody to leave its share to.
    pub(super) fn begin_ramp(&mut self, key: u64) {
        let Some(duration) = self.attributes.slow_start else { return };
        let at_full = |member: &Member| {
            member.entry.core.key != key && member.health.state().is_usable() && member.ramp.is_none()
        };
        if self.iter().any(at_full)
            && let Some(member) = self.by_key.get_mut(&key)
        {
            member.ramp = Some(Ramp::begin(duration));
        }
    }
}
