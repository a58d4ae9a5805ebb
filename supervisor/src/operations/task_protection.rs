//! UpdateTaskProtection and GetTaskProtection.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Failure, bounded};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::names::{ClusterName, TaskId};
use crate::model::task::TaskRecord;
use crate::model::task_protection::{DEFAULT_MINUTES, MAX_MINUTES, TaskProtection};
use crate::supervisor::{Shared, Supervisor};

/// ECS: "A list of up to 10 task IDs or full ARN entries."
const MAX_UPDATED: usize = 10;
/// ECS: "A list of up to 100 task IDs or full ARN entries."
const MAX_SHOWN: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateTaskProtectionRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub tasks: Vec<String>,
    pub protection_enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_minutes: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetTaskProtectionRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// All of the cluster's services' tasks when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskProtectionResponse {
    pub protected_tasks: Vec<ProtectedTask>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedTask {
    pub task_arn: String,
    pub protection_enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<Timestamp>,
}

impl Supervisor {
    /// Protects tasks of services from scale-in and deployments, or does so no more. Each call sets the time anew.
    pub async fn update_task_protection(
        &self,
        request: UpdateTaskProtectionRequest,
    ) -> Result<TaskProtectionResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        bounded("tasks", request.tasks.len(), MAX_UPDATED)?;
        let minutes = minutes("expiresInMinutes", request.protection_enabled, request.expires_in_minutes)?;
        self.records().cluster(&cluster).await?;
        let now = self.now();
        let protection = minutes.map(|minutes| TaskProtection {
            expires_at: now.after(Duration::from_secs(u64::from(minutes) * 60)),
        });
        let mut response = TaskProtectionResponse::default();
        for id in self.parse_tasks(&cluster, &request.tasks)? {
            match protect(self.shared(), &cluster, &id, protection).await? {
                Ok(protected) => response.protected_tasks.push(protected),
                Err(failure) => response.failures.push(failure),
            }
        }
        Ok(response)
    }

    /// Which tasks of services are protected, and for how long.
    pub async fn get_task_protection(
        &self,
        request: GetTaskProtectionRequest,
    ) -> Result<TaskProtectionResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        self.records().cluster(&cluster).await?;
        let mut response = TaskProtectionResponse::default();
        if request.tasks.is_empty() {
            let tasks = self.records().cluster_tasks(&cluster).await?;
            let live = tasks.iter().filter(|task| task.record.service.is_some() && !task.is_over());
            response.protected_tasks = live.map(|task| shown(self.shared(), &task.record)).collect();
            return Ok(response);
        }
        bounded("tasks", request.tasks.len(), MAX_SHOWN)?;
        for id in self.parse_tasks(&cluster, &request.tasks)? {
            match protection_of(self.shared(), &cluster, &id).await? {
                Ok(protected) => response.protected_tasks.push(protected),
                Err(failure) => response.failures.push(failure),
            }
        }
        Ok(response)
    }

    fn parse_tasks(&self, cluster: &ClusterName, tasks: &[String]) -> Result<Vec<TaskId>, OperationError> {
        tasks.iter().map(|reference| self.identity().parse_task(cluster, reference)).collect()
    }
}

/// One task's protection, unless it cannot have one.
pub(crate) async fn protection_of(
    shared: &Shared,
    cluster: &ClusterName,
    id: &TaskId,
) -> Result<Result<ProtectedTask, Failure>, OperationError> {
    Ok(match shared.records.live_task(cluster, id).await? {
        Some((_, found)) if found.value.service.is_some() => Ok(shown(shared, &found.value)),
        Some(_) => Err(not_valid(shared, cluster, id)),
        None => Err(Failure::missing(shared.config.identity.task(cluster, id))),
    })
}

/// Sets one task's protection, unless it cannot have one.
pub(crate) async fn protect(
    shared: &Shared,
    cluster: &ClusterName,
    id: &TaskId,
    protection: Option<TaskProtection>,
) -> Result<Result<ProtectedTask, Failure>, OperationError> {
    let missing = || Failure::missing(shared.config.identity.task(cluster, id));
    let Some((key, found)) = shared.records.live_task(cluster, id).await? else {
        return Ok(Err(missing()));
    };
    if found.value.service.is_none() || found.value.stop.is_some() {
        return Ok(Err(not_valid(shared, cluster, id)));
    }
    let change = |record: &mut TaskRecord| {
        // A task that was told to stop meanwhile is past protection.
        if record.stop.is_some() {
            return Ok(None);
        }
        record.protection = protection;
        Ok(Some(()))
    };
    match shared.records.update(&key, || OperationError::ResourceNotFound, change).await {
        Ok((record, Some(()))) => Ok(Ok(shown(shared, &record))),
        Ok((_, None)) => Ok(Err(not_valid(shared, cluster, id))),
        Err(OperationError::ResourceNotFound) => Ok(Err(missing())),
        Err(error) => Err(error),
    }
}

fn shown(shared: &Shared, record: &TaskRecord) -> ProtectedTask {
    let now = shared.now();
    let protection = record.protection.filter(|protection| protection.holds(now));
    ProtectedTask {
        task_arn: shared.config.identity.task(&record.cluster, &record.id),
        protection_enabled: protection.is_some(),
        expiration_date: protection.map(|protection| protection.expires_at),
    }
}

fn not_valid(shared: &Shared, cluster: &ClusterName, id: &TaskId) -> Failure {
    Failure {
        arn: Some(shared.config.identity.task(cluster, id)),
        reason: "TASK_NOT_VALID".to_owned(),
        detail: Some("Only tasks of services that are not stopping can be protected.".to_owned()),
    }
}

/// For how long; none to protect it no more. `field` is what a request calls it.
pub(crate) fn minutes(field: &str, enabled: bool, given: Option<i64>) -> Result<Option<u32>, OperationError> {
    match (enabled, given) {
        // How long nothing lasts does not matter.
        (false, _) => Ok(None),
        (true, None) => Ok(Some(DEFAULT_MINUTES)),
        (true, Some(given)) => {
            let minutes = u32::try_from(given).ok().filter(|minutes| (1..=MAX_MINUTES).contains(minutes));
            minutes.map(Some).ok_or_else(|| {
                OperationError::invalid(format!("{field} must be 1 to {MAX_MINUTES}, not {given}."))
            })
        }
    }
}
