//! Tasks: what is wanted of one, what was observed of it, and how ECS shows the two together.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::capacity::CapacityProvider;
use super::deployment::Slot;
use super::names::{ClusterName, NodeId, ServiceName, TaskId};
pub use super::overrides::{ContainerOverride, TaskOverride};
use super::publication::Publication;
use super::service::LaunchType;
use super::tags::Tag;
use super::task_definition::{EphemeralStorage, TaskDefinitionId, TransportProtocol};
use super::task_protection::TaskProtection;
use crate::clock::Timestamp;

/// Where a task is in its life. The order is the order of life: a task never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LastStatus {
    /// Assigned to a node that has not looked at it yet.
    #[default]
    Provisioning,
    /// The node's agent has taken it on.
    Pending,
    /// Images are loaded, containers started, targets registered.
    Activating,
    /// All containers that must run do.
    Running,
    /// Taken out of the balancer's rotation; requests in flight finish.
    Deactivating,
    /// Containers were told to stop.
    Stopping,
    /// Its address and files are given back.
    Deprovisioning,
    /// Nothing is left but this record.
    Stopped,
}

impl LastStatus {
    /// As ECS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What a task should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DesiredStatus {
    /// Running.
    #[default]
    Running,
    /// Stopped, now or soon.
    Stopped,
}

/// Why a task stopped, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopCode {
    /// It never came to run.
    TaskFailedToStart,
    /// A container that the task cannot be without ended by itself.
    EssentialContainerExited,
    /// A person asked for it.
    UserInitiated,
    /// Its service did not want it any more.
    ServiceSchedulerInitiated,
    /// Spot capacity was taken back.
    SpotInterruption,
    /// The node went away in good order.
    TerminationNotice,
    /// The node failed under it.
    InfrastructureHealth,
}

/// An order to stop a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopOrder {
    /// By kind.
    pub code: StopCode,
    /// In words.
    pub reason: String,
}

/// What is wanted of a task: the scheduler's (or a person's) order to one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// Unique.
    pub id: TaskId,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// What it is made from.
    pub task_definition: TaskDefinitionId,
    /// What is different from its task definition.
    #[serde(default)]
    pub overrides: TaskOverride,
    /// The service that keeps it; none for a standalone task.
    pub service: Option<ServiceMembership>,
    /// `family:...` or `service:...`, or what RunTask was given.
    pub group: String,
    /// RunTask's `startedBy`, or the deployment's id.
    pub started_by: Option<String>,
    /// As asked for.
    pub launch_type: LaunchType,
    /// The node that shall run it.
    pub node: NodeId,
    /// When it was wanted first.
    pub created_at: Timestamp,
    /// On the task itself.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Set once it shall end.
    #[serde(default)]
    pub stop: Option<StopOrder>,
    /// As asked for.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// What it runs on, where a strategy or its launch type has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<CapacityProvider>,
    /// From scale-in and deployments, where it has asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<TaskProtection>,
}

impl TaskRecord {
    /// What it is counted under for those who pay: everything that is not spot costs what FARGATE costs.
    pub fn capacity(&self) -> CapacityProvider {
        self.capacity_provider.unwrap_or(CapacityProvider::Fargate)
    }

    /// What it should be.
    pub fn desired_status(&self) -> DesiredStatus {
        if self.stop.is_some() { DesiredStatus::Stopped } else { DesiredStatus::Running }
    }
}

/// A task's place in its service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMembership {
    /// The service.
    pub name: ServiceName,
    /// The deployment that started the task.
    pub deployment: String,
    /// Where the service is published, if it is.
    pub publication: Option<Publication>,
    /// Which of the service's target groups it is in.
    pub slot: Slot,
    /// The port that gets the service's requests; none for a handler.
    #[serde(default)]
    pub port: Option<u16>,
    /// Where its task finds others by name, if it does.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Whether others find it by name.
    #[serde(default)]
    pub offers: bool,
    /// The ports beside `port` that they find it at.
    #[serde(default)]
    pub other_ports: Vec<u16>,
}

impl ServiceMembership {
    /// The container and its port that the service's requests come to, where the service says it.
    pub fn traffic(&self) -> Option<(String, u16)> {
        let attachment = self.publication.as_ref()?.attachment.as_deref()?;
        Some((attachment.container.clone(), attachment.port))
    }
}

/// What a node's agent has observed of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskStatus {
    /// Where it is in its life.
    pub last_status: LastStatus,
    /// Grows by one with each change.
    pub version: u64,
    /// By container, in the definition's order.
    pub containers: Vec<ContainerStatus>,
    /// Its own address, where it has one.
    pub address: Option<std::net::IpAddr>,
    /// What the balancer says of it; none when it is not registered.
    pub target: Option<TargetHealth>,
    /// By the health checks of its essential containers; none when they have none.
    pub health: Option<HealthStatus>,
    /// Loading of images began.
    pub pull_started_at: Option<Timestamp>,
    /// Images were there.
    pub pull_stopped_at: Option<Timestamp>,
    /// It came to run.
    pub started_at: Option<Timestamp>,
    /// It began to stop.
    pub stopping_at: Option<Timestamp>,
    /// Its containers had ended.
    pub execution_stopped_at: Option<Timestamp>,
    /// It was gone.
    pub stopped_at: Option<Timestamp>,
    /// Why it stopped, or is about to.
    pub stop: Option<StopOrder>,
}

impl TaskStatus {
    /// Whether it ever came to run.
    pub fn has_run(&self) -> bool {
        self.started_at.is_some()
    }

    /// Running, healthy by its containers' health checks where it has some, and taken for healthy by the balancer where it is behind one.
    pub fn is_healthy(&self, published: bool) -> bool {
        self.last_status == LastStatus::Running
            && self.health.is_none_or(|health| health == HealthStatus::Healthy)
            && (!published || matches!(self.target, Some(TargetHealth::Healthy)))
    }
}

/// What the balancer says of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TargetHealth {
    /// Registered, not yet checked often enough.
    Initial,
    /// Gets requests.
    Healthy,
    /// Failed its checks.
    Unhealthy {
        /// ELB's description, such as `Health checks failed with these codes: [500]`.
        reason: String,
    },
}

/// What was observed of one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// From the task definition.
    pub name: String,
    /// The last part of its ARN.
    pub id: String,
    /// PENDING, RUNNING or STOPPED.
    pub last_status: ContainerState,
    /// Of the image it runs, once known.
    #[serde(default)]
    pub image_digest: Option<String>,
    /// Where its ports are reached on the host, once it has started.
    #[serde(default)]
    pub network_bindings: Vec<NetworkBinding>,
    /// 137 after a kill; none while it runs.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Why it ended, when the code does not say it.
    #[serde(default)]
    pub reason: Option<String>,
    /// By its health check; unknown without one, and until it has been checked.
    #[serde(default)]
    pub health: HealthStatus,
    /// How often its restart policy has started it again.
    #[serde(default)]
    pub restart_count: u32,
}

impl ContainerStatus {
    /// Of a container that has not been started.
    pub(crate) fn pending(task: &TaskId, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: format!("{task}-{name}"),
            last_status: ContainerState::Pending,
            image_digest: None,
            network_bindings: Vec::new(),
            exit_code: None,
            reason: None,
            health: HealthStatus::Unknown,
            restart_count: 0,
        }
    }
}

/// The states of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ContainerState {
    /// Not started.
    #[default]
    Pending,
    /// Started.
    Running,
    /// Ended, or never to start.
    Stopped,
}

/// A task that is over: the order and the last observation, kept for people to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoppedTask {
    /// What was wanted.
    pub task: TaskRecord,
    /// How it ended.
    pub status: TaskStatus,
}

/// A task as ECS shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct Task {
    pub task_arn: String,
    pub cluster_arn: String,
    pub task_definition_arn: String,
    pub container_instance_arn: String,
    pub overrides: TaskOverride,
    pub last_status: LastStatus,
    pub desired_status: DesiredStatus,
    pub health_status: HealthStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<EphemeralStorage>,
    pub containers: Vec<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    pub version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<StopCode>,
    pub connectivity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectivity_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_stopped_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_stopped_at: Option<Timestamp>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopping_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    pub group: String,
    pub launch_type: LaunchType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider_name: Option<CapacityProvider>,
    pub attachments: Vec<Value>,
    pub tags: Vec<Tag>,
    pub enable_execute_command: bool,
}

/// A container as ECS shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct Container {
    pub container_arn: String,
    pub task_arn: String,
    pub name: String,
    pub image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    pub runtime_id: String,
    pub last_status: ContainerState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub network_bindings: Vec<NetworkBinding>,
    pub network_interfaces: Vec<NetworkInterface>,
    pub health_status: HealthStatus,
    #[serde(default)]
    pub restart_count: u32,
    pub cpu: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<String>,
}

/// Where a container's port can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct NetworkBinding {
    #[serde(rename = "bindIP")]
    pub bind_ip: String,
    pub container_port: u16,
    pub host_port: u16,
    pub protocol: TransportProtocol,
}

/// A task's own address, in the awsvpc network mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct NetworkInterface {
    pub attachment_id: String,
    pub private_ipv4_address: String,
}

/// A container's or task's health by its containers' health checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HealthStatus {
    /// No health check is defined.
    #[default]
    Unknown,
    /// Passing.
    Healthy,
    /// Failing.
    Unhealthy,
}
