//! Services: what is wanted of one, and how ECS shows it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{ClusterName, ServiceName, quoted};
use super::publication::Publication;
use super::tags::Tag;
use super::task_definition::TaskDefinitionId;
use crate::clock::Timestamp;
use crate::error::OperationError;

/// Most tasks that a service may want: ECS's quota "Tasks per service".
pub const MAX_DESIRED_COUNT: u32 = 5_000;
/// ECS: "up to ... 2,147,483,647 seconds".
pub const MAX_GRACE_PERIOD_SECONDS: i64 = 2_147_483_647;

/// What is wanted of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRecord {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its name.
    pub name: ServiceName,
    /// ACTIVE, or DRAINING while its last tasks go.
    pub status: ServiceStatus,
    /// Tasks wanted.
    pub desired_count: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// As asked for.
    pub launch_type: LaunchType,
    /// How deployments go, with both limits filled in.
    pub deployment_configuration: DeploymentConfiguration,
    /// Seconds after a task's start in which its target's failures are not held against it.
    pub health_check_grace_period_seconds: u32,
    /// Newest first. The first is the PRIMARY one; others still have tasks.
    pub deployments: Vec<DeploymentRecord>,
    /// Where the tasks are reached through the balancer.
    pub publication: Option<Publication>,
    /// On the service.
    pub tags: Vec<Tag>,
    /// CreateService's, to recognise a repeated request.
    pub client_token: Option<String>,
    /// As asked for.
    pub propagate_tags: PropagateTags,
    /// As asked for.
    pub enable_execute_command: bool,
    /// Given back as they came.
    pub stored: StoredServiceFields,
}

impl ServiceRecord {
    /// The deployment that new tasks are started for.
    pub fn primary(&self) -> &DeploymentRecord {
        // A service is created with one deployment and only those behind the first are ever removed.
        &self.deployments[0]
    }
}

/// One deployment of a service: a revision that tasks are to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentRecord {
    /// `ecs-svc/` and 19 digits.
    pub id: String,
    /// What its tasks are made from.
    pub task_definition: TaskDefinitionId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How far it is.
    pub rollout_state: RolloutState,
}

/// How far a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    /// Tasks are being replaced.
    InProgress,
    /// The service reached a steady state with it.
    Completed,
    /// Given up.
    Failed,
}

/// How deployments of a service go. What says nothing of limits is kept and given back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct DeploymentConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_healthy_percent: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_percent: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_circuit_breaker: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarms: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake_time_in_minutes: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_hooks: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_configuration: Option<Value>,
}

/// Widest `maximumPercent`: more would let one deployment start more tasks than a service may have.
const MAX_MAXIMUM_PERCENT: i64 = 1000;

impl DeploymentConfiguration {
    /// Checks a request's configuration over `self`, the one so far, and fills in what neither says.
    pub(crate) fn updated(&self, request: Option<Self>) -> Result<Self, OperationError> {
        let request = request.unwrap_or_default();
        if let Some(strategy) = request.strategy.as_deref().filter(|strategy| *strategy != "ROLLING") {
            return Err(OperationError::invalid(format!(
                "deploymentConfiguration.strategy {} is not supported yet: use ROLLING.",
                quoted(strategy)
            )));
        }
        let defaults = DeploymentLimits::default();
        let minimum = request.minimum_healthy_percent.or(self.minimum_healthy_percent);
        let minimum = minimum.unwrap_or_else(|| defaults.minimum_healthy_percent.into());
        let maximum = request.maximum_percent.or(self.maximum_percent);
        let maximum = maximum.unwrap_or_else(|| defaults.maximum_percent.into());
        if !(0..=100).contains(&minimum) {
            return Err(OperationError::invalid(format!(
                "minimumHealthyPercent must be 0 to 100, not {minimum}."
            )));
        }
        if !(100..=MAX_MAXIMUM_PERCENT).contains(&maximum) {
            return Err(OperationError::invalid(format!(
                "maximumPercent must be 100 to {MAX_MAXIMUM_PERCENT}, not {maximum}."
            )));
        }
        if minimum == 100 && maximum == 100 {
            return Err(OperationError::invalid(
                "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
            ));
        }
        Ok(Self {
            minimum_healthy_percent: Some(minimum),
            maximum_percent: Some(maximum),
            strategy: request.strategy.or_else(|| self.strategy.clone()),
            deployment_circuit_breaker: request
                .deployment_circuit_breaker
                .or_else(|| self.deployment_circuit_breaker.clone()),
            alarms: request.alarms.or_else(|| self.alarms.clone()),
            bake_time_in_minutes: request.bake_time_in_minutes.or_else(|| self.bake_time_in_minutes.clone()),
            lifecycle_hooks: request.lifecycle_hooks.or_else(|| self.lifecycle_hooks.clone()),
            linear_configuration: request.linear_configuration.or_else(|| self.linear_configuration.clone()),
            canary_configuration: request.canary_configuration.or_else(|| self.canary_configuration.clone()),
        })
    }

    /// The limits of a checked configuration.
    pub fn limits(&self) -> DeploymentLimits {
        let defaults = DeploymentLimits::default();
        let percent = |value: Option<i64>, default| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
        };
        DeploymentLimits {
            minimum_healthy_percent: percent(self.minimum_healthy_percent, defaults.minimum_healthy_percent),
            maximum_percent: percent(self.maximum_percent, defaults.maximum_percent),
        }
    }
}

/// How many tasks a rolling deployment may have, in percent of the desired count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentLimits {
    /// At least so many healthy, rounded up.
    pub minimum_healthy_percent: u32,
    /// At most so many in all, rounded down.
    pub maximum_percent: u32,
}

impl Default for DeploymentLimits {
    /// ECS's for REPLICA services.
    fn default() -> Self {
        Self { minimum_healthy_percent: 100, maximum_percent: 200 }
    }
}

impl DeploymentLimits {
    /// Fewest healthy tasks.
    pub fn minimum(self, desired: u32) -> u32 {
        let exact = u64::from(desired) * u64::from(self.minimum_healthy_percent);
        u32::try_from(exact.div_ceil(100)).unwrap_or(u32::MAX)
    }

    /// Most tasks.
    pub fn maximum(self, desired: u32) -> u32 {
        let exact = u64::from(desired) * u64::from(self.maximum_percent);
        u32::try_from(exact / 100).unwrap_or(u32::MAX)
    }
}

/// A service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceStatus {
    /// Kept at its desired count.
    Active,
    /// Deleted; its last tasks are stopping.
    Draining,
    /// Gone, still shown for a while.
    Inactive,
}

/// How tasks get their capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LaunchType {
    /// On registered nodes.
    #[default]
    EC2,
    /// On serverless capacity.
    Fargate,
    /// On nodes elsewhere.
    External,
}

/// Whose tags a service's tasks get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PropagateTags {
    /// Nobody's.
    #[default]
    None,
    /// The task definition's.
    TaskDefinition,
    /// The service's.
    Service,
}

/// ECS's fields of a service that change nothing here yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct StoredServiceFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_registries: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_provider_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "roleArn")]
    pub role: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_constraints: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_controller: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone_rebalancing: Option<Value>,
}

/// A service as ECS shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct Service {
    pub service_arn: String,
    pub service_name: String,
    pub cluster_arn: String,
    pub status: ServiceStatus,
    pub desired_count: u32,
    pub running_count: u32,
    pub pending_count: u32,
    pub launch_type: LaunchType,
    pub task_definition: String,
    pub load_balancers: Vec<LoadBalancer>,
    pub scheduling_strategy: String,
    pub deployment_configuration: DeploymentConfiguration,
    pub deployments: Vec<Deployment>,
    pub events: Vec<ServiceEvent>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_grace_period_seconds: Option<u32>,
    pub propagate_tags: PropagateTags,
    pub enable_execute_command: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    #[serde(flatten)]
    pub stored: StoredServiceFields,
}

/// A service's target group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct LoadBalancer {
    pub target_group_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
}

/// A deployment as ECS shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct Deployment {
    pub id: String,
    pub status: String,
    pub task_definition: String,
    pub desired_count: u32,
    pub pending_count: u32,
    pub running_count: u32,
    pub failed_tasks: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub launch_type: LaunchType,
    pub rollout_state: RolloutState,
    pub rollout_state_reason: String,
}

/// Something that happened to a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEvent {
    /// Unique.
    pub id: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// In ECS's words.
    pub message: String,
}
