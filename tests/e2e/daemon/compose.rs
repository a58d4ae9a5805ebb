//! `coracle up` with a Compose file.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Daemon, coracle, eventually, free_address, get, guest};

fn project(address: SocketAddr, more: &str) -> String {
    format!(
        r#"
name: shop
services:
  web:
    image: {}
    ports: ["{}:80"]
    environment: {{GREETING: hello}}
    healthcheck: {{test: ["CMD", "curl", "-f", "http://localhost/"], interval: 1s}}
    deploy: {{replicas: 2, resources: {{limits: {{cpus: "0.5", memory: 64M}}}}}}
{more}
"#,
        guest("hello"),
        address.port()
    )
}

fn directory_with(file: &str, text: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join(file), text).unwrap();
    directory
}

fn state(daemon: &Daemon) -> Value {
    let input = json!({ "cluster": "shop", "services": ["web"], "include": ["TAGS"] });
    daemon.call("DescribeServices", &input).unwrap()["services"][0].take()
}

fn eventually_answers(address: SocketAddr) {
    let status = || get(address, "/").map(|answer| answer.status).ok();
    eventually("a healthy task", status, |status| *status == Some(200));
}

fn revisions(daemon: &Daemon) -> usize {
    let answer = daemon.call("ListTaskDefinitions", &json!({})).unwrap();
    answer["taskDefinitionArns"].as_array().unwrap().len()
}

#[test]
fn a_file_that_is_found_is_applied_and_applying_it_again_changes_nothing() {
    let address = free_address();
    let directory = directory_with("compose.yaml", &project(address, ""));
    let daemon = Daemon::start_in(directory, &[]);
    eventually("two tasks", || state(&daemon), |service| service["runningCount"] == 2);
    eventually_answers(address);
    let (before, count) = (state(&daemon), revisions(&daemon));
    assert_eq!(count, 1);

    // Another daemon over the same data and the same file.
    let daemon = daemon.kill_and_restart();
    let after = eventually("two tasks again", || state(&daemon), |service| service["runningCount"] == 2);
    assert_eq!(revisions(&daemon), 1);
    for field in ["taskDefinition", "desiredCount", "createdAt"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["deployments"][0]["id"], before["deployments"][0]["id"]);
    eventually_answers(address);
}

#[test]
fn what_changed_in_the_file_changes_in_the_cluster() {
    let address = free_address();
    let directory = directory_with("docker-compose.yml", &project(address, ""));
    let daemon = Daemon::start_in(directory, &[]);
    let first = state(&daemon);
    let changed =
        project(address, "").replace("GREETING: hello", "GREETING: hi").replace("replicas: 2", "replicas: 1");
    fs::write(daemon.directory.path().join("docker-compose.yml"), changed).unwrap();
    let daemon = daemon.kill_and_restart();
    let second = state(&daemon);
    assert_eq!(second["desiredCount"], 1);
    assert!(first["taskDefinition"].as_str().unwrap().ends_with("/shop-web:1"), "{first}");
    assert!(second["taskDefinition"].as_str().unwrap().ends_with("/shop-web:2"), "{second}");

    // Where it listens is settled at creation: the service is made anew.
    let other = free_address();
    fs::write(daemon.directory.path().join("docker-compose.yml"), project(other, "")).unwrap();
    let daemon = daemon.kill_and_restart();
    eventually_answers(other);
    assert!(get(address, "/").is_err(), "the old port is closed");
    drop(daemon);
}

#[test]
fn a_dependency_is_healthy_before_what_needs_it_is_created() {
    let addresses = (free_address(), free_address());
    let api = format!(
        "  api:\n    image: {}\n    ports: [\"{}:80\"]\n    depends_on: {{web: {{condition: service_healthy}}}}\n",
        guest("hello"),
        addresses.1.port()
    );
    let directory = directory_with("compose.yaml", &project(addresses.0, &api));
    let daemon = Daemon::start_in(directory, &[]);
    assert_eq!(state(&daemon)["runningCount"], 2);
    assert_eq!(get(addresses.0, "/").unwrap().status, 200);
}

#[test]
fn a_file_that_cannot_be_obeyed_is_refused_with_its_line() {
    let table = [
        ("services:\n  web:\n    image: a.wasm\n    privileged: true\n", "line 4: services.web.privileged"),
        ("services:\n  web:\n    image: nothing.wasm\n", "nothing.wasm"),
        ("services: [", "not valid YAML"),
    ];
    for (text, because) in table {
        let directory = directory_with("compose.yaml", text);
        let data = directory.path().join("data");
        let arguments = ["up", "--api", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
        let output = coracle(arguments).in_directory(directory.path()).output();
        assert_eq!(output.code, Some(2), "{output:?}");
        let error = output.stderr.lines().last().unwrap();
        assert!(error.starts_with("error: ") && error.contains(because), "{output:?}");
    }
    let output = coracle(["up", "-f", "/nonexistent/compose.yaml", "--data-dir", "/tmp"]).output();
    output.assert_refused("/nonexistent/compose.yaml");
}
