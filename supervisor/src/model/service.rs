//! Services: what is wanted of one, and how ECS shows it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::deployment::LifecycleStage;
pub use super::deployment::{
    DeploymentConfiguration, DeploymentLimits, DeploymentRecord, Pace, RolloutState, ServiceDeploymentRecord,
    Traffic,
};
use super::load_balancing::attachment::Attachment;
use super::names::{ClusterName, ServiceName};
use super::publication::Publication;
use super::scheduling_strategy::SchedulingStrategy;
use super::service_connect::{Offer, ServiceConnectConfiguration};
use super::tags::Tag;
use crate::clock::Timestamp;

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
    /// How many tasks it is to have.
    #[serde(default)]
    pub scheduling_strategy: SchedulingStrategy,
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
    /// The service deployment on its way, or the last one that was.
    pub service_deployment: ServiceDeploymentRecord,
    /// What the service can go back to.
    pub last_completed: Option<DeploymentRecord>,
    /// Where requests go.
    pub traffic: Traffic,
    /// What the tags say of deployments' times.
    pub pace: Pace,
    /// How its tasks get requests: from a listener, or from those who find it by name.
    pub publication: Option<Publication>,
    /// The target groups that it was given.
    #[serde(default)]
    pub load_balancers: Vec<LoadBalancer>,
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

    /// The target groups that it was given, if it was.
    pub fn attachment(&self) -> Option<&Attachment> {
        self.publication.as_ref()?.attachment.as_deref()
    }

    /// What it offers to those who find it by name. One that is being deleted offers nothing.
    pub fn offers(&self) -> &[Offer] {
        let connect = self.primary().service_connect.as_ref();
        let connect = connect.filter(|_| self.status == ServiceStatus::Active);
        connect.map(|connect| connect.offers.as_slice()).unwrap_or_default()
    }

    /// A service that offers something gets requests, also without a listener.
    pub(crate) fn publish_as_offered(&mut self) {
        let offers =
            self.primary().service_connect.as_ref().is_some_and(|connect| !connect.offers.is_empty());
        // The tags were checked when they came. Those that need an offer mean nothing after a way back to what offered none.
        self.publication = Publication::parse(&self.tags, &self.load_balancers, offers).unwrap_or_default();
    }

    /// Tasks that a deployment is to have.
    pub(crate) fn wanted_of(&self, is_primary: bool, deployment: &str) -> u32 {
        let failed = self.primary().rollout_state == RolloutState::Failed;
        let beside = self.side_by_side();
        let wanted = match (is_primary, beside) {
            (true, Some(stage)) => stage >= LifecycleStage::ScaleUp,
            (true, None) => !failed,
            (false, Some(_)) => self.source().is_some_and(|source| source.id == deployment),
            (false, None) => false,
        };
        if wanted { self.desired_count } else { 0 }
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
    pub scheduling_strategy: SchedulingStrategy,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advanced_configuration: Option<AdvancedConfiguration>,
}

/// What deployments need of load balancers that run two revisions side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct AdvancedConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate_target_group_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production_listener_rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_listener_rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_connect_configuration: Option<ServiceConnectConfiguration>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_connect_resources: Vec<ServiceConnectResource>,
}

/// A name that a deployment's tasks are found by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct ServiceConnectResource {
    pub discovery_name: String,
    pub discovery_arn: String,
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
