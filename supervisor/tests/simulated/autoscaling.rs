//! Auto scaling through the operations, on recorded loads and a paused clock.

use std::time::Duration;

use coracle_supervisor::operations::*;
use coracle_supervisor::testing::Load;
use serde_json::{Value, json};

use crate::world::World;

const LISTEN: (&str, &str) = ("coracle.listen", "127.0.0.1:0");
const MINUTE: Duration = Duration::from_secs(60);

fn resource(extra: Value) -> Vec<u8> {
    let mut request = json!({
        "ServiceNamespace": "ecs",
        "ResourceId": "service/default/web",
        "ScalableDimension": "ecs:service:DesiredCount",
    });
    for (key, value) in extra.as_object().unwrap() {
        request[key] = value.clone();
    }
    request.to_string().into_bytes()
}

/// A service of 256 CPU units and 64 MiB a task.
async fn world_with_service(count: i64) -> World {
    let world = World::new().await;
    world
        .define(json!({
            "family": "web", "cpu": "256", "memory": "64",
            "containerDefinitions": [{ "name": "app", "image": "hello.wasm" }],
        }))
        .await;
    world.create_service("web", count, &[LISTEN]).await.unwrap();
    world.until_steady("web").await;
    world
}

async fn register(world: &World, min: i64, max: i64) {
    let request = parse_request(&resource(json!({ "MinCapacity": min, "MaxCapacity": max }))).unwrap();
    world.supervisor.register_scalable_target(request).await.unwrap();
}

async fn track(world: &World, name: &str, configuration: Value) {
    let request = resource(json!({
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": configuration,
    }));
    world.supervisor.put_scaling_policy(parse_request(&request).unwrap()).await.unwrap();
}

async fn track_cpu(world: &World, target: f64) {
    let metric = json!({ "PredefinedMetricType": "ECSServiceAverageCPUUtilization" });
    track(world, "cpu", json!({ "TargetValue": target, "PredefinedMetricSpecification": metric })).await;
}

async fn activities(world: &World) -> Vec<ScalingActivity> {
    let request = parse_request(br#"{"ServiceNamespace": "ecs"}"#).unwrap();
    world.supervisor.describe_scaling_activities(request).await.unwrap().scaling_activities
}

async fn desired(world: &World) -> u32 {
    world.service("web").await.desired_count
}

/// Each request takes 10 ms of CPU.
fn load(requests_per_second: f64) -> Load {
    Load { requests_per_second, cpu_per_request: Duration::from_millis(10), memory: 16 << 20 }
}

#[tokio::test(start_paused = true)]
async fn registering_brings_the_count_within_the_bounds() {
    let world = world_with_service(1).await;
    register(&world, 2, 5).await;
    assert_eq!(desired(&world).await, 2);
    world.until_steady("web").await;
    register(&world, 0, 1).await;
    assert_eq!(desired(&world).await, 1);
    let causes: Vec<_> = activities(&world).await.into_iter().map(|activity| activity.cause).collect();
    assert_eq!(causes, ["maximum capacity was set to 1", "minimum capacity was set to 2"]);
}

#[tokio::test(start_paused = true)]
async fn the_count_follows_the_cpu_as_calculated_on_paper() {
    let world = world_with_service(4).await;
    register(&world, 1, 20).await;
    track_cpu(&world, 50.0).await;
    // 90 requests/s of 10 ms are 0.9 cores, of 4 x 0.25: 90 %.
    world.driver.set_load(load(90.0));
    tokio::time::sleep(2 * MINUTE + MINUTE / 2).await;
    assert_eq!(desired(&world).await, 4, "not before three periods");
    tokio::time::sleep(2 * MINUTE).await;
    // ceil(4 x 90 / 50) = 8
    assert_eq!(desired(&world).await, 8);
    // 8 tasks bear it with 45 %, which is neither above 50 nor below 0.9 x 50.
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(desired(&world).await, 8);
    // 20 requests/s: 0.2 of 2 cores are 10 %.
    world.driver.set_load(load(20.0));
    tokio::time::sleep(14 * MINUTE).await;
    assert_eq!(desired(&world).await, 8, "not before fifteen periods");
    tokio::time::sleep(3 * MINUTE).await;
    // ceil(8 x 10 / 50) = 2
    assert_eq!(desired(&world).await, 2);
    let told = activities(&world).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[0].description, "Setting desired count to 2.");
    assert!(told[0].cause.contains("AlarmLow") && told[1].cause.contains("AlarmHigh"), "{told:#?}");
    assert!(told[1].details.contains("ceil(4 x 90.000 / 50) = 8"), "{}", told[1].details);
}

#[tokio::test(start_paused = true)]
async fn nothing_scales_in_during_a_deployment_or_while_it_is_suspended() {
    let world = world_with_service(8).await;
    register(&world, 1, 20).await;
    let suspended = json!({ "SuspendedState": { "DynamicScalingInSuspended": true } });
    let request = parse_request(&resource(suspended)).unwrap();
    world.supervisor.register_scalable_target(request).await.unwrap();
    track_cpu(&world, 50.0).await;
    world.driver.set_load(load(10.0));
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(desired(&world).await, 8, "suspended");
    // A deployment that does not come to its end: none of its tasks starts.
    world.driver.set_faults(|faults| faults.prepare_fails = 1.0);
    world.force_deployment("web").await;
    let resumed = json!({ "SuspendedState": { "DynamicScalingInSuspended": false } });
    let request = parse_request(&resource(resumed)).unwrap();
    world.supervisor.register_scalable_target(request).await.unwrap();
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(desired(&world).await, 8, "deploying");
}

/// A step policy for `web`: one task more for up to 30 above the threshold, three for more.
async fn step_policy(world: &World) -> String {
    register(world, 1, 20).await;
    let request = resource(json!({
        "PolicyName": "steps",
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity",
            "Cooldown": 120,
            "StepAdjustments": [
                { "MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 30.0, "ScalingAdjustment": 1 },
                { "MetricIntervalLowerBound": 30.0, "ScalingAdjustment": 3 },
            ],
        },
    }));
    world.supervisor.put_scaling_policy(parse_request(&request).unwrap()).await.unwrap().policy_arn
}

/// An alarm that is raised when `service` uses more than half of its CPU.
async fn put_alarm(world: &World, service: &str, action: &str) {
    let alarm = json!({
        "AlarmName": "busy", "AlarmDescription": "more than half", "Namespace": "AWS/ECS", "MetricName": "CPUUtilization",
        "Dimensions": [{ "Name": "ClusterName", "Value": "default" }, { "Name": "ServiceName", "Value": service }],
        "ComparisonOperator": "GreaterThanThreshold", "Threshold": 50.0, "Period": 60, "EvaluationPeriods": 1,
        "AlarmActions": [action],
    });
    let alarm = parse_request(alarm.to_string().as_bytes()).unwrap();
    world.supervisor.put_metric_alarm(alarm).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_alarm_is_about_the_service_that_it_names() {
    let world = world_with_service(4).await;
    let policy = step_policy(&world).await;
    put_alarm(&world, "quiet", &policy).await;
    world.driver.set_load(load(90.0));
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(desired(&world).await, 4, "the load of another service raises nothing");
    put_alarm(&world, "web", &policy).await;
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(desired(&world).await, 7);
    let alarms =
        world.supervisor.describe_alarms(DescribeAlarmsRequest::default()).await.unwrap().metric_alarms;
    assert_eq!(alarms[0]["AlarmDescription"], "more than half");
    assert_eq!(alarms[0]["Dimensions"][1], json!({ "Name": "ServiceName", "Value": "web" }));
}

#[tokio::test(start_paused = true)]
async fn a_step_policy_acts_when_its_alarm_is_raised() {
    let world = world_with_service(4).await;
    let policy = step_policy(&world).await;
    put_alarm(&world, "web", &policy).await;
    tokio::time::sleep(MINUTE).await;
    // 90 %: 40 above the threshold.
    world.driver.set_load(load(90.0));
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(desired(&world).await, 7);
    // 7 tasks: 51.4 %, one more, but not within the cooldown.
    tokio::time::sleep(10 * MINUTE).await;
    // Then 8 tasks bear it with 45 %, which raises nothing.
    assert_eq!(desired(&world).await, 8);
    let told = activities(&world).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[1].cause, "monitor alarm busy in state ALARM triggered policy steps");
    assert_eq!(
        told[1].status_message,
        "Successfully set desired count to 7. Change successfully fulfilled by ecs."
    );
    assert!(told[0].start_time.since(told[1].start_time) >= 2 * MINUTE, "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn scheduled_actions_run_at_their_time_once_and_survive_a_crash() {
    let mut world = world_with_service(2).await;
    register(&world, 1, 4).await;
    // The world begins at 2026-01-01T00:00:00Z.
    for (name, schedule, min, max) in
        [("rush", "at(2026-01-01T01:00:00)", 6, 10), ("night", "cron(0 2 * * ? *)", 1, 1)]
    {
        let request = resource(json!({
            "ScheduledActionName": name, "Schedule": schedule,
            "ScalableTargetAction": { "MinCapacity": min, "MaxCapacity": max },
        }));
        world.supervisor.put_scheduled_action(parse_request(&request).unwrap()).await.unwrap();
    }
    tokio::time::sleep(59 * MINUTE).await;
    assert_eq!(desired(&world).await, 2);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(desired(&world).await, 6);
    // Somebody changes it by hand; the action has run and does not run again, not even after a crash.
    world.scale("web", 7).await.unwrap();
    world.crash().await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(desired(&world).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_target_goes_with_its_service() {
    let world = world_with_service(1).await;
    register(&world, 1, 4).await;
    let request = parse_request(br#"{"service": "web", "force": true}"#).unwrap();
    world.supervisor.delete_service(request).await.unwrap();
    let all = || async {
        let request = parse_request(br#"{"ServiceNamespace": "ecs"}"#).unwrap();
        world.supervisor.describe_scalable_targets(request).await.unwrap().scalable_targets
    };
    world.until(|| async { all().await.is_empty() }).await;
}

#[tokio::test(start_paused = true)]
async fn black_friday_is_followed_within_seconds_in_fast_mode() {
    let world = world_with_service(1).await;
    register(&world, 1, 40).await;
    let metric = json!({ "Namespace": "Coracle", "MetricName": "RequestsPerSecondPerTarget" });
    track(&world, "fast", json!({ "TargetValue": 100.0, "CustomizedMetricSpecification": metric })).await;
    world.driver.set_load(load(95.0));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(desired(&world).await, 1);
    // From about 100 to 2,000 requests a second within 10 s.
    let mut behind = 0.0_f64;
    for second in 1..=10 {
        let rate = 100.0 + 190.0 * f64::from(second);
        world.driver.set_load(load(rate));
        tokio::time::sleep(Duration::from_secs(1)).await;
        behind = behind.max(rate / 100.0 - f64::from(desired(&world).await));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // One more where the ticks' whole requests come out a little above.
    assert!(
        (20..=21).contains(&desired(&world).await),
        "all of it a second after the rush has reached its height"
    );
    assert!(behind <= 4.0, "never more than two seconds' growth behind: {behind}");
    // After the rush: the panic goes on for a stable window, then it shrinks.
    world.driver.set_load(load(95.0));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(desired(&world).await >= 20, "still on its guard");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(desired(&world).await, 1);
    assert_eq!(world.driver.breaches(), Vec::<String>::new(), "no task was stopped in rotation");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_refused_with_the_name_of_its_field() {
    let world = world_with_service(1).await;
    let bad = |extra: Value| parse_request::<RegisterScalableTargetRequest>(&resource(extra)).unwrap();
    for (extra, field) in [
        (json!({ "MinCapacity": 1 }), "MaxCapacity"),
        (json!({ "MinCapacity": -1, "MaxCapacity": 2 }), "MinCapacity"),
        (json!({ "MinCapacity": 3, "MaxCapacity": 2 }), "Maximum capacity"),
        (json!({ "MinCapacity": 1, "MaxCapacity": 2, "ServiceNamespace": "ec2" }), "ServiceNamespace"),
        (json!({ "MinCapacity": 1, "MaxCapacity": 2, "ResourceId": "web" }), "ResourceId"),
        (json!({ "MinCapacity": 1, "MaxCapacity": 2, "ResourceId": "service/default/none" }), "exist"),
    ] {
        let error = world.supervisor.register_scalable_target(bad(extra)).await.unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    register(&world, 1, 2).await;
    for (extra, field) in [
        (json!({ "PolicyType": "TargetTrackingScaling" }), "PolicyType"),
        (json!({ "PolicyType": "Magic" }), "PolicyType"),
        (
            json!({ "PolicyType": "TargetTrackingScaling",
                    "TargetTrackingScalingPolicyConfiguration": { "TargetValue": 0.0 } }),
            "TargetValue",
        ),
        (
            json!({ "StepScalingPolicyConfiguration": { "AdjustmentType": "ChangeInCapacity", "StepAdjustments": [
                { "MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 10.0, "ScalingAdjustment": 1 },
                { "MetricIntervalLowerBound": 11.0, "ScalingAdjustment": 2 }] } }),
            "gaps",
        ),
    ] {
        let mut extra = extra;
        extra["PolicyName"] = json!("p");
        let request = parse_request::<PutScalingPolicyRequest>(&resource(extra)).unwrap();
        let error = world.supervisor.put_scaling_policy(request).await.unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
}
