//! Doing what was planned: orders to the store.

use std::sync::Arc;

use super::picture::{SeenTask, ServicePicture};
use super::plan::Plan;
use super::{BACKGROUND_RETRY, Done, MAX_INACTIVE, Scheduler};
use crate::error::OperationError;
use crate::model::names::TaskId;
use crate::model::service::{PropagateTags, RolloutState, ServiceRecord, ServiceStatus};
use crate::model::task::{ServiceMembership, StopCode, StopOrder, TargetHealth, TaskOverride, TaskRecord};
use crate::operations::TaskDefinitionRecord;
use crate::records::{ServiceKey, encode, keys};
use crate::store::{StoreError, Transaction};
use crate::supervisor::Shared;

impl Scheduler {
    pub(super) async fn carry_out(&mut self, key: &ServiceKey, plan: Plan) -> Result<(), StoreError> {
        let group = self.shared.config.identity.target_group(&key.cluster, &key.name);
        let started = self.start_tasks(key, plan.start).await?;
        let Some(service) = self.services.get_mut(key) else { return Ok(()) };
        let Some(record) = &service.record else { return self.retire_orphans(key).await };
        if !started.is_empty() {
            service.events.started(&started);
        }
        let deployment = record.primary().id.clone();
        let retired = StopOrder {
            code: StopCode::ServiceSchedulerInitiated,
            reason: format!("Scaling activity initiated by (deployment {deployment})"),
        };
        let sick = |reason| StopOrder { code: StopCode::ServiceSchedulerInitiated, reason };
        let sick_inside = sick("Task failed container health checks".to_owned());
        let sick_outside = sick(format!("Task failed ELB health checks in (target-group {group})"));
        let is_sick_inside =
            |id: &&TaskId| service.tasks.get(*id).is_some_and(SeenTask::fails_its_own_checks);
        let (inside, outside): (Vec<TaskId>, Vec<TaskId>) =
            plan.replace_sick.iter().cloned().partition(|id| is_sick_inside(&id));
        for (tasks, order) in [(&plan.retire, retired), (&inside, sick_inside), (&outside, sick_outside)] {
            stop_tasks(&self.shared, key, service, tasks, &order).await?;
        }
        note_stops(service, &plan, &group);
        note_sick(service, &group);
        if plan.blocked {
            service.events.blocked();
        }
        if plan.steady && !service.steady {
            service.events.steady();
        }
        service.steady = plan.steady;
        self.settle(key, plan.steady, plan.gone);
        self.write_observations(key, &group).await
    }

    async fn start_tasks(&mut self, key: &ServiceKey, count: u32) -> Result<Vec<TaskId>, StoreError> {
        let Some(record) = self.services.get(key).and_then(|service| service.record.as_ref()) else {
            return Ok(Vec::new());
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let template = template(&self.shared, record).await?;
        let tasks: Vec<TaskRecord> = (0..count)
            .map(|_| TaskRecord { id: self.shared.random(TaskId::random), ..template.clone() })
            .collect();
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
        stop_tasks(&self.shared, key, service, &tasks, &order).await
    }

    /// Durable changes that follow from what was seen: a deployment is complete, an old one has no tasks left, a deleted service is gone.
    fn settle(&mut self, key: &ServiceKey, steady: bool, gone: bool) {
        let Some(service) = self.services.get_mut(key) else { return };
        let Some(record) = &service.record else { return };
        if service.writing {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let notify = key.clone();
        if gone {
            service.writing = true;
            self.inactive.push_back(key.clone());
            let forget = if self.inactive.len() > MAX_INACTIVE { self.inactive.pop_front() } else { None };
            self.background.spawn(async move {
                let ended = end_service(&shared, &notify, forget.as_ref()).await;
                finished(notify, ended).await
            });
            return;
        }
        if let Some(publication) = record.publication.clone()
            && shared.ingress.endpoint(key).is_none()
        {
            // After a restart: a service that was just created is published before it is written.
            service.writing = true;
            self.background.spawn(async move {
                let problem = match shared.ingress.publish(&notify, &publication).await {
                    Ok(_) => None,
                    Err(error) => {
                        tokio::time::sleep(BACKGROUND_RETRY).await;
                        Some(format!("was unable to listen: {error}."))
                    }
                };
                Done { key: notify, problem }
            });
            return;
        }
        let primary = record.primary();
        let completed = steady && primary.rollout_state == RolloutState::InProgress;
        let empty: Vec<String> = record.deployments[1..]
            .iter()
            .filter(|old| {
                service
                    .tasks
                    .values()
                    .all(|task| task.record.service.as_ref().is_none_or(|member| member.deployment != old.id))
            })
            .map(|old| old.id.clone())
            .collect();
        if !completed && empty.is_empty() {
            return;
        }
        let completed = completed.then(|| primary.id.clone());
        if let Some(id) = &completed {
            service.events.completed(id);
        }
        service.writing = true;
        self.background.spawn(async move {
            let settled = settle_deployments(&shared, &notify, completed, &empty).await;
            finished(notify, settled).await
        });
    }

    async fn write_observations(&mut self, key: &ServiceKey, group: &str) -> Result<(), StoreError> {
        let Some(service) = self.services.get_mut(key) else { return Ok(()) };
        let mut write = service.events.flush(key, group, self.shared.now());
        if std::mem::take(&mut service.failed_more) {
            write = write.put(keys::failed_tasks(key), encode(&service.failed_tasks));
        }
        if !write.ops.is_empty() {
            self.shared.records.commit(write).await?;
        }
        Ok(())
    }
}

/// The end of a background write. One that failed is tried again after a pause.
async fn finished(key: ServiceKey, result: Result<(), OperationError>) -> Done {
    if let Err(error) = result {
        tracing::error!(%error, service = %key.name, "cannot record a service's progress");
        tokio::time::sleep(BACKGROUND_RETRY).await;
    }
    Done { key, problem: None }
}

/// What all new tasks of a service have in common. The node is chosen here: there is one now.
async fn template(shared: &Shared, record: &ServiceRecord) -> Result<TaskRecord, StoreError> {
    let primary = record.primary();
    let key = keys::task_definition(&primary.task_definition);
    let definition = shared.records.get::<TaskDefinitionRecord>(&key).await?.map(|found| found.value);
    let tags = match record.propagate_tags {
        PropagateTags::None => Vec::new(),
        PropagateTags::Service => record.tags.clone(),
        PropagateTags::TaskDefinition => {
            definition.as_ref().map(|definition| definition.tags.clone()).unwrap_or_default()
        }
    };
    Ok(TaskRecord {
        id: shared.random(TaskId::random),
        cluster: record.cluster.clone(),
        task_definition: primary.task_definition.clone(),
        overrides: TaskOverride::default(),
        service: Some(ServiceMembership {
            name: record.name.clone(),
            deployment: primary.id.clone(),
            publication: record.publication.clone(),
            port: definition.and_then(|record| record.definition.content.traffic_port()),
        }),
        group: format!("service:{}", record.name),
        started_by: Some(primary.id.clone()),
        launch_type: record.launch_type,
        node: shared.node.clone(),
        created_at: shared.now(),
        tags,
        stop: None,
        enable_execute_command: record.enable_execute_command,
    })
}

async fn stop_tasks(
    shared: &Shared,
    key: &ServiceKey,
    service: &mut ServicePicture,
    tasks: &[TaskId],
    order: &StopOrder,
) -> Result<(), StoreError> {
    for id in tasks {
        let stop = |record: &mut TaskRecord| {
            if record.stop.is_some() {
                return Ok(None);
            }
            record.stop = Some(order.clone());
            Ok(Some(()))
        };
        let gone = || OperationError::ResourceNotFound;
        match shared.records.update(&keys::service_task(key, id), gone, stop).await {
            Ok(_) | Err(OperationError::ResourceNotFound) => {}
            Err(OperationError::Store(error)) => return Err(error),
            Err(error) => {
                // Others keep changing the order. Each of their changes marks the service, so that this is tried again.
                tracing::warn!(%error, task = %id, "cannot order a task to stop");
                continue;
            }
        }
        if let Some(task) = service.tasks.get_mut(id) {
            task.record.stop = Some(order.clone());
        }
    }
    Ok(())
}

fn note_stops(service: &mut ServicePicture, plan: &Plan, group: &str) {
    let stopped: Vec<TaskId> = plan.retire.iter().chain(&plan.replace_sick).cloned().collect();
    if stopped.is_empty() {
        return;
    }
    let targets = stopped
        .iter()
        .filter(|id| service.tasks.get(id).is_some_and(|task| task.status.target.is_some()))
        .count();
    if targets > 0 {
        service.events.deregistered(targets, group);
        service.events.draining(targets);
    }
    service.events.stopped(&stopped);
}

fn note_sick(service: &mut ServicePicture, group: &str) {
    for (id, task) in &mut service.tasks {
        match &task.status.target {
            Some(TargetHealth::Unhealthy { reason }) if !task.told_sick => {
                let port = task.record.service.as_ref().and_then(|service| service.port);
                service.events.unhealthy(id, port, group, reason);
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

/// Closes the listener and moves the service's record to those that are INACTIVE.
async fn end_service(
    shared: &Shared,
    key: &ServiceKey,
    forget: Option<&ServiceKey>,
) -> Result<(), OperationError> {
    shared.ingress.unpublish(key).await;
    let Some(found) = shared.records.service(key).await? else { return Ok(()) };
    if found.value.status != ServiceStatus::Draining {
        return Ok(());
    }
    let mut record = found.value;
    record.status = ServiceStatus::Inactive;
    let seen = crate::view::ServiceObservation {
        tasks: &[],
        events: shared.records.events(key).await?,
        failed_tasks: shared.records.failed_tasks(key).await?,
        load_balancer: None,
    };
    let inactive = crate::view::service(&shared.config.identity, &record, seen);
    let mut tidy = Transaction::new()
        .put(keys::inactive_service(key), encode(&inactive))
        .delete(keys::failed_tasks(key));
    for event in shared.records.store.range(&keys::events(key)).await? {
        tidy = tidy.delete(&*event.key);
    }
    if let Some(forgotten) = forget {
        tidy = tidy.delete(keys::inactive_service(forgotten));
    }
    // First the INACTIVE one, then the end of the other: there is no moment in which the service is unknown.
    shared.records.commit(tidy).await?;
    shared.records.commit(Transaction::new().delete(keys::service(key))).await?;
    Ok(())
}

async fn settle_deployments(
    shared: &Shared,
    key: &ServiceKey,
    completed: Option<String>,
    empty: &[String],
) -> Result<(), OperationError> {
    let now = shared.now();
    let settle = |record: &mut ServiceRecord| {
        let primary = record.primary().id.clone();
        record.deployments.retain(|deployment| deployment.id == primary || !empty.contains(&deployment.id));
        for deployment in &mut record.deployments {
            if Some(&deployment.id) == completed.as_ref() {
                deployment.rollout_state = RolloutState::Completed;
                deployment.updated_at = now;
            }
        }
        Ok(Some(()))
    };
    match shared.records.update(&keys::service(key), || OperationError::ServiceNotFound, settle).await {
        Ok(_) | Err(OperationError::ServiceNotFound) => Ok(()),
        Err(error) => Err(error),
    }
}
