//! One task in this process: what its definition says, as the runtime understands it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use coracle_balancer::{Target, TargetMeter};
use coracle_runtime::{
    Abi, Container, ContainerSpec, CrashSink, Envelope, Exit, ExitReason, Image, ImageKind, LogSink, Mount,
    Network, Output, Stdin, TaskNetwork,
};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::addresses::Lease;
use super::crashes::Subject;
use super::metadata::{self, OpenEndpoint};
use super::metering;
use super::ports::{OpenPorts, Site};
use super::targets::{Group, HandlerTarget, vouched};
use super::{Inner, MIB, failure, in_words};
use crate::driver::{
    ContainerExit, ContainerMeters, Execution, Sandbox, StartFailure, StartFailureKind, TargetGroup,
    TaskLaunch, TaskMeters, Usage,
};
use crate::model::health_check::Probe;
use crate::model::labels::ContainerSettings;
use crate::model::task::{ContainerOverride, HealthStatus, NetworkBinding, TargetHealth};
use crate::model::task_definition::{ContainerDefinition, NetworkMode};

/// What a task is told for which there is no address.
const NO_ADDRESS: &str = if cfg!(target_os = "linux") {
    "no loopback address is left"
} else {
    "no loopback address is left: give the host more, from 127.1.0.1 to 127.1.0.254, as in `ifconfig lo0 alias 127.1.0.1`"
};
/// How long a server may take to open its port before its health checks begin regardless.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Pauses between tries to reach a server that has just started.
const FIRST_LISTEN_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_LISTEN_PAUSE: Duration = Duration::from_millis(20);

/// A task's place in this process.
pub(super) struct LocalSandbox {
    pub(super) driver: Arc<Inner>,
    pub(super) launch: Arc<TaskLaunch>,
    pub(super) images: BTreeMap<String, Image>,
    /// Each container's. What of them is the task's own is removed when they are dropped.
    pub(super) mounts: BTreeMap<String, Vec<Mount>>,
    /// The quota and the limit that the task's containers share.
    pub(super) envelope: Envelope,
    network: TaskNetwork,
    /// Where its containers ask about themselves; none without a network.
    endpoint: Option<OpenEndpoint>,
    lease: Option<Lease>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) containers: BTreeMap<String, Arc<ArcSwap<Container>>>,
    logs: BTreeMap<String, Arc<dyn LogSink>>,
    crashes: BTreeMap<String, Arc<dyn CrashSink>>,
    /// By container.
    ports: BTreeMap<String, OpenPorts>,
    pub(super) group: Option<Arc<Group>>,
    /// What containers used that were started again since, by name.
    pub(super) ended: BTreeMap<String, ContainerMeters>,
    /// What the balancer asks of each container that it asks, at each of its ports.
    pub(super) asked: Vec<(String, TargetMeter)>,
}

impl std::fmt::Debug for LocalSandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalSandbox").field("task", &self.launch.id).finish_non_exhaustive()
    }
}

impl LocalSandbox {
    pub(super) async fn prepare(driver: Arc<Inner>, launch: Arc<TaskLaunch>) -> Result<Self, StartFailure> {
        let content = &launch.definition.content;
        let mut images = BTreeMap::new();
        for container in &content.container_definitions {
            let image = driver.images.of(container).await;
            let image =
                image.map_err(|error| failure(StartFailureKind::CannotPullContainer, error.to_string()))?;
            images.insert(container.name.clone(), image);
        }
        let lease = match content.network_mode {
            NetworkMode::Bridge | NetworkMode::Awsvpc => {
                let none_left = || failure(StartFailureKind::ResourceInitialization, NO_ADDRESS);
                Some(driver.addresses.lease().ok_or_else(none_left)?)
            }
            NetworkMode::Host | NetworkMode::None => None,
        };
        let uplink = Arc::clone(&driver.uplink);
        let network = match (content.network_mode, &lease) {
            (NetworkMode::Host, _) => TaskNetwork::host(uplink),
            (_, Some(lease)) => TaskNetwork::with_address(lease.address(), uplink),
            (_, None) => TaskNetwork::none(uplink),
        };
        let volumes = driver.volumes.task(&launch.id, content);
        let mut mounts = BTreeMap::new();
        for container in &content.container_definitions {
            mounts.insert(container.name.clone(), volumes.mounts(content, container)?);
        }
        let envelope = envelope(&launch);
        let containers = content.container_definitions.iter();
        let connected = containers.filter(|container| container.disable_networking != Some(true));
        let endpoint = (content.network_mode != NetworkMode::None).then(|| {
            let names = connected.map(|container| container.name.as_str());
            driver.endpoints.open(names, Arc::clone(&launch.metadata))
        });
        let network = match &endpoint {
            Some(endpoint) => network.with_metadata(endpoint.metadata()),
            None => network,
        };
        let network = network.with_discovery(driver.directory.view(launch.namespace.clone()));
        Ok(Self {
            endpoint,
            driver,
            images,
            mounts,
            envelope,
            network,
            lease,
            state: Mutex::default(),
            launch,
        })
    }

    /// What a container is granted; its output goes nowhere yet.
    pub(super) fn spec(&self, definition: &ContainerDefinition) -> Result<ContainerSpec, StartFailure> {
        let none = ContainerOverride::default();
        let overrides = &self.launch.overrides.container_overrides;
        let over = overrides.iter().find(|over| over.name == definition.name).unwrap_or(&none);
        let cannot = |why: String| failure(StartFailureKind::CannotStartContainer, why);
        // Checked when it was registered; a newer version may know more labels.
        let settings = ContainerSettings::of(definition).map_err(|error| cannot(error.to_string()))?;
        let defaults = ContainerSpec::named(&definition.name);
        let cpu = over.cpu.unwrap_or(definition.cpu);
        let is_interactive = definition.interactive == Some(true);
        Ok(ContainerSpec {
            args: arguments(definition, over),
            env: self.environment(&definition.name),
            mounts: self.mounts.get(&definition.name).cloned().unwrap_or_default(),
            open_files: definition.open_files().unwrap_or(defaults.open_files),
            working_directory: definition.working_directory().map(str::to_owned),
            network: match definition.disable_networking {
                Some(true) => Network::none(),
                _ => self.network.container(settings.egress),
            },
            envelope: Some(self.envelope.clone()),
            // "Container cpu is a share inside the task's": only the task's is a quota.
            cpu: None,
            cpu_share: (cpu > 0).then_some(cpu),
            memory: over.memory.or(definition.memory).map(|mib| u64::from(mib) * MIB),
            cgi: self.images.get(&definition.name).is_some_and(|image| is_cgi(image, definition)),
            fuel: settings.fuel,
            core_dump: settings.core_dump_mib.map(|mib| u64::from(mib) * MIB),
            request_timeout: settings.request_timeout,
            instance_reuse: settings.instance_reuse.unwrap_or(defaults.instance_reuse),
            max_concurrency: settings.max_concurrency.unwrap_or(defaults.max_concurrency),
            // There are no signals in WASI. A command that reads its input is told by its end; one whose author named a time gets that time.
            ends_by_itself: is_interactive || definition.stop_timeout.is_some(),
            stdin: if is_interactive { Stdin::UntilStopped } else { Stdin::Null },
            ..defaults
        })
    }

    /// The container's environment, with what only this host can know.
    fn environment(&self, container: &str) -> Vec<(String, String)> {
        let mut variables = self.launch.environment(container);
        let endpoint = self.endpoint.as_ref();
        let uris = [
            (metadata::VARIABLE, endpoint.and_then(|endpoint| endpoint.uri(container))),
            (metadata::AGENT_VARIABLE, endpoint.and_then(|endpoint| endpoint.agent_uri(container))),
        ];
        for (variable, uri) in uris.into_iter().filter_map(|(name, uri)| Some((name, uri?))) {
            variables.retain(|(name, _)| name != variable);
            variables.push((variable.to_owned(), uri));
        }
        variables
    }

    pub(super) fn site(&self) -> Site {
        Site {
            mode: self.launch.definition.content.network_mode,
            address: self.lease.as_ref().map(Lease::address),
            host: self.driver.host_port_address,
            has_neighbours: self.launch.definition.content.container_definitions.len() > 1
                || self.launch.offers,
            network: self.network.clone(),
        }
    }

    /// Where the container's output is kept. One that is started again goes on in the same log.
    fn log(&self, container: &str) -> Result<Arc<dyn LogSink>, StartFailure> {
        let known = self.lock().logs.get(container).cloned();
        let definition = self.launch.definition.content.container(container);
        let configuration = definition.and_then(|definition| definition.log_configuration.as_ref());
        let sink = match known {
            Some(sink) => sink,
            None => self.driver.logs.sink(&self.launch.id, container, configuration).map_err(|error| {
                failure(StartFailureKind::CannotStartContainer, format!("cannot write its log: {error}"))
            })?,
        };
        self.lock().logs.insert(container.to_owned(), Arc::clone(&sink));
        Ok(sink)
    }

    /// Where the container's crashes are kept. One that is started again goes on where it was.
    fn crash_sink(
        &self,
        definition: &ContainerDefinition,
        image: &Image,
        log: &Arc<dyn LogSink>,
    ) -> Arc<dyn CrashSink> {
        let make = || {
            let subject = Subject {
                task: self.launch.id.clone(),
                task_arn: self.launch.arn.clone(),
                task_definition: self.launch.definition.id().to_string(),
                container: definition.name.clone(),
                image: definition.image.clone(),
                image_digest: image.digest().to_owned(),
            };
            self.driver.crashes.sink(subject, Arc::clone(log))
        };
        Arc::clone(self.lock().crashes.entry(definition.name.clone()).or_insert_with(make))
    }

    /// A container that has been started.
    pub(super) fn container(&self, name: &str) -> Option<Container> {
        self.lock().containers.get(name).map(|current| Container::clone(&current.load()))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Guards single map operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sandbox for LocalSandbox {
    fn address(&self) -> Option<IpAddr> {
        self.lease.as_ref().map(|lease| IpAddr::V4(lease.address()))
    }

    fn image_digest(&self, container: &str) -> Option<String> {
        self.images.get(container).map(|image| image.digest().to_owned())
    }

    async fn start(&self, container: &str) -> Result<(), StartFailure> {
        let cannot = |why: String| failure(StartFailureKind::CannotStartContainer, why);
        let definition = self.launch.definition.content.container(container);
        let (Some(definition), Some(image)) = (definition, self.images.get(container)) else {
            return Err(cannot(format!("there is no container '{container}'")));
        };
        let log = self.log(container)?;
        let spec = ContainerSpec {
            crashes: Some(self.crash_sink(definition, image, &log)),
            output: Output::Log(log),
            ..self.spec(definition)?
        };
        let is_handler = image.kind() == ImageKind::Handler;
        // Of an earlier run, if it is started again.
        let before = self.lock().ports.remove(container);
        if let Some(before) = before {
            before.close(Duration::ZERO).await;
        }
        let mut ports = OpenPorts::default();
        if !is_handler {
            ports = OpenPorts::of_server(definition, &self.site()).await?;
        }
        let started = self.driver.runtime.start(image, spec).await;
        let started = started.map_err(|error| cannot(in_words(&error)))?;
        if is_handler {
            let running = Arc::new(ArcSwap::from_pointee(started.clone()));
            let target: Arc<dyn Target> = Arc::new(HandlerTarget { container: running, socket: None });
            let opened =
                OpenPorts::of_handler(definition, &self.site(), self.driver.targets.balancer(), &target);
            match opened {
                Ok(open) => ports = open,
                Err(failure) => {
                    // It has answered nobody yet.
                    started.stop(Duration::ZERO).await;
                    return Err(failure);
                }
            }
        }
        let mut state = self.lock();
        state.ports.insert(container.to_owned(), ports);
        // One that is started again takes the place of the one before, for the balancer too.
        match state.containers.get(container).cloned() {
            Some(current) => {
                let before = current.swap(Arc::new(started));
                let ended = state.ended.entry(container.to_owned()).or_default();
                *ended = metering::plus(*ended, &before);
            }
            None => {
                state.containers.insert(container.to_owned(), Arc::new(ArcSwap::from_pointee(started)));
            }
        }
        Ok(())
    }

    fn network_bindings(&self, container: &str) -> Vec<NetworkBinding> {
        self.lock().ports.get(container).map(|ports| ports.bindings().to_vec()).unwrap_or_default()
    }

    fn wait(&self, container: &str) -> BoxFuture<'static, ContainerExit> {
        let container = self.container(container);
        async move {
            match container {
                Some(container) => observed(container.wait().await),
                None => ContainerExit::default(),
            }
        }
        .boxed()
    }

    async fn probe(&self, container: &str, probe: &Probe) -> Result<(), String> {
        self.ask(container, probe).await
    }

    async fn execute(
        &self,
        container: &str,
        command: &[String],
        interactive: bool,
    ) -> Result<Execution, String> {
        self.run_inside(container, command, interactive).await
    }

    async fn stop(&self, container: &str, grace: Duration) -> ContainerExit {
        let ports = self.lock().ports.remove(container);
        let closed = async {
            if let Some(ports) = ports {
                ports.close(grace).await;
            }
        };
        match self.container(container) {
            Some(container) => observed(tokio::join!(closed, container.stop(grace)).1),
            None => ContainerExit::default(),
        }
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        // A handler is when it has started.
        let servers = self.listens_at().into_iter().map(until_listening);
        futures_util::future::join_all(servers).map(drop).boxed()
    }

    fn register(
        &self,
        group: &TargetGroup,
        health: Option<HealthStatus>,
    ) -> Result<watch::Receiver<TargetHealth>, StartFailure> {
        self.join(group, vouched(health))
    }

    fn vouch(&self, health: Option<HealthStatus>) {
        let group = self.lock().group.clone();
        if let Some(group) = group {
            group.vouch(&self.launch.id, vouched(health));
        }
    }

    fn deregister(&self) -> BoxFuture<'static, ()> {
        let group = self.lock().group.take();
        match group {
            Some(group) => group.deregister(&self.launch.id),
            None => std::future::ready(()).boxed(),
        }
    }

    fn usage(&self) -> Usage {
        self.used()
    }

    fn meters(&self) -> TaskMeters {
        self.metered()
    }

    async fn release(&self) {
        // All that is left to give back goes with the sandbox itself.
        let mut state = self.lock();
        state.containers.clear();
        state.ports.clear();
    }
}

impl Drop for LocalSandbox {
    /// A task that nobody brought to its end (its supervisor was killed in this process) must not go on without one.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = state.group.take() {
            drop(group.deregister(&self.launch.id));
        }
        let containers = std::mem::take(&mut state.containers);
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !containers.is_empty()
        {
            runtime.spawn(async move {
                for container in containers.into_values() {
                    container.load_full().stop(Duration::ZERO).await;
                }
            });
        }
    }
}

/// Tries to connect until somebody answers. A guest cannot tell that it listens, and the runtime does not.
async fn until_listening(address: SocketAddr) {
    let give_up = Instant::now() + LISTEN_TIMEOUT;
    let mut pause = FIRST_LISTEN_PAUSE;
    while Instant::now() < give_up && TcpStream::connect(address).await.is_err() {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_LISTEN_PAUSE);
    }
}

pub(super) fn observed(exit: Exit) -> ContainerExit {
    let says_it_all = matches!(exit.reason, ExitReason::Exited | ExitReason::Stopped);
    ContainerExit { code: exit.code, reason: (!says_it_all).then_some(exit.message) }
}

fn envelope(launch: &TaskLaunch) -> Envelope {
    let memory = number(&launch.overrides.memory).or_else(|| launch.definition.content.memory_mib());
    Envelope::new(cpu_quota(launch), memory.map(|mib| u64::from(mib) * MIB))
}

pub(super) fn cpu_quota(launch: &TaskLaunch) -> Option<u32> {
    number(&launch.overrides.cpu).or_else(|| launch.definition.content.cpu_units())
}

fn number(text: &Option<String>) -> Option<u32> {
    text.as_deref().and_then(|text| text.parse().ok())
}

/// Whether a container's requests are calls in this process. A preview 1 module has no sockets to listen with, so that one with a port answers
/// the CGI way.
pub(super) fn answers_in_process(image: &Image, definition: &ContainerDefinition) -> bool {
    image.kind() == ImageKind::Handler || is_cgi(image, definition)
}

fn is_cgi(image: &Image, definition: &ContainerDefinition) -> bool {
    image.abi() == Abi::Preview1 && definition.first_port().is_some()
}

/// An image is its own entry point, so what a definition calls entry point is the beginning of its arguments.
fn arguments(definition: &ContainerDefinition, over: &ContainerOverride) -> Vec<String> {
    let command = over.command.as_ref().unwrap_or(&definition.command);
    definition.entry_point.iter().chain(command).cloned().collect()
}
