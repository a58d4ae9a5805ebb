//! The circuit breaker: bad revisions are given up, and the service goes back to what was good.

use std::time::Duration;

use coracle_supervisor::model::deployment::ServiceDeploymentStatus;
use coracle_supervisor::model::service::RolloutState;
use coracle_supervisor::model::service::ServiceStatus;
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use super::revision_of;
use crate::world::World;

const PUBLISHED: &[(&str, &str)] = &[("coracle.listen", "127.0.0.1:0")];

fn breaker(rollback: bool) -> Value {
    json!({"deploymentCircuitBreaker": {"enable": true, "rollback": rollback}})
}

/// Rolls out `bad.wasm`, and looks all the while whether the four good tasks are there.
async fn rolls_back(world: &World) -> ServiceDeployment {
    let good = world.running("web").await;
    let before = world.service("web").await.deployments[0].id.clone();
    let arn = world.roll_out("bad.wasm").await;
    let failed = world.service("web").await.deployments[0].id.clone();
    for _ in 0..100_000 {
        let running = world.running("web").await;
        assert!(good.iter().all(|task| running.contains(task)), "a good task was stopped: {running:?}");
        if world.service_deployment(&arn).await.status == ServiceDeploymentStatus::RollbackSuccessful {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.until_steady("web").await;
    let service = world.service("web").await;
    assert_eq!(revision_of(&service), "1");
    assert_eq!((service.deployments.len(), service.deployments[0].id.as_str()), (1, before.as_str()));
    assert_eq!(service.deployments[0].rollout_state, RolloutState::Completed);
    let events = world.events("web").await;
    for text in [
        format!("(service web) (deployment {failed}) deployment failed: tasks failed to start."),
        format!("(service web) rolling back to (deployment {before})."),
    ] {
        assert_eq!(events.iter().filter(|event| **event == text).count(), 1, "{text} in {events:#?}");
    }
    assert_eq!(world.driver.breaches(), Vec::<String>::new());
    let deployment = world.service_deployment(&arn).await;
    assert_eq!(deployment.status, ServiceDeploymentStatus::RollbackSuccessful);
    let reason = "ECS deployment circuit breaker: tasks failed to start.";
    assert_eq!(deployment.status_reason.as_deref(), Some(reason));
    assert_eq!(
        deployment.rollback.as_ref().map(|rollback| &rollback.service_revision_arn),
        Some(&deployment.source_service_revisions[0].arn)
    );
    assert_eq!(deployment.deployment_circuit_breaker.status, MonitorStatus::Triggered);
    assert_eq!(deployment.deployment_circuit_breaker.threshold, 3, "half of four, but at least three");
    deployment
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_never_starts_is_rolled_back() {
    let world = World::new().await;
    world.deployed(breaker(true), PUBLISHED).await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("bad.wasm".to_owned());
    });
    rolls_back(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_never_healthy_is_rolled_back() {
    let world = World::new().await;
    world.deployed(breaker(true), PUBLISHED).await;
    world.driver.set_faults(|faults| {
        faults.never_healthy = 1.0;
        faults.latency = Duration::from_secs(1);
    });
    rolls_back(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_whose_tasks_are_healthy_and_then_die_is_rolled_back() {
    let world = World::new().await;
    world.deployed(breaker(true), PUBLISHED).await;
    world.driver.set_faults(|faults| {
        faults.lifetimes.insert("bad.wasm".to_owned(), (Duration::from_secs(2), 1));
    });
    rolls_back(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_whose_container_fails_its_own_checks_is_rolled_back() {
    let world = World::new().await;
    world.deployed(breaker(true), &[]).await;
    world.driver.set_faults(|faults| {
        faults.sick_images.insert("bad.wasm".to_owned());
    });
    let check = json!({"command": ["CMD", "tcp", "localhost:8080"], "interval": 5, "retries": 1});
    let app = json!({"name": "app", "image": "bad.wasm", "portMappings": [{"containerPort": 8080}],
        "healthCheck": check});
    let checked = world.define(json!({"family": "web", "containerDefinitions": [app]})).await;
    let request = UpdateServiceRequest {
        service: "web".to_owned(),
        task_definition: Some(checked),
        ..UpdateServiceRequest::default()
    };
    world.supervisor.update_service(request).await.unwrap();
    world
        .until(|| async {
            world.service_deployments().await[0].status == ServiceDeploymentStatus::RollbackSuccessful
        })
        .await;
    assert_eq!(revision_of(&world.service("web").await), "1");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_proves_itself_wipes_out_the_failures_before_it() {
    let world = World::new().await;
    let counting = |resets: bool| {
        let threshold = json!({"type": "COUNT", "value": 5});
        json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true, "resetOnHealthyTask": resets,
            "thresholdConfiguration": threshold}})
    };
    world.deployed(counting(true), PUBLISHED).await;
    // Two in three starts fail: five in a row will not be for a while, but in all there soon are.
    world.driver.set_faults(|faults| faults.start_fails = 0.4);
    let arn = world.roll_out("good.wasm").await;
    world.until_steady("web").await;
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::Successful);
    assert_eq!(world.service("web").await.deployments[0].failed_tasks, 0);
}

#[tokio::test(start_paused = true)]
async fn without_rollback_a_failed_deployment_starts_nothing_more_and_the_old_tasks_stay() {
    let world = World::new().await;
    world.deployed(breaker(false), PUBLISHED).await;
    let good = world.running("web").await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("bad.wasm".to_owned());
    });
    let arn = world.roll_out("bad.wasm").await;
    world
        .until(|| async { world.service("web").await.deployments[0].rollout_state == RolloutState::Failed })
        .await;
    let reason = "ECS deployment circuit breaker: tasks failed to start.";
    assert_eq!(world.service("web").await.deployments[0].rollout_state_reason, reason);
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::Stopped);
    let failed = world.service("web").await.deployments[0].failed_tasks;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.service("web").await.deployments[0].failed_tasks, failed, "nothing more was started");
    assert_eq!(world.running("web").await, good);

    world.roll_out("better.wasm").await;
    world.until_steady("web").await;
    let service = world.service("web").await;
    assert_eq!((revision_of(&service), service.running_count), ("3", 4));
}

#[tokio::test(start_paused = true)]
async fn a_first_deployment_that_fails_has_nothing_to_go_back_to() {
    let world = World::new().await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("good.wasm".to_owned());
    });
    world.revision("good.wasm").await;
    let mut request = world.service_request("web", 4, PUBLISHED);
    request.deployment_configuration = Some(serde_json::from_value(breaker(true)).unwrap());
    world.supervisor.create_service(request).await.unwrap();
    world
        .until(|| async { world.service("web").await.deployments[0].rollout_state == RolloutState::Failed })
        .await;
    let deployment = world.service_deployments().await.remove(0);
    assert_eq!(deployment.status, ServiceDeploymentStatus::RollbackFailed);
    let reason = deployment.status_reason.unwrap();
    assert!(reason.ends_with("There is no completed deployment to roll back to."), "{reason}");
    world.driver.set_faults(|faults| faults.missing_images.clear());
    world.force_deployment("web").await;
    world.until_steady("web").await;
    assert_eq!(world.running("web").await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_never_given_up() {
    let world = World::new().await;
    let mut configuration = breaker(true);
    // The old tasks leave before the new ones start.
    configuration["minimumHealthyPercent"] = json!(0);
    configuration["maximumPercent"] = json!(100);
    world.deployed(configuration, PUBLISHED).await;
    world.driver.set_faults(|faults| {
        faults.missing_images.extend(["bad.wasm".to_owned(), "good.wasm".to_owned()]);
    });
    let arn = world.roll_out("bad.wasm").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let deployment = world.service_deployment(&arn).await;
    assert_eq!(deployment.status, ServiceDeploymentStatus::RollbackInProgress);
    let service = world.service("web").await;
    assert_eq!((revision_of(&service), service.running_count), ("1", 0));
    world.driver.set_faults(|faults| faults.missing_images.clear());
    // The longest wait of the throttle.
    tokio::time::sleep(Duration::from_secs(900)).await;
    world.until_steady("web").await;
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert_eq!(world.service("web").await.running_count, 4);
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_deployment_failed_was_never_deleted() {
    let world = World::new().await;
    world.deployed(breaker(false), PUBLISHED).await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("bad.wasm".to_owned());
    });
    world.roll_out("bad.wasm").await;
    world
        .until(|| async { world.service("web").await.deployments[0].rollout_state == RolloutState::Failed })
        .await;
    world.scale("web", 2).await.unwrap();
    world.until(|| async { world.running("web").await.len() == 2 }).await;
    let request = DeleteServiceRequest { cluster: None, service: "web".to_owned(), force: Some(true) };
    world.supervisor.delete_service(request).await.unwrap();
    world.until(|| async { world.service("web").await.status == ServiceStatus::Inactive }).await;
    assert!(world.driver.tasks().is_empty());
}
