//! One image behind a listener, in one call: what `coracle serve` does.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use coracle_runtime::{Abi, ImageKind};
use coracle_supervisor::{
    OperationError,
    model::{
        publication::LISTEN,
        tags::Tag,
        task::Task,
        task_definition::{
            ContainerDefinition, HostVolume, KeyValuePair, MountPoint, NetworkMode, PortMapping, Volume,
        },
    },
    operations::{
        CreateClusterRequest, CreateServiceRequest, DescribeTasksRequest, ListTasksRequest,
        RegisterTaskDefinitionRequest,
    },
};
use tokio::time::{Instant, sleep};

use crate::Host;

/// The cluster that what is served is in.
pub const CLUSTER: &str = "default";
/// Where a server listens when nothing else is said, and the variable that tells it so.
const DEFAULT_PORT: u16 = 8080;
const PORT_VARIABLE: &str = "PORT";
/// For the first replica to answer: compiling a large image takes a good part of it.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks whether it does. Much less than a person notices.
const POLL: Duration = Duration::from_millis(1);
/// Between two looks whether it failed.
const FAILURE_POLL: Duration = Duration::from_millis(100);

/// An image to serve. Build it with [`Serving::new`] and set what is to be different.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Serving {
    /// The service's and its container's name.
    pub name: String,
    /// A WebAssembly file.
    pub image: PathBuf,
    /// How many tasks; default 1.
    pub replicas: u32,
    /// Where the balancer listens; default 127.0.0.1 with a port that it picks.
    pub listen: SocketAddr,
    /// The guest's arguments.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Directories of the host: on the host, in the guest, read-only.
    pub volumes: Vec<(PathBuf, String, bool)>,
    /// What of the network it may use; default an address of its own to listen on.
    pub network: NetworkMode,
    /// The port it listens on. Handlers need none; for others it is 8080 unless something is set here, and their
    /// environment has it as `PORT` unless that has a `PORT` of its own.
    pub container_port: Option<u16>,
    /// CPU quota of each task in ECS's units, 1024 a core.
    pub cpu: Option<u32>,
    /// Memory limit of each task in MiB.
    pub memory: Option<u32>,
    /// What health checks ask for with GET, expecting a 200; by default any answer will do.
    pub health_path: Option<String>,
    /// `coracle.` settings of the container, such as `coracle.fuel`.
    pub labels: BTreeMap<String, String>,
    /// Whether requests are calls in this process even though it has a port.
    in_process: bool,
}

/// An image could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What was asked for was refused.
    #[error(transparent)]
    Refused(#[from] OperationError),
    /// Its tasks do not come up.
    #[error("no task of {name} came up: {reason}")]
    Failed {
        /// The service.
        name: String,
        /// The first task's `stoppedReason`, and its container's.
        reason: String,
    },
    /// Its tasks neither came up nor failed.
    #[error("no task of {name} was healthy within {} s", START_DEADLINE.as_secs())]
    Timeout {
        /// The service.
        name: String,
    },
}

impl Serving {
    /// One replica of `image` on a loopback port that is picked.
    #[must_use]
    pub fn new(image: impl Into<PathBuf>) -> Self {
        let image = image.into();
        Self {
            name: name_of(&image),
            image,
            replicas: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            arguments: Vec::new(),
            environment: Vec::new(),
            volumes: Vec::new(),
            // Not bridge: it is reached at the balancer's port, and needs no host port for each replica.
            network: NetworkMode::Awsvpc,
            container_port: None,
            cpu: None,
            memory: None,
            health_path: None,
            labels: BTreeMap::new(),
            in_process: false,
        }
    }

    fn task_definition(&self) -> RegisterTaskDefinitionRequest {
        let volume_name = |index: usize| format!("volume-{index}");
        let volumes = self.volumes.iter().enumerate();
        let absolute =
            |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
        let environment = self.environment.iter();
        let container = ContainerDefinition {
            name: self.name.clone(),
            image: absolute(&self.image),
            command: self.arguments.clone(),
            environment: environment
                .map(|(name, value)| KeyValuePair { name: name.clone(), value: value.clone() })
                .collect(),
            mount_points: volumes
                .clone()
                .map(|(index, (_, guest, read_only))| MountPoint {
                    source_volume: volume_name(index),
                    container_path: guest.clone(),
                    read_only: *read_only,
                })
                .collect(),
            port_mappings: self
                .container_port
                .map(|port| PortMapping { container_port: Some(port), ..PortMapping::default() })
                .into_iter()
                .collect(),
            docker_labels: self.labels.clone(),
            ..ContainerDefinition::default()
        };
        RegisterTaskDefinitionRequest {
            family: self.name.clone(),
            network_mode: Some(self.network),
            container_definitions: vec![container],
            volumes: volumes
                .map(|(index, (host, ..))| Volume {
                    name: volume_name(index),
                    host: Some(HostVolume { source_path: Some(absolute(host)) }),
                    ..Volume::default()
                })
                .collect(),
            cpu: self.cpu.map(|units| units.to_string()),
            memory: self.memory.map(|mib| mib.to_string()),
            ..RegisterTaskDefinitionRequest::default()
        }
    }

    fn tags(&self) -> Vec<Tag> {
        let mut tags = vec![Tag::new(LISTEN, self.listen.to_string())];
        let mut health =
            |name: &str, value: &str| tags.push(Tag::new(format!("coracle.health-check.{name}"), value));
        match (&self.health_path, self.container_port) {
            (Some(path), _) => health("path", path),
            // Whether it listens is all that can be asked of a server that nothing is known of.
            (None, Some(_)) if !self.in_process => health("protocol", "TCP"),
            // A handler is ready when it is there.
            (None, _) => {
                health("enabled", "false");
                return tags;
            }
        }
        health("interval", "0.5");
        health("timeout", "0.45");
        // An overloaded task is not a broken one: ten seconds of silence are.
        health("unhealthy-threshold", "10");
        health("healthy-threshold", "2");
        tags
    }
}

/// A file's name without its extension and what a service's name may not have.
fn name_of(image: &std::path::Path) -> String {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy();
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(100).collect();
    if name.is_empty() { "service".to_owned() } else { name }
}

impl Host {
    /// Serves an image, and returns the address once the first of its tasks answers there.
    ///
    /// # Errors
    /// The image, a limit or the address was refused, or no task came up.
    pub async fn serve(&self, serving: &Serving) -> Result<SocketAddr, ServeError> {
        self.supervisor().create_cluster(CreateClusterRequest::default()).await?;
        let created = match self.create(serving).await {
            // Handlers are served most, and need no second look at their image. What was refused may be a server.
            Err(OperationError::Client(_)) if serving.container_port.is_none() => {
                match self.as_server(serving).await? {
                    Some(server) => self.create(&server).await,
                    // It is none: the refusal had another reason, and is given again.
                    None => self.create(serving).await,
                }
            }
            created => created,
        };
        self.wait_until_healthy(&serving.name, &created?).await?;
        self.supervisor()
            .endpoint(CLUSTER, &serving.name)
            .ok_or_else(|| ServeError::Timeout { name: serving.name.clone() })
    }

    /// The ARN of the new service's target group.
    async fn create(&self, serving: &Serving) -> Result<String, OperationError> {
        let registered = self.supervisor().register_task_definition(serving.task_definition()).await?;
        let request = CreateServiceRequest {
            service_name: serving.name.clone(),
            task_definition: registered.task_definition.task_definition_arn,
            desired_count: Some(i64::from(serving.replicas)),
            tags: serving.tags(),
            ..CreateServiceRequest::default()
        };
        let service = self.supervisor().create_service(request).await?.service;
        Ok(service.load_balancers.into_iter().next().map(|group| group.target_group_arn).unwrap_or_default())
    }

    /// The same with a port to listen on, if the image is a program that can.
    async fn as_server(&self, serving: &Serving) -> Result<Option<Serving>, ServeError> {
        let (runtime, path) = (self.runtime().clone(), serving.image.clone());
        let Ok(Ok(image)) = tokio::task::spawn_blocking(move || runtime.load_file(&path)).await else {
            return Ok(None);
        };
        match (image.kind(), image.abi()) {
            (ImageKind::Handler, _) => Ok(None),
            (ImageKind::Command, abi) => {
                let given = serving.environment.iter().find(|(name, _)| name == PORT_VARIABLE);
                let port = given.and_then(|(_, port)| port.parse().ok()).unwrap_or(DEFAULT_PORT);
                // Preview 1 has no sockets: what has a port answers the CGI way, in process as a handler does.
                let in_process = abi == Abi::Preview1;
                let mut server = Serving { container_port: Some(port), in_process, ..serving.clone() };
                if given.is_none() {
                    server.environment.push((PORT_VARIABLE.to_owned(), port.to_string()));
                }
                Ok(Some(server))
            }
        }
    }

    async fn wait_until_healthy(&self, name: &str, group: &str) -> Result<(), ServeError> {
        let started = Instant::now();
        let mut look_for_failure = started + FAILURE_POLL;
        while !self.driver().targets(group).iter().any(|target| target.state.is_usable()) {
            if started.elapsed() > START_DEADLINE {
                return Err(ServeError::Timeout { name: name.to_owned() });
            }
            if Instant::now() >= look_for_failure {
                if let Some(reason) = self.first_failure().await? {
                    return Err(ServeError::Failed { name: name.to_owned(), reason });
                }
                look_for_failure = Instant::now() + FAILURE_POLL;
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Why a task stopped before any came up.
    async fn first_failure(&self) -> Result<Option<String>, OperationError> {
        let request = ListTasksRequest {
            desired_status: Some(coracle_supervisor::model::task::DesiredStatus::Stopped),
            ..ListTasksRequest::default()
        };
        let stopped = self.supervisor().list_tasks(request).await?.task_arns;
        if stopped.is_empty() {
            return Ok(None);
        }
        let request = DescribeTasksRequest { tasks: stopped, ..DescribeTasksRequest::default() };
        let tasks = self.supervisor().describe_tasks(request).await?.tasks;
        Ok(tasks.first().map(reason))
    }
}

fn reason(task: &Task) -> String {
    let mut reason = task.stopped_reason.clone().unwrap_or_else(|| "it stopped".to_owned());
    for container in &task.containers {
        if let Some(code) = container.exit_code {
            reason = format!("{reason} (exit code {code})");
        }
        if let Some(why) = &container.reason {
            reason = format!("{reason}: {why}");
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_after_its_file() {
        for (file, name) in [("/a/hello.wasm", "hello"), ("my app.v2.wasm", "my-app-v2"), ("", "service")] {
            assert_eq!(name_of(file.as_ref()), name);
        }
    }
}
