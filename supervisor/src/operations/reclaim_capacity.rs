//! ReclaimCapacity, an operation of ours: takes Spot capacity back, as AWS does when it needs it elsewhere.
//!
//! ECS: "a two-minute warning is sent before a task is stopped": the task leaves the balancer's rotation and its containers are told to stop at once, and two
//! minutes later at the latest nothing of it is left. Its service starts another one in the meantime.

use serde::{Deserialize, Serialize};

use super::{Failure, bounded};
use crate::error::OperationError;
use crate::model::capacity::CapacityProvider;
use crate::model::names::{ClusterName, TaskId};
use crate::model::task::{StopCode, StopOrder, TaskRecord};
use crate::records::KnownTask;
use crate::supervisor::Supervisor;

/// Most tasks that are named.
const MAX_TASKS: usize = 100;

/// Whose capacity is taken back. Without tasks: that of the cluster's Spot tasks, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReclaimCapacityRequest {
    /// Name or ARN; `default` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Ids or ARNs, up to 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Only this service's. Not beside `tasks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// So many at most; all when absent. Not beside `tasks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// What was interrupted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReclaimCapacityResponse {
    /// ARNs of the tasks that are interrupted.
    pub interrupted_tasks: Vec<String>,
    /// Those that were named and are not: `MISSING`, or `NOT_SPOT`.
    pub failures: Vec<Failure>,
}

impl Supervisor {
    /// Interrupts Spot tasks.
    pub async fn reclaim_capacity(
        &self,
        request: ReclaimCapacityRequest,
    ) -> Result<ReclaimCapacityResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        self.records().cluster(&cluster).await?;
        let mut response = ReclaimCapacityResponse::default();
        let chosen = if request.tasks.is_empty() {
            let service = request.service.as_deref();
            let service = service.map(|name| self.identity().parse_service(&cluster, name)).transpose()?;
            let is_wanted = |task: &KnownTask| {
                let of = task.record.service.as_ref().map(|service| &service.name);
                is_spot(&task.record)
                    && !task.is_over()
                    && service.as_ref().is_none_or(|name| of == Some(name))
            };
            let mut tasks = self.records().cluster_tasks(&cluster).await?;
            tasks.retain(is_wanted);
            tasks.sort_by_key(|task| std::cmp::Reverse(task.record.created_at.millis()));
            let most = request.count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
            tasks.into_iter().take(most).map(|task| task.record.id).collect()
        } else {
            bounded("tasks", request.tasks.len(), MAX_TASKS)?;
            if request.service.is_some() || request.count.is_some() {
                return Err(OperationError::invalid("service and count cannot be given beside tasks."));
            }
            let ids = request.tasks.iter().map(|task| self.identity().parse_task(&cluster, task));
            ids.collect::<Result<Vec<TaskId>, _>>()?
        };
        for id in chosen {
            match self.interrupt(&cluster, &id).await? {
                Ok(()) => response.interrupted_tasks.push(self.identity().task(&cluster, &id)),
                Err(failure) => response.failures.push(failure),
            }
        }
        Ok(response)
    }

    async fn interrupt(
        &self,
        cluster: &ClusterName,
        id: &TaskId,
    ) -> Result<Result<(), Failure>, OperationError> {
        let arn = self.identity().task(cluster, id);
        let Some((key, found)) = self.records().live_task(cluster, id).await? else {
            return Ok(Err(Failure::missing(arn)));
        };
        if !is_spot(&found.value) {
            let detail = "Only tasks of the capacity provider FARGATE_SPOT can be interrupted.".to_owned();
            return Ok(Err(Failure { arn: Some(arn), reason: "NOT_SPOT".to_owned(), detail: Some(detail) }));
        }
        let order = StopOrder {
            code: StopCode::SpotInterruption,
            reason: "Your Spot Task was interrupted.".to_owned(),
        };
        let stop = |record: &mut TaskRecord| {
            if record.stop.is_some() {
                return Ok(None);
            }
            record.stop = Some(order.clone());
            Ok(Some(()))
        };
        match self.records().update(&key, || OperationError::ResourceNotFound, stop).await {
            Ok(_) => Ok(Ok(())),
            // It ended by itself meanwhile.
            Err(OperationError::ResourceNotFound) => Ok(Err(Failure::missing(arn))),
            Err(error) => Err(error),
        }
    }
}

fn is_spot(record: &TaskRecord) -> bool {
    record.stop.is_none() && record.capacity() == CapacityProvider::FargateSpot
}
