//! Load balancers and target groups: has the driver be what is kept of them.
//!
//! Operations settle what they change before they write it, so that a port that is taken refuses the request. What the store holds is settled at the start, and
//! a loop tries again what could not be done then.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::driver::{Driver, ListenerSettings, PublishError, RuleSettings, TargetGroupSettings};
use crate::model::arn::Identity;
use crate::model::load_balancing::load_balancer::{ListenerRecord, LoadBalancerRecord, RuleRecord};
use crate::model::load_balancing::target_group::TargetGroupRecord;
use crate::records::{decode, keys};
use crate::store::StoreError;
use crate::supervisor::Shared;

/// Pause before an address is tried again that could not be listened at.
const LISTEN_RETRY: Duration = Duration::from_secs(1);
/// For requests in flight when a listener closes.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// The load balancers of this node.
#[derive(Debug)]
pub(crate) struct LoadBalancing {
    driver: Arc<dyn Driver>,
    identity: Identity,
    /// Held while a load balancer or target group is changed: what refers to what is looked at before it is written.
    open: tokio::sync::Mutex<Open>,
    /// Why listeners are not open, by their ARNs.
    problems: Mutex<HashMap<String, String>>,
}

/// ARNs of listeners by the names of their load balancers.
type Open = HashMap<String, BTreeSet<String>>;

/// The right to change load balancers and target groups.
#[derive(Debug)]
pub(crate) struct Changing<'a> {
    of: &'a LoadBalancing,
    open: tokio::sync::MutexGuard<'a, Open>,
}

/// A listener that is not as it is kept.
#[derive(Debug)]
pub(crate) struct NotOpen {
    name: String,
    pub(crate) error: PublishError,
    /// It was not so before for the same reason.
    pub(crate) is_new: bool,
}

impl LoadBalancing {
    pub(crate) fn new(driver: Arc<dyn Driver>, identity: Identity) -> Self {
        Self { driver, identity, open: tokio::sync::Mutex::default(), problems: Mutex::default() }
    }

    /// Waits until nobody else changes any.
    pub(crate) async fn change(&self) -> Changing<'_> {
        Changing { of: self, open: self.open.lock().await }
    }

    /// Why a listener is not open; `None` if it is.
    pub(crate) fn problem(&self, listener_arn: &str) -> Option<String> {
        self.problems().get(listener_arn).cloned()
    }

    /// Closes every listener, all at the same time.
    pub(crate) async fn close(&self, deadline: Duration) {
        let arns: Vec<String> = self.open.lock().await.drain().flat_map(|(_, arns)| arns).collect();
        let closing = arns.iter().map(|arn| self.driver.close_listener(arn, deadline));
        futures_util::future::join_all(closing).await;
    }

    fn listener(&self, of: &LoadBalancerRecord, listener: &ListenerRecord) -> ListenerSettings {
        let rule = |rule: &RuleRecord| RuleSettings {
            arn: self.identity.rule(of, listener, &rule.id),
            priority: rule.priority,
            conditions: rule.conditions.clone(),
            action: rule.action.clone(),
        };
        ListenerSettings {
            arn: self.identity.listener(of, listener),
            name: format!("{}:{}", of.name, listener.port),
            address: of.socket_address(listener),
            rules: listener.rules.iter().map(rule).collect(),
            default_arn: self.identity.rule(of, listener, &listener.default.id),
            default: listener.default.action.clone(),
        }
    }

    fn problems(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Guards single map operations.
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changing<'_> {
    /// Has a load balancer listen as it is kept, and nowhere else. All that can be done is done, and the rest is answered.
    pub(crate) async fn settle(&mut self, record: &LoadBalancerRecord) -> Vec<NotOpen> {
        let mut failed = Vec::new();
        let mut wanted = BTreeSet::new();
        for listener in &record.listeners {
            let settings = self.of.listener(record, listener);
            let outcome = self.of.driver.open_listener(&settings).await;
            let before = match &outcome {
                Ok(_) => self.of.problems().remove(&settings.arn),
                Err(error) => self.of.problems().insert(settings.arn.clone(), error.to_string()),
            };
            if let Err(error) = outcome {
                let is_new = before.as_ref() != Some(&error.to_string());
                failed.push(NotOpen { name: settings.name, error, is_new });
            }
            wanted.insert(settings.arn);
        }
        let known = self.open.insert(record.name.clone(), wanted.clone()).unwrap_or_default();
        self.close(known.difference(&wanted)).await;
        failed
    }

    /// Closes the listeners of a load balancer that is not there any more.
    pub(crate) async fn remove(&mut self, name: &str) {
        let known = self.open.remove(name).unwrap_or_default();
        self.close(known.iter()).await;
    }

    async fn close(&self, arns: impl Iterator<Item = &String>) {
        let closing = arns.map(|arn| {
            self.of.problems().remove(arn);
            self.of.driver.close_listener(arn, CLOSE_DEADLINE)
        });
        futures_util::future::join_all(closing).await;
    }

    /// Has a target group be as it is kept. One whose attributes cannot be read was written by a later version: it keeps those it has.
    pub(crate) fn keep(&self, record: &TargetGroupRecord) {
        match record.parsed_attributes() {
            Ok(attributes) => self.of.driver.keep_target_group(&TargetGroupSettings {
                arn: self.of.identity.made_target_group(record),
                name: record.name.clone(),
                health_check: record.health_check.clone(),
                attributes,
                targets: record.targets.clone(),
            }),
            Err(error) => tracing::error!(%error, group = record.name, "a target group is skipped"),
        }
    }

    /// Forgets a target group.
    pub(crate) fn forget(&self, record: &TargetGroupRecord) {
        self.of.driver.forget_target_group(&self.of.identity.made_target_group(record));
    }
}

/// Has the driver be what the store holds, before anything uses it. Target groups come first, which listeners and services need.
pub(crate) async fn restore(shared: &Shared) -> Result<(), StoreError> {
    let mut changing = shared.load_balancing.change().await;
    for entry in shared.records.store.range(keys::TARGET_GROUPS).await? {
        match decode::<TargetGroupRecord>(&entry) {
            Ok(record) => changing.keep(&record),
            Err(error) => tracing::error!(%error, "a target group is skipped"),
        }
    }
    for entry in shared.records.store.range(keys::LOAD_BALANCERS).await? {
        match decode::<LoadBalancerRecord>(&entry) {
            Ok(record) => {
                for NotOpen { name, error, .. } in changing.settle(&record).await {
                    tracing::warn!(listener = name, %error, "a listener is not open: it is tried again each second");
                }
            }
            Err(error) => tracing::error!(%error, "a load balancer is skipped"),
        }
    }
    Ok(())
}

/// Tries again what could not be done, until dropped. Operations do by themselves what they write.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        sleep(LISTEN_RETRY).await;
        if !shared.load_balancing.problems().is_empty()
            && let Err(error) = settle_all(&shared).await
        {
            tracing::error!(%error, "load balancers cannot use the store");
        }
    }
}

async fn settle_all(shared: &Shared) -> Result<(), StoreError> {
    let mut changing = shared.load_balancing.change().await;
    for record in shared.records.list::<LoadBalancerRecord>(keys::LOAD_BALANCERS).await? {
        changing.settle(&record).await;
    }
    Ok(())
}
