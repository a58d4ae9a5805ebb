//! Spot capacity and its interruption, on a paused clock.

use std::time::Duration;

use coracle_supervisor::model::capacity::CapacityProvider;
use coracle_supervisor::model::task::StopCode;
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::world::World;

fn strategy() -> Value {
    json!([
        { "capacityProvider": "FARGATE", "base": 1, "weight": 1 },
        { "capacityProvider": "FARGATE_SPOT", "weight": 3 }
    ])
}

async fn reclaim(world: &World, request: Value) -> ReclaimCapacityResponse {
    let request = parse_request(request.to_string().as_bytes()).unwrap();
    world.supervisor.reclaim_capacity(request).await.unwrap()
}

async fn world() -> World {
    let world = World::new().await;
    world.register("web").await;
    let request = CreateServiceRequest {
        capacity_provider_strategy: Some(strategy()),
        ..world.service_request("web", 5, &[("coracle.listen", "127.0.0.1:0")])
    };
    world.supervisor.create_service(request).await.unwrap();
    world.until_steady("web").await;
    world
}

async fn spot(world: &World) -> Vec<String> {
    let mut spot = Vec::new();
    for arn in world.running("web").await {
        if world.task(&arn).await.capacity_provider_name == Some(CapacityProvider::FargateSpot) {
            spot.push(arn);
        }
    }
    spot
}

#[tokio::test(start_paused = true)]
async fn a_service_is_spread_by_its_strategy_and_keeps_it_when_capacity_is_taken_back() {
    let world = world().await;
    let before = spot(&world).await;
    assert_eq!(before.len(), 3);
    let answer = reclaim(&world, json!({ "service": "web" })).await;
    assert_eq!(answer.interrupted_tasks.len(), 3, "{answer:?}");
    for arn in &before {
        world.until_stopped(arn).await;
        let task = world.task(arn).await;
        assert_eq!(task.stop_code, Some(StopCode::SpotInterruption));
        assert_eq!(task.stopped_reason.as_deref(), Some("Your Spot Task was interrupted."));
    }
    world.until_steady("web").await;
    let after = spot(&world).await;
    assert_eq!((after.len(), world.running("web").await.len()), (3, 5));
    assert!(after.iter().all(|arn| !before.contains(arn)));
    let events = world.events("web").await;
    let told = events
        .iter()
        .filter(|text| text.ends_with("was interrupted: its Spot capacity was taken back."))
        .count();
    assert_eq!(told, 3, "{events:#?}");
    assert!(world.driver.breaches().is_empty(), "{:?}", world.driver.breaches());
}

#[tokio::test(start_paused = true)]
async fn two_minutes_after_the_warning_nothing_is_left() {
    let world = World::new().await;
    world
        .define(json!({
            "family": "slow",
            "containerDefinitions": [{ "name": "app", "image": "hello.wasm", "memory": 64, "stopTimeout": 120 }],
        }))
        .await;
    let request = json!({ "taskDefinition": "slow", "capacityProviderStrategy": [{ "capacityProvider": "FARGATE_SPOT", "weight": 1 }] });
    let request = parse_request(request.to_string().as_bytes()).unwrap();
    let arn = world.supervisor.run_task(request).await.unwrap().tasks.remove(0).task_arn;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let answer = reclaim(&world, json!({ "tasks": [arn] })).await;
    assert_eq!(answer.interrupted_tasks, std::slice::from_ref(&arn));
    world.until_stopped(&arn).await;
    let task = world.task(&arn).await;
    let took = task.stopped_at.unwrap().since(task.stopping_at.unwrap());
    assert!(took <= Duration::from_secs(121), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_spot_is_not_taken_back() {
    let world = world().await;
    let spot = spot(&world).await;
    let other = world.running("web").await.into_iter().find(|arn| !spot.contains(arn)).unwrap();
    let answer = reclaim(&world, json!({ "tasks": [other] })).await;
    assert_eq!(answer.failures[0].reason, "NOT_SPOT", "{answer:?}");
    let answer = reclaim(&world, json!({ "count": 1 })).await;
    assert_eq!(answer.interrupted_tasks.len(), 1, "{answer:?}");
    let both = parse_request(
        json!({ "launchType": "FARGATE", "taskDefinition": "web", "capacityProviderStrategy": strategy() })
            .to_string()
            .as_bytes(),
    );
    let error = world.supervisor.run_task(both.unwrap()).await.unwrap_err().to_string();
    assert!(error.starts_with("Specifying both a launch type and capacity provider strategy"), "{error}");
    let update = json!({ "service": "web", "capacityProviderStrategy": [{ "capacityProvider": "mine", "weight": 1 }] });
    let update = parse_request(update.to_string().as_bytes()).unwrap();
    let error = world.supervisor.update_service(update).await.unwrap_err().to_string();
    assert!(error.contains("mine"), "{error}");
}
