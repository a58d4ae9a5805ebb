//! The task metadata endpoint, asked by guests.

use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::host::{Host, guest};

/// Runs a probe and gives what it printed for each operation.
async fn probe(host: &Host, image: &str, operations: &[&[&str]], task: Value) -> Vec<String> {
    let command = operations.join(&"then");
    host.register_task("probe", &guest(image), json!({ "command": command }), task).await;
    let arn = host.run("probe").await.unwrap();
    host.until_stopped(&arn).await;
    host.log(&arn).lines().filter_map(|line| Some(line.splitn(3, ' ').nth(2)?.to_owned())).collect()
}

/// The document after `what was asked: 200 `.
fn document(line: &str) -> Value {
    let (_, text) = line.split_once(": 200 ").unwrap_or_else(|| panic!("no answer in {line}"));
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_reads_about_itself_without_any_egress() {
    for (image, mode) in [("netprobe", "awsvpc"), ("netprobe-p3", "bridge"), ("netprobe", "host")] {
        let host = Host::new().await;
        let uri = "${ECS_CONTAINER_METADATA_URI_V4}";
        let paths =
            ["", "/task", "/taskWithTags", "/stats", "/task/stats"].map(|path| format!("{uri}{path}"));
        let operations: Vec<[&str; 2]> = paths.iter().map(|path| ["http", path.as_str()]).collect();
        let operations: Vec<&[&str]> = operations.iter().map(<[&str; 2]>::as_slice).collect();
        let task = json!({ "networkMode": mode, "cpu": "256", "memory": "64" });
        let lines = probe(&host, image, &operations, task).await;
        let [container, whole, tagged, stats, all] = lines.as_slice() else { panic!("{lines:?}") };

        let container = document(container);
        // It may ask before the agent has said that it runs.
        assert!(["PENDING", "RUNNING"].contains(&container["KnownStatus"].as_str().unwrap()), "{container}");
        assert_eq!((&container["Name"], &container["DesiredStatus"]), (&json!("app"), &json!("RUNNING")));
        assert_eq!(container["Labels"]["com.amazonaws.ecs.task-definition-family"], "probe");
        let id = container["DockerId"].as_str().unwrap();

        let whole = document(whole);
        assert!(whole["TaskARN"].as_str().unwrap().ends_with(id.strip_suffix("-app").unwrap()), "{whole}");
        assert_eq!((&whole["Family"], &whole["Revision"]), (&json!("probe"), &json!("1")));
        assert_eq!(whole["Limits"], json!({ "CPU": 0.25, "Memory": 64 }), "in cores and MiB");
        assert_eq!(whole["Containers"][0]["DockerId"], id);
        assert_eq!(document(tagged)["Family"], "probe");

        let stats = document(stats);
        assert_eq!(stats["id"], id);
        assert!(
            stats["memory_stats"]["usage"].is_u64() && stats["cpu_stats"]["cpu_usage"].is_object(),
            "{stats}"
        );
        assert_eq!(stats["memory_stats"]["limit"], 64 << 20);
        assert!(document(all).is_object());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_with_a_client_of_their_own_reach_it_by_sockets() {
    for image in ["netprobe", "netprobe-p3"] {
        let host = Host::new().await;
        let ask = "GET ${ECS_CONTAINER_METADATA_URI_V4}/task HTTP/1.1\r\nhost: 169.254.170.2\r\nconnection: close\r\n\r\n";
        let operations: [&[&str]; 2] =
            [&["tcp-reach", "169.254.170.2:80", ask], &["tcp-reach", "169.254.169.254:80", "x"]];
        let lines = probe(&host, image, &operations, json!({ "networkMode": "awsvpc" })).await;
        let text = lines.join("\n");
        assert!(text.contains("HTTP/1.1 200 OK") && text.contains("\"Family\":\"probe\""), "{text}");
        assert!(text.contains("from 169.254.170.2:80"), "{text}");
        assert!(text.contains("169.254.169.254:80 x: error access-denied"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_of_another_task_and_nothing_without_a_network() {
    let host = Host::new().await;
    // Its secret, as another task that somehow came to know it would use it.
    let echo: [&[&str]; 1] = [&["${ECS_CONTAINER_METADATA_URI_V4}"]];
    let first = probe(&host, "netprobe", &echo, json!({ "networkMode": "awsvpc" })).await;
    let uri = first[0].split_once(": ").unwrap().0.to_owned();
    assert!(
        uri.starts_with("http://169.254.170.2/v4/") && uri.len() == "http://169.254.170.2/v4/".len() + 32,
        "{uri}"
    );

    let foreign = format!("{uri}/task");
    let operations: [&[&str]; 2] = [&["http", &foreign], &["http", "http://169.254.170.2/v4/x"]];
    let lines = probe(&host, "netprobe", &operations, json!({ "networkMode": "awsvpc" })).await;
    assert!(lines.iter().all(|line| line.contains(": 404 ")), "{lines:?}");

    let lines = probe(&host, "netprobe", &echo, json!({ "networkMode": "none" })).await;
    assert!(lines[0].starts_with("${ECS_CONTAINER"), "{lines:?}");
    let operations: [&[&str]; 1] = [&["http", "http://169.254.170.2/v4/x"]];
    let lines = probe(&host, "netprobe", &operations, json!({ "networkMode": "none" })).await;
    assert!(lines[0].contains("error"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_service_protects_itself_by_sockets() {
    let host = Host::new().await;
    let body = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":60}"#;
    let put = format!(
        "PUT ${{ECS_AGENT_URI}}/task-protection/v1/state HTTP/1.1\r\nhost: 169.254.170.2\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let command = ["tcp-reach", "169.254.170.2:80", &put, "then", "tcp-serve", "0.0.0.0:8080"];
    let container = json!({ "command": command, "portMappings": [{ "containerPort": 8080 }] });
    host.register_task("probe", &guest("netprobe"), container, json!({ "networkMode": "awsvpc" })).await;
    let request = CreateServiceRequest {
        service_name: "probe".to_owned(),
        task_definition: "probe".to_owned(),
        desired_count: Some(1),
        ..CreateServiceRequest::default()
    };
    host.supervisor.create_service(request).await.unwrap();
    let protected = async || {
        let answer = host.supervisor.get_task_protection(GetTaskProtectionRequest::default()).await.unwrap();
        answer.protected_tasks.iter().any(|task| task.protection_enabled)
    };
    host.until(protected).await;
    let task = host.running("probe").await.remove(0);
    host.until(|| async { host.log(&task).contains(r#""ProtectionEnabled":true"#) }).await;
}
