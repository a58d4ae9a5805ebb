//! Containers' own health checks.

use std::time::Duration;

use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::model::task::{HealthStatus, LastStatus, StopCode};
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::world::World;

const A_MOMENT: Duration = Duration::from_millis(1);
/// Time for the first question, which comes before the first interval is over.
const SOON: Duration = Duration::from_millis(200);

fn check() -> Value {
    json!({"command": ["CMD", "http", "http://localhost:8080/health"], "interval": 10, "retries": 2})
}

fn web(family: &str) -> Value {
    json!({"family": family, "containerDefinitions": [{"name": "app", "image": "web.wasm", "healthCheck": check()}]})
}

async fn only_task(world: &World, arn: &str) -> (HealthStatus, HealthStatus) {
    let task = world.task(arn).await;
    (task.health_status, task.containers[0].health_status)
}

#[tokio::test(start_paused = true)]
async fn a_standalone_tasks_health_is_told_and_nothing_is_done_about_it() {
    let world = World::new().await;
    world.define(web("web")).await;
    let arn = world.run_task("web", 1).await.unwrap().remove(0);
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(only_task(&world, &arn).await, (HealthStatus::Unknown, HealthStatus::Unknown));
    tokio::time::sleep(SOON).await;
    assert_eq!(only_task(&world, &arn).await, (HealthStatus::Healthy, HealthStatus::Healthy));
    let id = world.task_id(&arn);
    world.driver.set_container_health(&id, "app", false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(only_task(&world, &arn).await.0, HealthStatus::Healthy, "one failure of two");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(only_task(&world, &arn).await, (HealthStatus::Unhealthy, HealthStatus::Unhealthy));
    assert_eq!(world.task(&arn).await.last_status, LastStatus::Running);
    world.driver.set_container_health(&id, "app", true);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(only_task(&world, &arn).await.0, HealthStatus::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_services_task_whose_container_is_unhealthy_is_replaced_with_ecss_reason() {
    let world = World::new().await;
    world.define(web("web")).await;
    world.create_service("web", 2, &[]).await.unwrap();
    world.until_steady("web").await;
    let victim = world.running("web").await.remove(0);
    world.driver.set_container_health(&world.task_id(&victim), "app", false);
    world.until_stopped(&victim).await;
    let task = world.task(&victim).await;
    assert_eq!(task.stopped_reason.as_deref(), Some("Task failed container health checks"));
    assert_eq!(task.stop_code, Some(StopCode::ServiceSchedulerInitiated));
    assert_eq!(task.health_status, HealthStatus::Unhealthy);
    world.until_steady("web").await;
    let told = format!("(service web) (task {}) failed container health checks.", world.task_id(&victim));
    let events = world.events("web").await;
    assert_eq!(events.iter().filter(|event| **event == told).count(), 1, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn its_target_group_is_told_of_a_tasks_illness_before_anybody_can_read_of_it() {
    let world = World::new().await;
    world.define(web("web")).await;
    world.create_service("web", 2, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    let tasks = world.running("web").await;
    let vouched = |task: &String| world.driver.vouched(&world.task_id(task));
    for task in &tasks {
        assert_eq!(vouched(task), Some(HealthStatus::Healthy), "{task}");
    }
    // Nothing takes its place, so that it stays.
    world.driver.set_faults(|faults| faults.prepare_fails = 1.0);
    world.driver.set_container_health(&world.task_id(&tasks[0]), "app", false);
    world
        .until(|| async {
            let told = vouched(&tasks[0]) == Some(HealthStatus::Unhealthy);
            let read = world.task(&tasks[0]).await.health_status == HealthStatus::Unhealthy;
            assert!(told || !read, "it is read of and not told");
            read
        })
        .await;
    assert_eq!(vouched(&tasks[1]), Some(HealthStatus::Healthy));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_waits_for_its_tasks_to_be_healthy() {
    let world = World::new().await;
    world.define(web("web")).await;
    world.create_service("web", 2, &[]).await.unwrap();
    world.until_steady("web").await;
    let old = world.running("web").await;
    world.driver.set_faults(|faults| {
        faults.sick_images.insert("bad.wasm".to_owned());
    });
    let bad = json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "bad.wasm", "healthCheck": check()}]});
    world.define(bad).await;
    let update = UpdateServiceRequest {
        service: "web".to_owned(),
        task_definition: Some("web:2".to_owned()),
        ..UpdateServiceRequest::default()
    };
    world.supervisor.update_service(update).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let running = world.running("web").await;
    assert!(old.iter().all(|task| running.contains(task)), "no healthy task went for one that never was");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_waits_for_a_healthy_one_starts_once_that_is() {
    let world = World::new().await;
    world.driver.set_faults(|faults| {
        faults.sick_images.insert("db.wasm".to_owned());
    });
    let definition = json!({"family": "pair", "containerDefinitions": [
        {"name": "app", "image": "app.wasm", "dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]},
        {"name": "db", "image": "db.wasm", "healthCheck": check(), "startTimeout": 60},
    ]});
    world.define(definition).await;
    let arn = world.run_task("pair", 1).await.unwrap().remove(0);
    let id = world.task_id(&arn);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.task(&arn).await.last_status, LastStatus::Activating);
    assert_eq!(world.driver.started_in_order(), [(id.clone(), "db".to_owned())]);
    world.driver.set_container_health(&id, "db", true);
    world.until(|| async { world.task(&arn).await.last_status == LastStatus::Running }).await;
    assert_eq!(world.driver.started_in_order().len(), 2);

    // In vain, for as long as what is waited for says.
    let arn = world.run_task("pair", 1).await.unwrap().remove(0);
    world.until_stopped(&arn).await;
    let task = world.task(&arn).await;
    assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
    let reason = "ContainerRuntimeTimeoutError: container app waited 60 s for container db to reach HEALTHY";
    assert_eq!(task.stopped_reason.as_deref(), Some(reason));

    // Never, once what is waited for has ended.
    let arn = world.run_task("pair", 1).await.unwrap().remove(0);
    tokio::time::sleep(A_MOMENT).await;
    let exit = ContainerExit { code: Some(1), reason: None };
    assert!(world.driver.exit(&world.task_id(&arn), "db", exit));
    world.until_stopped(&arn).await;
    assert_eq!(world.task(&arn).await.stop_code, Some(StopCode::EssentialContainerExited));
}

#[tokio::test(start_paused = true)]
async fn only_essential_containers_make_a_task_unhealthy() {
    let world = World::new().await;
    world.driver.set_faults(|faults| {
        faults.sick_images.insert("side.wasm".to_owned());
    });
    let definition = json!({"family": "web", "containerDefinitions": [
        {"name": "app", "image": "web.wasm", "healthCheck": check()},
        {"name": "side", "image": "side.wasm", "healthCheck": check(), "essential": false},
    ]});
    world.define(definition).await;
    world.create_service("web", 1, &[]).await.unwrap();
    world.until_steady("web").await;
    let before = world.running("web").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.running("web").await, before);
    let task = world.task(&before[0]).await;
    assert_eq!(task.health_status, HealthStatus::Healthy);
    assert_eq!(task.containers[1].health_status, HealthStatus::Unhealthy);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_health_is_found_out_anew() {
    let mut world = World::new().await;
    world.define(web("web")).await;
    world.create_service("web", 1, &[]).await.unwrap();
    world.until_steady("web").await;
    world.driver.set_faults(|faults| {
        faults.sick_images.insert("web.wasm".to_owned());
    });
    world.crash().await;
    world.until(|| async { world.running("web").await.len() == 1 }).await;
    let first = world.running("web").await.remove(0);
    assert_eq!(world.task(&first).await.health_status, HealthStatus::Unknown);
    world.until_stopped(&first).await;
    let reason = world.task(&first).await.stopped_reason;
    assert_eq!(reason.as_deref(), Some("Task failed container health checks"));
    world.driver.set_faults(|faults| faults.sick_images.clear());
    world.until_steady("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_container_is_not_asked_once_its_task_has_ended() {
    let world = World::new().await;
    world.define(web("web")).await;
    let arn = world.run_task("web", 1).await.unwrap().remove(0);
    tokio::time::sleep(SOON).await;
    assert_eq!(world.driver.probes(&world.task_id(&arn)), 1, "healthy at the first question");
    world.stop_task(&arn).await.unwrap();
    world.until_stopped(&arn).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.driver.breaches(), Vec::<String>::new());
}
