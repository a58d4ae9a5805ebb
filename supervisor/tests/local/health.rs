//! Containers' own health checks, and containers that are started again.

use std::time::Duration;

use coracle_supervisor::model::task::{HealthStatus, LastStatus};
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::host::{Host, get, guest};

fn check(command: &Value) -> Value {
    json!({"command": command, "interval": 5, "retries": 1})
}

async fn is(host: &Host, arn: &str, health: HealthStatus) -> bool {
    host.task(arn).await.health_status == health
}

#[tokio::test]
async fn a_handler_and_a_server_are_asked_over_http_and_tcp() {
    let host = Host::new().await;
    let port = json!([{"containerPort": 8080}]);
    for (family, image, command) in [
        ("handler", "hello", json!(["CMD", "http", "http://localhost/"])),
        ("server", "web", json!(["CMD-SHELL", "curl -f http://localhost:8080/health || exit 1"])),
        ("socket", "web", json!(["CMD", "tcp", "localhost:8080"])),
    ] {
        let container = json!({"healthCheck": check(&command), "portMappings": port});
        host.register(family, &guest(image), container).await;
        let arn = host.run(family).await.unwrap();
        host.until(|| is(&host, &arn, HealthStatus::Healthy)).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_well_is_unhealthy() {
    let host = Host::new().await;
    let label = json!({"coracle.instance-reuse": "1"});
    let check = check(&json!(["CMD", "http", "http://localhost/500"]));
    host.register("chaos", &guest("chaos"), json!({"healthCheck": check, "dockerLabels": label})).await;
    let arn = host.run("chaos").await.unwrap();
    host.until(|| is(&host, &arn, HealthStatus::Unhealthy)).await;
    assert_eq!(host.task(&arn).await.last_status, LastStatus::Running, "only told");
}

#[tokio::test]
async fn a_command_runs_in_the_tasks_environment_and_its_exit_code_is_the_answer() {
    let host = Host::new().await;
    let directory = tempfile::tempdir().unwrap();
    let container = json!({
        "command": ["--mib", "1", "--hold-seconds", "600"],
        "healthCheck": check(&json!(["CMD", guest("wordcount"), "/data/ready"])),
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
    });
    let volume = json!({"volumes": [{"name": "data", "host": {"sourcePath": directory.path()}}]});
    host.register_task("job", &guest("hog"), container, volume).await;
    let arn = host.run("job").await.unwrap();
    host.until(|| is(&host, &arn, HealthStatus::Unhealthy)).await;
    std::fs::write(directory.path().join("ready"), "yes\n").unwrap();
    host.until(|| is(&host, &arn, HealthStatus::Healthy)).await;
    assert_eq!(host.log(&arn).matches("ready").count(), 0, "a check's output is not the container's");
}

#[tokio::test]
async fn an_unhealthy_task_of_a_service_is_replaced() {
    let host = Host::new().await;
    let image = host.data.path().join("sick.wat");
    let sick = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 1))))"#;
    std::fs::write(&image, sick).unwrap();
    let command = json!(["--mib", "1", "--hold-seconds", "600"]);
    let container = json!({"command": command, "healthCheck": check(&json!(["CMD", image]))});
    host.register("job", &guest("hog"), container).await;
    let request = json!({"serviceName": "job", "taskDefinition": "job", "desiredCount": 1});
    let request = parse_request(request.to_string().as_bytes()).unwrap();
    host.supervisor.create_service(request).await.unwrap();
    host.until(|| async { host.running("job").await.len() == 1 }).await;
    let first = host.running("job").await.remove(0);
    let task = host.until_stopped(&first).await;
    assert_eq!(task.stopped_reason.as_deref(), Some("Task failed container health checks"));
}

#[tokio::test]
async fn a_check_that_could_never_run_is_refused_when_the_task_is_asked_for() {
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({"healthCheck": check(&json!(["CMD", "check"]))})).await;
    let error = host.run("hello").await.unwrap_err().to_string();
    assert!(error.contains("healthCheck.command") && error.contains("is a handler"), "{error}");
}

#[tokio::test]
async fn a_handler_that_is_started_again_answers_behind_the_balancer_as_before() {
    let host = Host::new().await;
    let container = json!({
        "dockerLabels": {"coracle.instance-reuse": "100"},
        "memory": 32,
        "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60},
    });
    host.register("chaos", &guest("chaos"), container).await;
    let address = host.serve("chaos", 1, &[("coracle.health-check.interval", "0.5")]).await.unwrap();
    let arn = host.running("chaos").await.remove(0);
    // A minute on the supervisor's clock. The guest and the balancer have clocks of their own.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    let (status, _) = get(address, "/allocate?mib=64").await;
    assert!(status >= 500, "{status}");
    host.until(|| async { host.task(&arn).await.containers[0].restart_count == 1 }).await;
    host.until(|| async { get(address, "/").await.0 == 200 }).await;
    assert_eq!(host.running("chaos").await, [arn]);
}
