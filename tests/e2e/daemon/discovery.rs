//! Services that find each other by name: from the command line, and from a Compose file.

use std::{fs, net::SocketAddr};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Daemon, eventually, free_address, get, guest};

fn endpoint(daemon: &Daemon, service: &str) -> SocketAddr {
    let service = daemon.service(service);
    let tags = service["tags"].as_array().unwrap();
    let endpoint = tags.iter().find(|tag| tag["key"] == "coracle.endpoint").unwrap();
    endpoint["value"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

#[test]
fn a_service_calls_another_by_its_name_over_restarts_and_a_stranger_does_not() {
    let daemon = Daemon::start();
    let port = json!([{ "containerPort": 8080, "name": "http" }]);
    daemon.register("orders", json!({ "image": guest("hello"), "portMappings": port }));
    let relay = json!([{ "name": "RELAY_TO", "value": "http://orders:8080" }]);
    let web = json!({ "image": guest("relay"), "portMappings": port, "environment": relay });
    for family in ["web", "stranger"] {
        daemon.register(family, web.clone());
    }
    daemon.output("service create orders -t orders -r 2 --namespace shop.local --port-name http");
    daemon
        .output("service create web -t web --listen 127.0.0.1:0 --health-path /here --namespace shop.local");
    daemon.output("service create stranger -t stranger --listen 127.0.0.1:0 --health-path /here");
    for service in ["orders", "web", "stranger"] {
        daemon.output(&format!("service wait {service}"));
    }
    let described = daemon.output("service describe orders").stdout;
    assert!(described.contains("shop.local") && described.contains("orders:8080"), "{described}");
    let call = |daemon: &Daemon, service: &str| {
        let answer = get(endpoint(daemon, service), "/").unwrap();
        (answer.status, answer.body)
    };
    let hello = |(status, body): &(u16, String)| *status == 200 && body.starts_with("hello from ");
    let answer = call(&daemon, "web");
    assert!(hello(&answer), "{answer:?}");
    assert_eq!(call(&daemon, "stranger"), (502, "HttpRequestDenied\n".to_owned()));

    let daemon = daemon.kill_and_restart();
    for service in ["orders", "web"] {
        daemon.output(&format!("service wait {service}"));
    }
    eventually("it is found again", || call(&daemon, "web"), hello);
    daemon.output("service delete orders --force");
    let gone = (502, "HttpRequestDenied\n".to_owned());
    eventually("it is found no more", || call(&daemon, "web"), |answer| *answer == gone);

    let refused =
        daemon.command("service create a -t orders --namespace shop.local --port-name none").output();
    refused.assert_refused("--port-name");
    let refused = daemon.command("service create a -t orders --port-name http").output();
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn the_services_of_a_compose_file_find_each_other_with_nothing_said() {
    let address = free_address();
    let directory = TempDir::new().unwrap();
    let text = format!(
        r#"
name: shop
services:
  front:
    image: {relay}
    ports: ["{port}:80"]
    environment: {{RELAY_TO: "http://Middle:9000"}}
  Middle:
    image: {relay}
    expose: ["9000"]
    environment: {{RELAY_TO: "http://back.shop.local"}}
  back:
    image: {hello}
"#,
        relay = guest("relay"),
        hello = guest("hello"),
        port = address.port()
    );
    fs::write(directory.path().join("compose.yaml"), text).unwrap();
    let daemon = Daemon::start_in(directory, &[]);
    let answers = |address| get(address, "/").map(|answer| (answer.status, answer.body)).unwrap_or_default();
    let answer = eventually(
        "an answer from the end of the chain",
        || answers(address),
        |(status, body)| *status == 200 && body.starts_with("hello from "),
    );
    // Another daemon finds nothing to change.
    let before =
        daemon.call("DescribeServices", &json!({ "cluster": "shop", "services": ["back"] })).unwrap();
    let daemon = daemon.kill_and_restart();
    let after = daemon.call("DescribeServices", &json!({ "cluster": "shop", "services": ["back"] })).unwrap();
    let deployment = |answer: &serde_json::Value| answer["services"][0]["deployments"][0]["id"].clone();
    assert_eq!(deployment(&before), deployment(&after));
    assert_eq!(answer.0, 200);
}
