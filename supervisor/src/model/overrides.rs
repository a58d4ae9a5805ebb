//! What one task has different from its definition.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::environment_file::EnvironmentFile;
use super::task_definition::{
    Compatibility, ContainerDefinition, EphemeralStorage, KeyValuePair, TaskDefinitionContent,
};
use super::validate::{self, fargate_sizes};
use super::{shape, size};
use crate::error::OperationError;

/// RunTask's `overrides`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TaskOverride {
    /// By container.
    pub container_overrides: Vec<ContainerOverride>,
    /// Task-level CPU units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Task-level MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_role_arn: Option<String>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_role_arn: Option<String>,
    /// The disk that the task may fill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<EphemeralStorage>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_accelerator_overrides: Option<Value>,
}

/// What one container has different from its definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerOverride {
    /// The container meant.
    pub name: String,
    /// In place of the definition's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Put over the definition's environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<KeyValuePair>,
    /// CPU units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// MiB, hard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// MiB, soft.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u32>,
    /// In place of the definition's environment files: "instead of the value from the container definition".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_files: Option<Vec<EnvironmentFile>>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_requirements: Option<Value>,
}

impl TaskOverride {
    /// Checks the overrides against what they override, and normalises sizes.
    pub fn parse(mut self, content: &TaskDefinitionContent) -> Result<Self, OperationError> {
        let cpu = self.cpu.as_deref().map(size::parse_cpu).transpose()?;
        let memory = self.memory.as_deref().map(size::parse_memory).transpose()?;
        self.cpu = cpu.map(|units| units.to_string());
        self.memory = memory.map(|mib| mib.to_string());
        self.ephemeral_storage.map_or(Ok(()), validate::ephemeral_storage)?;
        if let Some(overrides) = &self.inference_accelerator_overrides {
            shape::INFERENCE_ACCELERATOR_OVERRIDES
                .check(overrides, "inferenceAcceleratorOverrides")
                .map_err(|why| OperationError::client(format!("Invalid override. {why}")))?;
        }
        for container in &self.container_overrides {
            if content.container(&container.name).is_none() {
                return Err(OperationError::invalid(format!(
                    "Override for container named {} is not a container in the TaskDefinition.",
                    container.name
                )));
            }
            container.check().map_err(|why| {
                OperationError::client(format!("Invalid override for container '{}'. {why}", container.name))
            })?;
        }
        let containers: Vec<_> =
            content.container_definitions.iter().map(|container| self.container(container)).collect();
        if let Some(container) = containers.iter().find(|container| reserves_more_than_it_has(container)) {
            return Err(OperationError::client(format!(
                "Invalid override for container '{}'. 'memoryReservation' must not be greater than 'memory'.",
                container.name
            )));
        }
        let (cpu, memory) = (cpu.or_else(|| content.cpu_units()), memory.or_else(|| content.memory_mib()));
        validate::sums(&containers, cpu, memory)?;
        if content.requires_compatibilities.contains(&Compatibility::Fargate) {
            fargate_sizes(cpu, memory)?;
        }
        Ok(self)
    }

    /// The container with what is different put over it.
    pub fn container(&self, definition: &ContainerDefinition) -> ContainerDefinition {
        let mut container = definition.clone();
        let Some(over) = self.container_overrides.iter().find(|over| over.name == container.name) else {
            return container;
        };
        container.cpu = over.cpu.unwrap_or(container.cpu);
        container.memory = over.memory.or(container.memory);
        container.memory_reservation = over.memory_reservation.or(container.memory_reservation);
        if let Some(command) = &over.command {
            container.command.clone_from(command);
        }
        if let Some(files) = &over.environment_files {
            container.environment_files.clone_from(files);
        }
        container.environment.extend(over.environment.iter().cloned());
        container
    }
}

impl ContainerOverride {
    fn check(&self) -> Result<(), String> {
        for (field, memory) in [("memory", self.memory), ("memoryReservation", self.memory_reservation)] {
            if memory.is_some_and(|mib| mib < size::MINIMUM_MEMORY_MIB) {
                return Err(format!("'{field}' must be at least {} MiB.", size::MINIMUM_MEMORY_MIB));
            }
        }
        validate::variables(&self.environment)?;
        validate::environment_files(self.environment_files.as_deref().unwrap_or_default())?;
        if self.command.iter().flatten().any(|word| word.contains('\0')) {
            return Err("'command' must not have a NUL character.".to_owned());
        }
        match &self.resource_requirements {
            Some(requirements) => shape::RESOURCE_REQUIREMENTS.check(requirements, "resourceRequirements"),
            None => Ok(()),
        }
    }
}

fn reserves_more_than_it_has(container: &ContainerDefinition) -> bool {
    matches!((container.memory_reservation, container.memory), (Some(soft), Some(hard)) if soft > hard)
}
