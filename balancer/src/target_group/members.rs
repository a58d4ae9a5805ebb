//! The table behind a target group: every target registered or draining, with its health.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::description::{TargetDescription, TargetState};
use super::entry::Entry;
use crate::TargetId;
use crate::health::Health;

/// One target and what is known of it.
pub(super) struct Member {
    pub(super) entry: Arc<Entry>,
    pub(super) health: Health,
    pub(super) checker: Option<AbortHandle>,
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
            counters: self.entry.counters(),
        }
    }
}

/// Keys grow with each registration, so the order of keys is the order of registration.
#[derive(Default)]
pub(super) struct Members {
    by_key: BTreeMap<u64, Member>,
    /// The newest member of each id.
    latest: HashMap<TargetId, u64>,
    last_key: u64,
}

impl Members {
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

    /// Where requests go: the healthy targets; if there is none and at least one was found unhealthy, all that do not
    /// drain ("fails open"). While all targets are new nobody has been found anything: they get no traffic yet.
    pub(super) fn usable(&self) -> Vec<Arc<Entry>> {
        let with = |wanted: &dyn Fn(TargetState) -> bool| -> Vec<_> {
            let members = self.iter().filter(|member| wanted(member.health.state()));
            members.map(|member| Arc::clone(&member.entry)).collect()
        };
        let healthy = with(&TargetState::is_usable);
        if !healthy.is_empty() || !self.iter().any(|member| member.health.state() == TargetState::Unhealthy) {
            return healthy;
        }
        with(&|state| state != TargetState::Draining)
    }
}
