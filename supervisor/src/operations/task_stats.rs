//! DescribeTaskStats, an operation of ours: what running tasks use, as the runtime's accounts have it.
//!
//! All numbers but the memory in use count from the task's start and only grow, so that whoever wants rates takes two answers and divides
//! by the time between their `readAt`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Failure, bounded};
use crate::clock::Timestamp;
use crate::driver::{ContainerMeters, TaskMeters};
use crate::error::OperationError;
use crate::supervisor::Supervisor;

/// Most tasks of one request: DescribeTasks' own number.
const MAX_TASKS: usize = 100;

/// Which tasks are asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeTaskStatsRequest {
    /// Name or ARN; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Ids or ARNs, up to 100.
    pub tasks: Vec<String>,
}

/// What they use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribeTaskStatsResponse {
    /// Those that run.
    pub tasks: Vec<TaskStats>,
    /// Those that do not: `MISSING`.
    pub failures: Vec<Failure>,
}

/// What one task uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStats {
    /// The task.
    pub task_arn: String,
    /// When the accounts were read.
    pub read_at: Timestamp,
    /// Hard CPU quota in ECS units, 1024 to a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<u32>,
    /// Hard memory limit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// CPU time of its containers and of the commands that were run in it, in nanoseconds.
    pub cpu_time_nanos: u64,
    /// Bytes that they have in use now.
    pub memory: u64,
    /// The most bytes that they had in use at once.
    pub memory_peak: u64,
    /// Each container that was started.
    pub containers: Vec<ContainerStats>,
}

/// What one container uses, its restarts included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    /// Its name in the task definition.
    pub name: String,
    /// CPU time in nanoseconds.
    pub cpu_time_nanos: u64,
    /// Time that its guests waited for CPU quota, summed over those that waited at once, in nanoseconds.
    pub throttled_time_nanos: u64,
    /// Fuel, about one unit an instruction: of requests that are over, and of commands to the last time that they yielded.
    pub fuel: u64,
    /// Bytes in use now.
    pub memory: u64,
    /// The most bytes that were in use at once.
    pub memory_peak: u64,
    /// The tightest limit on its memory in bytes, its own or its task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Requests that reached it.
    pub requests: u64,
    /// Guests that trapped.
    pub traps: u64,
}

impl Supervisor {
    /// Reads the accounts of up to 100 tasks.
    pub async fn describe_task_stats(
        &self,
        request: DescribeTaskStatsRequest,
    ) -> Result<DescribeTaskStatsResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        bounded("Tasks", request.tasks.len(), MAX_TASKS)?;
        self.records().cluster(&cluster).await?;
        let mut response = DescribeTaskStatsResponse { tasks: Vec::new(), failures: Vec::new() };
        for reference in &request.tasks {
            let id = self.identity().parse_task(&cluster, reference)?;
            let arn = self.identity().task(&cluster, &id);
            // One of another cluster is none of this one.
            let known = self.records().live_task(&cluster, &id).await?;
            match known.and_then(|_| self.sessions().sandbox(&id)) {
                Some(sandbox) => response.tasks.push(stats(arn, self.now(), sandbox.meters())),
                None => response.failures.push(Failure::missing(arn)),
            }
        }
        Ok(response)
    }
}

fn stats(task_arn: String, read_at: Timestamp, meters: TaskMeters) -> TaskStats {
    TaskStats {
        task_arn,
        read_at,
        cpu_limit: meters.cpu_limit,
        memory_limit: meters.memory_limit,
        cpu_time_nanos: nanos(meters.cpu_time),
        memory: meters.memory,
        memory_peak: meters.memory_peak,
        containers: meters.containers.into_iter().map(|(name, meters)| container(name, &meters)).collect(),
    }
}

fn container(name: String, meters: &ContainerMeters) -> ContainerStats {
    ContainerStats {
        name,
        cpu_time_nanos: nanos(meters.cpu_time),
        throttled_time_nanos: nanos(meters.throttled_time),
        fuel: meters.fuel,
        memory: meters.memory,
        memory_peak: meters.memory_peak,
        memory_limit: meters.memory_limit,
        requests: meters.requests,
        traps: meters.traps,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
