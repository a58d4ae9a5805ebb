//! Containers that are started again in place.

use std::time::Duration;

use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::model::task::{ContainerState, LastStatus, StopCode};
use serde_json::{Value, json};

use crate::world::World;

const A_MOMENT: Duration = Duration::from_millis(1);

fn restarting(policy: Value) -> Value {
    json!({"family": "web", "containerDefinitions": [
        {"name": "app", "image": "web.wasm", "portMappings": [{"containerPort": 8080}], "restartPolicy": policy},
    ]})
}

fn exit(code: i32) -> ContainerExit {
    ContainerExit { code: Some(code), reason: None }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ran_long_enough_is_started_again_and_its_task_goes_on() {
    let world = World::new().await;
    world.define(restarting(json!({"enabled": true, "restartAttemptPeriod": 60}))).await;
    world.create_service("web", 1, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    let arn = world.running("web").await.remove(0);
    let id = world.task_id(&arn);
    for restarts in 1..=3 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(world.driver.exit(&id, "app", exit(1)));
        tokio::time::sleep(A_MOMENT).await;
        let task = world.task(&arn).await;
        assert_eq!(task.last_status, LastStatus::Running);
        let container = &task.containers[0];
        assert_eq!((container.restart_count, container.exit_code), (restarts, None));
        assert_eq!(container.last_status, ContainerState::Running);
    }
    assert_eq!(world.running("web").await, std::slice::from_ref(&arn));

    // Too soon after the last start.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.driver.exit(&id, "app", exit(1)));
    world.until_stopped(&arn).await;
    let task = world.task(&arn).await;
    assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!((task.containers[0].restart_count, task.containers[0].exit_code), (3, Some(1)));
    assert_eq!(world.driver.breaches(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_ignored_exit_code_or_a_policy_that_is_off_ends_the_task() {
    for policy in [
        json!({"enabled": true, "restartAttemptPeriod": 60, "ignoredExitCodes": [0]}),
        json!({"enabled": false, "restartAttemptPeriod": 60}),
    ] {
        let world = World::new().await;
        world.define(restarting(policy)).await;
        let arn = world.run_task("web", 1).await.unwrap().remove(0);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(world.driver.exit(&world.task_id(&arn), "app", exit(0)));
        world.until_stopped(&arn).await;
        assert_eq!(world.task(&arn).await.containers[0].restart_count, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_started_again_ends_its_task() {
    let world = World::new().await;
    world.define(restarting(json!({"enabled": true, "restartAttemptPeriod": 60}))).await;
    let arn = world.run_task("web", 1).await.unwrap().remove(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.driver.set_faults(|faults| faults.start_fails = 1.0);
    assert!(world.driver.exit(&world.task_id(&arn), "app", exit(1)));
    world.until_stopped(&arn).await;
    let task = world.task(&arn).await;
    assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(task.containers[0].reason.as_deref(), Some("CannotStartContainerError: no luck"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_told_to_stop_starts_nothing_again() {
    let world = World::new().await;
    world.define(restarting(json!({"enabled": true, "restartAttemptPeriod": 60}))).await;
    let arn = world.run_task("web", 1).await.unwrap().remove(0);
    tokio::time::sleep(Duration::from_secs(100)).await;
    world.stop_task(&arn).await.unwrap();
    world.until_stopped(&arn).await;
    assert_eq!(world.task(&arn).await.containers[0].restart_count, 0);
    assert_eq!(world.driver.started_in_order().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_restarts_are_counted_anew() {
    let mut world = World::new().await;
    world.define(restarting(json!({"enabled": true, "restartAttemptPeriod": 60}))).await;
    world.create_service("web", 1, &[]).await.unwrap();
    world.until_steady("web").await;
    let id = world.task_id(&world.running("web").await[0]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.driver.exit(&id, "app", exit(1)));
    tokio::time::sleep(A_MOMENT).await;
    world.crash().await;
    world.until_steady("web").await;
    let task = world.task(&world.running("web").await[0]).await;
    assert_eq!(task.containers[0].restart_count, 0, "another task");
}
