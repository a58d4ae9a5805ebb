//! RunTask, StopTask, DescribeTasks, ListTasks.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::host_ports::copies_with_free_ports;
use super::{Failure, bounded, fields, page};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::capacity::Strategy;
use crate::model::names::{ClusterName, Family, TaskId};
use crate::model::service::{LaunchType, PropagateTags};
use crate::model::tags::{self, Tag};
use crate::model::task;
use crate::model::task::{DesiredStatus, StopCode, StopOrder, Task, TaskOverride, TaskRecord};
use crate::model::task_definition::{TaskDefinition, TaskDefinitionId};
use crate::records::{KnownTask, encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;
use crate::view;

/// ECS: "You can specify up to 10 tasks for each call."
pub const MAX_RUN_COUNT: i64 = 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RunTaskRequest {
    pub task_definition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<TaskOverride>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<PropagateTags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_execute_command: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_provider_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_constraints: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_configurations: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunTaskResponse {
    pub tasks: Vec<Task>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopTaskRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub task: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopTaskResponse {
    pub task: Task,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeTasksRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub tasks: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribeTasksResponse {
    pub tasks: Vec<Task>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListTasksRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_status: Option<DesiredStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksResponse {
    pub task_arns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// What a RunTask with a client token started, to answer a repetition of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunToken {
    pub(crate) at: Timestamp,
    tasks: Vec<TaskId>,
}

impl Supervisor {
    /// Starts one to ten standalone tasks. Nothing brings them back when they end.
    pub async fn run_task(&self, request: RunTaskRequest) -> Result<RunTaskResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let count = request.count.unwrap_or(1);
        if !(1..=MAX_RUN_COUNT).contains(&count) {
            return Err(OperationError::invalid(format!("count must be 1 to {MAX_RUN_COUNT}, not {count}.")));
        }
        tags::validate(&request.tags)?;
        let token = fields::client_token(request.client_token)?;
        let started_by = fields::started_by(request.started_by)?;
        let strategy =
            self.strategy(&cluster, request.launch_type, request.capacity_provider_strategy.as_ref()).await?;
        if let Some(token) = &token
            && let Some(earlier) = self.started_with(&cluster, token).await?
        {
            return Ok(earlier);
        }
        let definition = self.usable_task_definition(&request.task_definition).await?;
        let overrides = request.overrides.unwrap_or_default().parse(&definition.definition.content)?;
        self.check_runnable(&definition.definition, None).await?;

        let id = definition.definition.id();
        let mut task_tags = request.tags;
        if request.propagate_tags == Some(PropagateTags::TaskDefinition) {
            task_tags = tags::merged(&definition.tags, task_tags);
        }
        let template = TaskRecord {
            id: self.new_task_id(),
            cluster: cluster.clone(),
            task_definition: id.clone(),
            overrides,
            service: None,
            group: request.group.unwrap_or_else(|| format!("family:{}", id.family)),
            started_by,
            launch_type: match strategy {
                Some(_) => LaunchType::Fargate,
                None => request.launch_type.unwrap_or_default(),
            },
            capacity_provider: None,
            node: self.node().clone(),
            created_at: self.now(),
            tags: task_tags,
            stop: None,
            enable_execute_command: request.enable_execute_command.unwrap_or_default(),
            protection: None,
        };
        let count = usize::try_from(count).unwrap_or_default();
        let placed = copies_with_free_ports(self.shared(), &definition.definition, count).await?;
        let failures = (placed..count).map(|_| self.no_free_ports(&cluster)).collect();
        if placed == 0 {
            // Nothing to repeat: the same request with the same token is a new try.
            return Ok(RunTaskResponse { tasks: Vec::new(), failures });
        }
        let mut tasks: Vec<TaskRecord> = Vec::new();
        for _ in 0..placed {
            let has = |provider| {
                let of = tasks.iter().filter(|task| task.capacity_provider == Some(provider));
                u32::try_from(of.count()).unwrap_or(u32::MAX)
            };
            let capacity_provider = strategy.as_ref().map(|strategy| strategy.next(has));
            tasks.push(TaskRecord { id: self.new_task_id(), capacity_provider, ..template.clone() });
        }
        self.commit_run(&cluster, token, &tasks).await?;
        let view = |record: &TaskRecord| {
            let task = KnownTask { record: record.clone(), status: task::TaskStatus::default() };
            view::task(self.identity(), &task, Some(&definition.definition))
        };
        Ok(RunTaskResponse { tasks: tasks.iter().map(view).collect(), failures })
    }

    /// What decides on the capacity of new tasks: the strategy that was given, else the cluster's own unless there is a launch type.
    pub(super) async fn strategy(
        &self,
        cluster: &ClusterName,
        launch_type: Option<LaunchType>,
        given: Option<&Value>,
    ) -> Result<Option<Strategy>, OperationError> {
        let cluster = self.records().cluster(cluster).await?;
        let given = given.map(Strategy::parse).transpose()?.flatten();
        match (launch_type, given) {
            (Some(_), Some(_)) => Err(OperationError::invalid(
                "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
            )),
            (Some(_), None) => Ok(None),
            (None, Some(strategy)) => Ok(Some(strategy)),
            (None, None) => {
                let default = cluster.stored.default_capacity_provider_strategy;
                Ok(default.as_ref().map(Strategy::parse).transpose()?.flatten())
            }
        }
    }

    async fn commit_run(
        &self,
        cluster: &ClusterName,
        token: Option<String>,
        tasks: &[TaskRecord],
    ) -> Result<(), OperationError> {
        let mut run = Transaction::new().when(Compare::Exists(keys::cluster(cluster)));
        for task in tasks {
            run = run.put(keys::standalone_task(cluster, &task.id), encode(task));
        }
        if let Some(token) = token {
            let key = keys::run_token(cluster, &token);
            let record =
                RunToken { at: self.now(), tasks: tasks.iter().map(|task| task.id.clone()).collect() };
            run = run.when(Compare::Absent(key.clone())).put(key, encode(&record));
        }
        match self.records().commit(run).await? {
            Outcome::Committed(_) => Ok(()),
            Outcome::Conflict(Compare::Exists(_)) => Err(OperationError::ClusterNotFound),
            Outcome::Conflict(_) => Err(OperationError::Conflict),
        }
    }

    async fn started_with(
        &self,
        cluster: &ClusterName,
        token: &str,
    ) -> Result<Option<RunTaskResponse>, OperationError> {
        let Some(run) = self.records().get::<RunToken>(&keys::run_token(cluster, token)).await? else {
            return Ok(None);
        };
        let mut tasks = Vec::new();
        for id in &run.value.tasks {
            tasks.extend(self.records().task(cluster, id).await?);
        }
        Ok(Some(RunTaskResponse { tasks: self.view_tasks(&tasks).await?, failures: Vec::new() }))
    }

    /// Orders a task to stop and answers at once. A service replaces it.
    pub async fn stop_task(&self, request: StopTaskRequest) -> Result<StopTaskResponse, OperationError> {
        const MAX_REASON: usize = 1024;
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let id = self.identity().parse_task(&cluster, &request.task)?;
        if request.reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(OperationError::invalid(format!("reason can have at most {MAX_REASON} characters.")));
        }
        let order = StopOrder {
            code: StopCode::UserInitiated,
            reason: request.reason.unwrap_or_else(|| "Task stopped by user".to_owned()),
        };
        self.records().cluster(&cluster).await?;
        let missing = || OperationError::invalid("The referenced task was not found.");
        if let Some((key, _)) = self.records().live_task(&cluster, &id).await? {
            let stop = |record: &mut TaskRecord| {
                if record.stop.is_some() {
                    return Ok(None);
                }
                record.stop = Some(order.clone());
                Ok(Some(()))
            };
            match self.records().update(&key, missing, stop).await {
                // It ended by itself meanwhile: what is shown below says how.
                Ok(_) | Err(OperationError::InvalidParameter(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let task = self.records().task(&cluster, &id).await?.ok_or_else(missing)?;
        let mut tasks = self.view_tasks(std::slice::from_ref(&task)).await?;
        tasks.pop().map(|task| StopTaskResponse { task }).ok_or_else(missing)
    }

    /// Describes up to 100 tasks.
    pub async fn describe_tasks(
        &self,
        request: DescribeTasksRequest,
    ) -> Result<DescribeTasksResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let with_tags = fields::includes(&request.include, &["TAGS"], "TAGS")?;
        bounded("Tasks", request.tasks.len(), 100)?;
        self.records().cluster(&cluster).await?;
        let mut found = Vec::new();
        let mut failures = Vec::new();
        for reference in &request.tasks {
            let id = self.identity().parse_task(&cluster, reference)?;
            match self.records().task(&cluster, &id).await? {
                Some(task) => found.push(task),
                None => failures.push(Failure::missing(self.identity().task(&cluster, &id))),
            }
        }
        let mut tasks = self.view_tasks(&found).await?;
        if !with_tags {
            tasks.iter_mut().for_each(|task| task.tags.clear());
        }
        Ok(DescribeTasksResponse { tasks, failures })
    }

    /// Lists ARNs of tasks; those that should run unless asked otherwise.
    pub async fn list_tasks(&self, request: ListTasksRequest) -> Result<ListTasksResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let family = request.family.as_deref().map(Family::parse).transpose()?;
        let service = request.service_name.as_deref();
        let service = service.map(|name| self.identity().parse_service(&cluster, name)).transpose()?;
        let desired = request.desired_status.unwrap_or_default();
        let node = request.container_instance.as_deref();
        self.records().cluster(&cluster).await?;
        let wanted = |task: &KnownTask| {
            let record = &task.record;
            let record_desired =
                if task.is_over() { DesiredStatus::Stopped } else { record.desired_status() };
            record_desired == desired
                && family.as_ref().is_none_or(|family| record.task_definition.family == *family)
                && service
                    .as_ref()
                    .is_none_or(|name| record.service.as_ref().is_some_and(|service| service.name == *name))
                && request.started_by.as_ref().is_none_or(|by| record.started_by.as_ref() == Some(by))
                && request.launch_type.is_none_or(|launch_type| record.launch_type == launch_type)
                && node.is_none_or(|node| node.rsplit('/').next() == Some(record.node.as_str()))
        };
        let mut arns: Vec<String> = self
            .records()
            .cluster_tasks(&cluster)
            .await?
            .iter()
            .filter(|task| wanted(task))
            .map(|task| self.identity().task(&cluster, &task.record.id))
            .collect();
        arns.sort();
        let page = page(arns, request.next_token.as_deref(), request.max_results, 100, false)?;
        Ok(ListTasksResponse { task_arns: page.items, next_token: page.next_token })
    }

    async fn view_tasks(&self, tasks: &[KnownTask]) -> Result<Vec<Task>, OperationError> {
        let mut definitions: HashMap<TaskDefinitionId, Option<TaskDefinition>> = HashMap::new();
        for task in tasks {
            let id = &task.record.task_definition;
            if !definitions.contains_key(id) {
                definitions.insert(id.clone(), self.records().task_definition(id).await?);
            }
        }
        let definition =
            |task: &KnownTask| definitions.get(&task.record.task_definition).and_then(Option::as_ref);
        Ok(tasks.iter().map(|task| view::task(self.identity(), task, definition(task))).collect())
    }

    pub(super) async fn check_runnable(
        &self,
        definition: &TaskDefinition,
        answers: Option<&str>,
    ) -> Result<(), OperationError> {
        self.driver()
            .check(definition, answers)
            .await
            .map_err(|refusal| OperationError::client(refusal.to_string()))
    }
}
