//! Load balancers through crashes, and what is asked for wrongly.

use std::net::SocketAddr;
use std::time::Duration;

use coracle_supervisor::OperationError;
use coracle_supervisor::operations::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::World;

/// Longer than a listener waits before it tries again.
const RETRY: Duration = Duration::from_secs(2);

fn request<T: DeserializeOwned>(body: Value) -> T {
    parse_request(body.to_string().as_bytes()).unwrap()
}

async fn group(world: &World, name: &str) -> String {
    let made = world.supervisor.create_target_group(request(json!({ "Name": name, "Port": 80 }))).await;
    made.unwrap().target_groups[0]["TargetGroupArn"].as_str().unwrap().to_owned()
}

async fn load_balancer(world: &World) -> String {
    let made = world.supervisor.create_load_balancer(request(json!({ "Name": "web" }))).await.unwrap();
    made.load_balancers[0]["LoadBalancerArn"].as_str().unwrap().to_owned()
}

async fn state(world: &World) -> Value {
    let known = world.supervisor.describe_load_balancers(request(json!({}))).await.unwrap();
    known.load_balancers[0]["State"].clone()
}

#[tokio::test(start_paused = true)]
async fn listeners_come_back_after_a_crash_and_one_whose_port_is_taken_then_opens_when_it_is_free() {
    let mut world = World::new().await;
    let (balancer, blue) = (load_balancer(&world).await, group(&world, "blue").await);
    let action = json!({ "Type": "forward", "TargetGroupArn": blue });
    for port in [8080, 8081] {
        let body = json!({ "LoadBalancerArn": balancer, "Port": port, "DefaultActions": [action] });
        world.supervisor.create_listener(request(body)).await.unwrap();
    }
    let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    world.driver.occupy(address);
    world.crash().await;
    let open: Vec<SocketAddr> = world.driver.listeners().into_values().collect();
    assert_eq!(open, ["127.0.0.1:8081".parse().unwrap()]);
    let impaired = json!({ "Code": "active_impaired", "Reason": "127.0.0.1:8080 is already in use" });
    assert_eq!(state(&world).await, impaired);
    tokio::time::sleep(RETRY).await;
    assert_eq!(state(&world).await, impaired);
    world.driver.vacate(address);
    tokio::time::sleep(RETRY).await;
    assert_eq!(state(&world).await, json!({ "Code": "active" }));
    assert_eq!(world.driver.listeners().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_not_open_keeps_no_other_change_back() {
    let mut world = World::new().await;
    let (balancer, blue) = (load_balancer(&world).await, group(&world, "blue").await);
    let on = |port: u16| {
        let action = json!({ "Type": "forward", "TargetGroupArn": blue });
        json!({ "LoadBalancerArn": balancer, "Port": port, "DefaultActions": [action] })
    };
    world.supervisor.create_listener(request(on(8080))).await.unwrap();
    world.driver.occupy("127.0.0.1:8080".parse().unwrap());
    world.crash().await;
    world.supervisor.create_listener(request(on(8081))).await.unwrap();
    world.driver.occupy("127.0.0.1:8082".parse().unwrap());
    let refused = world.supervisor.create_listener(request(on(8082))).await.unwrap_err();
    assert_eq!(refused.to_string(), "127.0.0.1:8082 is already in use");
}

#[tokio::test(start_paused = true)]
async fn a_target_group_made_again_as_it_is_is_the_same_and_another_of_its_name_is_refused() {
    let world = World::new().await;
    let blue = group(&world, "blue").await;
    assert_eq!(group(&world, "blue").await, blue);
    let other = json!({ "Name": "blue", "Port": 81 });
    let error = world.supervisor.create_target_group(request(other)).await.unwrap_err();
    assert_eq!(error.code(), "DuplicateTargetGroupName");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_given_of_a_health_check_stays_and_attributes_are_elbs() {
    let world = World::new().await;
    let blue = group(&world, "blue").await;
    let change = json!({ "TargetGroupArn": blue, "HealthCheckPath": "/ready", "HealthyThresholdCount": "3" });
    world.supervisor.modify_target_group(request(change)).await.unwrap();
    let change = json!({ "TargetGroupArn": blue, "HealthCheckIntervalSeconds": 10, "Matcher": { "HttpCode": "200-299" } });
    let changed =
        world.supervisor.modify_target_group(request(change)).await.unwrap().target_groups.remove(0);
    let seen = [
        "HealthCheckPath",
        "HealthyThresholdCount",
        "HealthCheckIntervalSeconds",
        "HealthCheckTimeoutSeconds",
    ]
    .map(|field| changed[field].clone());
    assert_eq!(seen, [json!("/ready"), json!(3), json!(10.0), json!(5.0)]);
    let set = |key: &str, value: &str| {
        request(json!({ "TargetGroupArn": blue, "Attributes": [{ "Key": key, "Value": value }] }))
    };
    world.supervisor.modify_target_group_attributes(set("slow_start.duration_seconds", "60")).await.unwrap();
    let all =
        world.supervisor.modify_target_group_attributes(set("stickiness.enabled", "true")).await.unwrap();
    let value =
        |key: &str| all.attributes.iter().find(|known| known.key == key).map(|known| known.value.as_str());
    assert_eq!(
        (value("slow_start.duration_seconds"), value("stickiness.enabled")),
        (Some("60"), Some("true"))
    );
    for (key, wrong) in [("slow_start.duration_seconds", "10"), ("colour", "blue")] {
        let error = world.supervisor.modify_target_group_attributes(set(key, wrong)).await.unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_wrongly_is_refused_by_its_field() {
    let world = World::new().await;
    let s = &world.supervisor;
    let wrong = |answer: Result<String, OperationError>, word: &str| {
        let error = answer.expect_err(word).to_string();
        assert!(error.contains(word), "{error} has no {word}");
    };
    for (body, word) in [
        (json!({ "Name": "-web" }), "Name"),
        (json!({ "Name": "a".repeat(33) }), "Name"),
        (json!({ "Name": "a/b" }), "Name"),
        (json!({ "Name": "web", "Type": "network" }), "Type"),
        (
            json!({ "Name": "web", "Tags": [{ "Key": "coracle.address", "Value": "here" }] }),
            "coracle.address",
        ),
        (json!({ "Name": "web", "Tags": [{ "Key": "aws:a" }] }), "aws:a"),
    ] {
        wrong(s.create_load_balancer(request(body)).await.map(|_| String::new()), word);
    }
    for (body, word) in [
        (json!({ "Name": "blue" }), "Port"),
        (json!({ "Name": "blue", "Port": 0 }), "Port"),
        (json!({ "Name": "blue", "Port": 80, "Protocol": "HTTPS" }), "Protocol"),
        (json!({ "Name": "blue", "Port": 80, "HealthCheckPath": "health" }), "HealthCheckPath"),
        (json!({ "Name": "blue", "Port": 80, "HealthCheckTimeoutSeconds": 60 }), "HealthCheckTimeoutSeconds"),
        (json!({ "Name": "blue", "Port": 80, "Matcher": { "HttpCode": "x" } }), "HttpCode"),
        (json!({ "Name": "blue", "Port": 80, "Matcher": { "Code": "200" } }), "Code"),
    ] {
        wrong(s.create_target_group(request(body)).await.map(|_| String::new()), word);
    }
    for arn in ["web", "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0", ""] {
        let action = json!({ "Type": "forward", "TargetGroupArn": "x" });
        let body = json!({ "LoadBalancerArn": arn, "Port": 80, "DefaultActions": [action] });
        wrong(s.create_listener(request(body)).await.map(|_| String::new()), "load balancers not found");
        let body = json!({ "RuleArn": arn });
        wrong(s.delete_rule(request(body)).await.map(|_| String::new()), "rules not found");
        let body = json!({ "ListenerArn": arn });
        wrong(s.delete_listener(request(body)).await.map(|_| String::new()), "listeners not found");
        let body = json!({ "TargetGroupArn": arn });
        wrong(
            s.describe_target_health(request(body)).await.map(|_| String::new()),
            "target groups not found",
        );
    }
    world.register("web").await;
    for (load_balancers, word) in [
        (json!([{}]), "targetGroupArn"),
        (json!([{ "targetGroupArn": "x" }]), "containerName"),
        (json!([{ "targetGroupArn": "x", "containerName": "app" }]), "containerPort"),
        (
            json!([{ "targetGroupArn": "x", "containerName": "db", "containerPort": 8080 }]),
            "The container db does not exist",
        ),
        (
            json!([{ "targetGroupArn": "x", "containerName": "app", "containerPort": 81 }]),
            "did not have a container port 81",
        ),
        (
            json!([{ "targetGroupArn": "x", "containerName": "app", "containerPort": 8080 }]),
            "The target group x does not exist",
        ),
        (json!([{}, {}]), "one target group at most"),
    ] {
        let mut create = world.service_request("web", 1, &[]);
        create.load_balancers = serde_json::from_value(load_balancers).unwrap();
        wrong(s.create_service(create).await.map(|_| String::new()), word);
    }
    let mut create = world.service_request("web", 1, &[("coracle.listen", "127.0.0.1:0")]);
    create.load_balancers = serde_json::from_value(
        json!([{ "targetGroupArn": "x", "containerName": "app", "containerPort": 8080 }]),
    )
    .unwrap();
    wrong(s.create_service(create).await.map(|_| String::new()), "coracle.listen");
}
