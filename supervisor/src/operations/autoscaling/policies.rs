//! PutScalingPolicy, DeleteScalingPolicy, DescribeScalingPolicies.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::page;
use super::{ScalableResource, check_name, chosen, key_of};
use crate::autoscaling::uuid;
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::names::quoted;
use crate::model::scaling::{
    AdjustmentType, Aggregation, DEFAULT_COOLDOWN_SECONDS, FastMetric, FastTracking, MAX_POLICIES, MAX_STEPS,
    Metric, PolicyKind, ScalableTarget, ScalingPolicy, Step, StepScaling, TargetTracking,
};
use crate::records::keys;
use crate::supervisor::Supervisor;
use rand::Rng;

/// The namespace of the customized metrics that make a policy fast.
pub const FAST_NAMESPACE: &str = "Coracle";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutScalingPolicyRequest {
    pub policy_name: String,
    pub service_namespace: String,
    pub resource_id: String,
    pub scalable_dimension: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_scaling_policy_configuration: Option<StepConfiguration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_tracking_scaling_policy_configuration: Option<TrackingConfiguration>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct StepConfiguration {
    pub adjustment_type: AdjustmentType,
    pub step_adjustments: Vec<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_adjustment_magnitude: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_aggregation_type: Option<Aggregation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TrackingConfiguration {
    pub target_value: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predefined_metric_specification: Option<PredefinedMetric>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customized_metric_specification: Option<CustomizedMetric>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_out_cooldown: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_in_cooldown: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_scale_in: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PredefinedMetric {
    pub predefined_metric_type: Metric,
    /// Which target group; a service has one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_label: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CustomizedMetric {
    pub namespace: String,
    pub metric_name: FastMetric,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutScalingPolicyResponse {
    #[serde(rename = "PolicyARN")]
    pub policy_arn: String,
    #[serde(rename = "Alarms")]
    pub alarms: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteScalingPolicyRequest {
    pub policy_name: String,
    pub service_namespace: String,
    pub resource_id: String,
    pub scalable_dimension: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteScalingPolicyResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeScalingPoliciesRequest {
    pub service_namespace: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalable_dimension: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeScalingPoliciesResponse {
    pub scaling_policies: Vec<DescribedPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedPolicy {
    #[serde(rename = "PolicyARN")]
    pub policy_arn: String,
    pub policy_name: String,
    #[serde(flatten)]
    pub resource: ScalableResource,
    pub policy_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_scaling_policy_configuration: Option<StepConfiguration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_tracking_scaling_policy_configuration: Option<TrackingConfiguration>,
    pub alarms: Vec<Value>,
    pub creation_time: Timestamp,
}

impl Supervisor {
    /// Creates a policy, or changes the one of this name.
    pub async fn put_scaling_policy(
        &self,
        request: PutScalingPolicyRequest,
    ) -> Result<PutScalingPolicyResponse, OperationError> {
        check_name("PolicyName", &request.policy_name)?;
        let resource = ScalableResource::named(
            request.service_namespace,
            request.resource_id,
            request.scalable_dimension,
        );
        let key = resource.key()?;
        let kind = parse_kind(
            request.policy_type.as_deref(),
            request.step_scaling_policy_configuration,
            request.target_tracking_scaling_policy_configuration,
        )?;
        let put = |target: &mut ScalableTarget| {
            let known = target.policies.iter_mut().find(|policy| policy.name == request.policy_name);
            if let Some(policy) = known {
                if policy_type(&policy.kind) != policy_type(&kind) {
                    return Err(OperationError::invalid(format!(
                        "The policy {} is of PolicyType {}: delete it first to make another of it.",
                        quoted(&policy.name),
                        policy_type(&policy.kind)
                    )));
                }
                policy.kind = kind.clone();
                return Ok(Some(policy.id.clone()));
            }
            if target.policies.len() >= MAX_POLICIES {
                return Err(OperationError::LimitExceeded(format!(
                    "A scalable target can have at most {MAX_POLICIES} policies."
                )));
            }
            let id = self.shared().random(|rng| uuid(rng.random()));
            target.policies.push(ScalingPolicy {
                name: request.policy_name.clone(),
                id: id.clone(),
                created_at: self.now(),
                kind: kind.clone(),
            });
            Ok(Some(id))
        };
        let missing = || resource.missing("scalable target");
        let (_, id) = self.records().update(&keys::scalable_target(&key), missing, put).await?;
        let id = id.unwrap_or_default();
        Ok(PutScalingPolicyResponse {
            policy_arn: self.scaling_arn("scalingPolicy", &id, &resource, &request.policy_name),
            alarms: alarms(&kind, &resource, &id),
        })
    }

    /// Deletes a policy.
    pub async fn delete_scaling_policy(
        &self,
        request: DeleteScalingPolicyRequest,
    ) -> Result<DeleteScalingPolicyResponse, OperationError> {
        let resource = ScalableResource::named(
            request.service_namespace,
            request.resource_id,
            request.scalable_dimension,
        );
        let key = resource.key()?;
        let missing = || resource.missing("scaling policy");
        let delete = |target: &mut ScalableTarget| {
            let count = target.policies.len();
            target.policies.retain(|policy| policy.name != request.policy_name);
            if target.policies.len() == count { Err(missing()) } else { Ok(Some(())) }
        };
        self.records().update(&keys::scalable_target(&key), missing, delete).await?;
        Ok(DeleteScalingPolicyResponse {})
    }

    /// The policies there are, or those that are named.
    pub async fn describe_scaling_policies(
        &self,
        request: DescribeScalingPoliciesRequest,
    ) -> Result<DescribeScalingPoliciesResponse, OperationError> {
        let key = chosen(
            &request.service_namespace,
            request.scalable_dimension.as_deref(),
            request.resource_id.as_deref(),
        )?;
        let mut described = std::collections::BTreeMap::new();
        for target in self.scalable_targets(key.as_ref()).await? {
            let resource = ScalableResource::of_key(&key_of(&target));
            for policy in target.policies {
                if request.policy_names.is_empty() || request.policy_names.contains(&policy.name) {
                    described.insert(
                        format!("{}|{}", resource.resource_id, policy.name),
                        self.describe_policy(&resource, policy),
                    );
                }
            }
        }
        let names = described.keys().cloned().collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, 50, false)?;
        let scaling_policies = page.items.iter().filter_map(|name| described.remove(name)).collect();
        Ok(DescribeScalingPoliciesResponse { scaling_policies, next_token: page.next_token })
    }

    fn describe_policy(&self, resource: &ScalableResource, policy: ScalingPolicy) -> DescribedPolicy {
        DescribedPolicy {
            policy_arn: self.scaling_arn("scalingPolicy", &policy.id, resource, &policy.name),
            resource: resource.clone(),
            policy_type: policy_type(&policy.kind).to_owned(),
            alarms: alarms(&policy.kind, resource, &policy.id),
            creation_time: policy.created_at,
            step_scaling_policy_configuration: match &policy.kind {
                PolicyKind::Step(step) => Some(step_configuration(step)),
                PolicyKind::TargetTracking(_) | PolicyKind::Fast(_) => None,
            },
            target_tracking_scaling_policy_configuration: match &policy.kind {
                PolicyKind::TargetTracking(tracking) => Some(tracking_configuration(tracking)),
                PolicyKind::Fast(tracking) => Some(fast_configuration(tracking)),
                PolicyKind::Step(_) => None,
            },
            policy_name: policy.name,
        }
    }
}

fn policy_type(kind: &PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Step(_) => "StepScaling",
        PolicyKind::TargetTracking(_) | PolicyKind::Fast(_) => "TargetTrackingScaling",
    }
}

/// The alarms that AWS makes for a target tracking policy, by name: here they are part of it.
fn alarms(kind: &PolicyKind, resource: &ScalableResource, id: &str) -> Vec<Value> {
    match kind {
        PolicyKind::Step(_) => Vec::new(),
        PolicyKind::TargetTracking(_) | PolicyKind::Fast(_) => ["High", "Low"]
            .map(|side| {
                let name = format!("TargetTracking-{}-Alarm{side}-{id}", resource.resource_id);
                json!({ "AlarmName": name, "AlarmARN": format!("arn:aws:cloudwatch:alarm:{name}") })
            })
            .to_vec(),
    }
}

fn parse_kind(
    kind: Option<&str>,
    step: Option<StepConfiguration>,
    tracking: Option<TrackingConfiguration>,
) -> Result<PolicyKind, OperationError> {
    match (kind.unwrap_or("StepScaling"), step, tracking) {
        ("StepScaling", Some(step), None) => parse_step(step).map(PolicyKind::Step),
        ("TargetTrackingScaling", None, Some(tracking)) => parse_tracking(&tracking),
        ("StepScaling" | "TargetTrackingScaling", ..) => Err(OperationError::invalid(
            "PolicyType StepScaling goes with StepScalingPolicyConfiguration alone, and TargetTrackingScaling with TargetTrackingScalingPolicyConfiguration alone.",
        )),
        (other, ..) => Err(OperationError::invalid(format!(
            "PolicyType must be StepScaling or TargetTrackingScaling, not {}.",
            quoted(other)
        ))),
    }
}

fn parse_tracking(configuration: &TrackingConfiguration) -> Result<PolicyKind, OperationError> {
    let target = configuration.target_value;
    if !(target.is_finite() && target > 0.0) {
        return Err(OperationError::invalid(format!("TargetValue must be above 0, not {target}.")));
    }
    let disable_scale_in = configuration.disable_scale_in.unwrap_or_default();
    match (&configuration.predefined_metric_specification, &configuration.customized_metric_specification) {
        (Some(metric), None) => Ok(PolicyKind::TargetTracking(TargetTracking {
            metric: metric.predefined_metric_type,
            target,
            scale_out_cooldown: configuration.scale_out_cooldown.unwrap_or(DEFAULT_COOLDOWN_SECONDS),
            scale_in_cooldown: configuration.scale_in_cooldown.unwrap_or(DEFAULT_COOLDOWN_SECONDS),
            disable_scale_in,
        })),
        (None, Some(metric)) if metric.namespace == FAST_NAMESPACE => {
            if configuration.scale_in_cooldown.is_some() || configuration.scale_out_cooldown.is_some() {
                return Err(OperationError::invalid(
                    "ScaleOutCooldown and ScaleInCooldown mean nothing for metrics of the namespace Coracle, which have windows instead: leave them out.",
                ));
            }
            Ok(PolicyKind::Fast(FastTracking { metric: metric.metric_name, target, disable_scale_in }))
        }
        (None, Some(metric)) => Err(OperationError::invalid(format!(
            "CustomizedMetricSpecification.Namespace must be {FAST_NAMESPACE}, not {}.",
            quoted(&metric.namespace)
        ))),
        _ => Err(OperationError::invalid(
            "Either PredefinedMetricSpecification or CustomizedMetricSpecification must be given.",
        )),
    }
}

fn parse_step(configuration: StepConfiguration) -> Result<StepScaling, OperationError> {
    let refuse = |why: &str| Err(OperationError::invalid(format!("StepAdjustments {why}.")));
    let mut steps = configuration.step_adjustments;
    if !(1..=MAX_STEPS).contains(&steps.len()) {
        return refuse("must have 1 to 20 steps");
    }
    let lower = |step: &Step| step.lower.unwrap_or(f64::NEG_INFINITY);
    let upper = |step: &Step| step.upper.unwrap_or(f64::INFINITY);
    if steps.iter().any(|step| step.lower.is_none() && step.upper.is_none()) {
        return refuse("must have a MetricIntervalLowerBound or a MetricIntervalUpperBound each");
    }
    if steps.iter().any(|step| lower(step) >= upper(step)) {
        return refuse("must have lower bounds below their upper bounds");
    }
    steps.sort_by(|a, b| lower(a).total_cmp(&lower(b)));
    // "There can't be a gap or overlap between the ranges."
    if steps.windows(2).any(|pair| upper(&pair[0]) != lower(&pair[1])) {
        return refuse("must neither overlap nor leave gaps");
    }
    if configuration.adjustment_type == AdjustmentType::ExactCapacity
        && steps.iter().any(|step| step.adjustment < 0)
    {
        return refuse("must not be negative with AdjustmentType ExactCapacity");
    }
    Ok(StepScaling {
        adjustment: configuration.adjustment_type,
        steps,
        min_adjustment_magnitude: configuration.min_adjustment_magnitude.unwrap_or(0),
        cooldown: configuration.cooldown.unwrap_or(DEFAULT_COOLDOWN_SECONDS),
        aggregation: configuration.metric_aggregation_type.unwrap_or_default(),
    })
}

fn step_configuration(step: &StepScaling) -> StepConfiguration {
    StepConfiguration {
        adjustment_type: step.adjustment,
        step_adjustments: step.steps.clone(),
        min_adjustment_magnitude: Some(step.min_adjustment_magnitude),
        cooldown: Some(step.cooldown),
        metric_aggregation_type: Some(step.aggregation),
    }
}

fn tracking_configuration(tracking: &TargetTracking) -> TrackingConfiguration {
    TrackingConfiguration {
        target_value: tracking.target,
        predefined_metric_specification: Some(PredefinedMetric {
            predefined_metric_type: tracking.metric,
            resource_label: None,
        }),
        customized_metric_specification: None,
        scale_out_cooldown: Some(tracking.scale_out_cooldown),
        scale_in_cooldown: Some(tracking.scale_in_cooldown),
        disable_scale_in: Some(tracking.disable_scale_in),
    }
}

fn fast_configuration(tracking: &FastTracking) -> TrackingConfiguration {
    TrackingConfiguration {
        target_value: tracking.target,
        predefined_metric_specification: None,
        customized_metric_specification: Some(CustomizedMetric {
            namespace: FAST_NAMESPACE.to_owned(),
            metric_name: tracking.metric,
            statistic: None,
            dimensions: None,
            unit: None,
        }),
        scale_out_cooldown: None,
        scale_in_cooldown: None,
        disable_scale_in: Some(tracking.disable_scale_in),
    }
}
