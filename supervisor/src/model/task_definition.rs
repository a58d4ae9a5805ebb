//! Task definitions as ECS writes them.
//!
//! Every field that ECS has is spelled out, so that an unknown one is refused by name. Those we act on have types; those that are only stored
//! and given back are plain JSON values until the day we act on them.
#![expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::environment_file::EnvironmentFile;
use super::health_check::HealthCheck;
use super::log_configuration::LogConfiguration;
use super::names::Family;
use super::restart_policy::RestartPolicy;
use super::secret::Secret;
use super::tags::Tag;
use crate::clock::Timestamp;

/// A task definition as DescribeTaskDefinition gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDefinition {
    pub task_definition_arn: String,
    pub revision: u32,
    pub status: TaskDefinitionStatus,
    pub registered_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
    #[serde(default)]
    pub compatibilities: Vec<String>,
    #[serde(flatten)]
    pub content: TaskDefinitionContent,
}

impl TaskDefinition {
    /// `family:revision`.
    pub fn id(&self) -> TaskDefinitionId {
        TaskDefinitionId { family: self.content.family.clone(), revision: self.revision }
    }
}

/// Whether new tasks may still be made from a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskDefinitionStatus {
    Active,
    Inactive,
}

/// `family:revision`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskDefinitionId {
    pub family: Family,
    pub revision: u32,
}

impl std::fmt::Display for TaskDefinitionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.family, self.revision)
    }
}

/// What a person writes: the part that never changes once registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDefinitionContent {
    pub family: Family,
    #[serde(default)]
    pub container_definitions: Vec<ContainerDefinition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_role_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_role_arn: Option<String>,
    #[serde(default)]
    pub network_mode: NetworkMode,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement_constraints: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_compatibilities: Vec<Compatibility>,
    /// CPU units as a decimal number: 1024 is one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// MiB as a decimal number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<EphemeralStorage>,
    #[serde(flatten)]
    pub stored: StoredTaskDefinitionFields,
}

impl TaskDefinitionContent {
    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerDefinition> {
        self.container_definitions.iter().find(|container| container.name == name)
    }

    /// Where volumes appear in a container: its own mount points, and over none of them those of the containers it takes volumes from.
    pub fn mount_points(&self, container: &ContainerDefinition) -> Vec<MountPoint> {
        let mut points = container.mount_points.clone();
        for from in &container.volumes_from {
            let source = self.container(&from.source_container).map(|source| source.mount_points.as_slice());
            for point in source.unwrap_or_default() {
                if points.iter().all(|known| known.container_path != point.container_path) {
                    let read_only = point.read_only || from.read_only;
                    points.push(MountPoint { read_only, ..point.clone() });
                }
            }
        }
        points
    }

    /// The container that gets a published service's requests: the first essential one with a port, or the first essential one where none has.
    pub fn traffic_container(&self) -> Option<&str> {
        let mut essential = self.container_definitions.iter().filter(|container| container.is_essential());
        let first = essential.clone().next();
        essential
            .find(|container| container.first_port().is_some())
            .or(first)
            .map(|container| container.name.as_str())
    }

    /// The port that requests come to; none for a handler, which needs none.
    pub fn traffic_port(&self) -> Option<u16> {
        self.traffic_container()
            .and_then(|name| self.container(name))
            .and_then(ContainerDefinition::first_port)
    }

    /// CPU units of the whole task, 1024 a core.
    pub fn cpu_units(&self) -> Option<u32> {
        self.cpu.as_deref().and_then(|text| text.parse().ok())
    }

    /// GiB that the task may keep in its own directories, where that is said.
    pub fn ephemeral_storage_gib(&self) -> Option<u64> {
        self.ephemeral_storage.map(|storage| u64::from(storage.size_in_gib))
    }

    /// MiB that the whole task may use.
    pub fn memory_mib(&self) -> Option<u32> {
        self.memory.as_deref().and_then(|text| text.parse().ok())
    }
}

/// ECS's fields of a task definition that change nothing here yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredTaskDefinitionFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_mode: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_configuration: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_accelerators: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_platform: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_fault_injection: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_execution_configuration: Option<Value>,
}

/// The disk that a task may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EphemeralStorage {
    #[serde(rename = "sizeInGiB")]
    pub size_in_gib: u32,
}

/// RegisterTaskDefinition's request: what [`TaskDefinitionContent`] is parsed from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RegisterTaskDefinitionRequest {
    pub family: String,
    pub container_definitions: Vec<ContainerDefinition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<NetworkMode>,
    pub volumes: Vec<Volume>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placement_constraints: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requires_compatibilities: Vec<Compatibility>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_mode: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_accelerators: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<EphemeralStorage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_platform: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_fault_injection: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_execution_configuration: Option<Value>,
}

/// How the containers of a task reach the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// An address of the task's own on this host. ECS's default.
    #[default]
    Bridge,
    /// The host's addresses.
    Host,
    /// An address of the task's own.
    Awsvpc,
    /// No network.
    None,
}

/// What a task definition is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Compatibility {
    EC2,
    Fargate,
    External,
    #[serde(rename = "MANAGED_INSTANCES")]
    ManagedInstances,
}

/// One container of a task definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerDefinition {
    pub name: String,
    pub image: String,
    /// CPU units: this container's share inside the task.
    pub cpu: u32,
    /// MiB, hard: exceeding it kills the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// MiB, soft.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u32>,
    pub port_mappings: Vec<PortMapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub essential: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entry_point: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    pub environment: Vec<KeyValuePair>,
    pub mount_points: Vec<MountPoint>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ContainerDependency>,
    /// Seconds that a dependency may take to reach its condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<u32>,
    /// Seconds between the stop signal and the kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub docker_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_credentials: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<EnvironmentFile>,
    pub volumes_from: Vec<VolumeFrom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_consistency: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_networking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly_root_filesystem: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_servers: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_search_domains: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_hosts: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_security_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interactive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo_terminal: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ulimits: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_configuration: Option<LogConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_controls: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_requirements: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firelens_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_specs: Option<Value>,
}

impl ContainerDefinition {
    /// Whether the task ends with this container. "If the essential parameter is omitted, a container is assumed to be essential."
    pub fn is_essential(&self) -> bool {
        self.essential.unwrap_or(true)
    }

    /// Whether it may write to its volumes alone.
    pub fn has_read_only_root(&self) -> bool {
        self.readonly_root_filesystem == Some(true)
    }

    /// Where its relative paths begin, for programs that ask.
    pub fn working_directory(&self) -> Option<&str> {
        self.working_directory.as_deref()
    }

    /// Files that it may have open at once: the soft limit of `nofile` in `ulimits`, which no guest can raise. `None` is no limit of its own;
    /// ECS has -1 for that as well.
    pub fn open_files(&self) -> Option<usize> {
        let mut limits = self.ulimits.iter().filter_map(Value::as_array).flatten();
        let nofile = limits.find(|limit| limit["name"] == "nofile")?;
        usize::try_from(nofile["softLimit"].as_i64()?).ok()
    }

    /// The first port that it maps.
    pub fn first_port(&self) -> Option<u16> {
        self.port_mappings.iter().find_map(|mapping| mapping.container_port)
    }
}

/// A port that a container listens on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PortMapping {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    pub protocol: TransportProtocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_port_range: Option<Value>,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportProtocol {
    #[default]
    Tcp,
    Udp,
}

/// A name and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeyValuePair {
    pub name: String,
    pub value: String,
}

/// Where a volume appears in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MountPoint {
    pub source_volume: String,
    pub container_path: String,
    pub read_only: bool,
}

/// Another container whose volumes appear in this one too, at the same paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VolumeFrom {
    pub source_container: String,
    pub read_only: bool,
}

/// What must have happened to another container before this one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerDependency {
    pub container_name: String,
    pub condition: ContainerCondition,
}

/// The states of a container that another can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ContainerCondition {
    /// It has started.
    Start,
    /// It has ended.
    Complete,
    /// It has ended with exit code 0.
    Success,
    /// Its health check has succeeded.
    Healthy,
}

/// A directory that containers may mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Volume {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostVolume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_volume_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efs_volume_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsx_windows_file_server_volume_configuration: Option<Value>,
    #[serde(rename = "s3filesVolumeConfiguration", skip_serializing_if = "Option::is_none")]
    pub s3_files_volume_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_at_launch: Option<bool>,
}

/// A directory of the host. Without a path, the task gets an empty one of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostVolume {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_path: Option<String>,
}
