//! What the scheduler knows of each service, and how it learns it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::Scheduler;
use super::events::EventLog;
use super::plan::{Member, MemberState, Plan, Wanted, plan};
use super::throttle::Throttle;
use crate::model::names::TaskId;
use crate::model::service::{ServiceRecord, ServiceStatus};
use crate::model::task::{
    HealthStatus, LastStatus, StopCode, StoppedTask, TargetHealth, TaskRecord, TaskStatus,
};
use crate::records::{ServiceKey, decode, keys};
use crate::store::{Change, Entry, Watch};

/// A service, its tasks, and what is remembered of its past.
#[derive(Debug, Default)]
pub(super) struct ServicePicture {
    pub(super) record: Option<ServiceRecord>,
    pub(super) tasks: HashMap<TaskId, SeenTask>,
    pub(super) throttle: Throttle,
    /// The deployment that `throttle` is about: "a new task definition resets it".
    pub(super) throttled_deployment: Option<String>,
    pub(super) events: EventLog,
    pub(super) steady: bool,
    /// A durable write about this service is on its way; what it changes is not asked for twice.
    pub(super) writing: bool,
    /// By deployment.
    pub(super) failed_tasks: BTreeMap<String, u32>,
    /// `failed_tasks` is not written yet.
    pub(super) failed_more: bool,
    /// Grows with each task; tells old from new.
    pub(super) started: u64,
}

/// A task as last seen.
#[derive(Clone, Debug)]
pub(super) struct SeenTask {
    pub(super) record: TaskRecord,
    pub(super) status: TaskStatus,
    /// Its place in the order of starts.
    pub(super) age: u64,
    /// When it was seen running first.
    pub(super) running_since: Option<Instant>,
    /// Its failing health was told.
    pub(super) told_sick: bool,
    /// Its container's failing health was told.
    pub(super) told_unhealthy: bool,
}

impl ServicePicture {
    pub(super) fn plan(&mut self, now: Instant) -> Plan {
        let Some(record) = &self.record else { return Plan::default() };
        let primary = record.primary().id.as_str();
        if self.throttled_deployment.as_deref() != Some(primary) {
            self.throttle = Throttle::default();
            self.throttled_deployment = Some(primary.to_owned());
        }
        let grace = Duration::from_secs(record.health_check_grace_period_seconds.into());
        let published = record.publication.is_some();
        let mut grace_ends: Option<Instant> = None;
        let mut members = Vec::with_capacity(self.tasks.len());
        for (id, task) in &self.tasks {
            let state = task.state(published, grace, now, &mut grace_ends);
            let current = task.record.service.as_ref().is_some_and(|service| service.deployment == primary);
            members.push(Member { id: id.clone(), current, state, age: task.age });
        }
        let wanted = Wanted {
            desired: record.desired_count,
            limits: record.deployment_configuration.limits(),
            draining: record.status == ServiceStatus::Draining,
        };
        let mut plan = plan(wanted, &members, self.throttle.wait_until(now));
        plan.look_again = [plan.look_again, grace_ends].into_iter().flatten().min();
        plan
    }
}

impl SeenTask {
    pub(super) fn new(record: TaskRecord, age: u64) -> Self {
        Self {
            record,
            status: TaskStatus::default(),
            age,
            running_since: None,
            told_sick: false,
            told_unhealthy: false,
        }
    }

    /// Found unhealthy by the balancer, or by an essential container's own health check. ECS's grace period is for both.
    fn is_sick(&self) -> bool {
        matches!(self.status.target, Some(TargetHealth::Unhealthy { .. })) || self.fails_its_own_checks()
    }

    /// Found unhealthy by an essential container's own health check.
    pub(super) fn fails_its_own_checks(&self) -> bool {
        self.status.health == Some(HealthStatus::Unhealthy)
    }

    fn state(
        &self,
        published: bool,
        grace: Duration,
        now: Instant,
        grace_ends: &mut Option<Instant>,
    ) -> MemberState {
        if self.record.stop.is_some() || self.status.last_status > LastStatus::Running {
            return MemberState::Leaving;
        }
        if self.status.is_healthy(published) {
            return MemberState::Healthy;
        }
        if let (true, Some(since)) = (self.is_sick(), self.running_since) {
            let ends = since + grace;
            if ends <= now {
                return MemberState::Sick;
            }
            *grace_ends = Some(grace_ends.map_or(ends, |other| other.min(ends)));
        }
        MemberState::Pending
    }
}

impl Scheduler {
    /// Takes the whole picture from a new watch. What is remembered of services that still exist is kept.
    pub(super) fn read_all(&mut self, watch: &Watch) {
        self.owners.clear();
        self.timers.clear();
        let mut known_tasks: HashMap<TaskId, SeenTask> = HashMap::new();
        for service in self.services.values_mut() {
            service.record = None;
            // A background write that was lost must not block the next one for ever; two at a time do no harm.
            service.writing = false;
            known_tasks.extend(service.tasks.drain());
        }
        // Orders before statuses: the watch's prefixes are in that order.
        for entry in &watch.snapshot {
            self.see_put(entry);
        }
        for service in self.services.values_mut() {
            for (id, task) in &mut service.tasks {
                if let Some(known) = known_tasks.get(id) {
                    task.age = known.age;
                    task.running_since = known.running_since.or(task.running_since);
                    task.told_sick = known.told_sick;
                    task.told_unhealthy = known.told_unhealthy;
                }
            }
        }
        self.services.retain(|_, service| service.record.is_some() || !service.tasks.is_empty());
        self.marked = self.services.keys().cloned().collect();
    }

    pub(super) fn see(&mut self, change: Change) {
        match change {
            Change::Put(entry) if entry.key.starts_with(keys::STOPPED_SERVICE_TASKS) => {
                if let Some(stopped) = readable(&entry) {
                    self.task_stopped(&stopped);
                }
            }
            Change::Put(entry) => self.see_put(&entry),
            Change::Delete(key, _) => self.see_delete(&key),
        }
    }

    fn see_put(&mut self, entry: &Entry) {
        if entry.key.starts_with(keys::SERVICES) {
            let Some(record) = readable::<ServiceRecord>(entry) else { return };
            let key = ServiceKey { cluster: record.cluster.clone(), name: record.name.clone() };
            self.services.entry(key.clone()).or_default().record = Some(record);
            self.mark(&key);
        } else if entry.key.starts_with(keys::SERVICE_TASKS) {
            let Some(record) = readable::<TaskRecord>(entry) else { return };
            let Some(key) = keys::parse_service(&entry.key, keys::SERVICE_TASKS) else { return };
            self.see_task(key, record);
        } else if entry.key.starts_with(keys::STATUSES) {
            let id = entry.key.rsplit('/').next().and_then(TaskId::parse);
            let Some((id, key)) = id.and_then(|id| self.owners.get(&id).cloned().map(|key| (id, key))) else {
                return;
            };
            let Some(status) = readable::<TaskStatus>(entry) else { return };
            self.see_status(&key, &id, status);
        }
    }

    pub(super) fn see_task(&mut self, key: ServiceKey, record: TaskRecord) {
        self.owners.insert(record.id.clone(), key.clone());
        let service = self.services.entry(key.clone()).or_default();
        match service.tasks.get_mut(&record.id) {
            Some(task) => {
                // An order to stop is never taken back, so a record without one is from before: this loop's own writes are seen at once.
                let stop = task.record.stop.take();
                task.record = record;
                task.record.stop = task.record.stop.take().or(stop);
            }
            None => {
                service.started += 1;
                let age = service.started;
                service.tasks.insert(record.id.clone(), SeenTask::new(record, age));
            }
        }
        self.mark(&key);
    }

    fn see_status(&mut self, key: &ServiceKey, id: &TaskId, status: TaskStatus) {
        let Some(service) = self.services.get_mut(key) else { return };
        let Some(task) = service.tasks.get_mut(id) else { return };
        let registered = task.status.target.is_none() && status.target.is_some();
        if task.running_since.is_none() && status.last_status == LastStatus::Running {
            task.running_since = Some(Instant::now());
            let deployment = task.record.service.as_ref().map(|service| &service.deployment);
            if deployment == service.throttled_deployment.as_ref() {
                service.throttle.ran();
            }
        }
        task.status = status;
        if registered {
            service.events.registered(1);
        }
        self.mark(key);
    }

    fn see_delete(&mut self, key: &str) {
        if let Some(service) = keys::parse_service(key, keys::SERVICES) {
            if let Some(picture) = self.services.get_mut(&service) {
                picture.record = None;
                if picture.tasks.is_empty() {
                    self.services.remove(&service);
                }
            }
        } else if let Some(service) = keys::parse_service(key, keys::SERVICE_TASKS) {
            let id = key.rsplit('/').next().and_then(TaskId::parse);
            if let (Some(picture), Some(id)) = (self.services.get_mut(&service), id) {
                picture.tasks.remove(&id);
                self.owners.remove(&id);
            }
            self.mark(&service);
        }
    }

    /// Learns from how a task ended. Its order is deleted with the same transaction, which is seen next.
    fn task_stopped(&mut self, stopped: &StoppedTask) {
        let Some(membership) = &stopped.task.service else { return };
        let key = ServiceKey { cluster: stopped.task.cluster.clone(), name: membership.name.clone() };
        let Some(service) = self.services.get_mut(&key) else { return };
        let Some(record) = &service.record else { return };
        let Some(stop) = &stopped.status.stop else { return };
        let now = Instant::now();
        let current = service.throttled_deployment.as_ref() == Some(&membership.deployment);
        match stop.code {
            StopCode::TaskFailedToStart => {
                *service.failed_tasks.entry(membership.deployment.clone()).or_default() += 1;
                service.failed_more = true;
                service.events.failed_to_start(&stop.reason);
                if current {
                    self.shared.random(|rng| service.throttle.never_ran(now, rng));
                    if service.throttle.tell() {
                        service.events.unable_to_start();
                    }
                }
            }
            StopCode::EssentialContainerExited if current => {
                let lived = match (stopped.status.started_at, stopped.status.stopping_at) {
                    (Some(started), Some(stopping)) => stopping.since(started),
                    _ => Duration::ZERO,
                };
                self.shared.random(|rng| service.throttle.died(now, lived, record.desired_count, rng));
            }
            _ => {}
        }
        self.mark(&key);
    }
}

fn readable<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    decode(entry).inspect_err(|error| tracing::error!(%error, "the scheduler skips a record")).ok()
}
