//! What a schedule runs, as EventBridge Scheduler has it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::refused;
use crate::error::OperationError;
use crate::model::arn::Identity;
use crate::model::scheduled_run::{
    DEFAULT_EVENT_AGE, DEFAULT_RETRY_ATTEMPTS, RetryPolicy, RunTarget, StoredTargetFields,
};
use crate::model::service::{LaunchType, PropagateTags};
use crate::model::tags::{self, Tag};
use crate::model::task::TaskOverride;
use crate::operations::{MAX_RUN_COUNT, parse_request};
use crate::supervisor::Supervisor;

/// EventBridge Scheduler: "MaximumEventAgeInSeconds ... Minimum value of 60. Maximum value of 86400".
const EVENT_AGE: std::ops::RangeInclusive<i64> = 60..=86_400;
/// EventBridge Scheduler: "MaximumRetryAttempts ... Minimum value of 0. Maximum value of 185".
const RETRY_ATTEMPTS: std::ops::RangeInclusive<i64> = 0..=185;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ScheduleTarget {
    /// The cluster's ARN (or its name).
    pub arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs_parameters: Option<EcsParameters>,
    /// RunTask's `overrides` as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<TargetRetryPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_bridge_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinesis_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sage_maker_pipeline_parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqs_parameters: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct EcsParameters {
    /// An ARN, or a family with or without its revision. It is looked up at each run, so that a family means its newest revision then.
    pub task_definition_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<PropagateTags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_execute_command: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_provider_strategy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "EnableECSManagedTags")]
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
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct TargetRetryPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_event_age_in_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_retry_attempts: Option<i64>,
}

impl ScheduleTarget {
    /// As a schedule's description shows it.
    pub(super) fn of(identity: &Identity, target: &RunTarget) -> Self {
        let stored = target.stored.clone();
        Self {
            arn: identity.cluster(&target.cluster),
            role_arn: target.role_arn.clone(),
            ecs_parameters: Some(EcsParameters {
                task_definition_arn: target.task_definition.clone(),
                task_count: Some(target.count.into()),
                group: target.group.clone(),
                launch_type: target.launch_type,
                propagate_tags: target.propagate_tags,
                enable_execute_command: target.enable_execute_command,
                tags: target.tags.iter().map(tag_map).collect(),
                capacity_provider_strategy: target.capacity_provider_strategy.clone(),
                enable_ecs_managed_tags: stored.enable_ecs_managed_tags,
                network_configuration: stored.network_configuration,
                placement_constraints: stored.placement_constraints,
                placement_strategy: stored.placement_strategy,
                platform_version: stored.platform_version,
                reference_id: stored.reference_id,
            }),
            input: target.input.clone(),
            retry_policy: Some(TargetRetryPolicy {
                maximum_event_age_in_seconds: Some(target.retry.event_age.into()),
                maximum_retry_attempts: Some(target.retry.attempts.into()),
            }),
            ..Self::default()
        }
    }
}

impl Supervisor {
    /// Checks a target as its first run would be: the cluster and the task definition are there, and the overrides fit them.
    pub(super) async fn parse_target(&self, target: ScheduleTarget) -> Result<RunTarget, OperationError> {
        refused("DeadLetterConfig", &target.dead_letter_config)?;
        refused("EventBridgeParameters", &target.event_bridge_parameters)?;
        refused("KinesisParameters", &target.kinesis_parameters)?;
        refused("SageMakerPipelineParameters", &target.sage_maker_pipeline_parameters)?;
        refused("SqsParameters", &target.sqs_parameters)?;
        if target.arn.is_empty() {
            return Err(OperationError::invalid("Target.Arn must be the ARN of an ECS cluster."));
        }
        let ecs = target.ecs_parameters.ok_or_else(|| {
            OperationError::invalid("Target.EcsParameters must be given: what is run here are tasks.")
        })?;
        let cluster = self.identity().parse_cluster(Some(&target.arn))?;
        self.records().cluster(&cluster).await?;
        let definition = self.usable_task_definition(&ecs.task_definition_arn).await?;
        if let Some(input) = &target.input {
            let overrides: TaskOverride = parse_request(input.as_bytes()).map_err(|error| {
                OperationError::invalid(format!("Target.Input must be RunTask's overrides. {error}"))
            })?;
            overrides.parse(&definition.definition.content)?;
        }
        let retry = target.retry_policy.unwrap_or_default();
        Ok(RunTarget {
            cluster,
            task_definition: ecs.task_definition_arn,
            count: within("EcsParameters.TaskCount", ecs.task_count, &(1..=MAX_RUN_COUNT), 1)?,
            input: target.input,
            retry: RetryPolicy {
                event_age: within(
                    "RetryPolicy.MaximumEventAgeInSeconds",
                    retry.maximum_event_age_in_seconds,
                    &EVENT_AGE,
                    DEFAULT_EVENT_AGE,
                )?,
                attempts: within(
                    "RetryPolicy.MaximumRetryAttempts",
                    retry.maximum_retry_attempts,
                    &RETRY_ATTEMPTS,
                    DEFAULT_RETRY_ATTEMPTS,
                )?,
            },
            role_arn: target.role_arn,
            group: ecs.group,
            launch_type: ecs.launch_type,
            propagate_tags: ecs.propagate_tags,
            enable_execute_command: ecs.enable_execute_command,
            tags: parse_tags(&ecs.tags)?,
            capacity_provider_strategy: ecs.capacity_provider_strategy,
            stored: StoredTargetFields {
                enable_ecs_managed_tags: ecs.enable_ecs_managed_tags,
                network_configuration: ecs.network_configuration,
                placement_constraints: ecs.placement_constraints,
                placement_strategy: ecs.placement_strategy,
                platform_version: ecs.platform_version,
                reference_id: ecs.reference_id,
            },
        })
    }
}

fn within(
    field: &str,
    given: Option<i64>,
    allowed: &std::ops::RangeInclusive<i64>,
    default: u32,
) -> Result<u32, OperationError> {
    let Some(given) = given else { return Ok(default) };
    u32::try_from(given).ok().filter(|_| allowed.contains(&given)).ok_or_else(|| {
        let (least, most) = (allowed.start(), allowed.end());
        OperationError::invalid(format!("Target.{field} must be {least} to {most}, not {given}."))
    })
}

/// EventBridge Scheduler has each tag as a map of its own, with the entries `key` and `value` in either case.
fn parse_tags(maps: &[Map<String, Value>]) -> Result<Vec<Tag>, OperationError> {
    let text = |map: &Map<String, Value>, names: [&str; 2]| {
        names.iter().find_map(|name| map.get(*name)).and_then(Value::as_str).map(str::to_owned)
    };
    let parse = |map: &Map<String, Value>| {
        let key = text(map, ["key", "Key"]).ok_or_else(|| {
            OperationError::invalid("Target.EcsParameters.Tags must be maps with the entries key and value.")
        })?;
        Ok(Tag { key, value: text(map, ["value", "Value"]).unwrap_or_default() })
    };
    let parsed = maps.iter().map(parse).collect::<Result<Vec<_>, OperationError>>()?;
    tags::validate(&parsed)?;
    Ok(parsed)
}

fn tag_map(tag: &Tag) -> Map<String, Value> {
    let entry = |name: &str, value: &str| (name.to_owned(), Value::from(value));
    [entry("key", &tag.key), entry("value", &tag.value)].into_iter().collect()
}
