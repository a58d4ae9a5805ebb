//! StartTask: standalone tasks on nodes that the caller chose.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, RunTaskRequest, RunTaskResponse, bounded};
use crate::error::OperationError;
use crate::model::service::PropagateTags;
use crate::model::tags::Tag;
use crate::model::task::TaskOverride;
use crate::supervisor::Supervisor;

/// ECS: "You can specify up to 10 container instances."
const MAX_INSTANCES: usize = 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StartTaskRequest {
    pub task_definition: String,
    pub container_instances: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<TaskOverride>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<PropagateTags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_execute_command: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "enableECSManagedTags")]
    pub enable_ecs_managed_tags: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_configurations: Option<Value>,
}

impl Supervisor {
    /// Starts a task on each node named; those that are not there are failures of their own.
    pub async fn start_task(&self, request: StartTaskRequest) -> Result<RunTaskResponse, OperationError> {
        bounded("containerInstances", request.container_instances.len(), MAX_INSTANCES)?;
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let here = |instance: &&String| instance.rsplit('/').next() == Some(self.node().as_str());
        let (here, elsewhere): (Vec<&String>, Vec<&String>) =
            request.container_instances.iter().partition(here);
        let failures = elsewhere.into_iter().map(|instance| {
            let arn = match instance.starts_with("arn:") {
                true => instance.clone(),
                false => format!(
                    "{}/{instance}",
                    self.identity().cluster(&cluster).replace(":cluster/", ":container-instance/")
                ),
            };
            Failure::missing(arn)
        });
        let mut failures: Vec<Failure> = failures.collect();
        if here.is_empty() {
            // What is wrong with the request is told all the same.
            self.records().cluster(&cluster).await?;
            self.usable_task_definition(&request.task_definition).await?;
            return Ok(RunTaskResponse { tasks: Vec::new(), failures });
        }
        let run = RunTaskRequest {
            count: i64::try_from(here.len()).ok(),
            task_definition: request.task_definition,
            cluster: request.cluster,
            overrides: request.overrides,
            started_by: request.started_by,
            group: request.group,
            tags: request.tags,
            propagate_tags: request.propagate_tags,
            enable_execute_command: request.enable_execute_command,
            ..RunTaskRequest::default()
        };
        let here = self.run_task(run).await?;
        failures.extend(here.failures);
        Ok(RunTaskResponse { tasks: here.tasks, failures })
    }
}
