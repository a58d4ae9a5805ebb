//! `coracle schedule update`: UpdateSchedule replaces the whole of a schedule, so that what is not said here is given again as it is.

use coracle_supervisor::model::scheduled_run::{AfterCompletion, ScheduleState};
use coracle_supervisor::operations::{
    FlexibleTimeWindow, FlexibleTimeWindowMode, GetScheduleResponse, ScheduleTarget, UpdateScheduleRequest,
};
use http::Method;
use serde_json::{Value, json};

use super::{get, path};
use crate::cli::{args::ScheduleUpdate, client::Client, error::Failure, output, task};

pub(super) async fn main(args: ScheduleUpdate) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let known = get(&client, &args.name).await?;
    let mut target = changed_target(known.target.clone(), &args);
    let ecs = target.ecs_parameters.as_ref();
    let definition = ecs.map(|ecs| ecs.task_definition_arn.clone()).unwrap_or_default();
    if let Some(overrides) = task::overrides(&client, &definition, &args.overrides).await? {
        target.input = Some(overrides.to_string());
    }
    let mut wanted = json!(changed(known, target, &args));
    // The path says it.
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.remove("Name");
    }
    let answer: Value = client.rest(Method::PUT, &path(&args.name), Some(&wanted)).await?;
    output::print(args.api.output.output, &answer, || {
        format!("{}\n", answer["ScheduleArn"].as_str().unwrap_or_default())
    })
}

fn changed_target(mut target: ScheduleTarget, args: &ScheduleUpdate) -> ScheduleTarget {
    if let Some(cluster) = &args.cluster {
        target.arn.clone_from(cluster);
    }
    let mut ecs = target.ecs_parameters.take().unwrap_or_default();
    if let Some(definition) = &args.task_definition {
        ecs.task_definition_arn.clone_from(definition);
    }
    ecs.task_count = args.count.map(Into::into).or(ecs.task_count);
    target.ecs_parameters = Some(ecs);
    let mut retry = target.retry_policy.take().unwrap_or_default();
    retry.maximum_retry_attempts = args.retries.map(Into::into).or(retry.maximum_retry_attempts);
    retry.maximum_event_age_in_seconds = args.max_age.map(Into::into).or(retry.maximum_event_age_in_seconds);
    target.retry_policy = Some(retry);
    target
}

fn changed(
    known: GetScheduleResponse,
    target: ScheduleTarget,
    args: &ScheduleUpdate,
) -> UpdateScheduleRequest {
    UpdateScheduleRequest {
        name: known.name,
        schedule_expression: args.schedule.clone().unwrap_or(known.schedule_expression),
        schedule_expression_timezone: args.timezone.clone().or(Some(known.schedule_expression_timezone)),
        target,
        flexible_time_window: args.window.map_or(known.flexible_time_window, window),
        state: Some(match (args.enable, args.disable) {
            (true, _) => ScheduleState::Enabled,
            (_, true) => ScheduleState::Disabled,
            _ => known.state,
        }),
        description: known.description,
        start_date: args.start.or(known.start_date),
        end_date: args.end.or(known.end_date),
        action_after_completion: Some(match args.delete_after {
            Some(true) => AfterCompletion::Delete,
            Some(false) => AfterCompletion::None,
            None => known.action_after_completion,
        }),
        group_name: Some(known.group_name),
        client_token: None,
    }
}

fn window(minutes: u32) -> FlexibleTimeWindow {
    match minutes {
        0 => FlexibleTimeWindow { mode: FlexibleTimeWindowMode::Off, maximum_window_in_minutes: None },
        minutes => FlexibleTimeWindow {
            mode: FlexibleTimeWindowMode::Flexible,
            maximum_window_in_minutes: Some(minutes.into()),
        },
    }
}
