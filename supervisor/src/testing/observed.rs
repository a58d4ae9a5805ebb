//! What a test may see of the pretended tasks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{SimulatedDriver, lock};
use crate::driver::MetadataSource;
use crate::model::names::TaskId;

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

    /// The listeners, by target group.
    pub fn listeners(&self) -> BTreeMap<String, SocketAddr> {
        self.world.lock().listeners.clone()
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
