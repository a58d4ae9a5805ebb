//! What containers of a task wait for.

use std::collections::BTreeSet;

use crate::error::OperationError;
use crate::model::health_check::HealthCheck;
use crate::model::task_definition::{ContainerCondition, ContainerDefinition};

/// Refuses dependencies on nobody, on what cannot happen, and in a circle.
pub(super) fn check(containers: &[ContainerDefinition]) -> Result<(), OperationError> {
    for container in containers {
        for dependency in &container.depends_on {
            let refuse = |what: &str| {
                OperationError::client(format!(
                    "Invalid dependsOn for container '{}': {what} '{}'.",
                    container.name, dependency.container_name
                ))
            };
            let Some(other) = containers.iter().find(|other| other.name == dependency.container_name) else {
                return Err(refuse("there is no container"));
            };
            match dependency.condition {
                ContainerCondition::Complete | ContainerCondition::Success if other.is_essential() => {
                    return Err(refuse(
                        "conditions COMPLETE and SUCCESS cannot be set on an essential container,",
                    ));
                }
                ContainerCondition::Healthy if !has_health_check(other) => {
                    return Err(refuse("condition HEALTHY needs a healthCheck in container"));
                }
                _ => {}
            }
        }
    }
    if start_order(containers).is_none() {
        return Err(OperationError::client("Container dependencies must not form a cycle: check dependsOn."));
    }
    Ok(())
}

fn has_health_check(container: &ContainerDefinition) -> bool {
    let plan = container.health_check.as_ref().map(HealthCheck::parse);
    plan.is_some_and(|plan| plan.is_ok_and(|plan| plan.is_some()))
}

/// The containers' indices so that each comes after what it depends on; `None` when they wait for each other.
fn start_order(containers: &[ContainerDefinition]) -> Option<Vec<usize>> {
    let mut order = Vec::with_capacity(containers.len());
    let mut placed = BTreeSet::new();
    while order.len() < containers.len() {
        let next = containers.iter().position(|container| {
            !placed.contains(container.name.as_str())
                && container
                    .depends_on
                    .iter()
                    .all(|dependency| placed.contains(dependency.container_name.as_str()))
        })?;
        placed.insert(containers[next].name.as_str());
        order.push(next);
    }
    Some(order)
}
