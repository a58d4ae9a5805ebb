//! Doing what was planned: orders to the store.

use std::time::Duration;

use tokio::time::Instant;

use super::Scheduler;
use super::intent::Intent;
use super::picture::ServicePicture;
use crate::error::OperationError;
use crate::model::capacity::Strategy;
use crate::model::cluster::ClusterRecord;
use crate::model::deployment::{DeploymentRecord, Slot};
use crate::model::names::TaskId;
use crate::model::scheduling_strategy::SchedulingStrategy;
use crate::model::service::{LaunchType, PropagateTags, ServiceRecord};
use crate::model::task::{ServiceMembership, StopCode, StopOrder, TargetHealth, TaskOverride, TaskRecord};
use crate::operations::TaskDefinitionRecord;
use crate::operations::host_ports::copies_with_free_ports;
use crate::records::{ServiceKey, encode, keys};
use crate::store::{StoreError, Transaction};
use crate::supervisor::Shared;

/// Pause before looking for a place again for tasks that found none.
const PLACEMENT_RETRY: Duration = Duration::from_secs(5);

/// Observations of a service that are kept until a store that fails takes them: what its newest events come to.
const MAX_UNWRITTEN: usize = 400;

/// A service's target groups, as events name them.
#[derive(Debug)]
pub(super) struct Groups {
    blue: String,
    green: String,
}

impl Groups {
    fn of_service(shared: &Shared, key: &ServiceKey) -> Self {
        let arn = |slot| shared.config.identity.target_group(&key.cluster, &key.name, slot);
        Self { blue: arn(Slot::Blue), green: arn(Slot::Green) }
    }

    pub(super) fn of(&self, slot: Slot) -> &str {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }
}

impl Scheduler {
    pub(super) async fn carry_out(&mut self, key: &ServiceKey, plan: Intent) -> Result<(), StoreError> {
        let groups = Groups::of_service(&self.shared, key);
        let mut started = Vec::new();
        for (deployment, count) in &plan.start {
            started.extend(self.start_tasks(key, deployment, *count).await?);
        }
        let Some(service) = self.services.get_mut(key) else { return Ok(()) };
        let Some(record) = &service.record else { return self.retire_orphans(key).await };
        let deployment = record.primary().id.clone();
        // Before what is done about it.
        note_sick(service, &groups);
        if !started.is_empty() {
            service.events.started(&started);
        }
        let retired = StopOrder {
            code: StopCode::ServiceSchedulerInitiated,
            reason: format!("Scaling activity initiated by (deployment {deployment})"),
        };
        for id in &plan.retire {
            stop_task(&self.shared, key, service, id, &retired).await?;
        }
        for id in &plan.replace_sick {
            let Some(task) = service.tasks.get(id) else { continue };
            let reason = match task.fails_its_own_checks() {
                true => "Task failed container health checks".to_owned(),
                false => {
                    format!("Task failed ELB health checks in (target-group {})", groups.of(task.slot()))
                }
            };
            let unproved = task.record.service.as_ref().filter(|_| !task.proved);
            let on_trial = unproved.map(|member| member.deployment.clone());
            let order = StopOrder { code: StopCode::ServiceSchedulerInitiated, reason };
            stop_task(&self.shared, key, service, id, &order).await?;
            if let Some(deployment) = on_trial.filter(|deployment| service.is_on_trial(deployment)) {
                service.count_failure(&deployment);
            }
        }
        note_stops(service, &plan, &groups);
        if plan.blocked && !service.told_blocked {
            service.events.blocked();
        }
        service.told_blocked = plan.blocked;
        if plan.steady && !service.steady {
            service.events.steady();
        }
        service.steady = plan.steady;
        if plan.gone {
            // What was told of a service goes with it, so that nothing of it may be on its way when it ends.
            self.write_observations(key, &groups).await?;
        }
        self.settle(key, &plan);
        self.write_observations(key, &groups).await
    }

    async fn start_tasks(
        &mut self,
        key: &ServiceKey,
        deployment: &str,
        count: u32,
    ) -> Result<Vec<TaskId>, StoreError> {
        let record = self.services.get(key).and_then(|service| service.record.as_ref());
        let deployment =
            record.and_then(|record| record.deployments.iter().find(|known| known.id == deployment));
        let (Some(record), Some(deployment)) = (record, deployment) else { return Ok(Vec::new()) };
        let definition = keys::task_definition(&deployment.task_definition);
        let definition = self.shared.records.get::<TaskDefinitionRecord>(&definition).await?;
        let definition = definition.map(|found| found.value);
        let placed = placed(&self.shared, definition.as_ref(), count).await?;
        let template = template(&self.shared, record, deployment, definition.as_ref());
        let strategy = strategy(&self.shared, record).await?;
        let mut counts =
            self.services.get(key).map(|service| service.capacity(&deployment.id)).unwrap_or_default();
        let mut tasks: Vec<TaskRecord> = Vec::new();
        for _ in 0..placed {
            let mut task = TaskRecord { id: self.shared.random(TaskId::random), ..template.clone() };
            if let Some(strategy) = &strategy {
                let provider = strategy.next(|provider| counts.get(&provider).copied().unwrap_or(0));
                *counts.entry(provider).or_default() += 1;
                task.capacity_provider = Some(provider);
                task.launch_type = LaunchType::Fargate;
            }
            tasks.push(task);
        }
        self.tell_unplaced(key, placed < count);
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let start = tasks.iter().fold(Transaction::new(), |start, task| {
            start
                .put(keys::service_task(key, &task.id), encode(task))
                .put(keys::task_service(&key.cluster, &task.id), encode(&key.name))
        });
        self.shared.records.commit(start).await?;
        let started = tasks.iter().map(|task| task.id.clone()).collect();
        for task in tasks {
            // Seen at once, so that they are not started again before the watch tells of them.
            self.see_task(key.clone(), task);
        }
        Ok(started)
    }

    /// Tells of tasks that found no place, once until all found one, and looks again later: what takes the place is no concern of this service, so that nothing
    /// tells it when that leaves.
    fn tell_unplaced(&mut self, key: &ServiceKey, unplaced: bool) {
        let Some(service) = self.services.get_mut(key) else { return };
        if unplaced && !service.told_unplaced {
            service.events.unplaced(&self.shared.node);
        }
        service.told_unplaced = unplaced;
        if unplaced {
            self.timers.insert((Instant::now() + PLACEMENT_RETRY, key.clone()));
        }
    }

    /// Stops the tasks of a service whose record is gone. That does not happen in good order; it may after a repair of the store by hand.
    async fn retire_orphans(&mut self, key: &ServiceKey) -> Result<(), StoreError> {
        let Some(service) = self.services.get_mut(key) else { return Ok(()) };
        let order = StopOrder {
            code: StopCode::ServiceSchedulerInitiated,
            reason: "The service does not exist any more".to_owned(),
        };
        let tasks: Vec<TaskId> = service
            .tasks
            .iter()
            .filter(|(_, task)| task.record.stop.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &tasks {
            stop_task(&self.shared, key, service, id, &order).await?;
        }
        Ok(())
    }

    async fn write_observations(&mut self, key: &ServiceKey, groups: &Groups) -> Result<(), StoreError> {
        let Some(service) = self.services.get_mut(key) else { return Ok(()) };
        let mut write = std::mem::take(&mut service.unwritten);
        write.ops.extend(service.events.flush(key, groups, self.shared.now()).ops);
        if std::mem::take(&mut service.failed_more) {
            write = write.put(keys::failed_tasks(key), encode(&service.failed_tasks));
        }
        let asleep = service.idle.is_asleep();
        if std::mem::replace(&mut service.told_asleep, asleep) != asleep {
            write = if asleep {
                write.put(keys::asleep(key), encode(&true))
            } else {
                write.delete(keys::asleep(key))
            };
        }
        if write.ops.is_empty() {
            return Ok(());
        }
        let written = self.shared.records.commit(write.clone()).await;
        if written.is_err() {
            // The oldest would be the first that nobody reads any more.
            let surplus = write.ops.len().saturating_sub(MAX_UNWRITTEN);
            write.ops.drain(..surplus);
            service.unwritten = write;
        }
        written.map(|_| ())
    }
}

/// How many of so many new tasks find a place on the one node that there is.
async fn placed(
    shared: &Shared,
    definition: Option<&TaskDefinitionRecord>,
    count: u32,
) -> Result<u32, StoreError> {
    let Some(record) = definition else { return Ok(count) };
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    let placed = copies_with_free_ports(shared, &record.definition, wanted).await?;
    Ok(u32::try_from(placed).unwrap_or(count))
}

/// What all new tasks of a service have in common. The node is chosen here: there is one now.
fn template(
    shared: &Shared,
    record: &ServiceRecord,
    deployment: &DeploymentRecord,
    definition: Option<&TaskDefinitionRecord>,
) -> TaskRecord {
    let tags = match record.propagate_tags {
        PropagateTags::None => Vec::new(),
        PropagateTags::Service => record.tags.clone(),
        PropagateTags::TaskDefinition => {
            definition.map(|definition| definition.tags.clone()).unwrap_or_default()
        }
    };
    let connect = deployment.service_connect.as_ref();
    let offered = connect.map(|connect| connect.offers.as_slice()).unwrap_or_default();
    let offers = !offered.is_empty();
    let others = offered.iter().filter(|offer| !offer.is_traffic_port);
    let attachment = record.attachment();
    TaskRecord {
        id: shared.random(TaskId::random),
        cluster: record.cluster.clone(),
        task_definition: deployment.task_definition.clone(),
        overrides: TaskOverride::default(),
        service: Some(ServiceMembership {
            name: record.name.clone(),
            deployment: deployment.id.clone(),
            slot: deployment.slot,
            // Without a listener it is only there for those deployments whose tasks are found by name.
            publication: record
                .publication
                .clone()
                .filter(|publication| offers || publication.has_listener()),
            port: attachment
                .map(|attachment| attachment.port)
                .or_else(|| definition.and_then(|record| record.definition.content.traffic_port())),
            namespace: connect.map(|connect| connect.namespace.clone()),
            offers,
            other_ports: others.map(|offer| offer.container_port).collect(),
        }),
        group: format!("service:{}", record.name),
        started_by: Some(deployment.id.clone()),
        launch_type: record.launch_type,
        node: shared.node.clone(),
        created_at: shared.now(),
        tags,
        stop: None,
        enable_execute_command: record.enable_execute_command,
        capacity_provider: None,
        protection: None,
    }
}

/// How a service's tasks are spread over kinds of capacity: by its own strategy, else by its cluster's unless it has a launch type. What is stored
/// was checked when it came.
async fn strategy(shared: &Shared, record: &ServiceRecord) -> Result<Option<Strategy>, StoreError> {
    let own = record.stored.capacity_provider_strategy.as_ref();
    let own = own.and_then(|strategy| Strategy::parse(strategy).ok().flatten());
    let is_daemon = record.scheduling_strategy == SchedulingStrategy::Daemon;
    if own.is_some() || is_daemon || record.launch_type != LaunchType::default() {
        return Ok(own);
    }
    let cluster = shared.records.get::<ClusterRecord>(&keys::cluster(&record.cluster)).await?;
    let default = cluster.and_then(|found| found.value.stored.default_capacity_provider_strategy);
    Ok(default.and_then(|strategy| Strategy::parse(&strategy).ok().flatten()))
}

async fn stop_task(
    shared: &Shared,
    key: &ServiceKey,
    service: &mut ServicePicture,
    id: &TaskId,
    order: &StopOrder,
) -> Result<(), StoreError> {
    let seen = service.tasks.get(id).and_then(|task| task.record.protection);
    let stop = |record: &mut TaskRecord| {
        // It was protected since it was chosen, or is no more. The watch tells of that, and it is thought about again.
        if record.stop.is_some() || record.protection != seen {
            return Ok(None);
        }
        record.stop = Some(order.clone());
        Ok(Some(()))
    };
    let gone = || OperationError::ResourceNotFound;
    match shared.records.update(&keys::service_task(key, id), gone, stop).await {
        Ok((record, None)) if record.stop.is_none() => return Ok(()),
        Ok(_) | Err(OperationError::ResourceNotFound) => {}
        Err(OperationError::Store(error)) => return Err(error),
        Err(error) => {
            // Others keep changing the order. Each of their changes marks the service, so that this is tried again.
            tracing::warn!(%error, task = %id, "cannot order a task to stop");
            return Ok(());
        }
    }
    if let Some(task) = service.tasks.get_mut(id) {
        task.record.stop = Some(order.clone());
    }
    Ok(())
}

fn note_stops(service: &mut ServicePicture, plan: &Intent, groups: &Groups) {
    let is_stopped = |id: &&TaskId| service.tasks.get(id).is_some_and(|task| task.record.stop.is_some());
    let stopped: Vec<TaskId> =
        plan.retire.iter().chain(&plan.replace_sick).filter(is_stopped).cloned().collect();
    if stopped.is_empty() {
        return;
    }
    let targets = |slot| {
        let tasks = stopped.iter().filter_map(|id| service.tasks.get(id));
        tasks.filter(|task| task.status.target.is_some() && task.slot() == slot).count()
    };
    let by_slot = [Slot::Blue, Slot::Green].map(|slot| (slot, targets(slot)));
    for (slot, targets) in by_slot.into_iter().filter(|(_, targets)| *targets > 0) {
        service.events.deregistered(targets, groups.of(slot));
        service.events.draining(targets);
    }
    service.events.stopped(&stopped);
}

fn note_sick(service: &mut ServicePicture, groups: &Groups) {
    for (id, task) in &mut service.tasks {
        match &task.status.target {
            Some(TargetHealth::Unhealthy { reason }) if !task.told_sick => {
                let port = task.record.service.as_ref().and_then(|service| service.port);
                service.events.unhealthy(id, port, groups.of(task.slot()), reason);
                task.told_sick = true;
            }
            Some(TargetHealth::Healthy) => task.told_sick = false,
            _ => {}
        }
        let unhealthy = task.fails_its_own_checks();
        if unhealthy && !task.told_unhealthy {
            service.events.container_unhealthy(id);
        }
        task.told_unhealthy = unhealthy;
    }
}
