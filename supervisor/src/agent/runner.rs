//! One task's life, from order to record.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, join_all, pending};
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::containers::{Containers, Readiness};
use crate::driver::{ContainerExit, Sandbox, StartFailure, StartFailureKind, TaskLaunch};
use crate::model::names::TaskId;
use crate::model::task::{
    ContainerState, ContainerStatus, LastStatus, StopCode, StopOrder, StoppedTask, TargetHealth, TaskRecord,
    TaskStatus,
};
use crate::model::task_definition::{ContainerDefinition, TaskDefinition};
use crate::records::{ServiceKey, encode, keys};
use crate::store::Transaction;
use crate::supervisor::Shared;

/// Longest that loading images may take.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest that one container may take to start: ECS's agent waits 3 minutes (`ECS_CONTAINER_START_TIMEOUT`).
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// From the stop signal to the kill unless a container says otherwise: ECS's default `stopTimeout`.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// What a driver may take beyond a delay that it was given, before its answer is not waited for any more.
const DRIVER_SLACK: Duration = Duration::from_secs(10);
/// Pause before writing again to a store that failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Runner {
    shared: Arc<Shared>,
    /// Of its order in the store.
    key: String,
    record: TaskRecord,
    status: TaskStatus,
    stop: watch::Receiver<Option<StopOrder>>,
}

/// What a task has while it is up.
struct Life<'a> {
    containers: Containers<'a>,
    sandbox: Option<Arc<dyn Sandbox>>,
    exits: FuturesUnordered<BoxFuture<'static, (String, ContainerExit)>>,
    target: Option<watch::Receiver<TargetHealth>>,
}

impl Runner {
    pub(super) fn new(
        shared: Arc<Shared>,
        key: String,
        record: TaskRecord,
        stop: watch::Receiver<Option<StopOrder>>,
    ) -> Self {
        Self { shared, key, record, status: TaskStatus::default(), stop }
    }

    pub(super) async fn run(mut self) -> TaskId {
        self.report(|status| status.last_status = LastStatus::Pending).await;
        match self.shared.records.task_definition(&self.record.task_definition).await {
            Ok(Some(definition)) => self.live(Arc::new(definition)).await,
            Ok(None) => self.fail("ResourceInitializationError: the task definition is gone".to_owned()),
            Err(error) => self.fail(format!("ResourceInitializationError: {error}")),
        }
        self.finish().await;
        self.record.id
    }

    fn fail(&mut self, reason: String) {
        self.status.stop = Some(StopOrder { code: StopCode::TaskFailedToStart, reason });
    }

    async fn live(&mut self, definition: Arc<TaskDefinition>) {
        let containers = &definition.content.container_definitions;
        self.status.containers = self.initial_containers(containers);
        let mut life = Life {
            containers: Containers::new(containers),
            sandbox: None,
            exits: FuturesUnordered::new(),
            target: None,
        };
        let order = match self.bring_up(&mut life, &definition).await {
            Ok(()) => self.stay_up(&mut life).await,
            Err(order) => order,
        };
        self.tear_down(life, &definition, order).await;
    }

    /// PENDING to RUNNING.
    async fn bring_up<'a>(
        &mut self,
        life: &mut Life<'a>,
        definition: &'a Arc<TaskDefinition>,
    ) -> Result<(), StopOrder> {
        let now = self.shared.now();
        self.report(|status| {
            status.last_status = LastStatus::Activating;
            status.pull_started_at = Some(now);
        })
        .await;
        let launch = Arc::new(self.launch(Arc::clone(definition)));
        let driver = Arc::clone(&self.shared.driver);
        let prepared = self.unless_stopped(timeout(PREPARE_TIMEOUT, driver.prepare(launch))).await?;
        let sandbox =
            prepared.unwrap_or_else(|_| Err(too_long("loading the images"))).map_err(failed_to_start)?;
        life.sandbox = Some(Arc::clone(&sandbox));
        let now = self.shared.now();
        self.status.pull_stopped_at = Some(now);
        self.status.address = sandbox.address();
        for container in &mut self.status.containers {
            container.image_digest = sandbox.image_digest(&container.name);
        }
        self.start_containers(life, &sandbox).await?;
        if let Some(service) = &self.record.service
            && let Some(publication) = &service.publication
        {
            let key = ServiceKey { cluster: self.record.cluster.clone(), name: service.name.clone() };
            let group = self.shared.ingress.group(&key, publication);
            self.until_ready(life, &sandbox).await?;
            let target = sandbox.register(&group).map_err(failed_to_start)?;
            self.status.target = Some(target.borrow().clone());
            life.target = Some(target);
        }
        let now = self.shared.now();
        self.report(|status| {
            status.last_status = LastStatus::Running;
            status.started_at = Some(now);
        })
        .await;
        Ok(())
    }

    async fn start_containers(
        &mut self,
        life: &mut Life<'_>,
        sandbox: &Arc<dyn Sandbox>,
    ) -> Result<(), StopOrder> {
        let mut waiting_since = Instant::now();
        loop {
            match life.containers.next_to_start() {
                Readiness::Done => return Ok(()),
                Readiness::Impossible(reason) => {
                    return Err(failed_to_start(StartFailure {
                        kind: StartFailureKind::CannotStartContainer,
                        message: reason,
                    }));
                }
                Readiness::Ready(name) => {
                    let started = self.unless_stopped(timeout(START_TIMEOUT, sandbox.start(name))).await?;
                    let started = started.unwrap_or_else(|_| Err(too_long("starting the container")));
                    if let Err(failure) = started {
                        self.note_container(name, |status| {
                            status.last_status = ContainerState::Stopped;
                            status.reason = Some(failure.to_string());
                        });
                        return Err(failed_to_start(failure));
                    }
                    life.containers.started(name);
                    let bindings = sandbox.network_bindings(name);
                    self.note_container(name, |status| {
                        status.last_status = ContainerState::Running;
                        status.network_bindings = bindings;
                    });
                    life.exits.push(exit_of(sandbox, name));
                    waiting_since = Instant::now();
                }
                Readiness::Waiting => {
                    let patience =
                        life.containers.start_timeout().map(|seconds| Duration::from_secs(seconds.into()));
                    let deadline = waiting_since + patience.unwrap_or(START_TIMEOUT);
                    let ended = self.unless_stopped(timeout_at(deadline, life.exits.next())).await?;
                    match ended {
                        Ok(Some((name, exit))) => self.container_ended(life, &name, exit)?,
                        Ok(None) | Err(_) => {
                            return Err(failed_to_start(too_long("waiting for a dependency")));
                        }
                    }
                }
            }
        }
    }

    /// A target's first health check is sent when it is registered and the next one an interval later: a server that has not opened its port by
    /// then would get no request for half a minute.
    async fn until_ready(
        &mut self,
        life: &mut Life<'_>,
        sandbox: &Arc<dyn Sandbox>,
    ) -> Result<(), StopOrder> {
        let mut ready = sandbox.ready();
        loop {
            tokio::select! {
                biased;
                order = stop_ordered(&mut self.stop) => return Err(order),
                Some((name, exit)) = life.exits.next() => self.container_ended(life, &name, exit)?,
                () = &mut ready => return Ok(()),
            }
        }
    }

    /// RUNNING, until it must end.
    async fn stay_up(&mut self, life: &mut Life<'_>) -> StopOrder {
        loop {
            tokio::select! {
                biased;
                order = stop_ordered(&mut self.stop) => return order,
                Some((name, exit)) = life.exits.next() => {
                    if let Err(order) = self.container_ended(life, &name, exit) {
                        return order;
                    }
                    self.report(|_| {}).await;
                }
                health = next_health(&mut life.target) => self.report(|status| status.target = Some(health)).await,
            }
        }
    }

    /// RUNNING, or wherever it came to, to DEPROVISIONING. The order is fixed: deregister, drain, stop signal, kill.
    async fn tear_down(&mut self, mut life: Life<'_>, definition: &TaskDefinition, order: StopOrder) {
        let now = self.shared.now();
        self.status.stop = Some(order);
        self.status.stopping_at = Some(now);
        if let Some(sandbox) = life.sandbox.clone() {
            if life.target.take().is_some() {
                self.report(|status| status.last_status = LastStatus::Deactivating).await;
                self.drain(&mut life, definition, &sandbox).await;
                self.status.target = None;
            }
            self.report(|status| status.last_status = LastStatus::Stopping).await;
            self.stop_containers(&mut life, &sandbox).await;
            let now = self.shared.now();
            self.report(|status| {
                status.last_status = LastStatus::Deprovisioning;
                status.execution_stopped_at = Some(now);
            })
            .await;
            if timeout(DRIVER_SLACK, sandbox.release()).await.is_err() {
                tracing::error!(task = %self.record.id, "the task's resources were not given back in time");
            }
        }
        for container in &mut self.status.containers {
            container.last_status = ContainerState::Stopped;
        }
    }

    /// Waits for requests in flight, unless there is nobody left to answer them.
    async fn drain(&mut self, life: &mut Life<'_>, definition: &TaskDefinition, sandbox: &Arc<dyn Sandbox>) {
        // Out of rotation from this call on, whether the future is waited for or not.
        let mut drained = sandbox.deregister();
        let answers = definition.content.traffic_container();
        let delay = self.record.service.as_ref().and_then(|service| service.publication.as_ref());
        let delay = delay.map_or(Duration::ZERO, |publication| publication.deregistration_delay);
        let deadline = Instant::now() + delay + DRIVER_SLACK;
        while answers.is_none_or(|name| life.containers.is_running(name)) {
            tokio::select! {
                () = &mut drained => return,
                () = tokio::time::sleep_until(deadline) => return,
                Some((name, exit)) = life.exits.next() => {
                    // It is ending already: what its containers say of their end is all that matters.
                    self.container_ended(life, &name, exit).ok();
                }
            }
        }
    }

    async fn stop_containers(&mut self, life: &mut Life<'_>, sandbox: &Arc<dyn Sandbox>) {
        // What has ended by now is not stopped, and says itself why.
        while let Some(Some((name, exit))) = life.exits.next().now_or_never() {
            self.container_ended(life, &name, exit).ok();
        }
        loop {
            let next = life.containers.next_to_stop();
            if next.is_empty() {
                return;
            }
            let stopping = next.iter().map(|container| async {
                let grace = container
                    .stop_timeout
                    .map_or(DEFAULT_STOP_TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
                let stopped = timeout(grace + DRIVER_SLACK, sandbox.stop(&container.name, grace)).await;
                (container.name.clone(), stopped.unwrap_or_else(|_| unstoppable()))
            });
            for (name, exit) in join_all(stopping).await {
                self.container_ended(life, &name, exit).ok();
            }
        }
    }

    /// Notes how a container ended; an error if the task must end with it.
    fn container_ended(
        &mut self,
        life: &mut Life<'_>,
        name: &str,
        exit: ContainerExit,
    ) -> Result<(), StopOrder> {
        self.note_container(name, |status| {
            status.last_status = ContainerState::Stopped;
            status.exit_code = exit.code;
            status.reason.clone_from(&exit.reason);
        });
        if life.containers.ended(name, exit) {
            let reason = "Essential container in task exited".to_owned();
            return Err(StopOrder { code: StopCode::EssentialContainerExited, reason });
        }
        Ok(())
    }

    /// Writes the record of a task that is over. It is tried until it succeeds: until then the task counts as not over.
    async fn finish(&mut self) {
        let now = self.shared.now();
        self.status.last_status = LastStatus::Stopped;
        self.status.stopped_at = Some(now);
        self.status.stopping_at.get_or_insert(now);
        self.status.version += 1;
        while let Err(error) = self.write_stopped().await {
            tracing::error!(%error, task = %self.record.id, "cannot record that a task stopped");
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    async fn write_stopped(&mut self) -> Result<(), crate::store::StoreError> {
        // Tags may have changed while it ran.
        if let Some(found) = self.shared.records.get::<TaskRecord>(&self.key).await? {
            self.record = found.value;
        }
        let (cluster, id) = (&self.record.cluster, &self.record.id);
        let stopped = encode(&StoppedTask { task: self.record.clone(), status: self.status.clone() });
        let status = keys::status(cluster, id);
        if self.record.service.is_some() {
            let over = Transaction::new()
                .put(keys::stopped_service_task(cluster, id), stopped)
                .delete(self.key.as_str())
                .delete(keys::task_service(cluster, id))
                .delete(status);
            self.shared.records.commit(over).await?;
        } else {
            let over =
                Transaction::new().put(keys::stopped_task(cluster, id), stopped).delete(self.key.as_str());
            self.shared.records.commit(over).await?;
            self.shared.records.commit(Transaction::new().delete(status)).await?;
        }
        Ok(())
    }

    /// Changes what is observed, and tells it.
    async fn report(&mut self, change: impl FnOnce(&mut TaskStatus)) {
        change(&mut self.status);
        self.status.version += 1;
        let key = keys::status(&self.record.cluster, &self.record.id);
        let put = Transaction::new().put(key, encode(&self.status));
        if let Err(error) = self.shared.records.commit(put).await {
            tracing::error!(%error, task = %self.record.id, "cannot report a task's status");
        }
    }

    fn note_container(&mut self, name: &str, change: impl FnOnce(&mut ContainerStatus)) {
        if let Some(status) = self.status.containers.iter_mut().find(|status| status.name == name) {
            change(status);
        }
    }

    /// Waits for `work` unless the task is ordered to stop first.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, StopOrder> {
        tokio::select! {
            biased;
            order = stop_ordered(&mut self.stop) => Err(order),
            done = work => Ok(done),
        }
    }

    fn initial_containers(&self, containers: &[ContainerDefinition]) -> Vec<ContainerStatus> {
        let pending = |container: &ContainerDefinition| ContainerStatus {
            name: container.name.clone(),
            id: format!("{}-{}", self.record.id, container.name),
            last_status: ContainerState::Pending,
            image_digest: None,
            network_bindings: Vec::new(),
            exit_code: None,
            reason: None,
        };
        containers.iter().map(pending).collect()
    }

    fn launch(&self, definition: Arc<TaskDefinition>) -> TaskLaunch {
        let identity = &self.shared.config.identity;
        let mut environment = self.shared.config.environment.clone();
        environment.push(("CORACLE_TASK_ID".to_owned(), self.record.id.to_string()));
        TaskLaunch {
            id: self.record.id.clone(),
            arn: identity.task(&self.record.cluster, &self.record.id),
            cluster: self.record.cluster.clone(),
            definition,
            overrides: self.record.overrides.clone(),
            service: self.record.service.as_ref().map(|service| service.name.clone()),
            environment,
        }
    }
}

/// Resolves once the task is ordered to stop.
async fn stop_ordered(stop: &mut watch::Receiver<Option<StopOrder>>) -> StopOrder {
    match stop.wait_for(Option::is_some).await.map(|order| order.clone()) {
        Ok(Some(order)) => order,
        // The agent forgot the task, which it only does when its order is deleted: there is nobody to order anything any more.
        Ok(None) | Err(_) => pending().await,
    }
}

async fn next_health(target: &mut Option<watch::Receiver<TargetHealth>>) -> TargetHealth {
    if let Some(receiver) = target
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    pending().await
}

fn exit_of(sandbox: &Arc<dyn Sandbox>, name: &str) -> BoxFuture<'static, (String, ContainerExit)> {
    let exit = sandbox.wait(name);
    let name = name.to_owned();
    async move { (name, exit.await) }.boxed()
}

fn failed_to_start(failure: StartFailure) -> StopOrder {
    StopOrder { code: StopCode::TaskFailedToStart, reason: failure.to_string() }
}

fn too_long(what: &str) -> StartFailure {
    StartFailure { kind: StartFailureKind::ContainerRuntimeTimeout, message: format!("{what} took too long") }
}

fn unstoppable() -> ContainerExit {
    ContainerExit { code: None, reason: Some("the container could not be stopped in time".to_owned()) }
}
