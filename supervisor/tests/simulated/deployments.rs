//! Deployments that fail, that are stopped, and that run two revisions side by side.

mod circuit_breaker;
mod history;
mod side_by_side;

use coracle_supervisor::OperationError;
use coracle_supervisor::model::service::Service;
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::world::World;

impl World {
    /// A service of four tasks of a first revision that is good, steady.
    async fn deployed(&self, configuration: Value, tags: &[(&str, &str)]) {
        self.revision("good.wasm").await;
        let mut request = self.service_request("web", 4, tags);
        request.deployment_configuration = Some(serde_json::from_value(configuration).unwrap());
        self.supervisor.create_service(request).await.unwrap();
        self.until_steady("web").await;
    }

    /// Registers the next revision of `web`.
    async fn revision(&self, image: &str) -> String {
        let app = json!({"name": "app", "image": image, "portMappings": [{"containerPort": 8080}]});
        self.define(json!({"family": "web", "containerDefinitions": [app]})).await
    }

    /// Begins to roll `web` out to a new revision of this image, and gives the deployment's ARN.
    async fn roll_out(&self, image: &str) -> String {
        let task_definition = Some(self.revision(image).await);
        let request = UpdateServiceRequest {
            service: "web".to_owned(),
            task_definition,
            ..UpdateServiceRequest::default()
        };
        self.supervisor.update_service(request).await.unwrap();
        self.service_deployments().await.remove(0).service_deployment_arn
    }

    /// Newest first.
    async fn service_deployments(&self) -> Vec<ServiceDeploymentBrief> {
        let request = ListServiceDeploymentsRequest {
            service: "web".to_owned(),
            ..ListServiceDeploymentsRequest::default()
        };
        self.supervisor.list_service_deployments(request).await.unwrap().service_deployments
    }

    async fn service_deployment(&self, arn: &str) -> ServiceDeployment {
        let request = DescribeServiceDeploymentsRequest { service_deployment_arns: vec![arn.to_owned()] };
        let mut response = self.supervisor.describe_service_deployments(request).await.unwrap();
        response.service_deployments.pop().expect("the deployment exists")
    }

    async fn stop_deployment(&self, arn: &str) -> Result<ServiceDeploymentArn, OperationError> {
        let request = StopServiceDeploymentRequest {
            service_deployment_arn: arn.to_owned(),
            ..StopServiceDeploymentRequest::default()
        };
        self.supervisor.stop_service_deployment(request).await
    }
}

/// Revision of the task definition that a service's PRIMARY deployment has.
fn revision_of(service: &Service) -> &str {
    service.task_definition.rsplit(':').next().expect("a revision")
}
