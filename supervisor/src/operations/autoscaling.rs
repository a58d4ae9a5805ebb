//! Application Auto Scaling's operations, for the desired counts of services.
//!
//! - `targets`: RegisterScalableTarget, DeregisterScalableTarget, DescribeScalableTargets
//! - `policies`: PutScalingPolicy, DeleteScalingPolicy, DescribeScalingPolicies
//! - `actions`: PutScheduledAction, DeleteScheduledAction, DescribeScheduledActions
//! - `activities`: DescribeScalingActivities

mod actions;
mod activities;
mod policies;
mod targets;

use serde::{Deserialize, Serialize};

use crate::error::OperationError;
use crate::model::names::{ClusterName, ServiceName, quoted};
use crate::model::scaling::ScalableTarget;
use crate::records::{ServiceKey, keys};
use crate::supervisor::Supervisor;

pub use actions::*;
pub use activities::*;
pub use policies::*;
pub use targets::*;

/// The one namespace there is here.
pub const NAMESPACE: &str = "ecs";
/// The one dimension there is here.
pub const DIMENSION: &str = "ecs:service:DesiredCount";

/// Which scalable target a request is about: fields that all requests have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScalableResource {
    /// `ecs`.
    pub service_namespace: String,
    /// `service/<cluster>/<service>`.
    pub resource_id: String,
    /// `ecs:service:DesiredCount`.
    pub scalable_dimension: String,
}

impl ScalableResource {
    /// As a request names it; [`key`](Self::key) checks it. (Requests have the three fields themselves: serde cannot refuse unknown fields beside
    /// a flattened struct.)
    fn named(service_namespace: String, resource_id: String, scalable_dimension: String) -> Self {
        Self { service_namespace, resource_id, scalable_dimension }
    }

    /// Of a service.
    pub fn of(cluster: &str, service: &str) -> Self {
        Self {
            service_namespace: NAMESPACE.to_owned(),
            resource_id: format!("service/{cluster}/{service}"),
            scalable_dimension: DIMENSION.to_owned(),
        }
    }

    fn of_key(key: &ServiceKey) -> Self {
        Self::of(key.cluster.as_str(), key.name.as_str())
    }

    fn key(&self) -> Result<ServiceKey, OperationError> {
        namespace(&self.service_namespace)?;
        dimension(&self.scalable_dimension)?;
        parse_resource(&self.resource_id)
    }

    /// "No scalable target found for service namespace: ecs, resource ID: ..., scalable dimension: ...".
    fn missing(&self, what: &str) -> OperationError {
        OperationError::ObjectNotFound(format!(
            "No {what} found for service namespace: {}, resource ID: {}, scalable dimension: {}",
            self.service_namespace, self.resource_id, self.scalable_dimension
        ))
    }
}

/// A resource's cluster and service.
fn parse_resource(resource: &str) -> Result<ServiceKey, OperationError> {
    let mut parts = resource.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("service"), Some(cluster), Some(service), None) => {
            Ok(ServiceKey { cluster: ClusterName::parse(cluster)?, name: ServiceName::parse(service)? })
        }
        _ => Err(OperationError::invalid(format!(
            "ResourceId must be service/<cluster>/<service>, not {}.",
            quoted(resource)
        ))),
    }
}

fn namespace(namespace: &str) -> Result<(), OperationError> {
    if namespace == NAMESPACE {
        return Ok(());
    }
    Err(OperationError::invalid(format!("ServiceNamespace must be {NAMESPACE}, not {}.", quoted(namespace))))
}

fn dimension(dimension: &str) -> Result<(), OperationError> {
    if dimension == DIMENSION {
        return Ok(());
    }
    Err(OperationError::invalid(format!("ScalableDimension must be {DIMENSION}, not {}.", quoted(dimension))))
}

/// Names of policies and actions: AWS's `\p{Print}+` without `/`, `:` and `|` (which its own ARNs cannot hold), up to 256.
fn check_name(field: &str, name: &str) -> Result<(), OperationError> {
    let is_good = (1..=256).contains(&name.chars().count())
        && name.chars().all(|c| !c.is_control() && !['/', ':', '|'].contains(&c));
    if is_good {
        return Ok(());
    }
    Err(OperationError::invalid(format!(
        "{field} must have 1 to 256 printable characters and no / : |, but was {}.",
        quoted(name)
    )))
}

/// The fields by which Describe operations choose.
fn chosen(
    wanted_namespace: &str,
    wanted_dimension: Option<&str>,
    resource: Option<&str>,
) -> Result<Option<ServiceKey>, OperationError> {
    namespace(wanted_namespace)?;
    if let Some(wanted) = wanted_dimension {
        dimension(wanted)?;
    }
    resource.map(parse_resource).transpose()
}

impl Supervisor {
    /// The targets that a Describe operation is about, in order.
    async fn scalable_targets(
        &self,
        key: Option<&ServiceKey>,
    ) -> Result<Vec<ScalableTarget>, OperationError> {
        Ok(match key {
            Some(key) => {
                let found = self.records().get(&keys::scalable_target(key)).await?;
                found.map(|found| found.value).into_iter().collect()
            }
            None => self.records().list(keys::SCALABLE_TARGETS).await?,
        })
    }

    fn scaling_arn(&self, kind: &str, id: &str, resource: &ScalableResource, name: &str) -> String {
        let identity = self.identity();
        format!(
            "arn:aws:autoscaling:{}:{}:{kind}:{id}:resource/ecs/{}:{}/{name}",
            identity.region,
            identity.account,
            resource.resource_id,
            if kind == "scalingPolicy" { "policyName" } else { "scheduledActionName" }
        )
    }
}

fn key_of(target: &ScalableTarget) -> ServiceKey {
    ServiceKey { cluster: target.cluster.clone(), name: target.service.clone() }
}
