//! RegisterScalableTarget, DeregisterScalableTarget, DescribeScalableTargets.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::page;
use super::{ScalableResource, chosen, key_of};
use crate::autoscaling::{Reason, clamped, commit_change};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::scaling::{ScalableTarget, Suspended};
use crate::model::scheduling_strategy::SchedulingStrategy;
use crate::model::service::{MAX_DESIRED_COUNT, ServiceStatus};
use crate::records::{encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;

/// Rounds of compare-and-swap before an operation gives up.
const MAX_ATTEMPTS: usize = 16;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RegisterScalableTargetRequest {
    pub service_namespace: String,
    pub resource_id: String,
    pub scalable_dimension: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_capacity: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_capacity: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "RoleARN")]
    pub role_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_state: Option<Suspended>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterScalableTargetResponse {
    #[serde(rename = "ScalableTargetARN")]
    pub scalable_target_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeregisterScalableTargetRequest {
    pub service_namespace: String,
    pub resource_id: String,
    pub scalable_dimension: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeregisterScalableTargetResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeScalableTargetsRequest {
    pub service_namespace: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalable_dimension: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeScalableTargetsResponse {
    pub scalable_targets: Vec<DescribedTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedTarget {
    #[serde(flatten)]
    pub resource: ScalableResource,
    #[serde(rename = "ScalableTargetARN")]
    pub scalable_target_arn: String,
    pub min_capacity: u32,
    pub max_capacity: u32,
    #[serde(default, rename = "RoleARN")]
    pub role_arn: String,
    pub creation_time: Timestamp,
    pub suspended_state: Suspended,
}

impl Supervisor {
    /// Registers a service for scaling, or changes the bounds it has. The desired count is brought within the bounds.
    pub async fn register_scalable_target(
        &self,
        request: RegisterScalableTargetRequest,
    ) -> Result<RegisterScalableTargetResponse, OperationError> {
        let resource = ScalableResource::named(
            request.service_namespace,
            request.resource_id,
            request.scalable_dimension,
        );
        let key = resource.key()?;
        let min = request.min_capacity.map(|count| capacity("MinCapacity", count)).transpose()?;
        let max = request.max_capacity.map(|count| capacity("MaxCapacity", count)).transpose()?;
        let target_key = keys::scalable_target(&key);
        for _ in 0..MAX_ATTEMPTS {
            let service = self.records().service(&key).await?;
            let service = service.filter(|found| found.value.status == ServiceStatus::Active);
            let service = service.ok_or_else(|| {
                OperationError::invalid(format!("ECS service doesn't exist: {}", resource.resource_id))
            })?;
            if service.value.scheduling_strategy == SchedulingStrategy::Daemon {
                return Err(OperationError::invalid(format!(
                    "The scheduling strategy DAEMON of {} does not support auto scaling: a daemon has a task on each node.",
                    resource.resource_id
                )));
            }
            let known = self.records().get::<ScalableTarget>(&target_key).await?;
            let unchanged = match &known {
                Some(found) => Compare::Revision(target_key.clone(), found.revision),
                None => Compare::Absent(target_key.clone()),
            };
            let both = || {
                OperationError::invalid(
                    "MinCapacity and MaxCapacity must be given for a new scalable target.",
                )
            };
            let mut target = match known {
                Some(found) => found.value,
                None => ScalableTarget {
                    cluster: key.cluster.clone(),
                    service: key.name.clone(),
                    min_capacity: min.ok_or_else(both)?,
                    max_capacity: max.ok_or_else(both)?,
                    suspended: Suspended::default(),
                    role_arn: None,
                    created_at: self.now(),
                    policies: Vec::new(),
                    actions: BTreeMap::new(),
                },
            };
            target.min_capacity = min.unwrap_or(target.min_capacity);
            target.max_capacity = max.unwrap_or(target.max_capacity);
            target.suspended = request.suspended_state.unwrap_or(target.suspended);
            target.role_arn = request.role_arn.clone().or(target.role_arn);
            if target.min_capacity > target.max_capacity {
                return Err(OperationError::invalid(format!(
                    "Maximum capacity cannot be less than minimum capacity: {} is less than {}.",
                    target.max_capacity, target.min_capacity
                )));
            }
            let (from, to) = (service.value.desired_count, clamped(&target, service.value.desired_count));
            let side = if to > from { "minimum" } else { "maximum" };
            let reason = Reason { cause: format!("{side} capacity was set to {to}"), details: String::new() };
            let register = Transaction::new()
                .when(unchanged)
                .when(Compare::Exists(keys::service(&key)))
                .put(target_key.clone(), encode(&target));
            if commit_change(self.shared(), &key, service, to, reason, register).await? {
                return Ok(RegisterScalableTargetResponse {
                    scalable_target_arn: self.target_arn(&resource),
                });
            }
        }
        Err(OperationError::Conflict)
    }

    /// Removes a scalable target with its policies and scheduled actions. The desired count stays as it is.
    pub async fn deregister_scalable_target(
        &self,
        request: DeregisterScalableTargetRequest,
    ) -> Result<DeregisterScalableTargetResponse, OperationError> {
        let resource = ScalableResource::named(
            request.service_namespace,
            request.resource_id,
            request.scalable_dimension,
        );
        let key = resource.key()?;
        let deregister = Transaction::new()
            .when(Compare::Exists(keys::scalable_target(&key)))
            .delete(keys::scalable_target(&key))
            .delete(keys::scaling_state(&key));
        match self.records().commit(deregister).await? {
            Outcome::Committed(_) => Ok(DeregisterScalableTargetResponse {}),
            Outcome::Conflict(_) => Err(resource.missing("scalable target")),
        }
    }

    /// The scalable targets there are, or those that are named.
    pub async fn describe_scalable_targets(
        &self,
        request: DescribeScalableTargetsRequest,
    ) -> Result<DescribeScalableTargetsResponse, OperationError> {
        chosen(&request.service_namespace, request.scalable_dimension.as_deref(), None)?;
        for resource in &request.resource_ids {
            super::parse_resource(resource)?;
        }
        let mut described: BTreeMap<String, DescribedTarget> = BTreeMap::new();
        for target in self.scalable_targets(None).await? {
            let resource = ScalableResource::of_key(&key_of(&target));
            if !request.resource_ids.is_empty() && !request.resource_ids.contains(&resource.resource_id) {
                continue;
            }
            let target = DescribedTarget {
                scalable_target_arn: self.target_arn(&resource),
                min_capacity: target.min_capacity,
                max_capacity: target.max_capacity,
                role_arn: target.role_arn.unwrap_or_default(),
                creation_time: target.created_at,
                suspended_state: target.suspended,
                resource,
            };
            described.insert(target.resource.resource_id.clone(), target);
        }
        let names = described.keys().cloned().collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, 50, false)?;
        let scalable_targets = page.items.iter().filter_map(|name| described.remove(name)).collect();
        Ok(DescribeScalableTargetsResponse { scalable_targets, next_token: page.next_token })
    }

    fn target_arn(&self, resource: &ScalableResource) -> String {
        let identity = self.identity();
        format!(
            "arn:aws:application-autoscaling:{}:{}:scalable-target/{}",
            identity.region, identity.account, resource.resource_id
        )
    }
}

pub(super) fn capacity(field: &str, count: i64) -> Result<u32, OperationError> {
    u32::try_from(count).ok().filter(|count| *count <= MAX_DESIRED_COUNT).ok_or_else(|| {
        OperationError::invalid(format!("{field} must be 0 to {MAX_DESIRED_COUNT}, not {count}."))
    })
}
