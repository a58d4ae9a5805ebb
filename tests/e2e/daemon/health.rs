//! Containers' own health checks, as a user sees them.

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, guest};

fn task(daemon: &Daemon, id: &str) -> Value {
    serde_json::from_str(&daemon.output(&format!("task describe {id} --output json")).stdout).unwrap()
}

#[test]
fn a_task_s_health_is_in_its_description() {
    let daemon = Daemon::start();
    let check =
        json!({ "command": ["CMD-SHELL", "curl -f http://localhost:8080/health || exit 1"], "interval": 5 });
    let port = json!([{ "containerPort": 8080 }]);
    daemon.register("web", json!({ "image": guest("web"), "healthCheck": check, "portMappings": port }));
    let id = daemon.output("task run web").stdout.trim().to_owned();
    let healthy = eventually("health", || task(&daemon, &id), |task| task["healthStatus"] == "HEALTHY");
    assert_eq!(healthy["containers"][0]["healthStatus"], "HEALTHY");
    let text = daemon.output(&format!("task describe {id}")).stdout;
    assert!(text.contains("HEALTHY"), "{text}");
}

#[test]
fn a_service_s_unhealthy_task_is_replaced_and_a_secret_that_is_missing_is_named() {
    let daemon = Daemon::start();
    let check = json!({ "command": ["CMD", "http", "http://localhost/500"], "interval": 5, "retries": 1 });
    daemon.register("chaos", json!({ "image": guest("chaos"), "healthCheck": check }));
    daemon.output("service create sick -t chaos");
    let reason = "Task failed container health checks";
    eventually(
        "the replacement",
        || daemon.call("ListTasks", &json!({ "serviceName": "sick", "desiredStatus": "STOPPED" })).unwrap(),
        |stopped| {
            let stopped =
                stopped["taskArns"].as_array().and_then(|arns| arns.first()).and_then(Value::as_str);
            stopped.is_some_and(|arn| task(&daemon, arn)["stoppedReason"] == reason)
        },
    );

    let secrets = json!([{ "name": "PASSWORD", "valueFrom": "password" }]);
    daemon.register("secretive", json!({ "image": guest("hello"), "secrets": secrets }));
    let id = daemon.output("task run secretive").stdout.trim().to_owned();
    let stopped = eventually("its end", || task(&daemon, &id), |task| task["lastStatus"] == "STOPPED");
    let reason = stopped["stoppedReason"].as_str().unwrap();
    assert!(
        reason.starts_with("ResourceInitializationError: unable to pull secrets or registry auth")
            && reason.contains("secrets/password does not exist"),
        "{reason}"
    );
}
