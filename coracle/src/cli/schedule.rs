//! `coracle schedule`

mod update;

use std::fmt::Write as _;

use coracle_supervisor::model::scheduled_run::{Invocation, ScheduleState};
use coracle_supervisor::operations::{
    DescribeScheduleInvocationsResponse, GetScheduleResponse, ListSchedulesResponse,
};
use http::Method;
use serde_json::{Value, json};

use super::{
    args::{ScheduleCommand, ScheduleCreate, ScheduleName},
    client::Client,
    error::Failure,
    output::{self, Table, name_of, short_id},
    task,
};

pub(crate) async fn main(command: ScheduleCommand) -> Result<(), Failure> {
    match command {
        ScheduleCommand::Create(args) => create(args).await,
        ScheduleCommand::Ls(api) => {
            let schedules = all(&Client::new(&api)).await?;
            output::print(api.output.output, &schedules, || table(&schedules))
        }
        ScheduleCommand::Describe(args) => describe(args).await,
        ScheduleCommand::Update(args) => update::main(args).await,
        ScheduleCommand::Delete(args) => {
            let client = Client::new(&args.api);
            let answer: Value = client.rest(Method::DELETE, &path(&args.name), None).await?;
            output::print(args.api.output.output, &answer, || format!("{} is deleted\n", args.name))
        }
    }
}

async fn create(args: ScheduleCreate) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let overrides = task::overrides(&client, &args.task_definition, &args.overrides).await?;
    let mut target = json!({
        "Arn": args.cluster.cluster,
        "EcsParameters": {
            "TaskDefinitionArn": args.task_definition,
            "TaskCount": args.count,
            "EnableExecuteCommand": true,
        },
        "RetryPolicy": {
            "MaximumRetryAttempts": args.retries,
            "MaximumEventAgeInSeconds": args.max_age,
        },
    });
    if let Some(overrides) = overrides {
        target["Input"] = json!(overrides.to_string());
    }
    let mut input = json!({
        "ScheduleExpression": args.schedule,
        "ScheduleExpressionTimezone": args.timezone,
        "FlexibleTimeWindow": match args.window {
            Some(minutes) => json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes }),
            None => json!({ "Mode": "OFF" }),
        },
        "ActionAfterCompletion": if args.delete_after { "DELETE" } else { "NONE" },
        "Target": target,
    });
    if let Some(start) = args.start {
        input["StartDate"] = json!(start);
    }
    if let Some(end) = args.end {
        input["EndDate"] = json!(end);
    }
    let answer: Value = client.rest(Method::POST, &path(&args.name), Some(&input)).await?;
    output::print(args.cluster.api.output.output, &answer, || {
        format!("{}\n", answer["ScheduleArn"].as_str().unwrap_or_default())
    })
}

async fn describe(args: ScheduleName) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let schedule = get(&client, &args.name).await?;
    let runs = runs(&client, &args.name).await?;
    let mut everything = json!(schedule);
    everything["invocations"] = json!(runs.invocations);
    everything["nextInvocationAt"] = json!(runs.next_invocation_at);
    output::print(args.api.output.output, &everything, || description(&schedule, &runs))
}

/// Names are checked by the daemon; what a path cannot have is encoded, so that it is the name that is refused.
fn path(name: &str) -> String {
    let mut path = "/schedules/".to_owned();
    for byte in name.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) => path.push(byte.into()),
            // Writing to a string cannot fail.
            byte => write!(path, "%{byte:02X}").unwrap_or_default(),
        }
    }
    path
}

async fn get(client: &Client, name: &str) -> Result<GetScheduleResponse, Failure> {
    Ok(client.rest(Method::GET, &path(name), None).await?)
}

async fn runs(client: &Client, name: &str) -> Result<DescribeScheduleInvocationsResponse, Failure> {
    Ok(client.coracle("DescribeScheduleInvocations", &json!({ "name": name })).await?)
}

async fn all(client: &Client) -> Result<Vec<GetScheduleResponse>, Failure> {
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let listed: ListSchedulesResponse =
            client.rest(Method::GET, &format!("/schedules?MaxResults=100{token}"), None).await?;
        names.extend(listed.schedules.into_iter().map(|schedule| schedule.name));
        match listed.next_token {
            // It is a schedule's name.
            Some(next) => token = format!("&NextToken={next}"),
            None => break,
        }
    }
    let mut schedules = Vec::with_capacity(names.len());
    for name in names {
        schedules.push(get(client, &name).await?);
    }
    Ok(schedules)
}

fn table(schedules: &[GetScheduleResponse]) -> String {
    let mut table = Table::new(["SCHEDULE", "WHEN", "TIME ZONE", "TASK DEFINITION", "CLUSTER", "STATE"]);
    for schedule in schedules {
        table.row([
            schedule.name.clone(),
            schedule.schedule_expression.clone(),
            schedule.schedule_expression_timezone.clone(),
            task_definition(schedule).to_owned(),
            name_of(&schedule.target.arn).to_owned(),
            state(schedule).to_owned(),
        ]);
    }
    table.render()
}

fn state(schedule: &GetScheduleResponse) -> &'static str {
    match schedule.state {
        ScheduleState::Enabled => "ENABLED",
        ScheduleState::Disabled => "DISABLED",
    }
}

fn task_definition(schedule: &GetScheduleResponse) -> &str {
    let ecs = schedule.target.ecs_parameters.as_ref();
    ecs.map(|ecs| name_of(&ecs.task_definition_arn)).unwrap_or_default()
}

fn description(schedule: &GetScheduleResponse, runs: &DescribeScheduleInvocationsResponse) -> String {
    let next = runs.next_invocation_at.map_or_else(|| "never".to_owned(), output::at);
    let window = schedule.flexible_time_window.maximum_window_in_minutes;
    let mut lines = vec![
        ("schedule", schedule.name.clone()),
        ("when", format!("{} {}", schedule.schedule_expression, schedule.schedule_expression_timezone)),
        ("runs", format!("{} in cluster {}", task_definition(schedule), name_of(&schedule.target.arn))),
        ("state", state(schedule).to_owned()),
        ("next run", next),
    ];
    lines.extend(window.map(|minutes| ("window", format!("{minutes} minutes"))));
    let mut text: String = lines.into_iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    if !runs.invocations.is_empty() {
        let mut table = Table::new(["RUN", "STATUS", "TRIES", "TASKS"]);
        for run in &runs.invocations {
            table.row([
                output::at(run.scheduled_at),
                run.status.as_str().to_owned(),
                run.attempts.to_string(),
                outcome(run),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

fn outcome(run: &Invocation) -> String {
    match &run.reason {
        Some(reason) => reason.clone(),
        None => run.task_arns.iter().map(|arn| short_id(arn)).collect::<Vec<_>>().join(","),
    }
}
