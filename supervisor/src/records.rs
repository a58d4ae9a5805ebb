//! What is kept in the store, and under which keys.
//!
//! | key | value | written by |
//! | --- | --- | --- |
//! | `cluster/<c>` | [`ClusterRecord`] | operations |
//! | `family/<f>` | newest revision number, never taken back | operations |
//! | `task-definition/<f>/<revision>` | [`TaskDefinition`] | operations |
//! | `service/<c>/<s>` | [`ServiceRecord`] | operations; the scheduler ends deployments and deletions |
//! | `service-deployment/<c>/<s>/<n>` | [`ServiceDeploymentRecord`], the newest 100 | whoever changes the service with it |
//! | `task/<c>/<id>` | [`TaskRecord`] of a standalone task | operations |
//! | `stopped-task/<c>/<id>` | [`StoppedTask`], standalone | agent |
//! | `run-token/<c>/<token>` | ids of the tasks that a RunTask started | operations |
//! | `scalable-target/<c>/<s>` | [`ScalableTarget`](crate::model::scaling::ScalableTarget) | operations; auto scaling runs its schedules |
//! | `scaling-state/<c>/<s>` | [`ScalingState`](crate::model::scaling::ScalingState) | auto scaling |
//! | `schedule/<name>` | [`ScheduleRecord`](crate::model::scheduled_run::ScheduleRecord) | operations; the schedules' loop tells how far it is |
//! | `usage/<month>/<c>/service/<s>`, `.../family/<f>` | [`UsageRecord`](crate::model::usage::UsageRecord) | metering |
//! | `secret/<name>`, `parameter/<name>` | [`Sealed`](crate::secrets::vault::Sealed): the value in it is encrypted | operations |
//! | `load-balancer/<name>` | [`LoadBalancerRecord`](crate::model::load_balancing::load_balancer::LoadBalancerRecord), with its listeners and rules | operations |
//! | `target-group/<name>` | [`TargetGroupRecord`](crate::model::load_balancing::target_group::TargetGroupRecord) | operations |
//! | `alarm/<name>` | [`Alarm`](crate::model::alarm::Alarm) | operations |
//! | `session/task/<c>/<s>/<id>` | [`TaskRecord`] of a service's task | scheduler; StopTask |
//! | `session/task-service/<c>/<id>` | name of the task's service | scheduler |
//! | `session/status/<c>/<id>` | [`TaskStatus`] | agent |
//! | `session/stopped-task/<c>/<id>` | [`StoppedTask`] of a service | agent |
//! | `session/event/<c>/<s>/<n>` | [`ServiceEvent`] | scheduler |
//! | `session/deployment/<c>/<s>` | failed tasks by deployment | scheduler |
//! | `session/asleep/<c>/<s>` | there while a service has scaled to zero | scheduler |
//! | `session/inactive-service/<c>/<s>` | [`Service`], as last seen | scheduler |
//!
//! A service's tasks are not durable: which of them exist follows from the service's record, and none outlives the process that runs it.

mod history;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::OperationError;
use crate::model::cluster::ClusterRecord;
use crate::model::deployment::ServiceDeploymentRecord;
use crate::model::names::{ClusterName, Family, ServiceName, TaskId};
use crate::model::service::{Service, ServiceEvent, ServiceRecord};
use crate::model::task::{StoppedTask, TaskRecord, TaskStatus};
use crate::model::task_definition::{TaskDefinition, TaskDefinitionId};
use crate::store::{Compare, Entry, Outcome, Store, StoreError, Transaction};

/// Rounds of compare-and-swap before an operation gives up.
const MAX_ATTEMPTS: usize = 16;

/// Typed access to the store.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) store: Arc<dyn Store>,
}

/// A record with the revision to compare it by.
#[derive(Clone, Debug)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

/// A task, alive or over.
#[derive(Clone, Debug)]
pub(crate) struct KnownTask {
    pub(crate) record: TaskRecord,
    pub(crate) status: TaskStatus,
}

/// A service by cluster and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServiceKey {
    pub(crate) cluster: ClusterName,
    pub(crate) name: ServiceName,
}

impl Records {
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Found<T>>, StoreError> {
        let Some(entry) = self.store.get(key).await? else { return Ok(None) };
        Ok(Some(Found { value: decode(&entry)?, revision: entry.revision }))
    }

    pub(crate) async fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, StoreError> {
        self.store.range(prefix).await?.iter().map(decode).collect()
    }

    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        self.store.commit(transaction).await
    }

    /// Reads, changes and writes one record until nobody else did in between. `change` answers `None` to leave it as it is; what it answers
    /// beside the new value is given back.
    pub(crate) async fn update<T, R>(
        &self,
        key: &str,
        missing: impl Fn() -> OperationError,
        mut change: impl FnMut(&mut T) -> Result<Option<R>, OperationError>,
    ) -> Result<(T, Option<R>), OperationError>
    where
        T: DeserializeOwned + Serialize,
    {
        let change = |value: &mut T| Ok(change(value)?.map(|result| (result, Transaction::new())));
        self.update_with(key, missing, change).await
    }

    /// [`update`](Self::update) of a service, with the history of its deployments beside it.
    pub(crate) async fn update_service<R>(
        &self,
        key: &ServiceKey,
        mut change: impl FnMut(&mut ServiceRecord) -> Result<Option<R>, OperationError>,
    ) -> Result<(ServiceRecord, Option<R>), OperationError> {
        let with_history = |record: &mut ServiceRecord| {
            let before = record.service_deployment.clone();
            let Some(result) = change(record)? else { return Ok(None) };
            Ok(Some((result, history::changes(key, Some(&before), record))))
        };
        self.update_with(&keys::service(key), || OperationError::ServiceNotFound, with_history).await
    }

    /// [`update`](Self::update) where the change says what is written beside it.
    async fn update_with<T, R>(
        &self,
        key: &str,
        missing: impl Fn() -> OperationError,
        mut change: impl FnMut(&mut T) -> Result<Option<(R, Transaction)>, OperationError>,
    ) -> Result<(T, Option<R>), OperationError>
    where
        T: DeserializeOwned + Serialize,
    {
        for _ in 0..MAX_ATTEMPTS {
            let mut found = self.get::<T>(key).await?.ok_or_else(&missing)?;
            let Some((result, beside)) = change(&mut found.value)? else { return Ok((found.value, None)) };
            let transaction =
                beside.when(Compare::Revision(key.to_owned(), found.revision)).put(key, encode(&found.value));
            if let Outcome::Committed(_) = self.commit(transaction).await? {
                return Ok((found.value, Some(result)));
            }
        }
        Err(OperationError::Conflict)
    }

    pub(crate) async fn cluster(&self, name: &ClusterName) -> Result<ClusterRecord, OperationError> {
        let found = self.get(&keys::cluster(name)).await?.ok_or(OperationError::ClusterNotFound)?;
        Ok(found.value)
    }

    pub(crate) async fn task_definition(
        &self,
        id: &TaskDefinitionId,
    ) -> Result<Option<TaskDefinition>, StoreError> {
        Ok(self.get(&keys::task_definition(id)).await?.map(|found| found.value))
    }

    pub(crate) async fn service(&self, key: &ServiceKey) -> Result<Option<Found<ServiceRecord>>, StoreError> {
        self.get(&keys::service(key)).await
    }

    /// The transaction that creates a service, with the first of its history; only if there is none of its name.
    pub(crate) fn new_service(key: &ServiceKey, record: &ServiceRecord) -> Transaction {
        history::changes(key, None, record)
            .when(Compare::Absent(keys::service(key)))
            .put(keys::service(key), encode(record))
    }

    /// A service's deployments that are kept, oldest first.
    pub(crate) async fn service_deployments(
        &self,
        key: &ServiceKey,
    ) -> Result<Vec<ServiceDeploymentRecord>, StoreError> {
        self.list(&keys::service_deployments(key)).await
    }

    /// Whether a service has scaled to zero.
    pub(crate) async fn is_asleep(&self, key: &ServiceKey) -> Result<bool, StoreError> {
        Ok(self.get::<bool>(&keys::asleep(key)).await?.is_some())
    }

    pub(crate) async fn inactive_service(&self, key: &ServiceKey) -> Result<Option<Service>, StoreError> {
        Ok(self.get(&keys::inactive_service(key)).await?.map(|found| found.value))
    }

    /// The key of a task that is not over, with its record.
    pub(crate) async fn live_task(
        &self,
        cluster: &ClusterName,
        id: &TaskId,
    ) -> Result<Option<(String, Found<TaskRecord>)>, StoreError> {
        let standalone = keys::standalone_task(cluster, id);
        if let Some(found) = self.get(&standalone).await? {
            return Ok(Some((standalone, found)));
        }
        let Some(service) = self.get(&keys::task_service(cluster, id)).await? else { return Ok(None) };
        let key = keys::service_task(&ServiceKey { cluster: cluster.clone(), name: service.value }, id);
        Ok(self.get(&key).await?.map(|found| (key, found)))
    }

    /// A task, alive or over.
    pub(crate) async fn task(
        &self,
        cluster: &ClusterName,
        id: &TaskId,
    ) -> Result<Option<KnownTask>, StoreError> {
        let mut unseen = None;
        if let Some((_, found)) = self.live_task(cluster, id).await? {
            let known = self.with_status(found.value).await?;
            if known.status.version > 0 {
                return Ok(Some(known));
            }
            // Nobody has looked at it yet, or it ended between the two reads and took its status with it.
            unseen = Some(known);
        }
        for key in [keys::stopped_task(cluster, id), keys::stopped_service_task(cluster, id)] {
            if let Some(found) = self.get::<StoppedTask>(&key).await? {
                return Ok(Some(KnownTask { record: found.value.task, status: found.value.status }));
            }
        }
        Ok(unseen)
    }

    /// The tasks of a service that are not over.
    pub(crate) async fn service_tasks(&self, key: &ServiceKey) -> Result<Vec<KnownTask>, StoreError> {
        self.with_statuses(self.list(&keys::service_tasks(key)).await?).await
    }

    /// Every task of a cluster, those that are over last.
    pub(crate) async fn cluster_tasks(&self, cluster: &ClusterName) -> Result<Vec<KnownTask>, StoreError> {
        // The living are read first: a task that ends in between is then found twice, never not at all.
        let mut records: Vec<TaskRecord> = self.list(&keys::standalone_tasks(cluster)).await?;
        records.extend(self.list::<TaskRecord>(&keys::cluster_service_tasks(cluster)).await?);
        let mut tasks = BTreeMap::new();
        for task in self.with_statuses(records).await? {
            tasks.insert(task.record.id.clone(), task);
        }
        for prefix in [keys::stopped_tasks(cluster), keys::stopped_service_tasks(cluster)] {
            for stopped in self.list::<StoppedTask>(&prefix).await? {
                tasks.insert(
                    stopped.task.id.clone(),
                    KnownTask { record: stopped.task, status: stopped.status },
                );
            }
        }
        Ok(tasks.into_values().collect())
    }

    async fn with_statuses(&self, records: Vec<TaskRecord>) -> Result<Vec<KnownTask>, StoreError> {
        let mut tasks = Vec::with_capacity(records.len());
        for record in records {
            tasks.push(self.with_status(record).await?);
        }
        Ok(tasks)
    }

    async fn with_status(&self, record: TaskRecord) -> Result<KnownTask, StoreError> {
        let status = self.get(&keys::status(&record.cluster, &record.id)).await?;
        Ok(KnownTask { record, status: status.map(|found| found.value).unwrap_or_default() })
    }

    /// A service's newest events, newest first.
    pub(crate) async fn events(&self, key: &ServiceKey) -> Result<Vec<ServiceEvent>, StoreError> {
        let mut events: Vec<ServiceEvent> = self.list(&keys::events(key)).await?;
        events.reverse();
        Ok(events)
    }

    /// Tasks that failed to start, by deployment.
    pub(crate) async fn failed_tasks(&self, key: &ServiceKey) -> Result<BTreeMap<String, u32>, StoreError> {
        Ok(self.get(&keys::failed_tasks(key)).await?.map(|found| found.value).unwrap_or_default())
    }
}

pub(crate) fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, StoreError> {
    serde_json::from_slice(&entry.value)
        .map_err(|source| StoreError::Corrupt { key: entry.key.to_string(), source: Arc::new(source) })
}

#[expect(
    clippy::expect_used,
    reason = "our records have text keys and derive their serialization: no value of them can fail"
)]
pub(crate) fn encode(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("records serialize").into()
}

/// The keys, each in one place.
pub(crate) mod keys {
    use super::{ClusterName, Family, ServiceKey, ServiceName, TaskDefinitionId, TaskId};
    use crate::model::secret::SecretService;

    pub(crate) const CLUSTERS: &str = "cluster/";
    pub(crate) const FAMILIES: &str = "family/";
    pub(crate) const SERVICES: &str = "service/";
    pub(crate) const STANDALONE_TASKS: &str = "task/";
    pub(crate) const STOPPED_TASKS: &str = "stopped-task/";
    pub(crate) const SCALABLE_TARGETS: &str = "scalable-target/";
    pub(crate) const SCHEDULES: &str = "schedule/";
    pub(crate) const USAGE: &str = "usage/";
    pub(crate) const ALARMS: &str = "alarm/";
    pub(crate) const LOAD_BALANCERS: &str = "load-balancer/";
    pub(crate) const TARGET_GROUPS: &str = "target-group/";
    pub(crate) const RUN_TOKENS: &str = "run-token/";
    pub(crate) const SERVICE_TASKS: &str = "session/task/";
    pub(crate) const STATUSES: &str = "session/status/";
    pub(crate) const STOPPED_SERVICE_TASKS: &str = "session/stopped-task/";

    pub(crate) fn cluster(name: &ClusterName) -> String {
        format!("{CLUSTERS}{name}")
    }
    pub(crate) fn family(family: &Family) -> String {
        format!("{FAMILIES}{family}")
    }
    pub(crate) fn task_definitions(family: &Family) -> String {
        format!("task-definition/{family}/")
    }
    pub(crate) fn task_definition(id: &TaskDefinitionId) -> String {
        // Ten digits: the order of the keys is the order of the revisions.
        format!("task-definition/{}/{:010}", id.family, id.revision)
    }
    pub(crate) fn services(cluster: &ClusterName) -> String {
        format!("{SERVICES}{cluster}/")
    }
    pub(crate) fn service(key: &ServiceKey) -> String {
        format!("{SERVICES}{}/{}", key.cluster, key.name)
    }
    pub(crate) fn service_deployments(key: &ServiceKey) -> String {
        format!("service-deployment/{}/{}/", key.cluster, key.name)
    }
    pub(crate) fn service_deployment(key: &ServiceKey, number: u64) -> String {
        format!("service-deployment/{}/{}/{number:020}", key.cluster, key.name)
    }
    pub(crate) fn standalone_tasks(cluster: &ClusterName) -> String {
        format!("{STANDALONE_TASKS}{cluster}/")
    }
    pub(crate) fn standalone_task(cluster: &ClusterName, id: &TaskId) -> String {
        format!("{STANDALONE_TASKS}{cluster}/{id}")
    }
    pub(crate) fn stopped_tasks(cluster: &ClusterName) -> String {
        format!("{STOPPED_TASKS}{cluster}/")
    }
    pub(crate) fn stopped_task(cluster: &ClusterName, id: &TaskId) -> String {
        format!("{STOPPED_TASKS}{cluster}/{id}")
    }
    pub(crate) fn run_token(cluster: &ClusterName, token: &str) -> String {
        format!("{RUN_TOKENS}{cluster}/{token}")
    }
    pub(crate) fn cluster_service_tasks(cluster: &ClusterName) -> String {
        format!("{SERVICE_TASKS}{cluster}/")
    }
    pub(crate) fn service_tasks(key: &ServiceKey) -> String {
        format!("{SERVICE_TASKS}{}/{}/", key.cluster, key.name)
    }
    pub(crate) fn service_task(key: &ServiceKey, id: &TaskId) -> String {
        format!("{SERVICE_TASKS}{}/{}/{id}", key.cluster, key.name)
    }
    pub(crate) fn task_service(cluster: &ClusterName, id: &TaskId) -> String {
        format!("session/task-service/{cluster}/{id}")
    }
    pub(crate) fn status(cluster: &ClusterName, id: &TaskId) -> String {
        format!("{STATUSES}{cluster}/{id}")
    }
    pub(crate) fn stopped_service_tasks(cluster: &ClusterName) -> String {
        format!("{STOPPED_SERVICE_TASKS}{cluster}/")
    }
    pub(crate) fn stopped_service_task(cluster: &ClusterName, id: &TaskId) -> String {
        format!("{STOPPED_SERVICE_TASKS}{cluster}/{id}")
    }
    pub(crate) fn events(key: &ServiceKey) -> String {
        format!("session/event/{}/{}/", key.cluster, key.name)
    }
    pub(crate) fn event(key: &ServiceKey, number: u64) -> String {
        format!("session/event/{}/{}/{number:020}", key.cluster, key.name)
    }
    pub(crate) fn failed_tasks(key: &ServiceKey) -> String {
        format!("session/deployment/{}/{}", key.cluster, key.name)
    }
    pub(crate) fn asleep(key: &ServiceKey) -> String {
        format!("session/asleep/{}/{}", key.cluster, key.name)
    }
    pub(crate) fn inactive_service(key: &ServiceKey) -> String {
        format!("session/inactive-service/{}/{}", key.cluster, key.name)
    }

    pub(crate) fn scalable_target(key: &ServiceKey) -> String {
        format!("{SCALABLE_TARGETS}{}/{}", key.cluster, key.name)
    }
    pub(crate) fn scaling_state(key: &ServiceKey) -> String {
        format!("scaling-state/{}/{}", key.cluster, key.name)
    }
    pub(crate) fn schedule(name: &str) -> String {
        format!("{SCHEDULES}{name}")
    }
    pub(crate) fn usage(month: &str, owner: &str) -> String {
        format!("{USAGE}{month}/{owner}")
    }
    pub(crate) fn sealed(service: SecretService, name: &str) -> String {
        match service {
            SecretService::SecretsManager => format!("secret/{name}"),
            SecretService::ParameterStore => format!("parameter/{name}"),
        }
    }
    pub(crate) fn load_balancer(name: &str) -> String {
        format!("{LOAD_BALANCERS}{name}")
    }
    pub(crate) fn target_group(name: &str) -> String {
        format!("{TARGET_GROUPS}{name}")
    }
    pub(crate) fn alarm(name: &str) -> String {
        format!("{ALARMS}{name}")
    }

    /// Cluster and service in a key made by [`service`] or [`service_task`].
    pub(crate) fn parse_service(key: &str, prefix: &str) -> Option<ServiceKey> {
        let mut parts = key.strip_prefix(prefix)?.split('/');
        let cluster = ClusterName::parse(parts.next()?).ok()?;
        let name = ServiceName::parse(parts.next()?).ok()?;
        Some(ServiceKey { cluster, name })
    }
}

#[cfg(test)]
mod tests;
