//! Looks at every change of the store, one transaction after the other, and tells what must never be so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coracle_supervisor::clock::Timestamp;
use coracle_supervisor::model::deployment::{LifecycleStage, RolloutState, Slot};
use coracle_supervisor::model::names::TaskId;
use coracle_supervisor::model::service::{ServiceRecord, ServiceStatus};
use coracle_supervisor::model::task::{
    HealthStatus, LastStatus, StopCode, StoppedTask, TargetHealth, TaskRecord, TaskStatus,
};
use coracle_supervisor::model::usage::UsageRecord;
use coracle_supervisor::store::memory::MemoryStore;
use coracle_supervisor::store::{Change, Entry, Store, Watch};
use serde::de::DeserializeOwned;

use super::metered::Metered;

/// Records of a service that the scheduler may still go by: changes come faster than it looks.
const RECENT: usize = 4;

/// Everything that the store says, and what was wrong with it.
#[derive(Debug)]
pub(crate) struct Witness {
    watch: Watch,
    /// Nothing fails in this run, so that the minimum of healthy tasks holds at every moment.
    calm: bool,
    now: Timestamp,
    revision: u64,
    services: BTreeMap<String, Seen>,
    tasks: BTreeMap<TaskId, SeenTask>,
    owners: BTreeMap<TaskId, String>,
    usage: BTreeMap<String, UsageRecord>,
    pub(crate) metered: Metered,
    /// Of the transaction that is being looked at.
    step: Step,
    wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Step {
    touched: BTreeSet<String>,
    started: Vec<TaskId>,
    stopped: Vec<TaskId>,
}

/// A service.
#[derive(Debug)]
struct Seen {
    /// Newest first.
    records: VecDeque<ServiceRecord>,
    /// It had the least healthy tasks that it must have, and since then must not have fewer.
    is_up: bool,
    /// The same of each target group that gets requests.
    groups_up: BTreeSet<Slot>,
}

#[derive(Debug)]
struct SeenTask {
    record: TaskRecord,
    status: TaskStatus,
}

impl SeenTask {
    fn service(&self) -> Option<&str> {
        self.record.service.as_ref().map(|service| service.name.as_str())
    }

    fn slot(&self) -> Option<Slot> {
        self.record.service.as_ref().map(|service| service.slot)
    }

    fn is_live(&self) -> bool {
        self.record.stop.is_none() && self.status.last_status <= LastStatus::Running
    }

    fn is_healthy(&self) -> bool {
        let published = self.record.service.as_ref().is_some_and(|service| service.publication.is_some());
        self.is_live() && self.status.is_healthy(published)
    }

    fn is_sick(&self) -> bool {
        matches!(self.status.target, Some(TargetHealth::Unhealthy { .. }))
            || self.status.health == Some(HealthStatus::Unhealthy)
    }
}

impl Witness {
    pub(crate) async fn new(store: &MemoryStore, calm: bool, now: Timestamp) -> Self {
        Self {
            watch: store.watch(&[""]).await.unwrap(),
            calm,
            now,
            revision: 0,
            services: BTreeMap::new(),
            tasks: BTreeMap::new(),
            owners: BTreeMap::new(),
            usage: BTreeMap::new(),
            metered: Metered::default(),
            step: Step::default(),
            wrong: Vec::new(),
        }
    }

    /// The process died and another one goes on with what was durable.
    pub(crate) async fn crashed(&mut self, store: &MemoryStore, now: Timestamp, metered_at: Timestamp) {
        self.look(now);
        self.metered.crashed(now, metered_at);
        self.tasks.clear();
        self.owners.clear();
        self.services.clear();
        self.watch = store.watch(&[""]).await.unwrap();
        // How long those ran that are over is known already.
        let snapshot = std::mem::take(&mut self.watch.snapshot);
        for entry in snapshot.iter().filter(|entry| !entry.key.starts_with("stopped-task/")) {
            self.put(entry);
        }
        // Nothing of it has just happened.
        self.step = Step::default();
    }

    /// Sees what has changed since the last time. Gives what was wrong.
    pub(crate) fn look(&mut self, now: Timestamp) -> Vec<String> {
        self.now = now;
        while let Some(change) = self.watch.try_next() {
            let revision = match &change {
                Change::Put(entry) => entry.revision,
                Change::Delete(_, revision) => *revision,
            };
            if revision != self.revision {
                self.judge();
                self.revision = revision;
            }
            self.apply(&change);
        }
        self.judge();
        std::mem::take(&mut self.wrong)
    }

    /// Tasks that have an order.
    pub(crate) fn ordered(&self, task: &TaskId) -> bool {
        self.tasks.contains_key(task)
    }

    /// Tasks that run behind the balancer, with the target group that they are in.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&TaskId, Slot)> {
        self.tasks.iter().filter_map(|(id, task)| {
            let is_running = task.status.last_status == LastStatus::Running && task.is_live();
            let published = task.record.service.as_ref().filter(|service| service.publication.is_some());
            published.filter(|_| is_running).map(|service| (id, service.slot))
        })
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(entry) => self.put(entry),
            Change::Delete(key, _) => self.delete(key),
        }
    }

    fn put(&mut self, entry: &Entry) {
        let key = &*entry.key;
        if key.starts_with("service/") {
            self.put_service(read(entry));
        } else if key.starts_with("session/task/") || key.starts_with("task/") {
            self.put_task(key, read(entry));
        } else if key.starts_with("session/status/") {
            let id = last_part(key);
            let status: TaskStatus = read(entry);
            self.metered.seen(&id, &status);
            if let Some(task) = self.tasks.get_mut(&id) {
                if status.last_status < task.status.last_status {
                    self.wrong.push(format!("task {id} went back to {:?}", status.last_status));
                }
                task.status = status;
                self.step.touched.extend(task.service().map(str::to_owned));
            }
        } else if key.starts_with("session/stopped-task/") || key.starts_with("stopped-task/") {
            let stopped: StoppedTask = read(entry);
            self.metered.seen(&stopped.task.id, &stopped.status);
            if stopped.status.stop.is_none() {
                self.wrong.push(format!("task {} stopped without a reason", stopped.task.id));
            }
        } else if key.starts_with("usage/") {
            self.put_usage(key, read(entry));
        }
    }

    fn put_service(&mut self, record: ServiceRecord) {
        let name = record.name.to_string();
        self.step.touched.insert(name.clone());
        let seen = self.services.entry(name).or_insert_with(|| Seen {
            records: VecDeque::new(),
            is_up: false,
            groups_up: BTreeSet::new(),
        });
        let before = seen.records.front();
        if before.is_none_or(|before| minimum(before) < minimum(&record)) {
            seen.is_up = false;
            seen.groups_up.clear();
        }
        seen.records.push_front(record);
        seen.records.truncate(RECENT);
    }

    fn put_task(&mut self, key: &str, record: TaskRecord) {
        let id = record.id.clone();
        let owner = self.owners.entry(id.clone()).or_insert_with(|| key.to_owned());
        if owner != key {
            self.wrong.push(format!("task {id} belongs to {owner} and to {key}"));
        }
        self.step.touched.extend(record.service.as_ref().map(|service| service.name.to_string()));
        match self.tasks.get_mut(&id) {
            Some(task) => {
                if task.record.stop.is_some() && record.stop != task.record.stop {
                    self.wrong.push(format!("task {id} was told to stop, and then otherwise"));
                }
                if task.record.stop.is_none() && record.stop.is_some() {
                    self.step.stopped.push(id);
                }
                task.record = record;
            }
            None => {
                self.step.started.push(id.clone());
                self.tasks.insert(id, SeenTask { record, status: TaskStatus::default() });
            }
        }
    }

    fn put_usage(&mut self, key: &str, record: UsageRecord) {
        let Some(before) = self.usage.insert(key.to_owned(), record.clone()) else { return };
        for (capacity, totals) in &before.by_capacity {
            let now = record.by_capacity.get(capacity).cloned().unwrap_or_default();
            if now.task_seconds < totals.task_seconds || now.tasks < totals.tasks {
                self.wrong.push(format!("usage of {key} went down from {totals:?} to {now:?}"));
            }
        }
    }

    fn delete(&mut self, key: &str) {
        if key.starts_with("service/") {
            self.services.remove(last_name(key));
        } else if key.starts_with("session/task/") || key.starts_with("task/") {
            let id: TaskId = last_part(key);
            if let Some(task) = self.tasks.remove(&id) {
                self.step.touched.extend(task.service().map(str::to_owned));
            }
            self.owners.remove(&id);
        }
    }

    /// What must hold after a transaction.
    fn judge(&mut self) {
        let step = std::mem::take(&mut self.step);
        for id in &step.started {
            self.judge_start(id);
        }
        for id in &step.stopped {
            self.judge_stop(id);
        }
        if self.calm {
            for name in &step.touched {
                self.judge_health(name);
            }
        }
    }

    fn judge_start(&mut self, id: &TaskId) {
        let Some(name) = self.tasks.get(id).and_then(SeenTask::service) else { return };
        let Some(seen) = self.services.get(name) else {
            self.wrong.push(format!("task {id} was started for {name}, which is not there"));
            return;
        };
        if seen.records.iter().any(|record| self.may_have(record, id)) {
            return;
        }
        let live = self.tasks.values().filter(|task| task.service() == Some(name) && task.is_live()).count();
        let record = &seen.records[0];
        let limits = record.deployment_configuration.limits();
        self.wrong.push(format!(
            "{name} has {live} tasks with {id}; desired {}, {limits:?}, {:?}",
            record.desired_count, record.service_deployment
        ));
    }

    /// Whether a service with this record may have the tasks that there are, of the set that `id` belongs to.
    fn may_have(&self, record: &ServiceRecord, id: &TaskId) -> bool {
        let of_service: Vec<&SeenTask> = self
            .tasks
            .values()
            .filter(|task| task.service() == Some(record.name.as_str()) && task.is_live())
            .collect();
        let desired = record.desired_count;
        let maximum = record.deployment_configuration.limits().maximum(desired).max(desired);
        let Some(started) = self.tasks.get(id) else { return true };
        let (live, most) = match is_side_by_side(record) {
            false => (of_service.len(), maximum),
            true if started.slot() == Some(record.traffic.serving) => {
                (of_service.iter().filter(|task| task.slot() == started.slot()).count(), maximum)
            }
            true => {
                let deployment =
                    |task: &SeenTask| task.record.service.as_ref().map(|service| service.deployment.clone());
                let own = deployment(started);
                (of_service.iter().filter(|task| deployment(task) == own).count(), desired)
            }
        };
        live <= usize::try_from(most).unwrap()
    }

    fn judge_stop(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        let Some(stop) = &task.record.stop else { return };
        let by_scaling =
            stop.code == StopCode::ServiceSchedulerInitiated && stop.reason.starts_with("Scaling");
        // One that ends later than now held when the order was written.
        let protected = task.record.protection.is_some_and(|protection| protection.holds(self.now));
        let is_kept = task
            .service()
            .and_then(|name| self.services.get(name))
            .is_some_and(|seen| seen.records.iter().all(|record| record.status == ServiceStatus::Active));
        if by_scaling && protected && is_kept && !task.is_sick() {
            self.wrong.push(format!("task {id} was stopped though it was protected: {task:?}"));
        }
    }

    fn judge_health(&mut self, name: &str) {
        let Some(seen) = self.services.get_mut(name) else { return };
        let record = &seen.records[0];
        let sleeps =
            record.publication.as_ref().is_some_and(|publication| publication.scale_to_zero.is_some());
        if record.status != ServiceStatus::Active || sleeps {
            return;
        }
        let healthy: Vec<&SeenTask> =
            self.tasks.values().filter(|task| task.service() == Some(name) && task.is_healthy()).collect();
        let minimum = minimum(record);
        // Those of a revision beside them serve nobody, and go at once when a newer one takes its place.
        let serving = healthy.iter().filter(|task| task.slot() == Some(record.traffic.serving)).count();
        let is_up = serving >= minimum;
        // The scheduler may still go by a record from before the minimum grew.
        let least = seen.records.iter().map(self::minimum).min().unwrap_or(0);
        if seen.is_up && serving < least {
            let tasks: Vec<String> = self
                .tasks
                .values()
                .filter(|task| task.service() == Some(name))
                .map(|task| format!("{:?} {:?} {:?}", task.slot(), task.status.last_status, task.record.stop))
                .collect();
            self.wrong.push(format!(
                "{name} has {serving} healthy tasks that serve, at least {minimum}: {tasks:#?} {record:#?}"
            ));
        }
        seen.is_up |= is_up;
        for slot in [Slot::Blue, Slot::Green] {
            let serves = record.traffic.production(slot) > 0 && minimum > 0;
            let is_up = healthy.iter().any(|task| task.slot() == Some(slot));
            if serves && seen.groups_up.contains(&slot) && !is_up {
                self.wrong.push(format!("{name} sends requests to {slot:?}, where nobody answers"));
            }
            if is_up {
                seen.groups_up.insert(slot);
            } else {
                seen.groups_up.remove(&slot);
            }
        }
    }
}

fn minimum(record: &ServiceRecord) -> usize {
    let limits = record.deployment_configuration.limits();
    usize::try_from(limits.minimum(record.desired_count)).unwrap()
}

/// Two revisions run that know nothing of each other.
fn is_side_by_side(record: &ServiceRecord) -> bool {
    let current = &record.service_deployment;
    let stage = current.progress.as_ref().filter(|_| !current.is_over()).map(|progress| progress.stage);
    let on_its_way = record.primary().rollout_state == RolloutState::InProgress;
    on_its_way && stage.is_some_and(|stage| stage < LifecycleStage::CleanUp)
}

fn read<T: DeserializeOwned>(entry: &Entry) -> T {
    serde_json::from_slice(&entry.value).unwrap_or_else(|error| panic!("{}: {error}", entry.key))
}

fn last_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap()
}

fn last_part(key: &str) -> TaskId {
    TaskId::parse(last_name(key)).unwrap()
}
