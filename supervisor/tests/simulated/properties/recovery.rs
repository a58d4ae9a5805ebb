//! Once nothing fails any more: everything comes to what is wanted, then to rest, and then to nothing when it is deleted.

use std::time::Duration;

use coracle_supervisor::model::deployment::RolloutState;
use coracle_supervisor::model::service::{ServiceRecord, ServiceStatus};
use coracle_supervisor::model::task::{TaskRecord, TaskStatus};
use coracle_supervisor::store::Store;
use coracle_supervisor::testing::{Faults, Load};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::operations::{last, parsed};
use super::{NAMES, Run};
use crate::store::StoreFaults;

/// By then every deployment is over: the longest wait of the throttle, hooks that are waited for, protection that ends.
const OVER_WITHIN: Duration = Duration::from_secs(3600);
/// By then a service that scales to zero sleeps, also where a task of it was protected for some minutes; a standalone task that hung where its images were loaded
/// has been given up after the ten minutes that it has for them; and what ended has been written.
const AT_REST_WITHIN: Duration = Duration::from_secs(700);
/// By then a task that was told to stop is over, also one whose container never answers: the 30 s of its `stopTimeout`, the 10 s that a driver may take beyond
/// them, and a moment to write it.
const STOPPED_WITHIN: Duration = Duration::from_secs(45);
/// In it nothing is written.
const REST: Duration = Duration::from_secs(600);
/// One run of so many also waits until nobody remembers anything.
const FORGETFUL: u64 = 20;
/// What is left of what was deleted.
const REMNANTS: [&str; 6] =
    ["cluster/", "family/", "task-definition/", "node/", "usage/", "session/inactive-service/"];

impl Run {
    pub(super) async fn recover(&mut self) {
        self.world.driver.set_faults(|faults| {
            let lifetimes = [("job.wasm".to_owned(), (Duration::from_secs(20), 0))].into();
            *faults = Faults { latency: Duration::from_millis(10), lifetimes, ..Faults::default() };
        });
        self.world.driver.set_load(Load::default());
        self.troubles.set(StoreFaults::default());
        self.hooks.oblige();
        for name in NAMES {
            let target = json!({"ServiceNamespace": "ecs", "ResourceId": format!("service/default/{name}"),
                "ScalableDimension": "ecs:service:DesiredCount"});
            // Where there is one.
            self.world.supervisor.deregister_scalable_target(parsed(target)).await.ok();
        }
        self.until_over("after the failures").await;
        self.begin_again_what_was_given_up().await;
        self.until_over("after beginning again").await;
        self.check("in the end").await;
        self.check_services().await;
        self.until_stopped().await;
        self.rest().await;
        self.delete_everything().await;
    }

    /// Waits until every deployment is over and every service is whole.
    async fn until_over(&mut self, when: &str) {
        let deadline = Instant::now() + OVER_WITHIN;
        let mut pause = Duration::from_millis(100);
        loop {
            for name in NAMES {
                self.world.driver.knock(name);
            }
            let mut missing = None;
            for name in NAMES {
                missing = missing.or(self.missing(name).await);
            }
            let Some(missing) = missing else { return };
            self.require(Instant::now() < deadline, || format!("{when}: {missing}"));
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
            self.check(when).await;
        }
    }

    /// What is not as it will be.
    async fn missing(&self, name: &str) -> Option<String> {
        let record = self.record(name).await?;
        if record.status == ServiceStatus::Draining {
            return Some(format!("{name} is still being deleted: {:#?}", self.tasks_of(name).await));
        }
        let state = record.primary().rollout_state;
        if state == RolloutState::InProgress || !record.service_deployment.is_over() {
            return Some(format!(
                "the deployment of {name} is not over: {record:#?} {:#?}",
                self.tasks_of(name).await
            ));
        }
        if state == RolloutState::Completed && !self.is_whole(&record).await {
            return Some(format!("{name} is not whole: {record:#?} {:#?}", self.tasks_of(name).await));
        }
        None
    }

    async fn tasks_of(&self, name: &str) -> Vec<(TaskRecord, Option<TaskStatus>)> {
        let mut tasks = Vec::new();
        for entry in self.world.store.range(&format!("session/task/default/{name}/")).await.unwrap() {
            let record: TaskRecord = serde_json::from_slice(&entry.value).unwrap();
            let status =
                self.world.store.get(&format!("session/status/default/{}", record.id)).await.unwrap();
            tasks.push((record, status.map(|status| serde_json::from_slice(&status.value).unwrap())));
        }
        tasks
    }

    async fn events_of(&self, name: &str) -> Vec<String> {
        let entries = self.world.store.range(&format!("session/event/default/{name}/")).await.unwrap();
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).collect()
    }

    /// Exactly as many tasks as are wanted, all healthy and of the one deployment that there is.
    async fn is_whole(&self, record: &ServiceRecord) -> bool {
        let tasks = self.tasks_of(record.name.as_str()).await;
        let published = record.publication.is_some();
        record.deployments.len() == 1
            && tasks.len() == usize::try_from(record.desired_count).unwrap()
            && tasks.iter().all(|(task, status)| {
                task.service.as_ref().is_some_and(|service| service.deployment == record.primary().id)
                    && status.as_ref().is_some_and(|status| status.is_healthy(published))
            })
    }

    /// A deployment that was given up with nothing to go back to stays so until a person does something.
    async fn begin_again_what_was_given_up(&mut self) {
        for name in NAMES {
            let Some(record) = self.record(name).await else { continue };
            if record.primary().rollout_state == RolloutState::Failed {
                // Without hooks that wait for somebody.
                let configuration =
                    json!({"strategy": "ROLLING", "minimumHealthyPercent": 0, "maximumPercent": 200});
                let request = parsed(json!({
                    "service": name, "forceNewDeployment": true, "deploymentConfiguration": configuration,
                }));
                self.world.supervisor.update_service(request).await.unwrap();
            }
        }
    }

    async fn check_services(&self) {
        let mut wanted = 0;
        for name in NAMES {
            let Some(record) = self.record(name).await else { continue };
            self.require(record.primary().rollout_state == RolloutState::Completed, || {
                format!("{record:#?}")
            });
            let described = self.world.service(name).await;
            let revision = record.primary().task_definition.to_string();
            self.require(last(&described.task_definition) == revision, || format!("{described:#?}"));
            let counts = (described.running_count, described.pending_count, described.deployments.len());
            self.require(counts == (record.desired_count, 0, 1), || format!("{described:#?}"));
            for task in self.world.running(name).await {
                let task = self.world.task(&task).await;
                self.require(last(&task.task_definition_arn) == revision, || format!("{task:#?}"));
            }
            wanted += record.desired_count;
        }
        let standalone = self.keys("task/").await.len();
        let wanted = usize::try_from(wanted).unwrap();
        let there = self.world.driver.tasks().len();
        // A scheduled task may be about to start or to end.
        self.require((wanted..=wanted + standalone).contains(&there), || {
            format!("{there} tasks where {wanted} are wanted, and {standalone} others")
        });
    }

    /// Whole services are no sign that standalone tasks have had their time: the last step may have told one to stop.
    async fn until_stopped(&mut self) {
        let deadline = Instant::now() + STOPPED_WITHIN;
        let told = self.reference.tasks.iter().filter(|(_, stopped)| **stopped);
        let told: Vec<String> = told.map(|(arn, _)| last(arn)).collect();
        loop {
            let live = self.keys("task/").await;
            let runs = |id: &&String| live.iter().any(|key| key.ends_with(id.as_str()));
            let Some(left) = told.iter().find(runs) else { return };
            self.require(Instant::now() < deadline, || format!("task {left} was told to stop and runs"));
            sleep(Duration::from_secs(1)).await;
            self.check("while tasks stop").await;
        }
    }

    /// What is as it should be is left alone.
    async fn rest(&mut self) {
        for schedule in self.keys("schedule/").await {
            let request = parsed(json!({"Name": schedule.strip_prefix("schedule/").unwrap()}));
            self.world.supervisor.delete_schedule(request).await.unwrap();
        }
        self.reference.schedules.clear();
        sleep(AT_REST_WITHIN).await;
        self.check("on the way to rest").await;
        self.troubles.take_seen();
        sleep(REST).await;
        let writes = self.troubles.take_seen().writes;
        // What tasks use goes on, and what ended is forgotten after its hour.
        let is_work = |key: &&String| !key.starts_with("usage/") && !key.contains("stopped-task/");
        let work: Vec<&String> = writes.iter().filter(is_work).collect();
        if !work.is_empty() {
            let mut services = Vec::new();
            for name in NAMES {
                services.push((self.record(name).await, self.events_of(name).await));
            }
            self.require(false, || format!("at rest there were written {work:#?} {services:#?}"));
        }
    }

    async fn delete_everything(&mut self) {
        let supervisor = self.world.supervisor.clone();
        for name in NAMES {
            if self.record(name).await.is_some() {
                supervisor.delete_service(parsed(json!({"service": name, "force": true}))).await.unwrap();
            }
            self.reference.services.clear();
        }
        for task in self.keys("task/").await {
            supervisor.stop_task(parsed(json!({"task": last(&task)}))).await.unwrap();
        }
        for secret in self.keys("secret/").await {
            let name = secret.strip_prefix("secret/").unwrap();
            let request = parsed(json!({"SecretId": name, "ForceDeleteWithoutRecovery": true}));
            supervisor.delete_secret(request).await.unwrap();
        }
        self.reference.secrets.clear();
        sleep(AT_REST_WITHIN).await;
        self.check("after everything was deleted").await;
        let left = self.world.driver.tasks();
        self.require(left.is_empty(), || format!("{left:?} outlived everything"));
        let listeners = self.world.driver.listeners();
        self.require(listeners.is_empty(), || format!("{listeners:?} outlived everything"));
        let forgets = self.seed.is_multiple_of(FORGETFUL);
        if forgets {
            sleep(Duration::from_secs(26 * 3600)).await;
        }
        let fades = ["stopped-task/", "session/stopped-task/", "run-token/"];
        let is_left = |key: &&String| {
            let may_fade = !forgets && fades.iter().any(|prefix| key.starts_with(prefix));
            !may_fade && !REMNANTS.iter().any(|prefix| key.starts_with(prefix))
        };
        let keys = self.keys("").await;
        let left: Vec<&String> = keys.iter().filter(is_left).collect();
        self.require(left.is_empty(), || format!("what was deleted left {left:#?}"));
    }
}
