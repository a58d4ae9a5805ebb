//! `coracle schedule`, and EventBridge Scheduler's protocol.

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, guest, request};

#[test]
fn a_schedule_runs_a_task_and_is_there_after_a_restart() {
    let daemon = Daemon::start();
    daemon.register("report", json!({ "image": guest("wordcount"), "memory": 32 }));
    let create = ["schedule", "create", "often", "--schedule", "rate(1 day)", "--task-definition", "report"];
    let created = daemon.command_of(create).output().assert_success().stdout;
    assert_eq!(created, "arn:aws:scheduler:us-east-1:000000000000:schedule/default/often\n");
    let shown = eventually(
        "the first run",
        || daemon.output("schedule describe often").stdout,
        |text| text.contains("STARTED"),
    );
    assert!(shown.contains("report in cluster default") && shown.contains("next run   20"), "{shown}");

    let daemon = daemon.kill_and_restart();
    let table = daemon.output("schedule ls").stdout;
    assert!(table.lines().count() == 2 && table.contains("rate(1 day)"), "{table}");
    let json: Value = serde_json::from_str(&daemon.output("schedule describe often -o json").stdout).unwrap();
    assert_eq!(json["invocations"].as_array().map(Vec::len), Some(1), "{json}");

    assert_eq!(daemon.output("schedule delete often").stdout, "often is deleted\n");
    let gone = daemon.command("schedule describe often").output();
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("Schedule often does not exist."), "{gone:?}");
    let wrong = daemon.command("schedule create a --schedule hourly --task-definition report").output();
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("rate(value unit)"), "{wrong:?}");
}

#[test]
fn an_update_changes_what_it_says_and_leaves_the_rest() {
    let daemon = Daemon::start();
    daemon.register("report", json!({ "image": guest("wordcount"), "memory": 32 }));
    let options = "--timezone Europe/Berlin --task-definition report --window 5 --retries 3 --start 2026-12-01T00:00:00Z";
    let create = ["schedule", "create", "nightly", "--schedule", "cron(0 3 * * ? *)"];
    let create = create.into_iter().chain(options.split(' ')).chain(["--", "--all"]);
    daemon.command_of(create).output().assert_success();
    let shown = || -> Value {
        let text = daemon.output("schedule describe nightly -o json").stdout;
        serde_json::from_str(&text).unwrap()
    };
    let before = shown();
    let answer = daemon.output("schedule update nightly --disable --count 2").stdout;
    assert_eq!(answer, "arn:aws:scheduler:us-east-1:000000000000:schedule/default/nightly\n");
    let mut expected = before.clone();
    expected["State"] = json!("DISABLED");
    expected["Target"]["EcsParameters"]["TaskCount"] = json!(2);
    let mut after = shown();
    for moving in ["LastModificationDate", "nextInvocationAt"] {
        expected[moving] = Value::Null;
        after[moving] = Value::Null;
    }
    assert_eq!(after, expected, "nothing else");

    let update = ["schedule", "update", "nightly", "--schedule", "rate(2 days)"];
    let options = "--enable --window 0 --max-age 60 -- --some";
    daemon.command_of(update.into_iter().chain(options.split(' '))).output().assert_success();
    let after = shown();
    assert_eq!(
        (&after["State"], &after["ScheduleExpression"], &after["FlexibleTimeWindow"]),
        (&json!("ENABLED"), &json!("rate(2 days)"), &json!({ "Mode": "OFF" })),
        "{after}"
    );
    let retry = json!({ "MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 60 });
    assert_eq!(after["Target"]["RetryPolicy"], retry);
    assert!(after["Target"]["Input"].as_str().unwrap().contains("--some"), "{after}");

    for (wrong, part) in [
        ("schedule update nobody --disable", "Schedule nobody does not exist."),
        ("schedule update nightly --task-definition none", "TaskDefinition not found."),
        ("schedule update nightly --schedule hourly", "rate(value unit)"),
    ] {
        let refused = daemon.command(wrong).output();
        assert!(refused.code != Some(0) && refused.stderr.contains(part), "{wrong}: {refused:?}");
    }
    assert_eq!(shown(), after, "what is refused changes nothing");
}

#[test]
fn the_protocol_is_rest_json_and_pages_of_other_sites_change_nothing() {
    let daemon = Daemon::start();
    daemon.register("report", json!({ "image": guest("wordcount"), "memory": 32 }));
    let body = json!({
        "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": { "Mode": "OFF" }, "State": "DISABLED",
        "Target": { "Arn": "default", "RoleArn": "any", "EcsParameters": { "TaskDefinitionArn": "report" } },
    })
    .to_string();
    let json_type = ("Content-Type", "application/json");
    let call = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = request(daemon.api, method, path, headers, body).unwrap();
        let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        (answer.status, json)
    };
    assert_eq!(call("POST", "/schedules/a", &[], &body).0, 415);
    assert_eq!(call("POST", "/schedules/a", &[json_type, ("Origin", "http://evil.example")], &body).0, 403);
    assert_eq!(call("GET", "/schedules", &[], "").1, json!({ "Schedules": [] }));
    assert_eq!(call("POST", "/schedules/a", &[json_type], &body).0, 200);
    assert_eq!(call("POST", "/schedules/a", &[json_type], &body).0, 409);
    let (status, shown) = call("GET", "/schedules/a?groupName=default", &[], "");
    assert_eq!((status, &shown["State"]), (200, &json!("DISABLED")), "{shown}");
    assert_eq!(call("DELETE", "/schedules/a?clientToken=x", &[], "").0, 200);
    let (status, error) = call("GET", "/schedules/a", &[], "");
    assert_eq!((status, &error["__type"]), (404, &json!("ResourceNotFoundException")), "{error}");
    assert_eq!(call("POST", "/schedules/a/b", &[json_type], &body).0, 400);
    assert_eq!(call("GET", "/elsewhere", &[], "").0, 404);
}
