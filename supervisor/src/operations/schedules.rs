//! EventBridge Scheduler's CreateSchedule, UpdateSchedule, GetSchedule, ListSchedules and DeleteSchedule, for schedules that run tasks; and
//! DescribeScheduleInvocations, which is ours.
#![expect(
    missing_docs,
    reason = "requests and responses are EventBridge Scheduler's own: its API reference documents their fields"
)]

mod target;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{fields, page};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::names::quoted;
use crate::model::schedule::Schedule;
use crate::model::scheduled_run::{
    AfterCompletion, Invocation, MAX_SCHEDULES, Progress, ScheduleRecord, ScheduleState,
};
use crate::records::{encode, keys};
use crate::schedules::next_run;
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;

pub use target::*;

/// The one group there is here.
pub const DEFAULT_GROUP: &str = "default";
/// EventBridge Scheduler: "Name ... Length Constraints: Maximum length of 64".
const MAX_NAME: usize = 64;
/// EventBridge Scheduler: "Description ... Maximum length of 512".
const MAX_DESCRIPTION: usize = 512;
/// EventBridge Scheduler: "MaximumWindowInMinutes ... Maximum value of 1440".
const MAX_WINDOW: i64 = 1_440;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateScheduleRequest {
    pub name: String,
    pub schedule_expression: String,
    pub target: ScheduleTarget,
    pub flexible_time_window: FlexibleTimeWindow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_expression_timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ScheduleState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_after_completion: Option<AfterCompletion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// UpdateSchedule: "uses all values, including empty values, specified in the request and overrides the existing schedule".
pub type UpdateScheduleRequest = CreateScheduleRequest;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FlexibleTimeWindow {
    pub mode: FlexibleTimeWindowMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_window_in_minutes: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FlexibleTimeWindowMode {
    Off,
    Flexible,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateScheduleResponse {
    pub schedule_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct GetScheduleRequest {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// DeleteSchedule's: deleting twice is the same as once anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

pub type DeleteScheduleRequest = GetScheduleRequest;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteScheduleResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetScheduleResponse {
    pub arn: String,
    pub name: String,
    pub group_name: String,
    pub schedule_expression: String,
    pub schedule_expression_timezone: String,
    pub state: ScheduleState,
    pub target: ScheduleTarget,
    pub flexible_time_window: FlexibleTimeWindow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Timestamp>,
    pub action_after_completion: AfterCompletion,
    pub creation_date: Timestamp,
    pub last_modification_date: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ListSchedulesRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ScheduleState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListSchedulesResponse {
    pub schedules: Vec<ScheduleSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduleSummary {
    pub arn: String,
    pub name: String,
    pub group_name: String,
    pub state: ScheduleState,
    pub target: TargetSummary,
    pub creation_date: Timestamp,
    pub last_modification_date: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetSummary {
    pub arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeScheduleInvocationsRequest {
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeScheduleInvocationsResponse {
    /// Newest first, the newest 20.
    pub invocations: Vec<Invocation>,
    /// When it runs next, its place in the flexible window and further tries included; none when it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_invocation_at: Option<Timestamp>,
}

impl Supervisor {
    /// Creates a schedule. A repetition with the same client token answers the same.
    pub async fn create_schedule(
        &self,
        request: CreateScheduleRequest,
    ) -> Result<CreateScheduleResponse, OperationError> {
        let record = self.parse_schedule(request, None).await?;
        let key = keys::schedule(&record.name);
        let answer = CreateScheduleResponse { schedule_arn: self.schedule_arn(&record.name) };
        if self.records().store.range(keys::SCHEDULES).await?.len() >= MAX_SCHEDULES {
            return Err(OperationError::LimitExceeded(format!(
                "There can be at most {MAX_SCHEDULES} schedules."
            )));
        }
        let create = Transaction::new().when(Compare::Absent(key.clone())).put(key.clone(), encode(&record));
        if let Outcome::Committed(_) = self.records().commit(create).await? {
            return Ok(answer);
        }
        let known = self.records().get::<ScheduleRecord>(&key).await?;
        let repeated = known.is_some_and(|known| {
            record.client_token.is_some() && known.value.client_token == record.client_token
        });
        if repeated {
            return Ok(answer);
        }
        let message = format!("Schedule {} already exists.", record.name);
        Err(OperationError::Exception { code: "ConflictException", message })
    }

    /// Replaces a schedule: what is not given is as if it were new. Runs that were missed are not made up for, and one that is tried again is given up.
    pub async fn update_schedule(
        &self,
        request: UpdateScheduleRequest,
    ) -> Result<CreateScheduleResponse, OperationError> {
        let known = self.schedule(&request.name, request.group_name.as_deref()).await?;
        let wanted = self.parse_schedule(request, Some(&known)).await?;
        let change = |record: &mut ScheduleRecord| {
            let invocations = std::mem::take(&mut record.progress.invocations);
            *record = wanted.clone();
            record.progress.invocations = invocations;
            Ok(Some(()))
        };
        let missing = || missing(&wanted.name);
        self.records().update(&keys::schedule(&wanted.name), missing, change).await?;
        Ok(CreateScheduleResponse { schedule_arn: self.schedule_arn(&wanted.name) })
    }

    /// One schedule.
    pub async fn get_schedule(
        &self,
        request: GetScheduleRequest,
    ) -> Result<GetScheduleResponse, OperationError> {
        let record = self.schedule(&request.name, request.group_name.as_deref()).await?;
        Ok(GetScheduleResponse {
            arn: self.schedule_arn(&record.name),
            group_name: DEFAULT_GROUP.to_owned(),
            schedule_expression: record.schedule.expression().to_owned(),
            schedule_expression_timezone: record.schedule.timezone().to_owned(),
            state: record.state,
            target: ScheduleTarget::of(self.identity(), &record.target),
            flexible_time_window: FlexibleTimeWindow {
                mode: match record.window {
                    Some(_) => FlexibleTimeWindowMode::Flexible,
                    None => FlexibleTimeWindowMode::Off,
                },
                maximum_window_in_minutes: record.window.map(Into::into),
            },
            description: record.description,
            start_date: record.start_at,
            end_date: record.end_at,
            action_after_completion: record.after_completion,
            creation_date: record.created_at,
            last_modification_date: record.modified_at,
            name: record.name,
        })
    }

    /// The schedules by name.
    pub async fn list_schedules(
        &self,
        request: ListSchedulesRequest,
    ) -> Result<ListSchedulesResponse, OperationError> {
        check_group(request.group_name.as_deref())?;
        let prefix = request.name_prefix.as_deref().unwrap_or_default();
        if !prefix.is_empty() {
            check_name("NamePrefix", prefix)?;
        }
        let mut records: Vec<ScheduleRecord> = self.records().list(&keys::schedule(prefix)).await?;
        records.retain(|record| request.state.is_none_or(|state| record.state == state));
        let names = records.iter().map(|record| record.name.clone()).collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, 100, false)?;
        records.retain(|record| page.items.contains(&record.name));
        let schedules = records.into_iter().map(|record| ScheduleSummary {
            arn: self.schedule_arn(&record.name),
            group_name: DEFAULT_GROUP.to_owned(),
            state: record.state,
            target: TargetSummary { arn: self.identity().cluster(&record.target.cluster) },
            creation_date: record.created_at,
            last_modification_date: record.modified_at,
            name: record.name,
        });
        Ok(ListSchedulesResponse { schedules: schedules.collect(), next_token: page.next_token })
    }

    /// Deletes a schedule. Tasks that it started go on.
    pub async fn delete_schedule(
        &self,
        request: DeleteScheduleRequest,
    ) -> Result<DeleteScheduleResponse, OperationError> {
        let record = self.schedule(&request.name, request.group_name.as_deref()).await?;
        let key = keys::schedule(&record.name);
        self.records().commit(Transaction::new().delete(key)).await?;
        Ok(DeleteScheduleResponse {})
    }

    /// What became of a schedule's newest runs, and when the next one is.
    pub async fn describe_schedule_invocations(
        &self,
        request: DescribeScheduleInvocationsRequest,
    ) -> Result<DescribeScheduleInvocationsResponse, OperationError> {
        let record = self.schedule(&request.name, None).await?;
        Ok(DescribeScheduleInvocationsResponse {
            next_invocation_at: next_run(&record, self.now()),
            invocations: record.progress.invocations.into(),
        })
    }

    async fn schedule(&self, name: &str, group: Option<&str>) -> Result<ScheduleRecord, OperationError> {
        check_group(group)?;
        check_name("Name", name)?;
        let found = self.records().get(&keys::schedule(name)).await?;
        found.map(|found| found.value).ok_or_else(|| missing(name))
    }

    fn schedule_arn(&self, name: &str) -> String {
        let identity = self.identity();
        format!("arn:aws:scheduler:{}:{}:schedule/{DEFAULT_GROUP}/{name}", identity.region, identity.account)
    }

    async fn parse_schedule(
        &self,
        request: CreateScheduleRequest,
        known: Option<&ScheduleRecord>,
    ) -> Result<ScheduleRecord, OperationError> {
        check_group(request.group_name.as_deref())?;
        check_name("Name", &request.name)?;
        let client_token = fields::client_token(request.client_token)?;
        if request.description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
            return Err(OperationError::invalid(format!(
                "Description can have at most {MAX_DESCRIPTION} characters."
            )));
        }
        let schedule =
            Schedule::parse(&request.schedule_expression, request.schedule_expression_timezone.as_deref())?;
        let now = self.now();
        if schedule.is_once() && schedule.next(now, now).is_none() {
            return Err(OperationError::invalid(format!(
                "ScheduleExpression {} is in the past.",
                quoted(&request.schedule_expression)
            )));
        }
        if let (Some(start), Some(end)) = (request.start_date, request.end_date)
            && start >= end
        {
            return Err(OperationError::invalid("StartDate must be before EndDate."));
        }
        let window = parse_window(&request.flexible_time_window)?;
        let target = self.parse_target(request.target).await?;
        let created_at = known.map_or(now, |known| known.created_at);
        Ok(ScheduleRecord {
            name: request.name,
            schedule,
            target,
            state: request.state.unwrap_or_default(),
            description: request.description,
            start_at: request.start_date,
            end_at: request.end_date,
            window,
            after_completion: request.action_after_completion.unwrap_or_default(),
            created_at,
            modified_at: now,
            client_token: known.map_or(client_token, |known| known.client_token.clone()),
            progress: Progress {
                // A rate without a start begins at once: this very moment is not done with.
                done_until: if known.is_some() { now } else { now.earlier(Duration::from_millis(1)) },
                retry: None,
                invocations: Default::default(),
            },
        })
    }
}

fn parse_window(window: &FlexibleTimeWindow) -> Result<Option<u32>, OperationError> {
    match (window.mode, window.maximum_window_in_minutes) {
        (FlexibleTimeWindowMode::Off, None) => Ok(None),
        (FlexibleTimeWindowMode::Off, Some(_)) => Err(OperationError::invalid(
            "FlexibleTimeWindow.MaximumWindowInMinutes must not be given where Mode is OFF.",
        )),
        (FlexibleTimeWindowMode::Flexible, minutes) => {
            let given = minutes.filter(|minutes| (1..=MAX_WINDOW).contains(minutes));
            let minutes = given.and_then(|minutes| u32::try_from(minutes).ok());
            minutes.map(Some).ok_or_else(|| {
                OperationError::invalid(format!(
                    "FlexibleTimeWindow.MaximumWindowInMinutes must be 1 to {MAX_WINDOW} where Mode is FLEXIBLE."
                ))
            })
        }
    }
}

fn check_name(field: &str, name: &str) -> Result<(), OperationError> {
    let is_good = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_good {
        return Ok(());
    }
    Err(OperationError::invalid(format!(
        "{field} must match ^[0-9a-zA-Z-_.]{{1,{MAX_NAME}}}$, but was {}",
        quoted(name)
    )))
}

fn check_group(group: Option<&str>) -> Result<(), OperationError> {
    match group {
        None | Some(DEFAULT_GROUP) => Ok(()),
        Some(group) => Err(OperationError::not_found(format!(
            "Schedule group {} does not exist; the one there is here is {DEFAULT_GROUP}.",
            quoted(group)
        ))),
    }
}

fn missing(name: &str) -> OperationError {
    OperationError::not_found(format!("Schedule {name} does not exist."))
}

/// A field of a target that does nothing here, if it was given.
fn refused(field: &str, value: &Option<Value>) -> Result<(), OperationError> {
    match value {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(OperationError::invalid(format!("Target.{field} is not supported: leave it out."))),
    }
}
