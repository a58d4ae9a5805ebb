//! ListServiceDeployments, DescribeServiceDeployments, DescribeServiceRevisions, StopServiceDeployment and ContinueServiceDeployment.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Failure;
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::deployment::{
    DeploymentConfiguration, GivenUp, HookAction, HookStatus, HookTargetType, LifecycleStage,
    ServiceDeploymentStatus,
};
use crate::model::names::quoted;
use crate::model::service::{LaunchType, LoadBalancer, RolloutState, ServiceRecord, ServiceStatus};
use crate::model::service_connect::ServiceConnectConfiguration;
use crate::records::ServiceKey;
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListServiceDeploymentsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub service: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<ServiceDeploymentStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<CreatedAt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
}

/// Both ends are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreatedAt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServiceDeploymentsResponse {
    pub service_deployments: Vec<ServiceDeploymentBrief>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeploymentBrief {
    pub service_deployment_arn: String,
    pub service_arn: String,
    pub cluster_arn: String,
    pub started_at: Timestamp,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    pub target_service_revision_arn: String,
    pub status: ServiceDeploymentStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeServiceDeploymentsRequest {
    pub service_deployment_arns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceDeploymentsResponse {
    pub service_deployments: Vec<ServiceDeployment>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeployment {
    pub service_deployment_arn: String,
    pub service_arn: String,
    pub cluster_arn: String,
    pub created_at: Timestamp,
    pub started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub source_service_revisions: Vec<ServiceRevisionSummary>,
    pub target_service_revision: ServiceRevisionSummary,
    pub status: ServiceDeploymentStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_stage: Option<LifecycleStage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifecycle_hook_details: Vec<LifecycleHookDetail>,
    pub deployment_configuration: DeploymentConfiguration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    pub deployment_circuit_breaker: ServiceDeploymentCircuitBreaker,
}

/// How many tasks of a revision there are. Weights are percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRevisionSummary {
    pub arn: String,
    pub requested_task_count: u32,
    pub running_task_count: u32,
    pub pending_task_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_test_traffic_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_production_traffic_weight: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleHookDetail {
    pub hook_id: String,
    pub target_type: HookTargetType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_arn: Option<String>,
    pub status: HookStatus,
    pub expires_at: Timestamp,
    pub timeout_action: HookAction,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    pub reason: String,
    pub started_at: Timestamp,
    pub service_revision_arn: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeploymentCircuitBreaker {
    pub status: MonitorStatus,
    pub failure_count: u32,
    pub threshold: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MonitorStatus {
    Triggered,
    Monitoring,
    MonitoringComplete,
    Disabled,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeServiceRevisionsRequest {
    pub service_revision_arns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceRevisionsResponse {
    pub service_revisions: Vec<ServiceRevisionView>,
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRevisionView {
    pub service_revision_arn: String,
    pub service_arn: String,
    pub cluster_arn: String,
    pub task_definition: String,
    pub launch_type: LaunchType,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<LoadBalancer>,
    pub container_images: Vec<ContainerImage>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_provider_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_registries: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_connect_configuration: Option<ServiceConnectConfiguration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerImage {
    pub container_name: String,
    pub image: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StopServiceDeploymentRequest {
    pub service_deployment_arn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_type: Option<StopType>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopType {
    Abort,
    #[default]
    Rollback,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContinueServiceDeploymentRequest {
    pub service_deployment_arn: String,
    pub hook_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<HookAction>,
}

/// The answer of StopServiceDeployment and ContinueServiceDeployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDeploymentArn {
    pub service_deployment_arn: String,
}

impl Supervisor {
    /// Stops the deployment on its way, and takes the service back to its last completed one.
    pub async fn stop_service_deployment(
        &self,
        request: StopServiceDeploymentRequest,
    ) -> Result<ServiceDeploymentArn, OperationError> {
        let (key, id) = self.parse_service_deployment(&request.service_deployment_arn)?;
        if request.stop_type == Some(StopType::Abort) {
            return Err(OperationError::invalid("stopType must be ROLLBACK, not ABORT."));
        }
        let now = self.now();
        self.change_running(&key, id, |record| {
            let primary = record.primary().id.clone();
            if record.service_deployment.rollback.is_some() {
                return Err(OperationError::client("The service deployment is being rolled back already."));
            }
            if record.last_completed.as_ref().is_none_or(|last| last.id == primary) {
                return Err(OperationError::client(
                    "The service deployment cannot be stopped: there is no completed deployment to roll back to. \
                     Update the service instead.",
                ));
            }
            record.give_up(&GivenUp::Stopped, now);
            self.route(&key, record);
            Ok(())
        })
        .await?;
        Ok(ServiceDeploymentArn { service_deployment_arn: request.service_deployment_arn })
    }

    /// Says how a deployment goes on that waits at a PAUSE hook.
    pub async fn continue_service_deployment(
        &self,
        request: ContinueServiceDeploymentRequest,
    ) -> Result<ServiceDeploymentArn, OperationError> {
        let (key, id) = self.parse_service_deployment(&request.service_deployment_arn)?;
        let status = match request.action {
            Some(HookAction::Continue) | None => HookStatus::Succeeded,
            Some(HookAction::Rollback) => HookStatus::Failed,
        };
        let now = self.now();
        self.change_running(&key, id, |record| {
            let progress = record.service_deployment.progress.as_ref();
            let hooks = progress.map(|progress| progress.hooks.as_slice()).unwrap_or_default();
            let waits =
                |id: &str| hooks.iter().any(|run| run.id == id && run.status == HookStatus::AwaitingAction);
            if !waits(&request.hook_id) {
                return Err(OperationError::client(format!(
                    "hookId {} is no hook that the service deployment waits for. \
                     DescribeServiceDeployments shows those with the status AWAITING_ACTION.",
                    quoted(&request.hook_id)
                )));
            }
            record.end_hook_named(&request.hook_id, status, now);
            Ok(())
        })
        .await?;
        Ok(ServiceDeploymentArn { service_deployment_arn: request.service_deployment_arn })
    }

    /// Changes a service whose deployment of this id is on its way.
    async fn change_running(
        &self,
        key: &ServiceKey,
        id: &str,
        change: impl Fn(&mut ServiceRecord) -> Result<(), OperationError>,
    ) -> Result<(), OperationError> {
        let known = self.records().service_deployments(key).await?;
        if !known.iter().any(|known| known.id == id) {
            return Err(OperationError::ServiceDeploymentNotFound);
        }
        let change = |record: &mut ServiceRecord| {
            let runs = record.service_deployment.id == id
                && !record.service_deployment.is_over()
                && record.status == ServiceStatus::Active
                && record.primary().rollout_state == RolloutState::InProgress;
            if !runs {
                return Err(OperationError::client("The service deployment is not in progress."));
            }
            change(record).map(Some)
        };
        match self.records().update_service(key, change).await {
            Err(OperationError::ServiceNotFound) => Err(OperationError::ServiceDeploymentNotFound),
            other => other.map(|_| ()),
        }
    }

    pub(super) fn parse_service_deployment<'a>(
        &self,
        arn: &'a str,
    ) -> Result<(ServiceKey, &'a str), OperationError> {
        let (cluster, name, id) = self.identity().parse_of_service("service-deployment", arn)?;
        Ok((ServiceKey { cluster, name }, id))
    }
}
