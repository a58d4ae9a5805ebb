//! What Fargate has and has not.

use crate::error::OperationError;
use crate::model::log_configuration::LogConfiguration;
use crate::model::size;
use crate::model::task_definition::{ContainerDefinition, NetworkMode, TaskDefinitionContent};

use super::MAX_STOP_TIMEOUT;
use super::stored::is_set;

/// ECS: "The valid values for Fargate are 2-120 seconds", of both time-outs.
const TIMEOUTS: std::ops::RangeInclusive<u32> = 2..=MAX_STOP_TIMEOUT;

/// Refuses what Fargate does not run.
pub(super) fn check(content: &TaskDefinitionContent) -> Result<(), OperationError> {
    if content.network_mode != NetworkMode::Awsvpc {
        return Err(OperationError::client("Fargate only supports network mode 'awsvpc'."));
    }
    sizes(content.cpu_units(), content.memory_mib())?;
    let stored = &content.stored;
    let absent = [
        ("pidMode", stored.pid_mode.as_ref().is_some_and(|mode| mode == "host")),
        ("ipcMode", is_set(&stored.ipc_mode)),
        ("inferenceAccelerators", is_set(&stored.inference_accelerators)),
        ("placementConstraints", !content.placement_constraints.is_empty()),
        (
            "volumes.host.sourcePath",
            content
                .volumes
                .iter()
                .any(|volume| volume.host.as_ref().is_some_and(|host| host.source_path.is_some())),
        ),
        (
            "volumes.dockerVolumeConfiguration",
            content.volumes.iter().any(|volume| volume.docker_volume_configuration.is_some()),
        ),
    ];
    if let Some((field, _)) = absent.iter().find(|(_, is_there)| *is_there) {
        return Err(OperationError::client(format!("'{field}' is not supported on Fargate.")));
    }
    content.container_definitions.iter().try_for_each(one_container)
}

/// Refuses a size that Fargate does not have.
pub(crate) fn sizes(cpu: Option<u32>, memory: Option<u32>) -> Result<(), OperationError> {
    let Some(cpu) = cpu else {
        return Err(OperationError::client("Fargate requires that 'cpu' be defined at the task level."));
    };
    let Some(memory) = memory else {
        return Err(OperationError::client("Fargate requires that 'memory' be defined at the task level."));
    };
    if !size::is_fargate_size(cpu, memory) {
        return Err(OperationError::client("No Fargate configuration exists for given values."));
    }
    Ok(())
}

fn one_container(container: &ContainerDefinition) -> Result<(), OperationError> {
    let refuse = |what: String| {
        OperationError::client(format!("Invalid setting for container '{}'. {what}", container.name))
    };
    for (field, timeout) in
        [("startTimeout", container.start_timeout), ("stopTimeout", container.stop_timeout)]
    {
        if timeout.is_some_and(|seconds| !TIMEOUTS.contains(&seconds)) {
            return Err(refuse(format!(
                "'{field}' must be {} to {} seconds on Fargate.",
                TIMEOUTS.start(),
                TIMEOUTS.end()
            )));
        }
    }
    let linux = |field: &str| {
        container.linux_parameters.as_ref().and_then(|parameters| parameters.get(field)).cloned()
    };
    let absent = [
        ("privileged", is_set(&container.privileged)),
        ("disableNetworking", container.disable_networking == Some(true)),
        ("dockerSecurityOptions", is_set(&container.docker_security_options)),
        ("linuxParameters.devices", is_set(&linux("devices"))),
        ("linuxParameters.sharedMemorySize", is_set(&linux("sharedMemorySize"))),
        ("linuxParameters.tmpfs", is_set(&linux("tmpfs"))),
        ("linuxParameters.maxSwap", is_set(&linux("maxSwap"))),
        ("linuxParameters.swappiness", is_set(&linux("swappiness"))),
        ("resourceRequirements", is_set(&container.resource_requirements)),
        ("credentialSpecs", is_set(&container.credential_specs)),
        ("logConfiguration.logDriver", !log_driver_is_supported(container.log_configuration.as_ref())),
    ];
    match absent.iter().find(|(_, is_there)| *is_there) {
        Some((field, _)) => Err(refuse(format!("'{field}' is not supported on Fargate."))),
        None => Ok(()),
    }
}

/// ECS: "For tasks on Fargate, the supported log drivers are awslogs, splunk, and awsfirelens."
fn log_driver_is_supported(configuration: Option<&LogConfiguration>) -> bool {
    configuration.is_none_or(|log| ["awslogs", "splunk", "awsfirelens"].contains(&log.log_driver.as_str()))
}
