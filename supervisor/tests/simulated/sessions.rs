//! ExecuteCommand, and those who attach to its sessions.

use std::time::Duration;

use coracle_supervisor::OperationError;
use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::operations::*;
use futures_util::StreamExt;

use crate::world::World;

async fn running_task(world: &World, enabled: bool) -> String {
    world.register("web").await;
    let request = RunTaskRequest {
        task_definition: "web".to_owned(),
        enable_execute_command: Some(enabled),
        ..RunTaskRequest::default()
    };
    let arn = world.supervisor.run_task(request).await.unwrap().tasks.remove(0).task_arn;
    world.until(|| async { world.task(&arn).await.started_at.is_some() }).await;
    arn
}

async fn execute(world: &World, task: &str, command: &str) -> Result<ExecuteCommandSession, OperationError> {
    let request = ExecuteCommandRequest {
        command: command.to_owned(),
        interactive: true,
        task: task.to_owned(),
        ..ExecuteCommandRequest::default()
    };
    Ok(world.supervisor.execute_command(request).await?.session)
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_when_somebody_attaches_and_its_end_is_told() {
    let world = World::new().await;
    let task = running_task(&world, true).await;
    let session = execute(&world, &task, "say 'two words'").await.unwrap();
    assert!(session.stream_url.ends_with(&session.session_id));
    let wrong = world.supervisor.attach(&session.session_id, "guess").await;
    assert_eq!(wrong.unwrap_err().to_string(), "There is no such session.");
    let mut attached = world.supervisor.attach(&session.session_id, &session.token_value).await.unwrap();
    assert_eq!(attached.execution.output.next().await.unwrap().1, "say two words");
    assert_eq!(attached.execution.exit.await.code, Some(7));
    let again = world.supervisor.attach(&session.session_id, &session.token_value).await;
    assert!(again.is_err(), "each session is attached to once");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_executed_is_refused_in_ecss_words() {
    let world = World::new().await;
    let closed = running_task(&world, false).await;
    let error = execute(&world, &closed, "a").await.unwrap_err();
    assert_eq!(error.code(), "InvalidParameterException");
    assert!(error.to_string().contains("execute command was not enabled when the task was run"), "{error}");
    let task = running_task(&world, true).await;
    for (command, message) in [("", "cannot be empty"), ("'a", "quotation mark"), ("a\0", "NUL")] {
        let error = execute(&world, &task, command).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let request = ExecuteCommandRequest {
        command: "a".to_owned(),
        container: Some("other".to_owned()),
        task: task.clone(),
        ..ExecuteCommandRequest::default()
    };
    let error = world.supervisor.execute_command(request).await.unwrap_err();
    assert_eq!(error.to_string(), "The container 'other' does not exist in the task.");
    world.stop_task(&task).await.unwrap();
    world.until_stopped(&task).await;
    let error = execute(&world, &task, "a").await.unwrap_err();
    assert_eq!(error.code(), "TargetNotConnectedException");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_attaches_to_is_forgotten_after_a_minute() {
    let world = World::new().await;
    let task = running_task(&world, true).await;
    let session = execute(&world, &task, "a").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.supervisor.attach(&session.session_id, &session.token_value).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_is_attached_learns_that_the_task_stops() {
    let world = World::new().await;
    let task = running_task(&world, true).await;
    let session = execute(&world, &task, "wait").await.unwrap();
    let attached = world.supervisor.attach(&session.session_id, &session.token_value).await.unwrap();
    assert!(!attached.stopping.is_cancelled());
    assert!(world.driver.exit(&world.task_id(&task), "app", ContainerExit::default()));
    attached.stopping.cancelled().await;
    world.until_stopped(&task).await;
}

#[tokio::test(start_paused = true)]
async fn the_commands_of_one_task_are_bounded() {
    let world = World::new().await;
    let task = running_task(&world, true).await;
    let mut attached = Vec::new();
    loop {
        let session = execute(&world, &task, "wait").await.unwrap();
        match world.supervisor.attach(&session.session_id, &session.token_value).await {
            Ok(one) => attached.push(one),
            Err(error) => {
                assert_eq!(error.code(), "TargetNotConnectedException");
                break;
            }
        }
        assert!(attached.len() <= 16);
    }
    attached.pop();
    let session = execute(&world, &task, "wait").await.unwrap();
    assert!(world.supervisor.attach(&session.session_id, &session.token_value).await.is_ok());
}
