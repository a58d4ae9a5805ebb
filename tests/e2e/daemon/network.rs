//! What tasks of a daemon reach, and how they are reached.

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, get, guest};

fn run(daemon: &Daemon, family: &str) -> String {
    let answer = daemon.call("RunTask", &json!({ "taskDefinition": family })).unwrap();
    answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

fn task(daemon: &Daemon, arn: &str) -> Value {
    daemon.call("DescribeTasks", &json!({ "tasks": [arn] })).unwrap()["tasks"][0].clone()
}

#[test]
fn a_host_port_is_in_describe_tasks_and_answers() {
    let daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "portMappings": [{ "containerPort": 8080 }] }));
    let arn = run(&daemon, "hello");
    let running = eventually("running", || task(&daemon, &arn), |task| task["lastStatus"] == "RUNNING");
    let binding = &running["containers"][0]["networkBindings"][0];
    assert_eq!(
        (&binding["bindIP"], &binding["containerPort"], &binding["protocol"]),
        (&json!("127.0.0.1"), &json!(8080), &json!("tcp"))
    );
    let address = format!("127.0.0.1:{}", binding["hostPort"]);
    let answer = get(address.parse().unwrap(), "/").unwrap();
    assert!(answer.body.starts_with("hello from "), "{answer:?}");
    let shown = daemon.output("task ls").stdout;
    assert!(shown.contains(&address), "{shown}");
}

#[test]
fn a_task_reaches_the_api_only_where_its_very_address_is_granted() {
    let daemon = Daemon::start();
    let command = ["http", &format!("http://{}/", daemon.api)];
    for (family, egress, told) in [
        ("none", None, "error HttpRequestDenied"),
        ("all", Some("*".to_owned()), "error HttpRequestDenied"),
        ("loopback", Some("127.0.0.0/8".to_owned()), "error HttpRequestDenied"),
        ("itself", Some(daemon.api.to_string()), ": 4"),
    ] {
        let labels = egress.map(|egress| json!({ "coracle.egress": egress })).unwrap_or_else(|| json!({}));
        daemon.register(
            family,
            json!({ "image": guest("netprobe"), "command": command, "dockerLabels": labels }),
        );
        let arn = run(&daemon, family);
        eventually("stopped", || task(&daemon, &arn), |task| task["lastStatus"] == "STOPPED");
        let id = arn.rsplit('/').next().unwrap();
        let log = daemon.output(&format!("logs {id}")).stdout;
        assert!(log.contains(told), "{family}: {log}");
    }
}
