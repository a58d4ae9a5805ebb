//! A request to register a task definition becomes one, or is refused with ECS's words and the field's name.

mod dependencies;
mod fargate;
mod life;
mod stored;

use std::collections::BTreeMap;

use super::labels::ContainerSettings;
use super::names::{ContainerName, Family, quoted};
use super::service_connect::is_discovery_name;
use super::size;
use super::task_definition::{
    Compatibility, ContainerDefinition, EphemeralStorage, NetworkMode, PortMapping,
    RegisterTaskDefinitionRequest, StoredTaskDefinitionFields, TaskDefinitionContent, TransportProtocol,
};
use crate::error::OperationError;

pub(crate) use fargate::sizes as fargate_sizes;
pub(crate) use life::{environment_files, variables};

/// Most containers in a task definition: ECS's quota.
pub const MAX_CONTAINERS: usize = 10;
/// Longest stop timeout in seconds, as on Fargate.
pub const MAX_STOP_TIMEOUT: u32 = 120;
/// ECS: "The minimum supported value is 21 GiB and the maximum supported value is 200 GiB."
const EPHEMERAL_STORAGE: std::ops::RangeInclusive<u32> = 21..=200;

impl TaskDefinitionContent {
    /// Checks everything that can be known before an image is read.
    pub fn parse(request: RegisterTaskDefinitionRequest) -> Result<Self, OperationError> {
        let family = Family::parse(&request.family)?;
        let cpu = request.cpu.as_deref().map(size::parse_cpu).transpose()?;
        let memory = request.memory.as_deref().map(size::parse_memory).transpose()?;
        let network_mode = request.network_mode.unwrap_or_default();
        let containers = request.container_definitions;

        number_of_containers(&containers)?;
        for (index, container) in containers.iter().enumerate() {
            ContainerName::parse(&container.name)?;
            if containers[..index].iter().any(|other| other.name == container.name) {
                return Err(OperationError::client(format!(
                    "Container.name must be unique: '{}' is used twice.",
                    container.name
                )));
            }
            one_container(container, network_mode, memory)?;
            for mount in &container.mount_points {
                if request.volumes.iter().all(|volume| volume.name != mount.source_volume) {
                    return Err(OperationError::client(format!("Unknown volume '{}'.", mount.source_volume)));
                }
            }
        }
        for (index, volume) in request.volumes.iter().enumerate() {
            if volume.name.is_empty() {
                return Err(OperationError::client("Volume.name should not be null or empty."));
            }
            if request.volumes[..index].iter().any(|other| other.name == volume.name) {
                return Err(OperationError::client(format!(
                    "Volume.name must be unique: '{}' is used twice.",
                    volume.name
                )));
            }
        }
        if !containers.iter().any(ContainerDefinition::is_essential) {
            return Err(OperationError::client(
                "At least one container in a task definition must be marked as essential.",
            ));
        }
        ports(&containers)?;
        dependencies::check(&containers)?;
        sums(&containers, cpu, memory)?;
        request.ephemeral_storage.map_or(Ok(()), ephemeral_storage)?;

        let content = Self {
            family,
            container_definitions: containers,
            task_role_arn: request.task_role_arn,
            execution_role_arn: request.execution_role_arn,
            network_mode,
            volumes: request.volumes,
            placement_constraints: request.placement_constraints,
            requires_compatibilities: request.requires_compatibilities,
            cpu: cpu.map(|units| units.to_string()),
            memory: memory.map(|mib| mib.to_string()),
            ephemeral_storage: request.ephemeral_storage,
            stored: StoredTaskDefinitionFields {
                pid_mode: request.pid_mode,
                ipc_mode: request.ipc_mode,
                proxy_configuration: request.proxy_configuration,
                inference_accelerators: request.inference_accelerators,
                runtime_platform: request.runtime_platform,
                enable_fault_injection: request.enable_fault_injection,
                trusted_execution_configuration: request.trusted_execution_configuration,
            },
        };
        stored::check(&content)?;
        if content.requires_compatibilities.contains(&Compatibility::Fargate) {
            fargate::check(&content)?;
        }
        Ok(content)
    }
}

/// Refuses a size of the ephemeral storage that ECS does not have.
pub(crate) fn ephemeral_storage(storage: EphemeralStorage) -> Result<(), OperationError> {
    if EPHEMERAL_STORAGE.contains(&storage.size_in_gib) {
        return Ok(());
    }
    Err(OperationError::client(format!(
        "Invalid 'ephemeralStorage.sizeInGiB' setting for task: it must be {} to {}, not {}.",
        EPHEMERAL_STORAGE.start(),
        EPHEMERAL_STORAGE.end(),
        storage.size_in_gib
    )))
}

fn number_of_containers(containers: &[ContainerDefinition]) -> Result<(), OperationError> {
    if containers.is_empty() {
        return Err(OperationError::client("Container list cannot be empty."));
    }
    if containers.len() > MAX_CONTAINERS {
        return Err(OperationError::client(format!(
            "containerDefinitions may have at most {MAX_CONTAINERS} containers, not {}.",
            containers.len()
        )));
    }
    Ok(())
}

fn one_container(
    container: &ContainerDefinition,
    network_mode: NetworkMode,
    task_memory: Option<u32>,
) -> Result<(), OperationError> {
    let refuse = |what: String| {
        OperationError::client(format!("Invalid setting for container '{}'. {what}", container.name))
    };
    if container.image.trim().is_empty() {
        return Err(OperationError::client("Container.image should not be null or empty."));
    }
    for (field, memory) in [("memory", container.memory), ("memoryReservation", container.memory_reservation)]
    {
        if memory.is_some_and(|mib| mib < size::MINIMUM_MEMORY_MIB) {
            return Err(refuse(format!("'{field}' must be at least {} MiB.", size::MINIMUM_MEMORY_MIB)));
        }
    }
    if let (Some(reservation), Some(hard)) = (container.memory_reservation, container.memory.or(task_memory))
        && reservation > hard
    {
        return Err(refuse(format!(
            "'memoryReservation' ({reservation}) must not be greater than 'memory' ({hard})."
        )));
    }
    if container.stop_timeout.is_some_and(|seconds| seconds > MAX_STOP_TIMEOUT) {
        return Err(refuse(format!("'stopTimeout' must be at most {MAX_STOP_TIMEOUT} seconds.")));
    }
    life::environment(container).map_err(refuse)?;
    life::check(container).map_err(refuse)?;
    for mount in &container.mount_points {
        if !mount.container_path.starts_with('/') {
            return Err(refuse(format!(
                "'containerPath' must begin with /, but was {}.",
                quoted(&mount.container_path)
            )));
        }
    }
    container.port_mappings.iter().try_for_each(|mapping| one_port(mapping, network_mode).map_err(refuse))?;
    let settings = ContainerSettings::parse(&container.name, &container.docker_labels)?;
    match network_mode {
        _ if settings.egress.is_empty() => Ok(()),
        NetworkMode::Bridge | NetworkMode::Awsvpc => Ok(()),
        NetworkMode::Host => Err(refuse(
            "Label coracle.egress means nothing with the 'host' network mode, where everything can be reached.".to_owned(),
        )),
        NetworkMode::None => Err(refuse(
            "Label coracle.egress means nothing with the 'none' network mode, where nothing can be reached.".to_owned(),
        )),
    }
}

/// The containers of a task share its addresses, and so its ports.
fn ports(containers: &[ContainerDefinition]) -> Result<(), OperationError> {
    let mut taken: BTreeMap<(&str, TransportProtocol, u16), &str> = BTreeMap::new();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for container in containers {
        for mapping in &container.port_mappings {
            let name = mapping.name.as_deref();
            if let Some(other) = name.and_then(|name| names.insert(name, &container.name)) {
                return Err(OperationError::client(format!(
                    "Invalid setting for container '{}'. A port mapping of container '{other}' has the 'name' {} already.",
                    container.name,
                    quoted(name.unwrap_or_default())
                )));
            }
            let host_port = mapping.host_port.filter(|port| *port != 0);
            for (field, port) in [("containerPort", mapping.container_port), ("hostPort", host_port)] {
                let Some(port) = port else { continue };
                if let Some(other) = taken.insert((field, mapping.protocol, port), &container.name) {
                    return Err(OperationError::client(format!(
                        "Invalid setting for container '{}'. '{field}' {port} is mapped by container '{other}' already: the \
                         containers of a task share their ports.",
                        container.name
                    )));
                }
            }
        }
    }
    Ok(())
}

fn one_port(mapping: &PortMapping, network_mode: NetworkMode) -> Result<(), String> {
    if mapping.container_port_range.is_some() {
        return Err("'containerPortRange' is not supported: name each port with 'containerPort'.".to_owned());
    }
    let Some(port) = mapping.container_port.filter(|port| *port != 0) else {
        return Err("'containerPort' must be between 1 and 65535.".to_owned());
    };
    if let Some(name) = mapping.name.as_deref().filter(|name| !is_discovery_name(name)) {
        return Err(format!(
            "'name' of a port mapping must have 1 to 64 lowercase letters, digits, _ and -, and not begin with -, not {}.",
            quoted(name)
        ));
    }
    match (network_mode, mapping.host_port) {
        (NetworkMode::None, _) => {
            Err("'portMappings' are not allowed with the 'none' network mode.".to_owned())
        }
        (NetworkMode::Host | NetworkMode::Awsvpc, Some(host)) if host != port => Err(format!(
            "'hostPort' ({host}) must be left out or equal to 'containerPort' ({port}) with the 'awsvpc' and 'host' network modes."
        )),
        _ => Ok(()),
    }
}

pub(crate) fn sums(
    containers: &[ContainerDefinition],
    cpu: Option<u32>,
    memory: Option<u32>,
) -> Result<(), OperationError> {
    let total = |of: fn(&ContainerDefinition) -> u32| {
        containers.iter().map(|container| u64::from(of(container))).sum::<u64>()
    };
    let cpu_used = total(|container| container.cpu);
    if let Some(cpu) = cpu
        && cpu_used > u64::from(cpu)
    {
        return Err(OperationError::client(format!(
            "The total 'cpu' of the containers ({cpu_used}) is greater than the task's 'cpu' ({cpu})."
        )));
    }
    if let Some(memory) = memory {
        if let Some(container) =
            containers.iter().find(|container| container.memory.is_some_and(|hard| hard > memory))
        {
            return Err(OperationError::client(format!(
                "Invalid setting for container '{}'. 'memory' must not be greater than the task's 'memory' ({memory}).",
                container.name
            )));
        }
        let reserved = total(|container| container.memory_reservation.or(container.memory).unwrap_or(0));
        if reserved > u64::from(memory) {
            return Err(OperationError::client(format!(
                "The total 'memory' of the containers ({reserved}) is greater than the task's 'memory' ({memory})."
            )));
        }
    }
    Ok(())
}
