//! The real driver: tasks in this process's WebAssembly runtime, services behind this process's balancer.
//!
//! - `images`: an image reference to a compiled image, each file compiled once.
//! - `addresses`: a loopback address for each task.
//! - `ports`: a container's ports, on the host and in its task.
//! - `sandbox`: one task: specs from its definition, containers, volumes.
//! - `commands`: other programs inside a task.
//! - `probe`: asking a container how it is.
//! - `ends`: where requests reach a task.
//! - `targets`: target groups, listeners, and the two kinds of targets.
//! - `other_ports`: the ports of a service that only those reach who find it by name.
//! - `directory`: services by name, for those who find them.
//! - `logs`: what containers print.
//! - `metering`: what tasks used.
//! - `metadata`: where tasks ask about themselves.
//! - `crashes`: what is kept of guests that failed.
//! - `listeners`: load balancers' listeners and rules.
//! - `leftovers`: what an earlier process left.

mod addresses;
mod commands;
mod crashes;
mod directory;
mod ends;
mod images;
mod leftovers;
mod listeners;
mod logs;
mod metadata;
mod metering;
mod other_ports;
mod ports;
mod probe;
mod sandbox;
mod targets;
mod volumes;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_balancer::{Balancer, TargetDescription};
use coracle_runtime::{Image, ImageKind, Metering, Runtime, Uplink};
use futures_util::future::BoxFuture;

use super::{
    Driver, ListenerSettings, PublishError, Routing, Sandbox, StartFailure, StartFailureKind, TargetGroup,
    TargetGroupSettings, TaskLaunch, Unrunnable,
};
use crate::model::crash::CrashReport;
use crate::model::labels::CORE_DUMP;
use crate::model::names::TaskId;
use crate::model::service_connect::Offer;
use crate::model::task_definition::{ContainerDefinition, NetworkMode, TaskDefinition, TransportProtocol};
use addresses::Addresses;
pub use addresses::lone_address;
use crashes::Crashes;
use directory::{Directory, Way};
use images::Images;
use listeners::Listeners;
pub use logs::ContainerLog;
use logs::Logs;
use metadata::Endpoints;
pub use ports::DEFAULT_HOST_PORT_ADDRESS;
use sandbox::LocalSandbox;
use targets::Targets;
use volumes::Volumes;

/// Bytes in a MiB, the unit of memory in task definitions.
const MIB: u64 = 1 << 20;

/// Settings of the local driver.
#[derive(Clone, Debug, Default)]
pub struct LocalDriverConfig {
    /// Where logs (`logs/<task id>/<container>.log`) the tasks' own files (`tasks/<task id>`) and named volumes (`volumes/<name>`) are kept. Without
    /// one, logs stay in a bounded piece of memory and the tasks' files in the host's temporary directory, and there are no named volumes.
    pub data_dir: Option<PathBuf>,
    /// What tasks use of the host's network; without one, the system's resolver, and nothing of the host is reserved.
    pub uplink: Option<Arc<Uplink>>,
    /// Where host ports are bound; without one, at [`DEFAULT_HOST_PORT_ADDRESS`], where other machines do not reach them.
    pub host_port_address: Option<IpAddr>,
}

/// Runs tasks in this process. Clones are the same driver.
#[derive(Clone, Debug)]
pub struct LocalDriver {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    images: Images,
    addresses: Addresses,
    uplink: Arc<Uplink>,
    host_port_address: IpAddr,
    targets: Targets,
    listeners: Listeners,
    directory: Directory,
    logs: Logs,
    crashes: Crashes,
    endpoints: Endpoints,
    volumes: Volumes,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalDriver")
            .field("logs", &self.logs)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

impl LocalDriver {
    /// A driver over a runtime and a balancer. Blocks for a moment to tidy up what an earlier process left in the data directory.
    pub fn new(config: LocalDriverConfig, runtime: Runtime, balancer: Balancer) -> std::io::Result<Self> {
        let inner = Inner {
            images: Images::new(runtime.clone()),
            runtime,
            addresses: Addresses::new(rand::random()),
            uplink: config.uplink.unwrap_or_else(Uplink::system),
            host_port_address: config.host_port_address.unwrap_or(DEFAULT_HOST_PORT_ADDRESS),
            targets: Targets::new(balancer),
            listeners: Listeners::default(),
            directory: Directory::default(),
            logs: Logs::open(config.data_dir.as_deref())?,
            crashes: Crashes::open(config.data_dir.as_deref())?,
            endpoints: Endpoints::default(),
            volumes: Volumes::open(config.data_dir.as_deref())?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What a container has printed, as far as it is kept.
    pub fn log(&self, task: &TaskId, container: &str) -> Option<ContainerLog> {
        self.inner.logs.read(task, container)
    }

    /// The same by CloudWatch Logs' names: group `/ecs/<cluster>` and stream `<container>/<task>`, or what a definition has for the driver `awslogs`.
    pub fn log_stream(&self, group: &str, stream: &str) -> Option<ContainerLog> {
        self.inner.logs.read_stream(group, stream)
    }

    /// The containers of a task whose output is kept.
    pub fn logged_containers(&self, task: &TaskId) -> Vec<String> {
        self.inner.logs.containers(task)
    }

    /// What kind of program an image is; `None` where it cannot be had.
    pub async fn image_kind(&self, image: &str) -> Option<ImageKind> {
        self.inner.images.load(image, Metering::default()).await.ok().map(|image| image.kind())
    }

    /// The targets of a published service's group, for description.
    pub fn targets(&self, target_group_arn: &str) -> Vec<TargetDescription> {
        self.inner.targets.describe(target_group_arn)
    }
}

#[async_trait]
impl Driver for LocalDriver {
    async fn check(&self, definition: &TaskDefinition, answers: Option<&str>) -> Result<(), Unrunnable> {
        let content = &definition.content;
        for volume in &content.volumes {
            volumes::check(volume).map_err(|why| Unrunnable(format!("Volume '{}': {why}.", volume.name)))?;
        }
        for container in &content.container_definitions {
            let image = self.inner.images.of(container).await;
            let image =
                image.map_err(|error| Unrunnable(format!("Container '{}': {error}.", container.name)))?;
            logs::check(container.log_configuration.as_ref())
                .map_err(|why| Unrunnable(format!("Container '{}': {why}.", container.name)))?;
            if container.docker_labels.contains_key(CORE_DUMP) && !coracle_runtime::CORE_DUMPS {
                return Err(Unrunnable(format!(
                    "Container '{}': this build takes no core dumps, so that {CORE_DUMP} cannot be honoured; it was built without the feature core-dump.",
                    container.name
                )));
            }
            memory_suffices(container, &image, content.memory_mib())?;
            let is_handler = image.kind() == ImageKind::Handler;
            if is_handler
                && container.port_mappings.iter().any(|port| port.protocol == TransportProtocol::Udp)
            {
                return Err(Unrunnable(format!(
                    "Container '{}': its image answers HTTP requests, so that 'protocol' must be tcp in its portMappings.",
                    container.name
                )));
            }
            commands::check_health_command(container, &image)?;
            if answers == Some(container.name.as_str()) && !is_handler {
                let refuse = |why: &str| {
                    Err(Unrunnable(format!("Container '{}' cannot be published: {why}.", container.name)))
                };
                if container.first_port().is_none() {
                    return refuse(
                        "its image handles no requests by itself, so that it needs a port in portMappings",
                    );
                }
                if content.network_mode == NetworkMode::None {
                    return refuse("its image handles no requests by itself, and its network mode is none");
                }
            }
        }
        Ok(())
    }

    async fn prepare(&self, launch: Arc<TaskLaunch>) -> Result<Arc<dyn Sandbox>, StartFailure> {
        Ok(Arc::new(LocalSandbox::prepare(Arc::clone(&self.inner), launch).await?))
    }

    async fn publish(&self, group: &TargetGroup) -> Result<Option<SocketAddr>, PublishError> {
        self.inner.targets.publish(group)
    }

    fn announce(&self, published: &TargetGroup, offers: &[Offer]) {
        let targets = &self.inner.targets;
        let way = |offer: &Offer| match offer.is_traffic_port {
            true => Way::Main(targets.routing(published)),
            false => Way::Other {
                routing: targets.routing_at(published, offer.container_port),
                main: targets.routing(published),
            },
        };
        let offers = offers.iter().map(|offer| (offer.clone(), way(offer))).collect();
        self.inner.directory.announce(&published.arn, offers);
    }

    fn route(&self, published: &TargetGroup, routing: &Routing) {
        self.inner.targets.route(published, routing);
        self.inner.listeners.shift(&self.inner.targets, published, routing);
    }

    fn demand(&self, group: &TargetGroup) -> BoxFuture<'static, ()> {
        self.inner.targets.group(group).demand()
    }

    async fn unpublish(&self, target_group_arns: &[String; 2], deadline: Duration) {
        self.inner.directory.withdraw(&target_group_arns[0]);
        self.inner.targets.unpublish(target_group_arns, deadline).await;
    }

    fn detach(&self, published: &TargetGroup) {
        self.inner.directory.withdraw(&published.arn);
        self.inner.targets.detach(published);
        self.inner.listeners.shift_back(&self.inner.targets, published);
    }

    fn keep_target_group(&self, group: &TargetGroupSettings) {
        self.inner.targets.keep(group);
    }

    fn forget_target_group(&self, arn: &str) {
        self.inner.targets.forget(arn);
    }

    async fn open_listener(&self, listener: &ListenerSettings) -> Result<SocketAddr, PublishError> {
        self.inner.listeners.open(&self.inner.targets, listener).await
    }

    async fn close_listener(&self, arn: &str, deadline: Duration) {
        self.inner.listeners.close(arn, deadline).await;
    }

    fn target_health(&self, target_group_arn: &str) -> Vec<TargetDescription> {
        self.inner.targets.describe(target_group_arn)
    }

    async fn crashes(&self, task: &TaskId) -> Vec<CrashReport> {
        let (inner, task) = (Arc::clone(&self.inner), task.clone());
        tokio::task::spawn_blocking(move || inner.crashes.of(&task)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read crash reports");
            Vec::new()
        })
    }

    async fn forget(&self, task: &TaskId) {
        let (inner, task) = (Arc::clone(&self.inner), task.clone());
        let forget = move || {
            inner.logs.forget(&task);
            inner.crashes.forget(&task);
        };
        if let Err(error) = tokio::task::spawn_blocking(forget).await {
            tracing::error!(%error, "cannot remove what is kept of a task");
        }
    }
}

fn memory_suffices(
    container: &ContainerDefinition,
    image: &Image,
    task_mib: Option<u32>,
) -> Result<(), Unrunnable> {
    let minimum = image.minimum_memory();
    match container.memory.or(task_mib) {
        Some(limit) if u64::from(limit) * MIB < minimum => Err(Unrunnable(format!(
            "Container '{}': memory of {limit} MiB is below the image's minimum of {} MiB.",
            container.name,
            minimum.div_ceil(MIB)
        ))),
        _ => Ok(()),
    }
}

fn failure(kind: StartFailureKind, message: impl Into<String>) -> StartFailure {
    StartFailure { kind, message: message.into() }
}

/// An error with what caused it, in one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words.replace('\n', " ")
}
