//! What the scheduler knows of each service, and how it learns it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::Scheduler;
use super::events::EventLog;
use super::idle::{Activity, Idle};
use super::intent::{Intent, in_place, side_by_side};
use super::plan::{Member, MemberState};
use super::rollout;
use super::throttle::Throttle;
use crate::clock::Timestamp;
use crate::model::capacity::CapacityProvider;
use crate::model::deployment::Slot;
use crate::model::names::TaskId;
use crate::model::service::{RolloutState, ServiceRecord, ServiceStatus};
use crate::model::task::{
    HealthStatus, LastStatus, StopCode, StopOrder, StoppedTask, TargetHealth, TaskRecord, TaskStatus,
};
use crate::records::{ServiceKey, decode, keys};
use crate::store::{Change, Entry, Transaction, Watch};
use crate::supervisor::Shared;

/// A service, its tasks, and what is remembered of its past.
#[derive(Debug, Default)]
pub(super) struct ServicePicture {
    pub(super) record: Option<ServiceRecord>,
    /// The store's, of `record`.
    revision: u64,
    pub(super) tasks: HashMap<TaskId, SeenTask>,
    /// By deployment: "a new task definition resets it".
    pub(super) throttles: BTreeMap<String, Throttle>,
    pub(super) events: EventLog,
    pub(super) steady: bool,
    /// A durable write about this service is on its way; what it changes is not asked for twice.
    pub(super) writing: bool,
    /// Whether it has tasks, where it scales to zero.
    pub(super) idle: Idle,
    /// Whether it was written that it sleeps.
    pub(super) told_asleep: bool,
    /// That its limits leave no move was told.
    pub(super) told_blocked: bool,
    /// That tasks found no place was told.
    pub(super) told_unplaced: bool,
    /// Life-cycle hooks that are being called.
    pub(super) calling: BTreeSet<String>,
    /// What is to be written with the next observations, because the store did not take it.
    pub(super) unwritten: Transaction,
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
    /// The store's, of `record`; 0 until the watch has told it.
    order_revision: u64,
    pub(super) status: TaskStatus,
    /// The store's, of `status`.
    status_revision: u64,
    /// Its place in the order of starts.
    pub(super) age: u64,
    /// When it was seen running first.
    pub(super) running_since: Option<Instant>,
    /// When it was seen healthy, and has been since.
    pub(super) healthy_since: Option<Instant>,
    /// It was healthy for as long as its deployment asked for.
    pub(super) proved: bool,
    /// Its failing health was told.
    pub(super) told_sick: bool,
    /// Its container's failing health was told.
    pub(super) told_unhealthy: bool,
}

impl ServicePicture {
    /// What to do now.
    pub(super) fn intend(&mut self, shared: &Shared) -> Intent {
        let (now, clock) = (Instant::now(), shared.now());
        let Some(record) = &self.record else { return Intent::default() };
        let usage = |id| shared.sessions.sandbox(id).map(|sandbox| sandbox.usage());
        let tasks = &self.tasks;
        let activity = || Activity::of(tasks.keys().filter_map(usage));
        let look = self.idle.look(record, activity, now);
        let desired = if self.idle.is_asleep() { 0 } else { record.desired_count };
        let is_known = |id: &String| record.deployments.iter().any(|deployment| deployment.id == *id);
        self.throttles.retain(|id, _| is_known(id));
        self.failed_tasks.retain(|id, _| is_known(id));
        let census = census(&mut self.tasks, record, now, clock);
        if census.newly_proved && record.deployment_configuration.resets_failures() {
            let failed = self.failed_tasks.get_mut(&record.primary().id);
            self.failed_more |= failed.is_some_and(|failed| std::mem::take(failed) > 0);
        }
        let throttled = |id: &str| self.throttles.get(id).and_then(|throttle| throttle.wait_until(now));
        let mut intent = match record.side_by_side() {
            Some(stage) => side_by_side(record, stage, &census.members, throttled),
            None => in_place(record, desired, &census.members, throttled),
        };
        intent.look_again(census.look_again);
        intent.look_again(look);
        let failures = self.failed_tasks.get(&record.primary().id).copied().unwrap_or(0);
        rollout::decide(&mut intent, record, failures, now, clock);
        intent
    }

    /// Whether a deployment's tasks are still on trial.
    pub(super) fn is_on_trial(&self, deployment: &str) -> bool {
        self.record.as_ref().is_some_and(|record| {
            let primary = record.primary();
            primary.id == deployment && primary.rollout_state == RolloutState::InProgress
        })
    }

    /// Counts a task that failed against its deployment.
    pub(super) fn count_failure(&mut self, deployment: &str) {
        *self.failed_tasks.entry(deployment.to_owned()).or_default() += 1;
        self.failed_more = true;
    }
}

/// All tasks of a service, and what was noticed on looking at them.
struct Census {
    members: Vec<(Member, Slot, String)>,
    newly_proved: bool,
    look_again: Option<Instant>,
}

/// `clock` is the time that people read: protection ends by it.
fn census(
    tasks: &mut HashMap<TaskId, SeenTask>,
    record: &ServiceRecord,
    now: Instant,
    clock: Timestamp,
) -> Census {
    let primary = record.primary();
    let on_trial = primary.rollout_state == RolloutState::InProgress;
    let breaker = record.deployment_configuration.breaker().is_some();
    let terms = Terms {
        grace: Duration::from_secs(record.health_check_grace_period_seconds.into()),
        proving: Duration::ZERO,
        now,
    };
    let mut census =
        Census { members: Vec::with_capacity(tasks.len()), newly_proved: false, look_again: None };
    for (id, task) in tasks {
        let Some(membership) = &task.record.service else { continue };
        let (slot, deployment) = (membership.slot, membership.deployment.clone());
        let current = deployment == primary.id;
        let proving = if current && on_trial { record.pace.proving_time(breaker) } else { Duration::ZERO };
        let state = task.state(Terms { proving, ..terms }, &mut census.look_again);
        if state == MemberState::Healthy && !task.proved {
            task.proved = true;
            census.newly_proved |= current;
        }
        // A service that is being deleted waits for nobody.
        let keeps = record.status != ServiceStatus::Draining;
        let protection = task.record.protection.filter(|protection| keeps && protection.holds(clock));
        if let Some(protection) = protection {
            // A millisecond is the clock's resolution: never look before it has passed.
            let ends = now + protection.expires_at.since(clock) + Duration::from_millis(1);
            census.look_again = Some(census.look_again.map_or(ends, |other| other.min(ends)));
        }
        let protected = protection.is_some();
        let member = Member { id: id.clone(), current, state, proved: task.proved, age: task.age, protected };
        census.members.push((member, slot, deployment));
    }
    census
}

/// By what a task is judged.
#[derive(Clone, Copy)]
struct Terms {
    /// Failed health checks do not count so long after its start.
    grace: Duration,
    /// It must have been healthy for so long.
    proving: Duration,
    now: Instant,
}

impl ServicePicture {
    /// How many tasks of a deployment that are to stay run on each kind of capacity.
    pub(super) fn capacity(&self, deployment: &str) -> HashMap<CapacityProvider, u32> {
        let mut counts = HashMap::new();
        for task in self.tasks.values() {
            let is_its = task.record.service.as_ref().is_some_and(|service| service.deployment == deployment);
            if task.record.stop.is_none() && is_its {
                *counts.entry(task.record.capacity()).or_default() += 1;
            }
        }
        counts
    }
}

impl SeenTask {
    pub(super) fn new(record: TaskRecord, age: u64) -> Self {
        Self {
            record,
            order_revision: 0,
            status: TaskStatus::default(),
            status_revision: 0,
            age,
            running_since: None,
            healthy_since: None,
            proved: false,
            told_sick: false,
            told_unhealthy: false,
        }
    }

    /// The target group that it is in.
    pub(super) fn slot(&self) -> Slot {
        self.record.service.as_ref().map(|member| member.slot).unwrap_or_default()
    }

    /// Found unhealthy by the balancer, or by an essential container's own health check. ECS's grace period is for both.
    fn is_sick(&self) -> bool {
        matches!(self.status.target, Some(TargetHealth::Unhealthy { .. })) || self.fails_its_own_checks()
    }

    /// Found unhealthy by an essential container's own health check.
    pub(super) fn fails_its_own_checks(&self) -> bool {
        self.status.health == Some(HealthStatus::Unhealthy)
    }

    fn state(&mut self, terms: Terms, look_again: &mut Option<Instant>) -> MemberState {
        let mut wait_until = |at: Instant| *look_again = Some(look_again.map_or(at, |other| other.min(at)));
        if self.record.stop.is_some() || self.status.last_status > LastStatus::Running {
            return MemberState::Leaving;
        }
        let published = self.record.service.as_ref().is_some_and(|service| service.publication.is_some());
        if self.status.is_healthy(published) {
            let proved = *self.healthy_since.get_or_insert(terms.now) + terms.proving;
            if self.proved || proved <= terms.now {
                return MemberState::Healthy;
            }
            wait_until(proved);
            return MemberState::Pending;
        }
        self.healthy_since = None;
        if let (true, Some(since)) = (self.is_sick(), self.running_since) {
            let ends = since + terms.grace;
            if ends <= terms.now {
                return MemberState::Sick;
            }
            wait_until(ends);
        }
        MemberState::Pending
    }
}

impl Scheduler {
    /// Takes the whole picture from a new watch. What is remembered of services that still exist is kept, and what has not changed is not read again.
    pub(super) fn read_all(&mut self, watch: &Watch) {
        self.owners.clear();
        self.timers.clear();
        let mut known_tasks: HashMap<TaskId, SeenTask> = HashMap::new();
        let mut known_records: HashMap<ServiceKey, (u64, ServiceRecord)> = HashMap::new();
        for (key, service) in &mut self.services {
            if let Some(record) = service.record.take() {
                known_records.insert(key.clone(), (service.revision, record));
            }
            // A background write that was lost must not block the next one for ever; two at a time do no harm.
            service.writing = false;
            known_tasks.extend(service.tasks.drain());
        }
        let (statuses, orders): (Vec<&Entry>, Vec<&Entry>) =
            watch.snapshot.iter().partition(|entry| entry.key.starts_with(keys::STATUSES));
        for entry in orders {
            if let Some(key) = keys::parse_service(&entry.key, keys::SERVICES)
                && let Some((_, record)) =
                    known_records.remove(&key).filter(|(revision, _)| *revision == entry.revision)
            {
                self.services.entry(key).or_default().record = Some(record);
            } else if let Some(key) = keys::parse_service(&entry.key, keys::SERVICE_TASKS)
                && let Some(task) = task_of(&entry.key).and_then(|id| known_tasks.remove(&id))
            {
                // Before the statuses, so that what was seen long ago is no news.
                self.see_again(key, task, entry);
            } else {
                self.see_put(entry);
            }
        }
        for entry in statuses {
            self.see_put(entry);
        }
        self.services.retain(|_, service| service.record.is_some() || !service.tasks.is_empty());
        self.marked = self.services.keys().cloned().collect();
    }

    /// A task that was known already.
    fn see_again(&mut self, key: ServiceKey, mut task: SeenTask, entry: &Entry) {
        if task.order_revision != entry.revision {
            let Some(record) = readable(entry) else { return };
            (task.record, task.order_revision) = (record, entry.revision);
        }
        let id = task.record.id.clone();
        self.owners.insert(id.clone(), key.clone());
        self.services.entry(key).or_default().tasks.insert(id, task);
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
            let service = self.services.entry(key.clone()).or_default();
            (service.record, service.revision) = (Some(record), entry.revision);
            self.mark(&key);
        } else if entry.key.starts_with(keys::SERVICE_TASKS) {
            let Some(record) = readable::<TaskRecord>(entry) else { return };
            let Some(key) = keys::parse_service(&entry.key, keys::SERVICE_TASKS) else { return };
            let id = record.id.clone();
            self.see_task(key.clone(), record);
            if let Some(task) = self.task(&key, &id) {
                task.order_revision = entry.revision;
            }
        } else if entry.key.starts_with(keys::STATUSES) {
            let Some(id) = task_of(&entry.key) else { return };
            let Some(key) = self.owners.get(&id).cloned() else { return };
            let Some(task) = self.task(&key, &id) else { return };
            if task.status_revision == entry.revision {
                return;
            }
            let Some(status) = readable::<TaskStatus>(entry) else { return };
            task.status_revision = entry.revision;
            self.see_status(&key, &id, status);
        }
    }

    fn task(&mut self, key: &ServiceKey, id: &TaskId) -> Option<&mut SeenTask> {
        self.services.get_mut(key)?.tasks.get_mut(id)
    }

    pub(super) fn see_task(&mut self, key: ServiceKey, record: TaskRecord) {
        self.owners.insert(record.id.clone(), key.clone());
        let service = self.services.entry(key.clone()).or_default();
        match service.tasks.get_mut(&record.id) {
            Some(task) => {
                // An order to stop is never taken back, so a record without one is from before: this loop's own writes are seen at once.
                let stop = task.record.stop.take();
                task.record = record;
                let is_news = stop.is_none();
                task.record.stop = task.record.stop.take().or(stop);
                let interrupted = |order: &StopOrder| order.code == StopCode::SpotInterruption;
                if is_news && task.record.stop.as_ref().is_some_and(interrupted) {
                    service.events.interrupted(&task.record.id);
                }
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
            if let Some(throttle) = deployment.and_then(|id| service.throttles.get_mut(id)) {
                throttle.ran();
            }
        }
        task.status = status;
        if let (true, Some(membership)) = (registered, &task.record.service) {
            service.events.registered(1, membership.slot);
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
            let id = task_of(key);
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
        let (deployment, desired) = (&membership.deployment, record.desired_count);
        let throttle = service.throttles.entry(deployment.clone()).or_default();
        match stop.code {
            StopCode::TaskFailedToStart => {
                service.events.failed_to_start(&stop.reason);
                self.shared.random(|rng| throttle.never_ran(now, rng));
                if throttle.tell() {
                    service.events.unable_to_start();
                }
                service.count_failure(deployment);
            }
            StopCode::EssentialContainerExited => {
                let lived = match (stopped.status.started_at, stopped.status.stopping_at) {
                    (Some(started), Some(stopping)) => stopping.since(started),
                    _ => Duration::ZERO,
                };
                self.shared.random(|rng| throttle.died(now, lived, desired, rng));
                let proved = service.tasks.get(&stopped.task.id).is_some_and(|task| task.proved);
                if !proved && service.is_on_trial(deployment) {
                    service.count_failure(deployment);
                }
            }
            _ => {}
        }
        self.mark(&key);
    }
}

/// The task that a key ends with.
fn task_of(key: &str) -> Option<TaskId> {
    key.rsplit('/').next().and_then(TaskId::parse)
}

fn readable<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    decode(entry).inspect_err(|error| tracing::error!(%error, "the scheduler skips a record")).ok()
}
