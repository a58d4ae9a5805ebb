//! The commands for a person who runs services: from task definition to clean-up, as the class does it.

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, get, guest};

fn definition_file(daemon: &Daemon, name: &str, container: Value) {
    let mut container = container;
    container["name"] = json!(name);
    let text = json!({ "family": name, "containerDefinitions": [container] }).to_string();
    std::fs::write(daemon.directory.path().join(format!("{name}.json")), text).unwrap();
}

fn json_of(daemon: &Daemon, line: &str) -> Value {
    serde_json::from_str(&daemon.output(&format!("{line} --output json")).stdout).unwrap()
}

#[test]
fn from_a_task_definition_to_a_service_and_back_to_nothing() {
    let daemon = Daemon::start();
    definition_file(&daemon, "hello", json!({ "image": guest("hello"), "memory": 64 }));
    assert_eq!(daemon.output("task-definition register hello.json").stdout, "hello:1\n");
    assert_eq!(daemon.output("task-definition register hello.json").stdout, "hello:2\n");
    assert!(daemon.output("task-definition ls").stdout.contains("hello:2"));
    assert!(daemon.output("task-definition describe hello").stdout.contains("hello.wasm"));

    daemon.output("cluster create shop");
    let clusters = daemon.output("cluster ls").stdout;
    assert!(clusters.starts_with("NAME ") && clusters.contains("shop"), "{clusters}");

    daemon.output("service create web -t hello:2 --replicas 2 --listen 127.0.0.1:0 --cluster shop");
    let service = eventually(
        "two tasks",
        || json_of(&daemon, "service describe web --cluster shop"),
        |service| service["runningCount"] == 2,
    );
    let endpoint =
        service["tags"].as_array().unwrap().iter().find(|tag| tag["key"] == "coracle.endpoint").unwrap();
    let address = endpoint["value"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(get(address, "/").unwrap().status, 200);
    assert!(daemon.output("service ls --cluster shop").stdout.contains("2/2"));
    let ps = daemon.output("ps").stdout;
    assert_eq!(ps.lines().filter(|line| line.contains("RUNNING")).count(), 2, "{ps}");

    daemon.output("service scale web 3 --cluster shop");
    eventually(
        "three tasks",
        || daemon.output("service ls --cluster shop").stdout,
        |text| text.contains("3/3"),
    );

    let early = daemon.command("cluster delete shop").output();
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.stderr.contains("while Services are active"), "{early:?}");
    let scaled = daemon.command("service delete web --cluster shop").output();
    assert!(scaled.stderr.contains("scaled above 0"), "{scaled:?}");
    daemon.output("service delete web --force --cluster shop");
    eventually(
        "an empty cluster",
        || daemon.command("cluster delete shop").output().code,
        |code| *code == Some(0),
    );
    assert!(get(address, "/").is_err(), "nobody listens any more");
}

#[test]
fn a_service_scales_within_its_bounds_and_says_how() {
    let daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64 }));
    daemon.output("service create web -t hello --replicas 1");
    assert!(daemon.output("service autoscale web").stdout.contains("web does not scale"));
    for (options, because) in
        [("--fast", "--cpu"), ("--min 3 --max 2 --cpu 60", "less than minimum"), ("--cpu 60", "MinCapacity")]
    {
        daemon.command(&format!("service autoscale web {options}")).output().assert_refused(because);
    }
    daemon.output("service autoscale web --min 2 --max 5 --cpu 60 --requests 100 --fast");
    let scaled = json_of(&daemon, "service autoscale web");
    assert_eq!(scaled["scalingPolicies"].as_array().unwrap().len(), 2, "{scaled}");
    eventually("two tasks", || daemon.output("service ls").stdout, |text| text.contains("2/2"));
    let shown = daemon.output("service autoscale web").stdout;
    for part in ["2 to 5 tasks", "RequestsPerSecondPerTarget", "seconds", "minimum capacity was set to 2"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(daemon.output("service autoscale web --off").stdout.contains("web does not scale"));
}

#[test]
fn a_stopped_task_of_a_service_is_replaced_and_a_standalone_one_is_not() {
    let daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64 }));
    daemon.output("service create web -t hello --replicas 1");
    let ids = |line: &str| -> Vec<String> {
        let tasks = json_of(&daemon, line);
        let arns = tasks.as_array().unwrap().iter().filter(|task| task["lastStatus"] == "RUNNING");
        arns.map(|task| task["taskArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    let first = eventually("a task", || ids("task ls --service web"), |ids| ids.len() == 1).remove(0);
    daemon.output(&format!("task stop {} --reason maintenance", &first[..8]));
    eventually("another task", || ids("task ls --service web"), |ids| ids.len() == 1 && ids[0] != first);
    let stopped = eventually(
        "the first one's end",
        || daemon.output(&format!("task describe {first}")).stdout,
        |text| text.contains("STOPPED"),
    );
    assert!(stopped.contains("maintenance (UserInitiated)"), "{stopped}");

    let alone = daemon.output("task run hello").stdout.trim().to_owned();
    eventually("the standalone task", || ids("ps"), |ids| ids.contains(&alone));
    daemon.output(&format!("task stop {alone}"));
    eventually("one task", || ids("ps"), |ids| ids.len() == 1 && !ids.contains(&alone));
}

#[test]
fn a_job_s_exit_code_and_output_can_be_looked_at() {
    let daemon = Daemon::start();
    daemon.register("count", json!({ "image": guest("wordcount"), "memory": 64 }));
    let id = daemon.output("task run count -- /nope").stdout.trim().to_owned();
    let line = format!("task describe {id} --output json");
    let task = eventually(
        "the job's end",
        || serde_json::from_str::<Value>(&daemon.output(&line).stdout).unwrap(),
        |task| task["lastStatus"] == "STOPPED",
    );
    assert_eq!(task["containers"][0]["exitCode"], 1);
    assert_eq!(task["stoppedReason"], "Essential container in task exited");
    let logs = daemon.output(&format!("logs {}", &id[..12])).stdout;
    assert!(logs.contains("wordcount: /nope"), "{logs}");
    let json = daemon.output(&format!("logs {id} --output json")).stdout;
    let event: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert!(event["timestamp"].as_i64().unwrap() > 1_600_000_000_000, "{event}");
    assert_eq!(event["logStreamName"], json!(format!("count/{id}")));
}

#[test]
fn logs_are_followed_as_they_are_written() {
    let daemon = Daemon::start();
    daemon.register("burn", json!({ "image": guest("burn"), "memory": 64, "command": ["--forever"] }));
    daemon.output("service create busy -t burn");
    eventually("a task", || daemon.output("service ls").stdout, |text| text.contains("1/1"));
    let mut follower = daemon.command("logs -f busy").start();
    let first = follower.output_with("iterations");
    let second = follower.output_with("iterations");
    assert_ne!(first, second);
    assert!(first.contains("burn/") && first.contains(" | "), "{first}");
}

#[test]
fn what_does_not_exist_is_said_with_exit_code_1_and_what_cannot_be_with_2() {
    let daemon = Daemon::start();
    let table = [
        ("service describe nothing", 1, "there is no service nothing"),
        ("task describe 123456", 1, "there is no task 123456"),
        ("cluster describe nothing", 1, "there is no cluster nothing"),
        ("task-definition describe nothing", 2, "nable to describe task definition"),
        ("ps --cluster nothing", 1, "Cluster not found"),
        ("logs nothing", 1, "there is no task nothing"),
        ("task-definition register nothing.json", 2, "cannot read nothing.json"),
        ("service create web -t nothing", 2, "TaskDefinition not found"),
    ];
    for (line, code, because) in table {
        let output = daemon.command(line).output();
        assert_eq!(output.code, Some(code), "{line}: {output:?}");
        assert!(output.stderr.contains(because) && output.stderr.lines().count() == 1, "{line}: {output:?}");
    }
    std::fs::write(daemon.directory.path().join("bad.json"), r#"{"family":"a","containerDefinitions":[]}"#)
        .unwrap();
    daemon.command("task-definition register bad.json").output().assert_refused("ontainer");
    std::fs::write(daemon.directory.path().join("bad.json"), r#"{"famly":"a"}"#).unwrap();
    daemon.command("task-definition register bad.json").output().assert_refused("famly");
}
