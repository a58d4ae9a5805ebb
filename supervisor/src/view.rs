//! Records as ECS shows them.

use serde_json::{Value, json};

use crate::model::arn::Identity;
use crate::model::service::{
    Deployment, DeploymentRecord, LoadBalancer, RolloutState, Service, ServiceConnectResource, ServiceEvent,
    ServiceRecord,
};
use crate::model::task::{
    Container, ContainerStatus, DesiredStatus, LastStatus, NetworkInterface, Task, TaskRecord, TaskStatus,
};
use crate::model::task_definition::{ContainerDefinition, NetworkMode, TaskDefinition};
use crate::records::KnownTask;

/// A task. Without its definition (its record is unreadable) the containers' static parts are empty.
pub(crate) fn task(identity: &Identity, task: &KnownTask, definition: Option<&TaskDefinition>) -> Task {
    let KnownTask { record, status } = task;
    let task_arn = identity.task(&record.cluster, &record.id);
    let stop = status.stop.as_ref().or(record.stop.as_ref());
    let content = definition.map(|definition| &definition.content);
    Task {
        containers: containers(identity, record, status, definition),
        attachments: attachments(record, status, definition),
        task_arn,
        cluster_arn: identity.cluster(&record.cluster),
        task_definition_arn: identity.task_definition(&record.task_definition),
        container_instance_arn: identity.container_instance(&record.cluster, &record.node),
        overrides: record.overrides.clone(),
        last_status: status.last_status,
        desired_status: if status.stop.is_some() { DesiredStatus::Stopped } else { record.desired_status() },
        health_status: status.health.unwrap_or_default(),
        ephemeral_storage: record
            .overrides
            .ephemeral_storage
            .or_else(|| content.and_then(|content| content.ephemeral_storage)),
        cpu: record.overrides.cpu.clone().or_else(|| content.and_then(|content| content.cpu.clone())),
        memory: record
            .overrides
            .memory
            .clone()
            .or_else(|| content.and_then(|content| content.memory.clone())),
        started_by: record.started_by.clone(),
        version: status.version + 1,
        stopped_reason: stop.map(|stop| stop.reason.clone()),
        stop_code: stop.map(|stop| stop.code),
        connectivity: "CONNECTED".to_owned(),
        connectivity_at: status.pull_started_at,
        pull_started_at: status.pull_started_at,
        pull_stopped_at: status.pull_stopped_at,
        execution_stopped_at: status.execution_stopped_at,
        created_at: record.created_at,
        started_at: status.started_at,
        stopping_at: status.stopping_at,
        stopped_at: status.stopped_at,
        group: record.group.clone(),
        launch_type: record.launch_type,
        capacity_provider_name: record.capacity_provider,
        tags: record.tags.clone(),
        enable_execute_command: record.enable_execute_command,
    }
}

fn containers(
    identity: &Identity,
    record: &TaskRecord,
    status: &TaskStatus,
    definition: Option<&TaskDefinition>,
) -> Vec<Container> {
    let Some(content) = definition.map(|definition| &definition.content) else { return Vec::new() };
    let observed =
        |container: &ContainerDefinition| status.containers.iter().find(|seen| seen.name == container.name);
    let view = |container: &ContainerDefinition| {
        let pending = ContainerStatus::pending(&record.id, &container.name);
        let seen = observed(container).unwrap_or(&pending);
        let over = record.overrides.container_overrides.iter().find(|over| over.name == container.name);
        let memory = over.and_then(|over| over.memory).or(container.memory);
        let reservation = over.and_then(|over| over.memory_reservation).or(container.memory_reservation);
        Container {
            container_arn: identity.container(&record.cluster, &record.id, &seen.id),
            task_arn: identity.task(&record.cluster, &record.id),
            name: container.name.clone(),
            image: container.image.clone(),
            image_digest: seen.image_digest.clone(),
            runtime_id: seen.id.clone(),
            last_status: seen.last_status,
            exit_code: seen.exit_code,
            reason: seen.reason.clone(),
            network_bindings: seen.network_bindings.clone(),
            network_interfaces: interfaces(record, content.network_mode, status),
            health_status: seen.health,
            restart_count: seen.restart_count,
            cpu: over.and_then(|over| over.cpu).unwrap_or(container.cpu).to_string(),
            memory: memory.map(|mib| mib.to_string()),
            memory_reservation: reservation.map(|mib| mib.to_string()),
        }
    };
    content.container_definitions.iter().map(view).collect()
}

fn interfaces(record: &TaskRecord, mode: NetworkMode, status: &TaskStatus) -> Vec<NetworkInterface> {
    match (mode, status.address) {
        (NetworkMode::Awsvpc, Some(address)) => vec![NetworkInterface {
            attachment_id: format!("{}-eni", record.id),
            private_ipv4_address: address.to_string(),
        }],
        _ => Vec::new(),
    }
}

fn attachments(record: &TaskRecord, status: &TaskStatus, definition: Option<&TaskDefinition>) -> Vec<Value> {
    let mode = definition.map(|definition| definition.content.network_mode);
    match (mode, status.address) {
        (Some(NetworkMode::Awsvpc), Some(address)) => vec![json!({
            "id": format!("{}-eni", record.id),
            "type": "ElasticNetworkInterface",
            "status": if status.last_status < LastStatus::Deprovisioning { "ATTACHED" } else { "DETACHED" },
            "details": [{ "name": "privateIPv4Address", "value": address.to_string() }],
        })],
        _ => Vec::new(),
    }
}

/// What a service looks like from outside, beside its record.
#[derive(Debug)]
pub(crate) struct ServiceObservation<'a> {
    pub(crate) tasks: &'a [KnownTask],
    pub(crate) events: Vec<ServiceEvent>,
    pub(crate) failed_tasks: std::collections::BTreeMap<String, u32>,
    pub(crate) load_balancer: Option<LoadBalancer>,
}

/// A service.
pub(crate) fn service(identity: &Identity, record: &ServiceRecord, seen: ServiceObservation<'_>) -> Service {
    let counts = |deployment: Option<&str>| {
        let of = |task: &&KnownTask| {
            let service = task.record.service.as_ref();
            deployment.is_none_or(|id| service.is_some_and(|service| service.deployment == id))
        };
        let running = seen.tasks.iter().filter(of).filter(|task| task.is_running()).count();
        let pending = seen.tasks.iter().filter(of).filter(|task| task.is_pending()).count();
        (u32::try_from(running).unwrap_or(u32::MAX), u32::try_from(pending).unwrap_or(u32::MAX))
    };
    let (running_count, pending_count) = counts(None);
    let deployment = |(index, deployment): (usize, &DeploymentRecord)| {
        let (running_count, pending_count) = counts(Some(&deployment.id));
        Deployment {
            id: deployment.id.clone(),
            status: if index == 0 { "PRIMARY" } else { "ACTIVE" }.to_owned(),
            task_definition: identity.task_definition(&deployment.task_definition),
            desired_count: record.wanted_of(index == 0, &deployment.id),
            pending_count,
            running_count,
            failed_tasks: seen.failed_tasks.get(&deployment.id).copied().unwrap_or(0),
            created_at: deployment.created_at,
            updated_at: deployment.updated_at,
            launch_type: record.launch_type,
            rollout_state: deployment.rollout_state,
            rollout_state_reason: deployment.reason.clone().unwrap_or_else(|| {
                let state = match deployment.rollout_state {
                    RolloutState::InProgress => "in progress",
                    RolloutState::Completed => "completed",
                    RolloutState::Failed => "failed",
                };
                format!("ECS deployment {} {state}.", deployment.id)
            }),
            service_connect_configuration: deployment
                .service_connect
                .as_ref()
                .map(|connect| connect.configuration.clone()),
            service_connect_resources: deployment
                .service_connect
                .iter()
                .flat_map(|connect| &connect.offers)
                .map(|offer| ServiceConnectResource {
                    discovery_name: offer.discovery_name.clone(),
                    discovery_arn: identity.discovery(offer),
                })
                .collect(),
        }
    };
    Service {
        service_arn: identity.service(&record.cluster, &record.name),
        service_name: record.name.to_string(),
        cluster_arn: identity.cluster(&record.cluster),
        status: record.status,
        desired_count: record.desired_count,
        running_count,
        pending_count,
        launch_type: record.launch_type,
        task_definition: identity.task_definition(&record.primary().task_definition),
        load_balancers: seen.load_balancer.into_iter().collect(),
        scheduling_strategy: record.scheduling_strategy,
        deployment_configuration: record.deployment_configuration.clone(),
        deployments: record.deployments.iter().enumerate().map(deployment).collect(),
        events: seen.events,
        created_at: record.created_at,
        health_check_grace_period_seconds: record
            .publication
            .as_ref()
            .map(|_| record.health_check_grace_period_seconds),
        propagate_tags: record.propagate_tags,
        enable_execute_command: record.enable_execute_command,
        tags: record.tags.clone(),
        stored: record.stored.clone(),
    }
}

impl KnownTask {
    /// Stopped for good.
    pub(crate) fn is_over(&self) -> bool {
        self.status.last_status == LastStatus::Stopped
    }

    /// Counted as running: it is, and nobody has told it to stop.
    pub(crate) fn is_running(&self) -> bool {
        self.status.last_status == LastStatus::Running && self.record.stop.is_none()
    }

    /// Counted as pending: on its way to running.
    pub(crate) fn is_pending(&self) -> bool {
        self.status.last_status < LastStatus::Running && self.record.stop.is_none()
    }
}
