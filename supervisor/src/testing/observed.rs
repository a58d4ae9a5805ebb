//! What a test may see of the pretended tasks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{SimulatedDriver, lock};
use crate::driver::MetadataSource;
use crate::model::names::TaskId;
use crate::model::service_connect::Offer;
use crate::model::task::HealthStatus;

impl SimulatedDriver {
    /// What a container found in its environment.
    pub fn environment(&self, task: &TaskId, container: &str) -> Vec<(String, String)> {
        let sandbox = self.world.lock().tasks.get(task).cloned();
        sandbox.map(|sandbox| sandbox.launch.environment(container)).unwrap_or_default()
    }

    /// What a task is told about itself, if it is there.
    pub fn metadata(&self, task: &TaskId) -> Option<Arc<dyn MetadataSource>> {
        let sandbox = self.world.lock().tasks.get(task).cloned();
        sandbox.map(|sandbox| Arc::clone(&sandbox.launch.metadata))
    }

    /// How often a task's containers were asked how they are.
    pub fn probes(&self, task: &TaskId) -> u64 {
        let sandbox = self.world.lock().tasks.get(task).cloned();
        sandbox.map_or(0, |sandbox| lock(&sandbox.inner).probes)
    }

    /// Containers in the order in which they were started.
    pub fn started_in_order(&self) -> Vec<(TaskId, String)> {
        self.world.lock().started_in_order.clone()
    }

    /// The target group that a task gets requests from, by its ARN.
    pub fn registered(&self, task: &TaskId) -> Option<String> {
        let sandbox = self.world.lock().tasks.get(task).cloned()?;
        let inner = lock(&sandbox.inner);
        (inner.target.is_some() && !inner.deregistered).then(|| inner.group.clone())
    }

    /// What a task's target group was told of its containers' health last.
    pub fn vouched(&self, task: &TaskId) -> Option<HealthStatus> {
        let sandbox = self.world.lock().tasks.get(task).cloned()?;
        lock(&sandbox.inner).vouched
    }

    /// The listeners, by target group.
    pub fn listeners(&self) -> BTreeMap<String, SocketAddr> {
        self.world.lock().listeners.clone()
    }

    /// What services are found by, sorted by their full names.
    pub fn offers(&self) -> Vec<Offer> {
        let mut offers: Vec<Offer> = self.world.lock().offers.values().flatten().cloned().collect();
        offers.sort_by_key(Offer::full_name);
        offers
    }

    /// The namespace that a task finds others in, and whether it is found itself.
    pub fn place(&self, task: &TaskId) -> Option<(Option<String>, bool)> {
        let sandbox = self.world.lock().tasks.get(task).cloned()?;
        Some((sandbox.launch.namespace.clone(), sandbox.launch.offers))
    }

    /// Where the requests of the one published service go: thousandths by the name of a target group, and the test listener's target group. Without
    /// a service, or before anything was said, all go to the first.
    pub fn traffic(&self) -> (BTreeMap<String, u32>, String) {
        let name = |arn: &str| arn.rsplit('/').nth(1).unwrap_or_default().to_owned();
        let state = self.world.lock();
        match state.routings.values().next() {
            Some(routing) => {
                let production = routing.production.iter().map(|(group, share)| (name(&group.arn), *share));
                (production.collect(), name(&routing.test.arn))
            }
            None => {
                let first = state.listeners.keys().next().map(|arn| name(arn)).unwrap_or_default();
                (BTreeMap::from([(first.clone(), 1000)]), first)
            }
        }
    }

    /// Containers in the order in which they were stopped.
    pub fn stopped_in_order(&self) -> Vec<(TaskId, String)> {
        self.world.lock().stopped_in_order.clone()
    }

    /// What a driver must never be asked to do, and was.
    pub fn breaches(&self) -> Vec<String> {
        self.world.lock().breaches.clone()
    }
}
