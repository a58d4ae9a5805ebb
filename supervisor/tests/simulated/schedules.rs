//! Scheduled tasks through the operations, on a paused clock. The world begins at 2026-01-01T00:00:00Z.

use std::time::Duration;

use coracle_supervisor::model::scheduled_run::{Invocation, InvocationStatus};
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn request(name: &str, expression: &str, extra: Value) -> CreateScheduleRequest {
    let mut request = json!({
        "Name": name,
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": { "Mode": "OFF" },
        "Target": {
            "Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/default",
            "RoleArn": "arn:aws:iam::000000000000:role/scheduler",
            "EcsParameters": { "TaskDefinitionArn": "report" },
        },
    });
    for (key, value) in extra.as_object().unwrap() {
        request[key] = value.clone();
    }
    parse_request(request.to_string().as_bytes()).unwrap()
}

async fn create(world: &World, name: &str, expression: &str, extra: Value) {
    world.supervisor.create_schedule(request(name, expression, extra)).await.unwrap();
}

async fn invocations(world: &World, name: &str) -> Vec<Invocation> {
    let request = DescribeScheduleInvocationsRequest { name: name.to_owned() };
    world.supervisor.describe_schedule_invocations(request).await.unwrap().invocations
}

async fn runs(world: &World, name: &str) -> usize {
    let invocations = invocations(world, name).await;
    invocations.iter().filter(|run| run.status == InvocationStatus::Started).count()
}

async fn world() -> World {
    let world = World::new().await;
    world.register("report").await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_schedule_runs_its_tasks_at_its_times() {
    let world = world().await;
    let target = json!({
        "Arn": "default",
        "EcsParameters": { "TaskDefinitionArn": "report:1", "TaskCount": 2, "Tags": [{ "key": "team", "value": "a" }] },
        "Input": r#"{"containerOverrides": [{"name": "app", "command": ["--all"]}]}"#,
    });
    create(&world, "nightly", "cron(0 3 * * ? *)", json!({ "Target": target })).await;
    tokio::time::sleep(3 * HOUR - MINUTE).await;
    assert!(invocations(&world, "nightly").await.is_empty());
    tokio::time::sleep(2 * MINUTE).await;
    let known = invocations(&world, "nightly").await;
    assert_eq!((known.len(), known[0].attempts, known[0].task_arns.len()), (1, 1, 2), "{known:?}");
    assert!(known[0].invoked_at.since(known[0].scheduled_at) < Duration::from_secs(1), "{known:?}");
    let task = world.task(&known[0].task_arns[0]).await;
    assert_eq!(task.started_by.as_deref(), Some("chronos-schedule/nightly"));
    assert_eq!(task.overrides.container_overrides[0].command, Some(vec!["--all".to_owned()]));
    tokio::time::sleep(48 * HOUR).await;
    assert_eq!(runs(&world, "nightly").await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_rate_begins_at_once_and_a_deleted_schedule_runs_no_more() {
    let world = world().await;
    create(&world, "often", "rate(5 minutes)", json!({})).await;
    tokio::time::sleep(21 * MINUTE).await;
    assert_eq!(runs(&world, "often").await, 5);
    let delete = || GetScheduleRequest { name: "often".to_owned(), ..Default::default() };
    world.supervisor.delete_schedule(delete()).await.unwrap();
    let error = world.supervisor.delete_schedule(delete()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("ResourceNotFoundException", "Schedule often does not exist.")
    );
    create(&world, "often", "rate(1 day)", json!({ "State": "DISABLED" })).await;
    tokio::time::sleep(HOUR).await;
    assert!(invocations(&world, "often").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_missed_is_made_up_for_once() {
    let mut world = world().await;
    create(&world, "often", "rate(10 minutes)", json!({ "StartDate": 1_767_225_600 + 600 })).await;
    create(&world, "once", "at(2026-01-01T00:30:00)", json!({ "ActionAfterCompletion": "DELETE" })).await;
    tokio::time::sleep(11 * MINUTE).await;
    assert_eq!(runs(&world, "often").await, 1);
    world.supervisor.kill();
    tokio::time::sleep(34 * MINUTE).await;
    world.crash_later(45 * MINUTE).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let known = invocations(&world, "often").await;
    // 00:20 and 00:30 are left out; 00:40 is made up for at 00:45.
    assert_eq!(known.len(), 2, "{known:?}");
    assert_eq!(known[0].scheduled_at.seconds(), 1_767_225_600.0 + 2400.0, "{known:?}");
    assert_eq!(known[0].status, InvocationStatus::Started);
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(runs(&world, "often").await, 3);
    let gone = GetScheduleRequest { name: "once".to_owned(), ..Default::default() };
    assert!(world.supervisor.get_schedule(gone).await.is_err(), "it has run and is deleted");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_too_late_is_left_out_and_told() {
    let mut world = world().await;
    let target = json!({
        "Arn": "default", "EcsParameters": { "TaskDefinitionArn": "report" },
        "RetryPolicy": { "MaximumEventAgeInSeconds": 60 },
    });
    create(&world, "once", "at(2026-01-01T00:30:00)", json!({ "Target": target })).await;
    world.supervisor.kill();
    tokio::time::sleep(40 * MINUTE).await;
    world.crash_later(40 * MINUTE).await;
    tokio::time::sleep(MINUTE).await;
    let known = invocations(&world, "once").await;
    assert_eq!((known.len(), known[0].status), (1, InvocationStatus::Missed), "{known:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_a_run_and_its_note_starts_nothing_twice() {
    for step in 0..40 {
        let mut world = world().await;
        create(&world, "once", "at(2026-01-01T00:10:00)", json!({})).await;
        tokio::time::sleep(10 * MINUTE - Duration::from_millis(1)).await;
        // Wherever it is after so many turns.
        for _ in 0..step {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_millis(2)).await;
        for _ in 0..step {
            tokio::task::yield_now().await;
        }
        world.crash_later(10 * MINUTE).await;
        world.until(|| async { runs(&world, "once").await == 1 }).await;
        let mut tasks = Vec::new();
        for desired_status in [None, Some(coracle_supervisor::model::task::DesiredStatus::Stopped)] {
            let request = ListTasksRequest { desired_status, ..ListTasksRequest::default() };
            tasks.extend(world.supervisor.list_tasks(request).await.unwrap().task_arns);
        }
        assert_eq!(tasks.len(), 1, "after {step} turns: {tasks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_refused_is_tried_again_within_its_policy() {
    let world = world().await;
    let target = json!({
        "Arn": "default", "EcsParameters": { "TaskDefinitionArn": "report:1" },
        "RetryPolicy": { "MaximumRetryAttempts": 5 },
    });
    create(&world, "often", "rate(1 hour)", json!({ "Target": target, "StartDate": 1_767_225_600 + 600 }))
        .await;
    let deregister = parse_request(br#"{"taskDefinition": "report:1"}"#).unwrap();
    world.supervisor.deregister_task_definition(deregister).await.unwrap();
    tokio::time::sleep(10 * MINUTE + Duration::from_secs(5)).await;
    let known = invocations(&world, "often").await;
    assert_eq!((known[0].status, known[0].attempts), (InvocationStatus::Retrying, 3), "{known:?}");
    assert_eq!(known[0].reason.as_deref(), Some("ClientException: TaskDefinition is inactive"));
    tokio::time::sleep(10 * MINUTE).await;
    let known = invocations(&world, "often").await;
    assert_eq!(
        (known.len(), known[0].status, known[0].attempts),
        (1, InvocationStatus::Failed, 6),
        "{known:?}"
    );
    // What mends it is used by the next run.
    world.register("report").await;
    let request = request("often", "rate(1 hour)", json!({ "StartDate": 1_767_225_600 + 600 }));
    world.supervisor.update_schedule(request).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(runs(&world, "often").await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_newest_twenty_runs_are_remembered() {
    let world = world().await;
    create(&world, "often", "rate(1 minute)", json!({})).await;
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(invocations(&world, "often").await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_described_is_what_was_asked_for() {
    let world = world().await;
    let window = json!({ "Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15 });
    let extra = json!({ "FlexibleTimeWindow": window, "Description": "all of it", "ScheduleExpressionTimezone": "Europe/Berlin" });
    create(&world, "nightly", "cron(0 3 * * ? *)", extra.clone()).await;
    let one = GetScheduleRequest { name: "nightly".to_owned(), ..Default::default() };
    let shown = json!(world.supervisor.get_schedule(one).await.unwrap());
    for (field, value) in extra.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    assert_eq!(shown["Target"]["EcsParameters"]["TaskDefinitionArn"], "report");
    assert_eq!(shown["Arn"], "arn:aws:scheduler:us-east-1:000000000000:schedule/default/nightly");
    create(&world, "hourly", "rate(1 hour)", json!({ "State": "DISABLED" })).await;
    let list = async |request: Value| {
        let request = parse_request(request.to_string().as_bytes()).unwrap();
        let listed = world.supervisor.list_schedules(request).await.unwrap();
        (listed.schedules.into_iter().map(|schedule| schedule.name).collect::<Vec<_>>(), listed.next_token)
    };
    assert_eq!(list(json!({})).await.0, ["hourly", "nightly"]);
    assert_eq!(list(json!({ "State": "ENABLED" })).await.0, ["nightly"]);
    assert_eq!(list(json!({ "NamePrefix": "hour" })).await.0, ["hourly"]);
    let (first, token) = list(json!({ "MaxResults": 1 })).await;
    assert_eq!(first, ["hourly"]);
    assert_eq!(list(json!({ "NextToken": token })).await, (vec!["nightly".to_owned()], None));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_run_is_refused_by_name() {
    let world = world().await;
    let ecs = |parameters: Value| json!({ "Target": { "Arn": "default", "EcsParameters": parameters } });
    let report = json!({ "TaskDefinitionArn": "report" });
    let table = [
        ("a b", "rate(1 hour)", json!({}), "Name must match"),
        ("a", "hourly", json!({}), "The schedule expression"),
        ("a", "at(2025-01-01T00:00:00)", json!({}), "is in the past"),
        ("a", "rate(1 hour)", ecs(json!({ "TaskDefinitionArn": "none" })), "TaskDefinition not found."),
        (
            "a",
            "rate(1 hour)",
            ecs(json!({ "TaskDefinitionArn": "report", "TaskCount": 11 })),
            "TaskCount must be 1 to 10",
        ),
        (
            "a",
            "rate(1 hour)",
            json!({ "Target": { "Arn": "nowhere", "EcsParameters": report } }),
            "Cluster not found.",
        ),
        ("a", "rate(1 hour)", json!({ "Target": { "Arn": "default" } }), "EcsParameters must be given"),
        (
            "a",
            "rate(1 hour)",
            json!({ "Target": { "Arn": "default", "EcsParameters": report, "SqsParameters": {} } }),
            "Target.SqsParameters is not supported",
        ),
        (
            "a",
            "rate(1 hour)",
            json!({ "Target": { "Arn": "default", "EcsParameters": report, "Input": "{\"colour\": 1}" } }),
            "colour",
        ),
        (
            "a",
            "rate(1 hour)",
            json!({ "Target": { "Arn": "default", "EcsParameters": report, "RetryPolicy": { "MaximumEventAgeInSeconds": 1 } } }),
            "MaximumEventAgeInSeconds must be 60 to 86400",
        ),
        ("a", "rate(1 hour)", json!({ "FlexibleTimeWindow": { "Mode": "FLEXIBLE" } }), "must be 1 to 1440"),
        ("a", "rate(1 hour)", json!({ "GroupName": "mine" }), "does not exist"),
        ("a", "rate(1 hour)", json!({ "StartDate": 10, "EndDate": 10 }), "StartDate must be before EndDate"),
    ];
    for (name, expression, extra, part) in table {
        let request = request(name, expression, extra.clone());
        let error = world.supervisor.create_schedule(request).await.expect_err(part).to_string();
        assert!(error.contains(part), "{extra}: {error}");
    }
    assert!(world.supervisor.list_schedules(Default::default()).await.unwrap().schedules.is_empty());

    let twice = request("a", "rate(1 hour)", json!({ "ClientToken": "t" }));
    world.supervisor.create_schedule(twice.clone()).await.unwrap();
    world.supervisor.create_schedule(twice).await.unwrap();
    let other = request("a", "rate(1 hour)", json!({ "ClientToken": "u" }));
    assert_eq!(world.supervisor.create_schedule(other).await.unwrap_err().code(), "ConflictException");
}
