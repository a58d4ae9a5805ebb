//! A driver that only pretends, for tests: tasks start and stop on tokio's clock (which may be paused), and fail when told to.
//!
//! It keeps account: a container that runs twice, an address that is never given back or a task that is stopped while it still gets requests
//! is a breach that [`SimulatedDriver::breaches`] tells.

mod faults;
mod listeners;
mod load;
mod observed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_balancer::TargetDescription;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, pending};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::driver::{
    ContainerExit, ContainerMeters, Driver, Execution, ListenerSettings, OutputStream, PublishError, Routing,
    Sandbox, StartFailure, StartFailureKind, TargetGroup, TargetGroupSettings, TaskLaunch, TaskMeters,
    Unrunnable, Usage,
};
use crate::model::crash::CrashReport;
use crate::model::health_check::Probe;
use crate::model::names::TaskId;
use crate::model::service_connect::Offer;
use crate::model::task::{HealthStatus, NetworkBinding, TargetHealth};
use crate::model::task_definition::TaskDefinition;
pub use faults::Faults;
pub use load::Load;

/// The pretending driver. Clones are the same one.
#[derive(Clone, Debug)]
pub struct SimulatedDriver {
    world: Arc<World>,
}

#[derive(Debug)]
struct World {
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    rng: StdRng,
    faults: Faults,
    tasks: BTreeMap<TaskId, Arc<SimulatedSandbox>>,
    used_ports: BTreeSet<SocketAddr>,
    listeners: BTreeMap<String, SocketAddr>,
    /// By the target group that a service was published with.
    routings: BTreeMap<String, Routing>,
    /// By the target group that a service was published with.
    offers: BTreeMap<String, Vec<Offer>>,
    /// By the service that is asked.
    knocks: BTreeMap<String, Arc<Notify>>,
    next_address: u32,
    load: Load,
    loaded_until: Option<Instant>,
    breaches: Vec<String>,
    stopped_in_order: Vec<(TaskId, String)>,
    started_in_order: Vec<(TaskId, String)>,
}

/// One pretended task.
#[derive(Debug)]
struct SimulatedSandbox {
    id: TaskId,
    launch: Arc<TaskLaunch>,
    images: BTreeMap<String, String>,
    address: IpAddr,
    world: Arc<World>,
    inner: Mutex<SandboxState>,
}

#[derive(Debug, Default)]
struct SandboxState {
    exits: BTreeMap<String, watch::Sender<Option<ContainerExit>>>,
    target: Option<(watch::Sender<TargetHealth>, Duration)>,
    /// The ARN of the target group that it was put into.
    group: String,
    /// What that was told of its containers' health last.
    vouched: Option<HealthStatus>,
    deregistered: bool,
    /// A container was told to stop and never answered.
    hung: bool,
    requests: f64,
    cpu_time: Duration,
    /// By container, where a test has said something of it.
    healths: BTreeMap<String, bool>,
    probes: u64,
}

impl SimulatedDriver {
    /// A driver whose luck follows from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            faults,
            tasks: BTreeMap::new(),
            used_ports: BTreeSet::new(),
            listeners: BTreeMap::new(),
            routings: BTreeMap::new(),
            offers: BTreeMap::new(),
            knocks: BTreeMap::new(),
            next_address: u32::from(Ipv4Addr::new(127, 1, 0, 1)),
            load: Load::default(),
            loaded_until: None,
            breaches: Vec::new(),
            stopped_in_order: Vec::new(),
            started_in_order: Vec::new(),
        };
        Self { world: Arc::new(World { state: Mutex::new(state) }) }
    }

    /// Changes the load from now on.
    pub fn set_load(&self, load: Load) {
        let mut state = self.world.lock();
        state.bear();
        state.load = load;
    }

    /// Tasks that exist.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.world.lock().tasks.keys().cloned().collect()
    }

    /// Ends a container as if by itself. Whether it was running.
    pub fn exit(&self, task: &TaskId, container: &str, exit: ContainerExit) -> bool {
        let sandbox = self.world.lock().tasks.get(task).cloned();
        sandbox.is_some_and(|sandbox| sandbox.end(container, exit))
    }

    /// Says what the balancer would say of a task. Whether it is registered.
    pub fn set_health(&self, task: &TaskId, health: TargetHealth) -> bool {
        let sandbox = self.world.lock().tasks.get(task).cloned();
        sandbox.is_some_and(|sandbox| match &lock(&sandbox.inner).target {
            Some((target, _)) => {
                target.send_replace(health);
                true
            }
            None => false,
        })
    }

    /// Says whether a container passes its health checks from now on. Whether its task is there.
    pub fn set_container_health(&self, task: &TaskId, container: &str, healthy: bool) -> bool {
        let sandbox = self.world.lock().tasks.get(task).cloned();
        sandbox.is_some_and(|sandbox| {
            lock(&sandbox.inner).healths.insert(container.to_owned(), healthy);
            true
        })
    }

    /// A request comes to a service that has no tasks, and waits. Only services that wait for one hear it.
    pub fn knock(&self, service: &str) {
        if let Some(knocks) = self.world.lock().knocks.get(service) {
            knocks.notify_waiters();
        }
    }
}

#[async_trait]
impl Driver for SimulatedDriver {
    async fn check(&self, _definition: &TaskDefinition, _answers: Option<&str>) -> Result<(), Unrunnable> {
        Ok(())
    }

    async fn prepare(&self, launch: Arc<TaskLaunch>) -> Result<Arc<dyn Sandbox>, StartFailure> {
        self.world.pause_or_hang().await;
        let containers = &launch.definition.content.container_definitions;
        let mut state = self.world.lock();
        let missing =
            containers.iter().find(|container| state.faults.missing_images.contains(&container.image));
        if let Some(container) = missing {
            let message = format!("{} is not there", container.image);
            return Err(StartFailure { kind: StartFailureKind::CannotPullContainer, message });
        }
        let chance = state.faults.prepare_fails;
        if state.rng.random_bool(chance) {
            let message = "no luck".to_owned();
            return Err(StartFailure { kind: StartFailureKind::CannotPullContainer, message });
        }
        let address = IpAddr::V4(Ipv4Addr::from(state.next_address));
        state.next_address += 1;
        let sandbox = Arc::new(SimulatedSandbox {
            id: launch.id.clone(),
            launch: Arc::clone(&launch),
            images: containers
                .iter()
                .map(|container| (container.name.clone(), container.image.clone()))
                .collect(),
            address,
            world: Arc::clone(&self.world),
            inner: Mutex::default(),
        });
        if state.tasks.insert(launch.id.clone(), Arc::clone(&sandbox)).is_some() {
            state.breaches.push(format!("task {} was prepared twice", launch.id));
        }
        Ok(sandbox)
    }

    async fn publish(&self, group: &TargetGroup) -> Result<Option<SocketAddr>, PublishError> {
        self.world.lock().publish(group)
    }

    fn announce(&self, published: &TargetGroup, offers: &[Offer]) {
        let mut state = self.world.lock();
        state.offers.insert(published.arn.clone(), offers.to_vec());
    }

    fn route(&self, published: &TargetGroup, routing: &Routing) {
        let mut state = self.world.lock();
        if state.listeners.contains_key(&published.arn) {
            state.routings.insert(published.arn.clone(), routing.clone());
        }
    }

    fn demand(&self, group: &TargetGroup) -> BoxFuture<'static, ()> {
        let knocks = Arc::clone(self.world.lock().knocks.entry(group.name.clone()).or_default());
        async move { knocks.notified().await }.boxed()
    }

    async fn unpublish(&self, target_group_arns: &[String; 2], _deadline: Duration) {
        let mut state = self.world.lock();
        state.listeners.remove(&target_group_arns[0]);
        state.routings.remove(&target_group_arns[0]);
        state.offers.remove(&target_group_arns[0]);
    }

    fn detach(&self, published: &TargetGroup) {
        self.world.lock().offers.remove(&published.arn);
    }

    fn keep_target_group(&self, _group: &TargetGroupSettings) {}

    fn forget_target_group(&self, _arn: &str) {}

    async fn open_listener(&self, listener: &ListenerSettings) -> Result<SocketAddr, PublishError> {
        self.world.lock().open_listener(listener)
    }

    async fn close_listener(&self, arn: &str, _deadline: Duration) {
        self.world.lock().listeners.remove(arn);
    }

    fn target_health(&self, _target_group_arn: &str) -> Vec<TargetDescription> {
        Vec::new()
    }

    async fn crashes(&self, _task: &TaskId) -> Vec<CrashReport> {
        Vec::new()
    }

    async fn forget(&self, _task: &TaskId) {}
}

#[async_trait]
impl Sandbox for SimulatedSandbox {
    fn address(&self) -> Option<IpAddr> {
        Some(self.address)
    }

    fn image_digest(&self, container: &str) -> Option<String> {
        self.images.get(container).map(|image| format!("sha256:{image}"))
    }

    fn network_bindings(&self, _container: &str) -> Vec<NetworkBinding> {
        Vec::new()
    }

    async fn start(&self, container: &str) -> Result<(), StartFailure> {
        self.world.pause_or_hang().await;
        let lifetime = {
            let mut state = self.world.lock();
            let chance = state.faults.start_fails;
            if state.rng.random_bool(chance) {
                let message = "no luck".to_owned();
                return Err(StartFailure { kind: StartFailureKind::CannotStartContainer, message });
            }
            self.images.get(container).and_then(|image| state.faults.lifetimes.get(image).copied())
        };
        self.world.lock().started_in_order.push((self.id.clone(), container.to_owned()));
        let (exit, _) = watch::channel(None);
        let before = lock(&self.inner).exits.insert(container.to_owned(), exit.clone());
        if before.is_some_and(|before| before.borrow().is_none()) {
            self.world.breach(format!("container {container} of {} was started while it ran", self.id));
        }
        if let Some((lifetime, code)) = lifetime {
            // Ends by itself at a set time, so that nothing needs to own it.
            tokio::spawn(async move {
                tokio::select! {
                    () = sleep(lifetime) => {
                        exit.send_if_modified(|known| set_once(known, ContainerExit { code: Some(code), reason: None }));
                    }
                    () = exit.closed() => {}
                }
            });
        }
        Ok(())
    }

    fn wait(&self, container: &str) -> BoxFuture<'static, ContainerExit> {
        let receiver = lock(&self.inner).exits.get(container).map(watch::Sender::subscribe);
        async move {
            let Some(mut receiver) = receiver else { return ContainerExit::default() };
            let exit = receiver.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
            exit.unwrap_or_default()
        }
        .boxed()
    }

    async fn probe(&self, container: &str, _probe: &Probe) -> Result<(), String> {
        self.world.pause().await;
        let image = self.images.get(container);
        let is_sick = image.is_some_and(|image| self.world.lock().faults.sick_images.contains(image));
        let mut inner = lock(&self.inner);
        inner.probes += 1;
        match inner.healths.get(container).copied().unwrap_or(!is_sick) {
            true => Ok(()),
            false => Err("it is not well".to_owned()),
        }
    }

    /// Prints its own command line and ends with code 7, or waits for ever when it is called `wait`.
    async fn execute(
        &self,
        container: &str,
        command: &[String],
        _interactive: bool,
    ) -> Result<Execution, String> {
        let ended = lock(&self.inner).exits.get(container).is_none_or(|exit| exit.borrow().is_some());
        if ended {
            return Err(format!("container '{container}' is not running"));
        }
        let line = Bytes::from(command.join(" "));
        let waits = command.first().is_some_and(|first| first == "wait");
        let exit = async move {
            if waits {
                std::future::pending::<()>().await;
            }
            ContainerExit { code: Some(7), reason: None }
        };
        Ok(Execution {
            stdin: Box::pin(tokio::io::sink()),
            output: futures_util::stream::iter([(OutputStream::Stdout, line)]).boxed(),
            exit: exit.boxed(),
        })
    }

    async fn stop(&self, container: &str, _grace: Duration) -> ContainerExit {
        if lock(&self.inner).target.is_some() && !lock(&self.inner).deregistered {
            self.world.breach(format!("task {} was stopped while it was in rotation", self.id));
        }
        if self.world.lock().hangs() {
            lock(&self.inner).hung = true;
            return pending().await;
        }
        self.world.pause().await;
        self.world.lock().stopped_in_order.push((self.id.clone(), container.to_owned()));
        self.end(container, ContainerExit { code: Some(143), reason: None });
        self.wait(container).await
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        let world = Arc::clone(&self.world);
        async move { world.pause().await }.boxed()
    }

    fn register(
        &self,
        group: &TargetGroup,
        vouched: Option<HealthStatus>,
    ) -> Result<watch::Receiver<TargetHealth>, StartFailure> {
        let (latency, healthy) = {
            let mut state = self.world.lock();
            let chance = state.faults.register_fails;
            if state.rng.random_bool(chance) {
                let message = "no luck".to_owned();
                return Err(StartFailure { kind: StartFailureKind::ResourceInitialization, message });
            }
            let chance = state.faults.never_healthy;
            (state.latency(), !state.rng.random_bool(chance))
        };
        self.world.lock().bear();
        let (health, receiver) = watch::channel(TargetHealth::Initial);
        {
            let mut inner = lock(&self.inner);
            inner.target = Some((health.clone(), latency));
            inner.group.clone_from(&group.arn);
            inner.vouched = vouched;
        }
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(latency) => {
                    health.send_replace(match healthy {
                        true => TargetHealth::Healthy,
                        false => TargetHealth::Unhealthy { reason: "Health checks failed with these codes: [500]".to_owned() },
                    });
                }
                () = health.closed() => {}
            }
        });
        Ok(receiver)
    }

    fn vouch(&self, health: Option<HealthStatus>) {
        let mut inner = lock(&self.inner);
        if inner.target.is_some() {
            inner.vouched = health;
        }
    }

    fn usage(&self) -> Usage {
        let mut state = self.world.lock();
        state.bear();
        let inner = lock(&self.inner);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
        let requests = inner.requests as u64;
        Usage { cpu_time: inner.cpu_time, requests, memory: state.load.memory, ..Usage::default() }
    }

    /// As far as the load goes.
    fn meters(&self) -> TaskMeters {
        let usage = self.usage();
        let (cpu_time, memory) = (usage.cpu_time, usage.memory);
        let meters =
            ContainerMeters { cpu_time, memory, requests: usage.requests, ..ContainerMeters::default() };
        let containers = lock(&self.inner).exits.keys().map(|name| (name.clone(), meters)).collect();
        TaskMeters { cpu_time, memory, containers, ..TaskMeters::default() }
    }

    fn deregister(&self) -> BoxFuture<'static, ()> {
        let hangs = {
            let mut state = self.world.lock();
            state.bear();
            state.hangs()
        };
        let mut inner = lock(&self.inner);
        inner.deregistered = true;
        let latency = inner.target.as_ref().map_or(Duration::ZERO, |(_, latency)| *latency);
        if hangs { pending().boxed() } else { sleep(latency).boxed() }
    }

    async fn release(&self) {
        let (running, hung) = {
            let inner = lock(&self.inner);
            (inner.exits.values().any(|exit| exit.borrow().is_none()), inner.hung)
        };
        if running && !hung {
            self.world.breach(format!("task {} was released while a container ran", self.id));
        }
        self.world.lock().tasks.remove(&self.id);
    }
}

impl SimulatedSandbox {
    fn end(&self, container: &str, exit: ContainerExit) -> bool {
        let inner = lock(&self.inner);
        inner
            .exits
            .get(container)
            .is_some_and(|sender| sender.send_if_modified(|known| set_once(known, exit)))
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn breach(&self, what: String) {
        self.lock().breaches.push(what);
    }
}

fn set_once(known: &mut Option<ContainerExit>, exit: ContainerExit) -> bool {
    let first = known.is_none();
    known.get_or_insert(exit);
    first
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
