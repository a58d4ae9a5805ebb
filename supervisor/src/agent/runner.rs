//! One task's life, from order to record.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, pending};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::containers::{Consequence, Readiness};
use super::environment::environments;
use super::life::{Event, Life};
use super::report::Report;
use crate::autoscaling::sample::Reserved;
use crate::driver::{ContainerExit, Sandbox, StartFailure, StartFailureKind, TaskLaunch};
use crate::metadata::TaskMetadata;
use crate::model::names::TaskId;
use crate::model::task::{
    ContainerState, HealthStatus, LastStatus, ServiceMembership, StopCode, StopOrder, TaskRecord,
};
use crate::model::task_definition::{ContainerDefinition, TaskDefinition};
use crate::records::ServiceKey;
use crate::supervisor::Shared;

/// Longest that loading images may take.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest that secrets and environment files may take to be read.
const ENVIRONMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest that one container may take to start: ECS's agent waits 3 minutes (`ECS_CONTAINER_START_TIMEOUT`).
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// From the stop signal to the kill unless a container says otherwise: ECS's default `stopTimeout`.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// From the interruption of a Spot task to its end. ECS: "a two-minute warning is sent before a task is stopped".
const SPOT_NOTICE: Duration = Duration::from_secs(120);
/// What a driver may take beyond a delay that it was given, before its answer is not waited for any more.
const DRIVER_SLACK: Duration = Duration::from_secs(10);

pub(super) struct Runner {
    shared: Arc<Shared>,
    report: Report,
    stop: watch::Receiver<Option<StopOrder>>,
}

impl Runner {
    pub(super) fn new(
        shared: Arc<Shared>,
        key: String,
        record: TaskRecord,
        stop: watch::Receiver<Option<StopOrder>>,
    ) -> Self {
        Self { report: Report::new(Arc::clone(&shared), key, record), shared, stop }
    }

    pub(super) async fn run(mut self) -> TaskId {
        self.report.tell(|status| status.last_status = LastStatus::Pending).await;
        match self.shared.records.task_definition(&self.record().task_definition).await {
            Ok(Some(definition)) => self.live(Arc::new(definition)).await,
            Ok(None) => {
                self.report.failed("ResourceInitializationError: the task definition is gone".to_owned());
            }
            Err(error) => self.report.failed(format!("ResourceInitializationError: {error}")),
        }
        self.report.finish().await;
        self.report.record.id
    }

    fn record(&self) -> &TaskRecord {
        &self.report.record
    }

    fn service(&self) -> Option<ServiceKey> {
        let record = self.record();
        let name = record.service.as_ref()?.name.clone();
        Some(ServiceKey { cluster: record.cluster.clone(), name })
    }

    async fn live(&mut self, definition: Arc<TaskDefinition>) {
        let containers = &definition.content.container_definitions;
        self.report.pending(containers);
        let mut life = Life::new(containers);
        if !life.containers.vital().is_empty() {
            self.report.status.health = Some(HealthStatus::Unknown);
        }
        let order = match self.bring_up(&mut life, &definition).await {
            Ok(()) => self.stay_up(&mut life).await,
            Err(order) => order,
        };
        self.tear_down(life, &definition, order).await;
    }

    /// PENDING to RUNNING.
    async fn bring_up(
        &mut self,
        life: &mut Life<'_>,
        definition: &Arc<TaskDefinition>,
    ) -> Result<(), StopOrder> {
        let now = self.shared.now();
        self.report
            .tell(|status| {
                status.last_status = LastStatus::Activating;
                status.pull_started_at = Some(now);
            })
            .await;
        self.shared.meter.begin(self.record(), definition);
        let launch = Arc::new(self.launch(definition).await?);
        let driver = Arc::clone(&self.shared.driver);
        let prepared = self.unless_stopped(timeout(PREPARE_TIMEOUT, driver.prepare(launch))).await?;
        let sandbox =
            prepared.unwrap_or_else(|_| Err(too_long("loading the images"))).map_err(failed_to_start)?;
        self.shared.sessions.open_task(&self.record().id, &sandbox);
        self.shared.meter.runs(&self.record().id, &sandbox);
        life.sandbox = Some(Arc::clone(&sandbox));
        let status = &mut self.report.status;
        status.pull_stopped_at = Some(self.shared.now());
        status.address = sandbox.address();
        for container in &mut status.containers {
            container.image_digest = sandbox.image_digest(&container.name);
        }
        self.start_containers(life, &sandbox).await?;
        if let Some(service) = &self.record().service
            && let Some(publication) = &service.publication
        {
            let key = ServiceKey { cluster: self.record().cluster.clone(), name: service.name.clone() };
            let group = self.shared.ingress.group(&key, publication, service.slot);
            self.until_ready(life, &sandbox).await?;
            let health = self.report.status.health;
            let target = sandbox.register(&group, health).map_err(failed_to_start)?;
            self.report.status.target = Some(target.borrow().clone());
            life.target = Some(target);
        }
        let now = self.shared.now();
        self.report
            .tell(|status| {
                status.last_status = LastStatus::Running;
                status.started_at = Some(now);
            })
            .await;
        if let Some(service) = self.service() {
            let id = self.record().id.clone();
            self.shared.running.begin(service, id, &sandbox, Reserved::of(definition));
        }
        Ok(())
    }

    async fn start_containers(
        &mut self,
        life: &mut Life<'_>,
        sandbox: &Arc<dyn Sandbox>,
    ) -> Result<(), StopOrder> {
        loop {
            match life.containers.next_to_start() {
                Readiness::Done => return Ok(()),
                Readiness::Impossible(message) => {
                    let kind = StartFailureKind::CannotStartContainer;
                    return Err(failed_to_start(StartFailure { kind, message }));
                }
                Readiness::Ready(name) => {
                    self.start(life, sandbox, name).await?.map_err(failed_to_start)?;
                }
                Readiness::Waiting(patience) => {
                    let event = self.unless_stopped(timeout_at(patience.until, life.event())).await?;
                    let Ok(event) = event else {
                        let kind = StartFailureKind::ContainerRuntimeTimeout;
                        return Err(failed_to_start(StartFailure { kind, message: patience.complaint }));
                    };
                    self.happened(life, sandbox, event).await?;
                    self.report.tell(|_| {}).await;
                }
            }
        }
    }

    /// Starts a container, for the first time or once more. The outer error is an order to stop.
    async fn start(
        &mut self,
        life: &mut Life<'_>,
        sandbox: &Arc<dyn Sandbox>,
        name: &str,
    ) -> Result<Result<(), StartFailure>, StopOrder> {
        let started = self.unless_stopped(timeout(START_TIMEOUT, sandbox.start(name))).await?;
        let started = started.unwrap_or_else(|_| Err(too_long("starting the container")));
        match &started {
            Ok(()) => {
                life.started(sandbox, name);
                let bindings = sandbox.network_bindings(name);
                self.report.note(name, |status| {
                    status.last_status = ContainerState::Running;
                    status.network_bindings = bindings;
                });
            }
            Err(failure) => self.report.note(name, |status| {
                status.last_status = ContainerState::Stopped;
                status.reason = Some(failure.to_string());
            }),
        }
        Ok(started)
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
            let event = tokio::select! {
                biased;
                order = stop_ordered(&mut self.stop) => return Err(order),
                event = life.event() => event,
                () = &mut ready => return Ok(()),
                never = self.report.insist() => match never {},
            };
            self.happened(life, sandbox, event).await?;
        }
    }

    /// RUNNING, until it must end.
    async fn stay_up(&mut self, life: &mut Life<'_>) -> StopOrder {
        let Some(sandbox) = life.sandbox.clone() else {
            // Only a task with a sandbox came to run.
            return failed_to_start(too_long("preparing the task"));
        };
        loop {
            let event = match self.unless_stopped(life.event()).await {
                Ok(event) => event,
                Err(order) => return order,
            };
            if let Err(order) = self.happened(life, &sandbox, event).await {
                return order;
            }
            self.report.tell(|_| {}).await;
        }
    }

    /// Takes note of what happened, and starts again what shall; an error if the task must end.
    async fn happened(
        &mut self,
        life: &mut Life<'_>,
        sandbox: &Arc<dyn Sandbox>,
        event: Event,
    ) -> Result<(), StopOrder> {
        match event {
            Event::Target(health) => self.report.status.target = Some(health),
            Event::Health(name, health) => {
                life.containers.is_now(&name, health);
                self.note_health(life, sandbox, &name, health);
            }
            Event::Exited(name, exit) => match self.container_ended(life, &name, exit) {
                Consequence::None => {}
                Consequence::TaskEnds => return Err(essential_container_exited()),
                Consequence::Restart => return self.restart(life, sandbox, &name).await,
            },
        }
        Ok(())
    }

    /// Who calls the task is spared its illness before anybody can read of it.
    fn note_health(&mut self, life: &Life<'_>, sandbox: &Arc<dyn Sandbox>, name: &str, health: HealthStatus) {
        self.report.note_health(name, health, &life.containers.vital());
        sandbox.vouch(self.report.status.health);
    }

    async fn restart(
        &mut self,
        life: &mut Life<'_>,
        sandbox: &Arc<dyn Sandbox>,
        name: &str,
    ) -> Result<(), StopOrder> {
        match self.start(life, sandbox, name).await? {
            Ok(()) => {
                self.report.note(name, |status| {
                    status.restart_count += 1;
                    status.exit_code = None;
                    status.reason = None;
                });
                self.note_health(life, sandbox, name, HealthStatus::Unknown);
                Ok(())
            }
            // It has not run, so that no restart policy applies.
            Err(failure) => {
                let exit = ContainerExit { code: None, reason: Some(failure.to_string()) };
                match self.container_ended(life, name, exit) {
                    Consequence::None => Ok(()),
                    Consequence::Restart | Consequence::TaskEnds => Err(essential_container_exited()),
                }
            }
        }
    }

    /// RUNNING, or wherever it came to, to DEPROVISIONING. The order is fixed: deregister, drain, stop signal, kill.
    async fn tear_down(&mut self, mut life: Life<'_>, definition: &TaskDefinition, order: StopOrder) {
        let notice = (order.code == StopCode::SpotInterruption).then(|| Instant::now() + SPOT_NOTICE);
        self.report.status.stop = Some(order);
        self.report.status.stopping_at = Some(self.shared.now());
        if let Some(service) = self.service() {
            self.shared.running.end(&service, &self.record().id);
        }
        if let Some(sandbox) = life.sandbox.clone() {
            if life.target.take().is_some() {
                self.report.tell(|status| status.last_status = LastStatus::Deactivating).await;
                // What is told to stop needs time for that, too.
                let by = notice.and_then(|end| end.checked_sub(longest_grace(definition)));
                self.drain(&mut life, definition, &sandbox, by).await;
                self.report.status.target = None;
            }
            self.report.tell(|status| status.last_status = LastStatus::Stopping).await;
            self.shared.sessions.close_task(&self.record().id);
            self.stop_containers(&mut life, &sandbox, notice).await;
            // While its accounts can be read.
            self.shared.meter.end(&self.record().id);
            let now = self.shared.now();
            self.report
                .tell(|status| {
                    status.last_status = LastStatus::Deprovisioning;
                    status.execution_stopped_at = Some(now);
                })
                .await;
            if timeout(DRIVER_SLACK, sandbox.release()).await.is_err() {
                tracing::error!(task = %self.record().id, "the task's resources were not given back in time");
            }
        }
        self.shared.meter.end(&self.record().id);
        for container in &mut self.report.status.containers {
            container.last_status = ContainerState::Stopped;
        }
    }

    /// Waits for requests in flight, unless there is nobody left to answer them.
    async fn drain(
        &mut self,
        life: &mut Life<'_>,
        definition: &TaskDefinition,
        sandbox: &Arc<dyn Sandbox>,
        by: Option<Instant>,
    ) {
        // Out of rotation from this call on, whether the future is waited for or not.
        let mut drained = sandbox.deregister();
        let publication = self.record().service.as_ref().and_then(|service| service.publication.clone());
        let answers = match &publication {
            Some(publication) => publication.answers(&definition.content),
            None => definition.content.traffic_container(),
        };
        let delay =
            publication.as_ref().map_or(Duration::ZERO, |publication| publication.deregistration_delay);
        let deadline = Instant::now() + delay + DRIVER_SLACK;
        let deadline = by.map_or(deadline, |by| by.min(deadline));
        while answers.is_none_or(|name| life.containers.is_running(name)) {
            let (name, exit) = tokio::select! {
                () = &mut drained => return,
                () = tokio::time::sleep_until(deadline) => return,
                exit = life.exit() => exit,
                never = self.report.insist() => match never {},
            };
            // It is ending already: what its containers say of their end is all that matters.
            self.container_ended(life, &name, exit);
        }
    }

    /// `by`: when the last one must have ended.
    async fn stop_containers(
        &mut self,
        life: &mut Life<'_>,
        sandbox: &Arc<dyn Sandbox>,
        by: Option<Instant>,
    ) {
        // What has ended by now is not stopped, and says itself why.
        while let Some((name, exit)) = life.past_exit() {
            self.container_ended(life, &name, exit);
        }
        loop {
            let next = life.containers.next_to_stop();
            if next.is_empty() {
                return;
            }
            let stopping = next.iter().map(|container| async {
                let left = by.map_or(Duration::MAX, |by| by.saturating_duration_since(Instant::now()));
                let grace = grace(container).min(left);
                let stopped = timeout(grace + DRIVER_SLACK, sandbox.stop(&container.name, grace)).await;
                (container.name.clone(), stopped.unwrap_or_else(|_| unstoppable()))
            });
            let ended = tokio::select! {
                ended = join_all(stopping) => ended,
                never = self.report.insist() => match never {},
            };
            for (name, exit) in ended {
                self.container_ended(life, &name, exit);
            }
        }
    }

    /// Notes how a container ended.
    fn container_ended(&mut self, life: &mut Life<'_>, name: &str, exit: ContainerExit) -> Consequence {
        self.report.note(name, |status| {
            status.last_status = ContainerState::Stopped;
            status.exit_code = exit.code;
            status.reason.clone_from(&exit.reason);
        });
        life.containers.ended(name, exit)
    }

    /// Waits for `work` unless the task is ordered to stop first. Meanwhile the store is told what it has not taken.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, StopOrder> {
        tokio::select! {
            biased;
            order = stop_ordered(&mut self.stop) => Err(order),
            done = work => Ok(done),
            never = self.report.insist() => match never {},
        }
    }

    async fn launch(&mut self, definition: &Arc<TaskDefinition>) -> Result<TaskLaunch, StopOrder> {
        let config = self.shared.config.clone();
        let mut common = config.environment.clone();
        common.push(("CORACLE_TASK_ID".to_owned(), self.record().id.to_string()));
        let (record, secrets) = (self.record().clone(), Arc::clone(&config.secrets));
        let vault = self.shared.vault.clone();
        let environments = environments(&common, &definition.content, &record.overrides, &vault, &*secrets);
        let environments = self.unless_stopped(timeout(ENVIRONMENT_TIMEOUT, environments)).await?;
        let too_slow = || StartFailure {
            kind: StartFailureKind::ResourceInitialization,
            message: "unable to pull secrets or registry auth: reading them took too long".to_owned(),
        };
        let environments = environments.unwrap_or_else(|_| Err(too_slow())).map_err(failed_to_start)?;
        Ok(TaskLaunch {
            arn: config.identity.task(&record.cluster, &record.id),
            metadata: Arc::new(TaskMetadata::new(&self.shared, &record.cluster, &record.id, definition)),
            id: record.id,
            cluster: record.cluster,
            definition: Arc::clone(definition),
            overrides: record.overrides,
            namespace: record.service.as_ref().and_then(|service| service.namespace.clone()),
            offers: record.service.as_ref().is_some_and(|service| service.offers),
            traffic: record.service.as_ref().and_then(ServiceMembership::traffic),
            other_ports: record
                .service
                .as_ref()
                .map(|service| service.other_ports.clone())
                .unwrap_or_default(),
            service: record.service.map(|service| service.name),
            environments,
        })
    }
}

fn grace(container: &ContainerDefinition) -> Duration {
    container.stop_timeout.map_or(DEFAULT_STOP_TIMEOUT, |seconds| Duration::from_secs(seconds.into()))
}

fn longest_grace(definition: &TaskDefinition) -> Duration {
    definition.content.container_definitions.iter().map(grace).max().unwrap_or(DEFAULT_STOP_TIMEOUT)
}

/// Resolves once the task is ordered to stop.
async fn stop_ordered(stop: &mut watch::Receiver<Option<StopOrder>>) -> StopOrder {
    match stop.wait_for(Option::is_some).await.map(|order| order.clone()) {
        Ok(Some(order)) => order,
        // The agent forgot the task, which it only does when its order is deleted: there is nobody to order anything any more.
        Ok(None) | Err(_) => pending().await,
    }
}

fn failed_to_start(failure: StartFailure) -> StopOrder {
    StopOrder { code: StopCode::TaskFailedToStart, reason: failure.to_string() }
}

fn essential_container_exited() -> StopOrder {
    let reason = "Essential container in task exited".to_owned();
    StopOrder { code: StopCode::EssentialContainerExited, reason }
}

fn too_long(what: &str) -> StartFailure {
    StartFailure { kind: StartFailureKind::ContainerRuntimeTimeout, message: format!("{what} took too long") }
}

fn unstoppable() -> ContainerExit {
    ContainerExit { code: None, reason: Some("the container could not be stopped in time".to_owned()) }
}
