//! A task and its containers.

use serde_json::{Map, Value, json};

use super::time;
use crate::clock::Timestamp;
use crate::model::arn::Identity;
use crate::model::names::TaskId;
use crate::model::size::UNITS_PER_VCPU;
use crate::model::task::{ContainerState, ContainerStatus, HealthStatus};
use crate::model::task_definition::{ContainerDefinition, NetworkMode, TaskDefinition, TransportProtocol};
use crate::records::KnownTask;

/// What the documents are made of.
pub(super) struct View<'a> {
    pub(super) identity: &'a Identity,
    pub(super) known: &'a KnownTask,
    pub(super) definition: &'a TaskDefinition,
}

/// What stands in for Docker's id of a container. ECS's API calls it `runtimeId`.
pub(super) fn docker_id(task: &TaskId, container: &str) -> String {
    format!("{task}-{container}")
}

impl View<'_> {
    /// The document of `/task`, with tags that of `/taskWithTags`.
    pub(super) fn task(&self, with_tags: bool) -> Value {
        let (record, status) = (&self.known.record, &self.known.status);
        let content = &self.definition.content;
        let mut task = json!({
            "Cluster": self.identity.cluster(&record.cluster),
            "TaskARN": self.identity.task(&record.cluster, &record.id),
            "Family": content.family.as_str(),
            "Revision": self.definition.revision.to_string(),
            "DesiredStatus": record.desired_status(),
            "KnownStatus": status.last_status,
            "AvailabilityZone": self.identity.region,
            "LaunchType": record.launch_type,
            "Containers": content.container_definitions.iter().map(|container| self.view(container)).collect::<Vec<_>>(),
        });
        let mut put = |name: &str, value: Option<Value>| {
            if let (Some(fields), Some(value)) = (task.as_object_mut(), value) {
                fields.insert(name.to_owned(), value);
            }
        };
        put("ServiceName", record.service.as_ref().map(|service| json!(service.name.as_str())));
        // Of the task in cores, where those of containers are in units.
        let over = &record.overrides;
        let cpu = number(over.cpu.as_ref()).or_else(|| content.cpu_units());
        let memory = number(over.memory.as_ref()).or_else(|| content.memory_mib());
        let cores = cpu.map(|units| json!(f64::from(units) / f64::from(UNITS_PER_VCPU)));
        put("Limits", limits(cores, memory));
        put("PullStartedAt", status.pull_started_at.map(time));
        put("PullStoppedAt", status.pull_stopped_at.map(time));
        put("ExecutionStoppedAt", status.execution_stopped_at.map(time));
        if with_tags && !record.tags.is_empty() {
            let tags: Map<String, Value> =
                record.tags.iter().map(|tag| (tag.key.clone(), json!(tag.value))).collect();
            put("TaskTags", Some(Value::Object(tags)));
        }
        task
    }

    /// The document of one container.
    pub(super) fn container(&self, name: &str) -> Option<Value> {
        self.definition.content.container(name).map(|container| self.view(container))
    }

    fn view(&self, container: &ContainerDefinition) -> Value {
        let (record, status) = (&self.known.record, &self.known.status);
        let pending = ContainerStatus::pending(&record.id, &container.name);
        let seen = status.containers.iter().find(|seen| seen.name == container.name).unwrap_or(&pending);
        let over = record.overrides.container_overrides.iter().find(|over| over.name == container.name);
        let cluster = self.identity.cluster(&record.cluster);
        let mut labels = json!({
            "com.amazonaws.ecs.cluster": cluster,
            "com.amazonaws.ecs.container-name": container.name,
            "com.amazonaws.ecs.task-arn": self.identity.task(&record.cluster, &record.id),
            "com.amazonaws.ecs.task-definition-family": self.definition.content.family.as_str(),
            "com.amazonaws.ecs.task-definition-version": self.definition.revision.to_string(),
        });
        if let Some(labels) = labels.as_object_mut() {
            labels.extend(container.docker_labels.iter().map(|(name, value)| (name.clone(), json!(value))));
        }
        let mut view = json!({
            "DockerId": docker_id(&record.id, &container.name),
            "Name": container.name,
            "DockerName": container.name,
            "Image": container.image,
            "Labels": labels,
            "DesiredStatus": record.desired_status(),
            "KnownStatus": seen.last_status,
            "CreatedAt": time(record.created_at),
            "Type": "NORMAL",
            "ContainerARN": self.identity.container(&record.cluster, &record.id, &seen.id),
            "RestartCount": seen.restart_count,
        });
        let mut put = |name: &str, value: Option<Value>| {
            if let (Some(fields), Some(value)) = (view.as_object_mut(), value) {
                fields.insert(name.to_owned(), value);
            }
        };
        put("ImageID", seen.image_digest.as_ref().map(|digest| json!(digest)));
        let cpu = over.and_then(|over| over.cpu).unwrap_or(container.cpu);
        let memory = over.and_then(|over| over.memory).or(container.memory);
        put("Limits", limits((cpu > 0).then(|| json!(cpu)), memory));
        let has_started = seen.last_status != ContainerState::Pending;
        put("StartedAt", status.started_at.filter(|_| has_started).map(time));
        let ended: Option<Timestamp> = status.execution_stopped_at;
        put("FinishedAt", ended.filter(|_| seen.last_status == ContainerState::Stopped).map(time));
        put("ExitCode", seen.exit_code.map(|code| json!(code)));
        if let Some(log) = &container.log_configuration {
            put("LogDriver", Some(json!(log.log_driver)));
            put("LogOptions", (!log.options.is_empty()).then(|| json!(log.options)));
        }
        let is_checked = container.health_check.is_some() || seen.health != HealthStatus::Unknown;
        put("Health", is_checked.then(|| json!({ "status": seen.health })));
        put("Ports", self.ports(container, seen));
        put("Networks", Some(json!([self.network()])));
        view
    }

    fn ports(&self, container: &ContainerDefinition, seen: &ContainerStatus) -> Option<Value> {
        let ports: Vec<Value> = container
            .port_mappings
            .iter()
            .filter_map(|mapping| {
                let port = mapping.container_port?;
                let bound = seen.network_bindings.iter().find(|bound| bound.container_port == port);
                let protocol = match mapping.protocol {
                    TransportProtocol::Tcp => "tcp",
                    TransportProtocol::Udp => "udp",
                };
                let mut view = json!({ "ContainerPort": port, "Protocol": protocol });
                if let Some(bound) = bound {
                    view["HostPort"] = json!(bound.host_port);
                    view["HostIp"] = json!(bound.bind_ip);
                }
                Some(view)
            })
            .collect();
        (!ports.is_empty()).then_some(Value::Array(ports))
    }

    fn network(&self) -> Value {
        let mode = self.definition.content.network_mode;
        let addresses: Vec<String> = match mode {
            NetworkMode::None => Vec::new(),
            _ => self.known.status.address.iter().map(ToString::to_string).collect(),
        };
        json!({ "NetworkMode": mode, "IPv4Addresses": addresses })
    }
}

fn limits(cpu: Option<Value>, memory_mib: Option<u32>) -> Option<Value> {
    let mut limits = Map::new();
    limits.extend(cpu.map(|cpu| ("CPU".to_owned(), cpu)));
    limits.extend(memory_mib.map(|mib| ("Memory".to_owned(), json!(mib))));
    (!limits.is_empty()).then_some(Value::Object(limits))
}

fn number(text: Option<&String>) -> Option<u32> {
    text.and_then(|text| text.parse().ok())
}
