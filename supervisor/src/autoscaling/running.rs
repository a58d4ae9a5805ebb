//! The tasks of services that run here. Auto scaling measures them without reading a record: with thousands of tasks at rest, reading would be most of what they cost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time::Instant;

use super::sample::{Reserved, SeenTask};
use crate::driver::Sandbox;
use crate::model::names::TaskId;
use crate::records::ServiceKey;

/// By service. A task is here while it is RUNNING.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<ServiceKey, BTreeMap<TaskId, RunningTask>>>);

#[derive(Debug)]
struct RunningTask {
    sandbox: Weak<dyn Sandbox>,
    reserved: Reserved,
    since: Instant,
}

impl Running {
    /// A task runs from now on.
    pub(crate) fn begin(
        &self,
        service: ServiceKey,
        id: TaskId,
        sandbox: &Arc<dyn Sandbox>,
        reserved: Reserved,
    ) {
        let task = RunningTask { sandbox: Arc::downgrade(sandbox), reserved, since: Instant::now() };
        self.lock().entry(service).or_default().insert(id, task);
    }

    /// It begins to stop.
    pub(crate) fn end(&self, service: &ServiceKey, id: &TaskId) {
        let mut all = self.lock();
        if let Some(tasks) = all.get_mut(service) {
            tasks.remove(id);
            if tasks.is_empty() {
                all.remove(service);
            }
        }
    }

    /// What a service's tasks have used until now.
    pub(super) fn look(&self, service: &ServiceKey) -> Vec<SeenTask> {
        let all = self.lock();
        let seen = |(id, task): (&TaskId, &RunningTask)| {
            Some(SeenTask {
                id: id.clone(),
                usage: task.sandbox.upgrade()?.usage(),
                reserved: task.reserved,
                running_for: task.since.elapsed().as_secs_f64(),
            })
        };
        all.get(service).into_iter().flatten().filter_map(seen).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceKey, BTreeMap<TaskId, RunningTask>>> {
        // A service without tasks that is left in the map is as good as none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
