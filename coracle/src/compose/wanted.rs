//! What a Compose service is in ECS's terms.

use std::{collections::BTreeMap, time::Duration};

use coracle_supervisor::{
    model::{
        publication::LISTEN,
        service_connect::{ClientAlias, ServiceConnectConfiguration, ServiceConnectService, is_client_name},
        tags::Tag,
        task_definition::{
            ContainerDefinition, HostVolume, KeyValuePair, MountPoint, NetworkMode, PortMapping,
            TransportProtocol, Volume,
        },
    },
    operations::RegisterTaskDefinitionRequest,
};

use super::{HealthCheck, Service};

/// What `curl -f` and `wget` take for success, once they followed the redirects.
const SUCCESS: &str = "200-399";

impl Service {
    /// The task definition's family in the project's cluster.
    #[must_use]
    pub fn family(&self, project: &str) -> String {
        format!("{project}-{}", self.name)
    }

    /// The task definition of one container.
    #[must_use]
    pub fn task_definition(&self, project: &str) -> RegisterTaskDefinitionRequest {
        let volume_name = |index: usize| format!("volume-{index}");
        let volumes = self.volumes.iter().enumerate().map(|(index, volume)| Volume {
            name: volume_name(index),
            host: Some(HostVolume { source_path: Some(volume.host.display().to_string()) }),
            ..Volume::default()
        });
        let mount_points = self.volumes.iter().enumerate().map(|(index, volume)| MountPoint {
            source_volume: volume_name(index),
            container_path: volume.guest.clone(),
            read_only: volume.read_only,
        });
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| KeyValuePair { name: name.clone(), value: value.clone() });
        let port_mappings = self.port().into_iter().map(|port| PortMapping {
            container_port: Some(port),
            protocol: TransportProtocol::Tcp,
            name: self.found_as(),
            ..PortMapping::default()
        });
        let container = ContainerDefinition {
            name: self.name.clone(),
            image: self.image.clone(),
            essential: Some(true),
            command: self.command.clone(),
            environment: environment.collect(),
            mount_points: mount_points.collect(),
            port_mappings: port_mappings.collect(),
            health_check: self.container_health_check.clone(),
            log_configuration: self.logging.clone(),
            docker_labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..ContainerDefinition::default()
        };
        RegisterTaskDefinitionRequest {
            family: self.family(project),
            // It is reached at the balancer's port, and needs no host port for each replica.
            network_mode: Some(NetworkMode::Awsvpc),
            container_definitions: vec![container],
            volumes: volumes.collect(),
            cpu: self.cpu.map(|units| units.to_string()),
            memory: self.memory.map(|mib| mib.to_string()),
            ..RegisterTaskDefinitionRequest::default()
        }
    }

    /// What the others of its file call it. Names are found whatever the case of their letters; a number is none.
    fn found_as(&self) -> Option<String> {
        Some(self.name.to_ascii_lowercase()).filter(|name| is_client_name(name))
    }

    /// Its place among the services of its file: it finds them all by their names, and they find it at its port, if it has one.
    #[must_use]
    pub fn service_connect(&self, project: &str) -> ServiceConnectConfiguration {
        let offer = |(name, port): (String, u16)| ServiceConnectService {
            port_name: name.clone(),
            client_aliases: vec![ClientAlias {
                port: port.into(),
                dns_name: Some(name),
                ..ClientAlias::default()
            }],
            ..ServiceConnectService::default()
        };
        ServiceConnectConfiguration {
            enabled: true,
            namespace: Some(format!("{project}.local")),
            services: self.found_as().zip(self.port()).map(offer).into_iter().collect(),
            ..ServiceConnectConfiguration::default()
        }
    }

    /// The tags that publish it; none when it is not published.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        let Some(listen) = self.listen() else { return Vec::new() };
        let mut tags = vec![Tag::new(LISTEN, listen.to_string())];
        match self.health_check.as_ref().and_then(Option::as_ref) {
            Some(check) => tags.extend(health_tags(check)),
            None => tags.extend(unchecked_tags()),
        }
        tags
    }

    /// Seconds after a task's start in which failed checks do not count.
    #[must_use]
    pub fn grace_period(&self) -> i64 {
        let check = self.health_check.as_ref().and_then(Option::as_ref);
        let start = check.and_then(|check| check.start_period).unwrap_or_default();
        i64::try_from(start.as_secs() + u64::from(start.subsec_nanos() > 0)).unwrap_or(i64::MAX)
    }
}

/// Tags of a published service whose author asked for no health check: whoever answers at all is healthy. ELB's own
/// default would ask `/` for a 200, and take down a service that has nothing there.
fn unchecked_tags() -> Vec<Tag> {
    vec![
        health_tag("protocol", "TCP"),
        // How soon a new task gets requests, when it did not listen yet the first time.
        health_tag("interval", "1"),
        health_tag("timeout", "0.9"),
        // An overloaded task is not a broken one.
        health_tag("unhealthy-threshold", "10"),
        health_tag("healthy-threshold", "2"),
    ]
}

fn health_tags(check: &HealthCheck) -> Vec<Tag> {
    vec![
        health_tag("path", check.path.clone()),
        health_tag("interval", seconds(check.interval)),
        health_tag("timeout", seconds(check.timeout)),
        health_tag("unhealthy-threshold", check.retries.to_string()),
        // Docker's: one success is enough. Two is the least that ELB has.
        health_tag("healthy-threshold", "2"),
        health_tag("matcher", SUCCESS),
    ]
}

fn health_tag(name: &str, value: impl Into<String>) -> Tag {
    Tag::new(format!("coracle.health-check.{name}"), value)
}

fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}
