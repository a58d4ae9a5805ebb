//! Tasks that are told to stop, and do not.

use std::time::Duration;

use coracle_supervisor::model::task::{LastStatus, StopCode};

use crate::world::World;

/// ECS's `stopTimeout` unless a container has another, and what a driver may take beyond it.
const WAITED_FOR: Duration = Duration::from_secs(40);

#[tokio::test(start_paused = true)]
async fn one_whose_container_never_answers_is_over_when_its_time_and_the_drivers_are() {
    let world = World::new().await;
    world.register("job").await;
    let task = world.run_task("job", 1).await.unwrap().remove(0);
    world.until(|| async { world.task(&task).await.last_status == LastStatus::Running }).await;
    world.driver.set_faults(|faults| faults.hangs = 1.0);
    world.stop_task(&task).await.unwrap();
    tokio::time::sleep(WAITED_FOR - Duration::from_secs(1)).await;
    assert_eq!(world.task(&task).await.last_status, LastStatus::Stopping, "it is waited for");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stopped = world.task(&task).await;
    assert_eq!(
        (stopped.last_status, stopped.stop_code),
        (LastStatus::Stopped, Some(StopCode::UserInitiated))
    );
    let reason = stopped.containers[0].reason.as_deref();
    assert_eq!(reason, Some("the container could not be stopped in time"));
    assert!(world.driver.tasks().is_empty(), "it was given up, and not left");
}
