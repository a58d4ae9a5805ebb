//! Scheduled runs of tasks: what is wanted of one, in EventBridge Scheduler's words, and how far it is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::ClusterName;
use super::schedule::Schedule;
use super::service::{LaunchType, PropagateTags};
use super::tags::Tag;
use crate::clock::Timestamp;

/// Most schedules; EventBridge Scheduler's own quota is far higher, and a table of people's jobs is far smaller.
pub const MAX_SCHEDULES: usize = 10_000;
/// Runs that a schedule remembers.
pub const MAX_INVOCATIONS: usize = 20;
/// EventBridge Scheduler: "MaximumEventAgeInSeconds ... 86400" unless said otherwise.
pub const DEFAULT_EVENT_AGE: u32 = 86_400;
/// EventBridge Scheduler: "MaximumRetryAttempts ... 185" unless said otherwise.
pub const DEFAULT_RETRY_ATTEMPTS: u32 = 185;

/// A schedule, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRecord {
    /// Unique.
    pub name: String,
    /// When.
    pub schedule: Schedule,
    /// What is run.
    pub target: RunTarget,
    /// Whether it runs at all.
    pub state: ScheduleState,
    /// For people.
    pub description: Option<String>,
    /// No run is before it; a rate begins with it. A one-time schedule has none.
    pub start_at: Option<Timestamp>,
    /// No run is after it. A one-time schedule has none.
    pub end_at: Option<Timestamp>,
    /// Minutes after its time in which a run may begin: each schedule has a place of its own in it.
    pub window: Option<u32>,
    /// What becomes of it after its last run.
    pub after_completion: AfterCompletion,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed by a person.
    pub modified_at: Timestamp,
    /// Of the request that created it, to recognise a repetition.
    pub client_token: Option<String>,
    /// How far it is.
    pub progress: Progress,
}

impl ScheduleRecord {
    /// What a rate counts from.
    pub fn origin(&self) -> Timestamp {
        self.start_at.unwrap_or(self.created_at)
    }
}

/// What a schedule runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTarget {
    /// Where.
    pub cluster: ClusterName,
    /// The family, `family:revision` or ARN that is looked up at each run.
    pub task_definition: String,
    /// Tasks of each run.
    pub count: u32,
    /// RunTask's `overrides` as JSON: the target's `Input`.
    pub input: Option<String>,
    /// How often and for how long a run that was refused is tried again.
    pub retry: RetryPolicy,
    /// Given back.
    pub role_arn: Option<String>,
    /// RunTask's.
    pub group: Option<String>,
    /// RunTask's.
    pub launch_type: Option<LaunchType>,
    /// RunTask's.
    pub propagate_tags: Option<PropagateTags>,
    /// RunTask's.
    pub enable_execute_command: Option<bool>,
    /// RunTask's.
    pub tags: Vec<Tag>,
    /// RunTask's.
    pub capacity_provider_strategy: Option<Value>,
    /// RunTask's fields that change nothing here, as they came.
    pub stored: StoredTargetFields,
}

/// Fields of a target that are given back as they came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(
    missing_docs,
    reason = "the fields are EventBridge Scheduler's own: its API reference documents them under these names"
)]
pub struct StoredTargetFields {
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

/// How often and for how long a run that was refused is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// Seconds after its time in which a run may still begin, 60 to 86,400. So it bounds how late a run is that was missed, too.
    pub event_age: u32,
    /// Tries after the first, 0 to 185.
    pub attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { event_age: DEFAULT_EVENT_AGE, attempts: DEFAULT_RETRY_ATTEMPTS }
    }
}

/// Whether a schedule runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScheduleState {
    /// It does.
    #[default]
    Enabled,
    /// It does not.
    Disabled,
}

/// What becomes of a schedule after its last run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AfterCompletion {
    /// It stays, and can be described.
    #[default]
    None,
    /// It is deleted.
    Delete,
}

/// How far a schedule is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Runs up to this time are done with. Before the schedule's own time when nothing is.
    pub done_until: Timestamp,
    /// A run that was refused and is tried again.
    pub retry: Option<Retry>,
    /// What became of the newest runs, newest first.
    pub invocations: VecDeque<Invocation>,
}

/// A run that was refused and is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// The run's time.
    pub scheduled_at: Timestamp,
    /// Tries so far.
    pub attempts: u32,
    /// When it is tried next.
    pub at: Timestamp,
}

/// What became of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invocation {
    /// When the schedule says it is.
    pub scheduled_at: Timestamp,
    /// When it was last tried.
    pub invoked_at: Timestamp,
    /// Tries so far.
    pub attempts: u32,
    /// How it went.
    pub status: InvocationStatus,
    /// ARNs of the tasks that were started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_arns: Vec<String>,
    /// Why it was refused or left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How one run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InvocationStatus {
    /// Its tasks were started.
    Started,
    /// It was refused, and is tried again.
    Retrying,
    /// It was refused, and is given up.
    Failed,
    /// It was missed, and is too late.
    Missed,
}

impl InvocationStatus {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Retrying => "RETRYING",
            Self::Failed => "FAILED",
            Self::Missed => "MISSED",
        }
    }
}
