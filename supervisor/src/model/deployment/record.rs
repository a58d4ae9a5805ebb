//! What is kept of deployments: the service's own list, as in DescribeServices, and service deployments, as in DescribeServiceDeployments.

use serde::{Deserialize, Serialize};

use super::stage::Progress;
use super::{DeploymentConfiguration, Slot};
use crate::clock::Timestamp;
use crate::model::service::{LaunchType, StoredServiceFields};
use crate::model::service_connect::ServiceConnect;
use crate::model::task_definition::TaskDefinitionId;

/// One deployment of a service: a revision that tasks are to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentRecord {
    /// `ecs-svc/` and 19 digits.
    pub id: String,
    /// What its tasks are made from.
    pub task_definition: TaskDefinitionId,
    /// The id of the service revision that its tasks are of.
    pub revision: String,
    /// The target group that its tasks are in.
    pub slot: Slot,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How far it is.
    pub rollout_state: RolloutState,
    /// Why it is so, where the state alone does not say it.
    pub reason: Option<String>,
    /// Whom its tasks find by name, and how they are found.
    #[serde(default)]
    pub service_connect: Option<ServiceConnect>,
}

/// How far a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    /// Tasks are being replaced.
    InProgress,
    /// The service reached a steady state with it.
    Completed,
    /// Given up: no task of it is started any more.
    Failed,
}

/// A service as it was when a deployment of it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRevision {
    /// 19 digits.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What its tasks are made from.
    pub task_definition: TaskDefinitionId,
    /// As asked for.
    pub launch_type: LaunchType,
    /// Whom its tasks find by name, and how they are found.
    #[serde(default)]
    pub service_connect: Option<ServiceConnect>,
    /// Given back as they came.
    pub stored: StoredServiceFields,
}

/// A service deployment: one way from a revision to another, with its rollback if there was one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeploymentRecord {
    /// The last part of its ARN.
    pub id: String,
    /// Its place among the service's, from 0.
    pub number: u64,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended, if it has.
    pub finished_at: Option<Timestamp>,
    /// When it was told to stop, if it was.
    pub stopped_at: Option<Timestamp>,
    /// How far it is.
    pub status: ServiceDeploymentStatus,
    /// Why, in words.
    pub reason: Option<String>,
    /// What had tasks before.
    pub sources: Vec<SourceRevision>,
    /// The revision to come to.
    pub target: ServiceRevision,
    /// The deployment whose tasks are of that revision.
    pub deployment: String,
    /// As it was when the deployment began.
    pub configuration: DeploymentConfiguration,
    /// How far it is, where traffic moves between two target groups.
    pub progress: Option<Progress>,
    /// The way back.
    pub rollback: Option<RollbackRecord>,
    /// The circuit breaker fired.
    pub breaker: Option<BreakerTrip>,
}

/// A revision that had tasks when a service deployment began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRevision {
    /// The service revision's id.
    pub revision: String,
    /// The deployment whose tasks are of that revision.
    pub deployment: String,
}

/// When the circuit breaker fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerTrip {
    /// Tasks that failed.
    pub failures: u32,
    /// How many were too many.
    pub threshold: u32,
}

/// A service deployment's way back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RollbackRecord {
    /// Why.
    pub reason: String,
    /// When.
    pub started_at: Timestamp,
    /// The id of the service revision to come back to.
    pub revision: String,
}

/// How far a service deployment is, in ECS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "ECS's own names: its API reference documents them")]
pub enum ServiceDeploymentStatus {
    Pending,
    Successful,
    Stopped,
    StopRequested,
    InProgress,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

impl ServiceDeploymentRecord {
    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.finished_at.is_some()
    }
}
