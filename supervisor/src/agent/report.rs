//! What is observed of one task, and telling it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::pending;

use crate::model::task::{
    ContainerStatus, HealthStatus, LastStatus, StopCode, StopOrder, StoppedTask, TaskRecord, TaskStatus,
};
use crate::model::task_definition::ContainerDefinition;
use crate::records::{encode, keys};
use crate::store::{StoreError, Transaction};
use crate::supervisor::Shared;

/// Pause before writing again to a store that failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Report {
    shared: Arc<Shared>,
    /// The store does not have what is observed.
    unsaid: bool,
    /// Of the task's order in the store.
    key: String,
    pub(super) record: TaskRecord,
    pub(super) status: TaskStatus,
}

impl Report {
    pub(super) fn new(shared: Arc<Shared>, key: String, record: TaskRecord) -> Self {
        Self { shared, unsaid: false, key, record, status: TaskStatus::default() }
    }

    /// Changes what is observed, and tells it.
    pub(super) async fn tell(&mut self, change: impl FnOnce(&mut TaskStatus)) {
        change(&mut self.status);
        self.status.version += 1;
        let key = keys::status(&self.record.cluster, &self.record.id);
        let put = Transaction::new().put(key, encode(&self.status));
        // Also when whoever waits for this stops waiting.
        self.unsaid = true;
        match self.shared.records.commit(put).await {
            Ok(_) => self.unsaid = false,
            Err(error) => tracing::error!(%error, task = %self.record.id, "cannot report a task's status"),
        }
    }

    /// Tells again what the store did not take, for as long as it is polled: for whoever waits for something else meanwhile.
    pub(super) async fn insist(&mut self) -> Infallible {
        while self.unsaid {
            tokio::time::sleep(STORE_RETRY).await;
            self.tell(|_| {}).await;
        }
        pending().await
    }

    /// Notes that the task cannot even be tried.
    pub(super) fn failed(&mut self, reason: String) {
        self.status.stop = Some(StopOrder { code: StopCode::TaskFailedToStart, reason });
    }

    /// Notes containers that are not started yet.
    pub(super) fn pending(&mut self, containers: &[ContainerDefinition]) {
        let pending =
            |container: &ContainerDefinition| ContainerStatus::pending(&self.record.id, &container.name);
        self.status.containers = containers.iter().map(pending).collect();
    }

    /// Changes what is observed of one container; to be told with what follows.
    pub(super) fn note(&mut self, container: &str, change: impl FnOnce(&mut ContainerStatus)) {
        if let Some(status) = self.status.containers.iter_mut().find(|status| status.name == container) {
            change(status);
        }
    }

    /// Notes a container's health, and what it means for the task: "If one or more essential containers ... is UNHEALTHY, the task is UNHEALTHY";
    /// HEALTHY takes all of them. `checked` are the essential containers that have a health check.
    pub(super) fn note_health(&mut self, container: &str, health: HealthStatus, checked: &[&str]) {
        self.note(container, |status| status.health = health);
        self.status.health = task_health(&self.status.containers, checked);
    }

    /// Writes the record of a task that is over. It is tried until it succeeds: until then the task counts as not over.
    pub(super) async fn finish(&mut self) {
        let now = self.shared.now();
        self.status.last_status = LastStatus::Stopped;
        self.status.stopped_at = Some(now);
        self.status.stopping_at.get_or_insert(now);
        self.status.version += 1;
        while let Err(error) = self.write_stopped().await {
            tracing::error!(%error, task = %self.record.id, "cannot record that a task stopped");
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    async fn write_stopped(&mut self) -> Result<(), StoreError> {
        // Tags may have changed while it ran.
        if let Some(found) = self.shared.records.get::<TaskRecord>(&self.key).await? {
            self.record = found.value;
        }
        let (cluster, id) = (&self.record.cluster, &self.record.id);
        let stopped = encode(&StoppedTask { task: self.record.clone(), status: self.status.clone() });
        let status = keys::status(cluster, id);
        if self.record.service.is_some() {
            let over = Transaction::new()
                .put(keys::stopped_service_task(cluster, id), stopped)
                .delete(self.key.as_str())
                .delete(keys::task_service(cluster, id))
                .delete(status);
            self.shared.records.commit(over).await?;
        } else {
            let over =
                Transaction::new().put(keys::stopped_task(cluster, id), stopped).delete(self.key.as_str());
            self.shared.records.commit(over).await?;
            self.shared.records.commit(Transaction::new().delete(status)).await?;
        }
        Ok(())
    }
}

fn task_health(containers: &[ContainerStatus], checked: &[&str]) -> Option<HealthStatus> {
    let mut health = None;
    for container in containers.iter().filter(|container| checked.contains(&container.name.as_str())) {
        health = Some(match (health, container.health) {
            (_, HealthStatus::Unhealthy) | (Some(HealthStatus::Unhealthy), _) => HealthStatus::Unhealthy,
            (_, HealthStatus::Unknown) | (Some(HealthStatus::Unknown), _) => HealthStatus::Unknown,
            (_, HealthStatus::Healthy) => HealthStatus::Healthy,
        });
    }
    health
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::TaskId;

    #[test]
    fn a_task_is_as_well_as_its_worst_essential_container_that_is_checked() {
        use HealthStatus::{Healthy, Unhealthy, Unknown};
        let id = TaskId::parse(&"0".repeat(32)).unwrap();
        let container =
            |name: &str, health| ContainerStatus { health, ..ContainerStatus::pending(&id, name) };
        for (healths, expected) in [
            ([Healthy, Healthy], Some(Healthy)),
            ([Healthy, Unknown], Some(Unknown)),
            ([Unknown, Unhealthy], Some(Unhealthy)),
            ([Unhealthy, Healthy], Some(Unhealthy)),
        ] {
            let containers =
                [container("a", healths[0]), container("b", healths[1]), container("c", Unhealthy)];
            assert_eq!(task_health(&containers, &["a", "b"]), expected, "{healths:?}");
            assert_eq!(task_health(&containers, &[]), None);
        }
    }
}
