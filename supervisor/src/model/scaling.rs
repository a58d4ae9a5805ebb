//! Auto scaling, in Application Auto Scaling's words: scalable targets, their policies and scheduled actions.
//!
//! A scalable target is one record with everything that belongs to it, so that a change of it and its removal are one write.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{ClusterName, ServiceName};
use super::schedule::Schedule;
use crate::clock::Timestamp;

/// Most policies of a scalable target: "Step scaling policies per scalable target ... 50" and "target tracking ... 50".
pub const MAX_POLICIES: usize = 50;
/// Most scheduled actions of a scalable target: "Scheduled actions per scalable target: 200".
pub const MAX_SCHEDULED_ACTIONS: usize = 200;
/// Activities that are kept of a scalable target.
pub const MAX_ACTIVITIES: usize = 100;
/// Most steps of a policy: "Step adjustments per step scaling policy: 20".
pub const MAX_STEPS: usize = 20;
/// Application Auto Scaling, of ECS: "The default value is 300".
pub const DEFAULT_COOLDOWN_SECONDS: u32 = 300;

/// A service whose desired count is changed by policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalableTarget {
    /// Its cluster.
    pub cluster: ClusterName,
    /// The service.
    pub service: ServiceName,
    /// Least tasks that scaling in leaves.
    pub min_capacity: u32,
    /// Most tasks that scaling out makes.
    pub max_capacity: u32,
    /// What is switched off.
    pub suspended: Suspended,
    /// Given back as it came.
    pub role_arn: Option<String>,
    /// When it was registered first.
    pub created_at: Timestamp,
    /// In the order of their creation.
    pub policies: Vec<ScalingPolicy>,
    /// By name.
    pub actions: BTreeMap<String, ScheduledAction>,
}

/// Which parts of scaling are switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct Suspended {
    /// Policies do not scale in.
    pub dynamic_scaling_in_suspended: bool,
    /// Policies do not scale out.
    pub dynamic_scaling_out_suspended: bool,
    /// Scheduled actions do not run.
    pub scheduled_scaling_suspended: bool,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// Unique in its target.
    pub name: String,
    /// The unique part of its ARN.
    pub id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// How it decides.
    pub kind: PolicyKind,
}

/// How a policy decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyKind {
    /// Keeps a metric at a value, over minutes, as AWS does.
    TargetTracking(TargetTracking),
    /// Keeps a metric at a value, over seconds.
    Fast(FastTracking),
    /// Changes the count by how far a metric is from a threshold.
    Step(StepScaling),
}

/// What policies look at: one value for each period of 60 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// CPU time of all tasks in percent of what is reserved for them.
    #[serde(rename = "ECSServiceAverageCPUUtilization")]
    Cpu,
    /// Memory of all tasks in percent of what is reserved for them.
    #[serde(rename = "ECSServiceAverageMemoryUtilization")]
    Memory,
    /// Requests in the period, divided by the tasks.
    #[serde(rename = "ALBRequestCountPerTarget")]
    Requests,
}

/// What fast policies look at. They are customized metrics of the namespace `Coracle` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FastMetric {
    /// Requests a second, for each task.
    #[serde(rename = "RequestsPerSecondPerTarget")]
    RequestsPerSecond,
    /// Requests at the same time, for each task.
    #[serde(rename = "ConcurrencyPerTarget")]
    Concurrency,
    /// CPU utilisation in percent of what is reserved.
    #[serde(rename = "CPUUtilization")]
    Cpu,
}

/// Keeps a metric at a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetTracking {
    /// What is measured.
    pub metric: Metric,
    /// Where it is to be.
    pub target: f64,
    /// After scaling out: until only a larger scale-out goes on.
    pub scale_out_cooldown: u32,
    /// After scaling in: until the next scale-in.
    pub scale_in_cooldown: u32,
    /// It never scales in.
    pub disable_scale_in: bool,
}

/// Keeps a metric at a value, over seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FastTracking {
    /// What is measured.
    pub metric: FastMetric,
    /// Where it is to be.
    pub target: f64,
    /// It never scales in.
    pub disable_scale_in: bool,
}

/// Changes the count by how far a metric is from a threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepScaling {
    /// What a step's number means.
    pub adjustment: AdjustmentType,
    /// In the order of their lower bounds.
    pub steps: Vec<Step>,
    /// With percentages: at least so many tasks.
    pub min_adjustment_magnitude: u32,
    /// Seconds after a change.
    pub cooldown: u32,
    /// How the periods of an alarm become one value.
    pub aggregation: Aggregation,
}

/// What a step's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdjustmentType {
    /// So many tasks more or less.
    ChangeInCapacity,
    /// So many tasks.
    ExactCapacity,
    /// So many percent more or less.
    PercentChangeInCapacity,
}

/// How several values become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Aggregation {
    #[default]
    Average,
    Minimum,
    Maximum,
}

/// One step: what to do where the metric is between two bounds, which are relative to the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Step {
    /// Inclusive above the threshold; none is minus infinity.
    #[serde(default, rename = "MetricIntervalLowerBound", skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Exclusive above the threshold; none is infinity.
    #[serde(default, rename = "MetricIntervalUpperBound", skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// What the policy's [`AdjustmentType`] makes of it.
    #[serde(rename = "ScalingAdjustment")]
    pub adjustment: i32,
}

/// New bounds at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledAction {
    /// The unique part of its ARN.
    pub id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it runs.
    pub schedule: Schedule,
    /// Not before.
    pub start_at: Option<Timestamp>,
    /// Not after.
    pub end_at: Option<Timestamp>,
    /// The target's new minimum.
    pub min_capacity: Option<u32>,
    /// The target's new maximum.
    pub max_capacity: Option<u32>,
    /// When it ran last, or was made.
    pub done_until: Timestamp,
}

/// What happened to a target: what must survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingState {
    /// The last scale-out.
    pub last_out: Option<Change>,
    /// The last scale-in.
    pub last_in: Option<Change>,
    /// Newest first.
    pub activities: Vec<Activity>,
}

/// A change of the desired count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The count before.
    pub from: u32,
    /// The count after.
    pub to: u32,
}

/// A scaling activity as it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Unique.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What was done.
    pub description: String,
    /// Why.
    pub cause: String,
    /// How it was decided: the numbers.
    pub details: String,
}
