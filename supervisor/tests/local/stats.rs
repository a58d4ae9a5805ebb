//! What tasks use, as people see it.

use coracle_supervisor::operations::{DescribeTaskStatsRequest, DescribeTaskStatsResponse, StopTaskRequest};
use serde_json::json;

use crate::host::{Host, get, guest};

async fn stats(host: &Host, tasks: &[&str]) -> DescribeTaskStatsResponse {
    let tasks = tasks.iter().map(|task| (*task).to_owned()).collect();
    let request = DescribeTaskStatsRequest { cluster: None, tasks };
    host.supervisor.describe_task_stats(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_command_is_seen_at_work_within_its_limits() {
    let host = Host::new().await;
    let container =
        json!({ "command": ["--forever"], "memory": 32, "dockerLabels": { "coracle.fuel": "unlimited" } });
    host.register_task("burn", &guest("burn"), container, json!({ "cpu": "128", "memory": "64" })).await;
    let arn = host.run("burn").await.unwrap();
    host.until(async || {
        let seen = stats(&host, &[&arn]).await;
        seen.tasks.first().and_then(|task| task.containers.first()).is_some_and(|container| {
            container.throttled_time_nanos > 0
                && container.cpu_time_nanos > 0
                && container.fuel > 1_000_000
                && container.memory > 0
        })
    })
    .await;
    let seen = stats(&host, &[&arn]).await;
    let task = &seen.tasks[0];
    assert_eq!((task.cpu_limit, task.memory_limit), (Some(128), Some(64 << 20)));
    let container = &task.containers[0];
    assert_eq!(container.memory_limit, Some(32 << 20));
    assert!(container.memory <= container.memory_peak && container.memory_peak <= 32 << 20, "{container:?}");

    let stop = StopTaskRequest { cluster: None, task: arn.clone(), reason: None };
    host.supervisor.stop_task(stop).await.unwrap();
    host.until_stopped(&arn).await;
    let gone = stats(&host, &[&arn, "0123456789abcdef0123456789abcdef"]).await;
    assert_eq!(gone.tasks, []);
    assert_eq!(
        gone.failures.iter().map(|failure| failure.reason.as_str()).collect::<Vec<_>>(),
        ["MISSING"; 2]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_whether_a_handler_answers_or_a_server() {
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({ "memory": 64 })).await;
    let port = json!({ "memory": 64, "portMappings": [{ "containerPort": 8080 }] });
    host.register_task("web", &guest("web"), port, json!({ "networkMode": "awsvpc" })).await;
    for family in ["hello", "web"] {
        let address = host.serve(family, 1, &[]).await.unwrap();
        let before = requests(&host, family).await;
        for _ in 0..5 {
            assert_eq!(get(address, "/").await.0, 200);
        }
        let after = requests(&host, family).await;
        // Health checks count, too.
        assert!(after >= before + 5, "{family}: {before} and then {after}");
    }
}

async fn requests(host: &Host, service: &str) -> u64 {
    let task = host.running(service).await.remove(0);
    stats(host, &[&task]).await.tasks[0].containers[0].requests
}
