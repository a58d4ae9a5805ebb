//! Fields that are stored and given back: their shapes, and what contradicts other fields.

use serde_json::Value;

use crate::error::OperationError;
use crate::model::shape::{self, check_members};
use crate::model::task_definition::{ContainerDefinition, NetworkMode, TaskDefinitionContent};

/// Refuses what AWS's model does not have, and what contradicts the network mode.
pub(super) fn check(content: &TaskDefinitionContent) -> Result<(), OperationError> {
    let fields = json(&content.stored)?;
    check_members(&fields, shape::TASK_DEFINITION)
        .and_then(|()| {
            let constraints = Value::Array(content.placement_constraints.clone());
            shape::PLACEMENT_CONSTRAINTS.check(&constraints, "placementConstraints")
        })
        .map_err(|why| OperationError::client(format!("Invalid setting for task definition. {why}")))?;
    for volume in &content.volumes {
        check_members(&json(volume)?, shape::VOLUME).map_err(|why| {
            OperationError::client(format!("Invalid setting for volume '{}'. {why}", volume.name))
        })?;
    }
    content.container_definitions.iter().try_for_each(|container| one_container(container, content))
}

fn one_container(
    container: &ContainerDefinition,
    content: &TaskDefinitionContent,
) -> Result<(), OperationError> {
    let refuse = |what: String| {
        OperationError::client(format!("Invalid setting for container '{}'. {what}", container.name))
    };
    check_members(&json(container)?, shape::CONTAINER).map_err(refuse)?;
    for mapping in &container.port_mappings {
        check_members(&json(mapping)?, shape::PORT_MAPPING).map_err(refuse)?;
    }
    ulimits(container).map_err(refuse)?;
    volumes_from(container, content).map_err(refuse)?;

    let mode = content.network_mode;
    // Each by the sentence in ECS's reference of the field.
    let contradictions = [
        ("links", is_set(&container.links) && mode != NetworkMode::Bridge),
        ("hostname", is_set(&container.hostname) && mode == NetworkMode::Awsvpc),
        ("extraHosts", is_set(&container.extra_hosts) && mode == NetworkMode::Awsvpc),
    ];
    if let Some((field, _)) = contradictions.iter().find(|(_, contradicts)| *contradicts) {
        let mode = serde_json::to_value(mode).ok().and_then(|mode| mode.as_str().map(str::to_owned));
        return Err(refuse(format!(
            "'{field}' is not supported when networkMode={}.",
            mode.unwrap_or_default()
        )));
    }
    if container.disable_networking == Some(true) && !container.port_mappings.is_empty() {
        return Err(refuse("'portMappings' are not allowed with 'disableNetworking'.".to_owned()));
    }
    Ok(())
}

fn ulimits(container: &ContainerDefinition) -> Result<(), String> {
    for limit in container.ulimits.iter().filter_map(Value::as_array).flatten() {
        let of = |side: &str| limit[side].as_i64();
        if of("softLimit") > of("hardLimit") {
            let name = limit["name"].as_str().unwrap_or_default();
            return Err(format!("'ulimits': softLimit of {name} must not be greater than its hardLimit."));
        }
    }
    Ok(())
}

fn volumes_from(container: &ContainerDefinition, content: &TaskDefinitionContent) -> Result<(), String> {
    for from in &container.volumes_from {
        let source = from.source_container.as_str();
        if source == container.name || content.container(source).is_none() {
            return Err(format!("'volumesFrom.sourceContainer' must be another container, not '{source}'."));
        }
    }
    Ok(())
}

/// Whether a stored field says anything.
pub(super) fn is_set(field: &Option<Value>) -> bool {
    match field {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

fn json(fields: &impl serde::Serialize) -> Result<Value, OperationError> {
    // It came as JSON, so that it can go as JSON.
    serde_json::to_value(fields).map_err(|error| OperationError::client(error.to_string()))
}
