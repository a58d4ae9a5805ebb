//! Amazon ECS: its operations' names, and what they are here.

use async_trait::async_trait;
use bytes::Bytes;
use coracle_supervisor::{OperationError, Supervisor};
use serde::{Serialize, de::DeserializeOwned};

use crate::{ApiError, Service, json};

/// ECS over a supervisor.
#[derive(Debug, Clone)]
pub struct Ecs(Supervisor);

impl Ecs {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl Service for Ecs {
    fn target_prefix(&self) -> &'static str {
        "AmazonEC2ContainerServiceV20141113"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let s = &self.0;
        match operation {
            "ContinueServiceDeployment" => run(&body, |input| s.continue_service_deployment(input)).await,
            "CreateCluster" => run(&body, |input| s.create_cluster(input)).await,
            "CreateService" => run(&body, |input| s.create_service(input)).await,
            "DeleteCluster" => run(&body, |input| s.delete_cluster(input)).await,
            "DeleteService" => run(&body, |input| s.delete_service(input)).await,
            "DeregisterTaskDefinition" => run(&body, |input| s.deregister_task_definition(input)).await,
            "DescribeClusters" => run(&body, |input| s.describe_clusters(input)).await,
            "DescribeServiceDeployments" => run(&body, |input| s.describe_service_deployments(input)).await,
            "DescribeServiceRevisions" => run(&body, |input| s.describe_service_revisions(input)).await,
            "DescribeServices" => run(&body, |input| s.describe_services(input)).await,
            "DescribeTaskDefinition" => run(&body, |input| s.describe_task_definition(input)).await,
            "DescribeTasks" => run(&body, |input| s.describe_tasks(input)).await,
            "ExecuteCommand" => run(&body, |input| s.execute_command(input)).await,
            "GetTaskProtection" => run(&body, |input| s.get_task_protection(input)).await,
            "ListClusters" => run(&body, |input| s.list_clusters(input)).await,
            "ListServiceDeployments" => run(&body, |input| s.list_service_deployments(input)).await,
            "ListServices" => run(&body, |input| s.list_services(input)).await,
            "ListTagsForResource" => run(&body, |input| s.list_tags_for_resource(input)).await,
            "ListTaskDefinitionFamilies" => run(&body, |input| s.list_task_definition_families(input)).await,
            "ListTaskDefinitions" => run(&body, |input| s.list_task_definitions(input)).await,
            "ListTasks" => run(&body, |input| s.list_tasks(input)).await,
            "RegisterTaskDefinition" => run(&body, |input| s.register_task_definition(input)).await,
            "RunTask" => run(&body, |input| s.run_task(input)).await,
            "StartTask" => run(&body, |input| s.start_task(input)).await,
            "StopServiceDeployment" => run(&body, |input| s.stop_service_deployment(input)).await,
            "StopTask" => run(&body, |input| s.stop_task(input)).await,
            "TagResource" => run(&body, |input| s.tag_resource(input)).await,
            "UntagResource" => run(&body, |input| s.untag_resource(input)).await,
            "UpdateService" => run(&body, |input| s.update_service(input)).await,
            "UpdateTaskProtection" => run(&body, |input| s.update_task_protection(input)).await,
            _ => Err(ApiError::unknown_operation(operation)),
        }
    }
}

/// One operation: parse, do, write the answer.
pub(crate) async fn run<Input, Output, Done>(
    body: &[u8],
    operation: impl FnOnce(Input) -> Done,
) -> Result<Bytes, ApiError>
where
    Input: DeserializeOwned,
    Output: Serialize,
    Done: Future<Output = Result<Output, OperationError>>,
{
    json::render(&operation(json::parse(body)?).await?)
}
