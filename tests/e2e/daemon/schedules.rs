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
