//! Scale-in protection of tasks, on a paused clock.

use std::time::Duration;

use coracle_supervisor::operations::*;
use serde_json::json;

use crate::world::World;

async fn protect(world: &World, tasks: &[String], minutes: Option<i64>) -> TaskProtectionResponse {
    let request = UpdateTaskProtectionRequest {
        tasks: tasks.to_vec(),
        protection_enabled: true,
        expires_in_minutes: minutes,
        ..UpdateTaskProtectionRequest::default()
    };
    world.supervisor.update_task_protection(request).await.unwrap()
}

async fn world(count: i64) -> World {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", count, &[]).await.unwrap();
    world.until_steady("web").await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_protected_task_outlives_scaling_in_until_its_time_is_over() {
    let world = world(3).await;
    let tasks = world.running("web").await;
    let answer = protect(&world, &tasks[1..], Some(10)).await;
    assert_eq!((answer.protected_tasks.len(), answer.failures.len()), (2, 0), "{answer:?}");
    assert!(answer.protected_tasks[0].expiration_date.is_some());
    world.scale("web", 1).await.unwrap();
    world.until_stopped(&tasks[0]).await;
    tokio::time::sleep(Duration::from_secs(540)).await;
    assert_eq!(world.running("web").await.len(), 2);
    // Its work is done before its time.
    let request = json!({ "tasks": [tasks[1]], "protectionEnabled": false });
    let request = parse_request(request.to_string().as_bytes()).unwrap();
    world.supervisor.update_task_protection(request).await.unwrap();
    world.until_stopped(&tasks[1]).await;
    world.until_steady("web").await;
    assert_eq!(world.running("web").await, [tasks[2].clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_protected_task_outlives_a_deployment_until_its_time_is_over() {
    let world = world(2).await;
    let old = world.running("web").await;
    protect(&world, &old[..1], Some(10)).await;
    world.force_deployment("web").await;
    world.until_stopped(&old[1]).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let service = world.service("web").await;
    assert_eq!((service.running_count, service.deployments.len()), (3, 2), "{service:#?}");
    tokio::time::sleep(Duration::from_secs(310)).await;
    world.until_steady("web").await;
    assert!(!world.running("web").await.contains(&old[0]));
}

#[tokio::test(start_paused = true)]
async fn people_and_deletion_stop_protected_tasks_all_the_same() {
    let world = world(2).await;
    let tasks = world.running("web").await;
    protect(&world, &tasks, None).await;
    world.stop_task(&tasks[0]).await.unwrap();
    world.until_stopped(&tasks[0]).await;
    let request = parse_request(br#"{"service": "web", "force": true}"#).unwrap();
    world.supervisor.delete_service(request).await.unwrap();
    world.until_stopped(&tasks[1]).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_protected_is_told_one_by_one() {
    let world = world(1).await;
    let standalone = world.run_task("web", 1).await.unwrap().remove(0);
    let unknown = format!("{}{}", &standalone[..standalone.len() - 4], "0000");
    let ours = world.running("web").await.remove(0);
    let all = [standalone.clone(), unknown.clone(), ours.clone()];
    let reasons = |answer: &TaskProtectionResponse| -> Vec<String> {
        answer.failures.iter().map(|failure| failure.reason.clone()).collect()
    };
    let answer = protect(&world, &all, None).await;
    assert_eq!(reasons(&answer), ["TASK_NOT_VALID", "MISSING"], "{answer:?}");
    assert_eq!(answer.protected_tasks[0].task_arn, ours);
    let get = |tasks: &[String]| {
        let request = GetTaskProtectionRequest { tasks: tasks.to_vec(), ..Default::default() };
        world.supervisor.get_task_protection(request)
    };
    let answer = get(&all).await.unwrap();
    assert_eq!(reasons(&answer), ["TASK_NOT_VALID", "MISSING"], "{answer:?}");
    let shown = get(&[]).await.unwrap().protected_tasks;
    assert_eq!((shown.len(), shown[0].protection_enabled), (1, true), "{shown:?}");
    let two_hours = shown[0].expiration_date.unwrap().seconds() - 1_767_225_600.0;
    assert!((7200.0..7260.0).contains(&two_hours), "{two_hours}");
    tokio::time::sleep(Duration::from_secs(7201)).await;
    assert!(
        !get(std::slice::from_ref(&ours)).await.unwrap().protected_tasks[0].protection_enabled,
        "it is over"
    );

    for (request, part) in [
        (json!({ "tasks": [], "protectionEnabled": true }), "tasks cannot be empty"),
        (json!({ "tasks": vec![&ours; 11], "protectionEnabled": true }), "at most 10"),
        (
            json!({ "tasks": [ours], "protectionEnabled": true, "expiresInMinutes": 2881 }),
            "1 to 2880, not 2881",
        ),
        (json!({ "tasks": [ours], "protectionEnabled": true, "expiresInMinutes": 0 }), "1 to 2880, not 0"),
        (json!({ "cluster": "nowhere", "tasks": [], "protectionEnabled": true }), "empty"),
    ] {
        let parsed = parse_request(request.to_string().as_bytes()).unwrap();
        let error = world.supervisor.update_task_protection(parsed).await.expect_err(part).to_string();
        assert!(error.contains(part), "{request}: {error}");
    }
}

/// What a task is answered at its agent's endpoint: status and body.
async fn say(world: &World, arn: &str, put: Option<serde_json::Value>) -> (u16, serde_json::Value) {
    let source = world.driver.metadata(&world.task_id(arn)).expect("the task is there");
    let put = put.map(|put| put.to_string().into());
    let (status, answer) = source.protection(put).await;
    (status.as_u16(), answer)
}

#[tokio::test(start_paused = true)]
async fn a_task_protects_itself_and_is_answered_in_awss_objects() {
    let world = world(2).await;
    let tasks = world.running("web").await;
    let unprotected = json!({ "protection": {
        "TaskArn": tasks[1], "ProtectionEnabled": false, "ExpirationDate": null } });
    assert_eq!(say(&world, &tasks[1], None).await, (200, unprotected.clone()));
    let set = json!({ "ProtectionEnabled": true, "ExpiresInMinutes": 10 });
    let (status, answer) = say(&world, &tasks[1], Some(set)).await;
    assert_eq!((status, &answer["protection"]["ProtectionEnabled"]), (200, &json!(true)), "{answer}");
    let ends = answer["protection"]["ExpirationDate"].as_str().unwrap();
    assert!(ends.starts_with("2026-01-01T00:1"), "{ends}");
    assert_eq!(say(&world, &tasks[1], None).await.1, answer);
    world.scale("web", 0).await.unwrap();
    world.until_stopped(&tasks[0]).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.running("web").await, [tasks[1].clone()]);
    let (status, answer) = say(&world, &tasks[1], Some(json!({ "ProtectionEnabled": false }))).await;
    assert_eq!((status, answer), (200, unprotected));
    world.until_stopped(&tasks[1]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_task_says_wrong_is_an_error_and_what_cannot_be_protected_a_failure() {
    let world = world(1).await;
    let task = world.running("web").await.remove(0);
    for (body, field) in [
        (json!({}), "ProtectionEnabled"),
        (json!({ "ProtectionEnabled": "yes" }), "ProtectionEnabled"),
        (json!({ "ProtectionEnabled": true, "Minutes": 1 }), "Minutes"),
        (json!({ "ProtectionEnabled": true, "ExpiresInMinutes": 0 }), "ExpiresInMinutes"),
        (json!({ "ProtectionEnabled": true, "ExpiresInMinutes": 2881 }), "ExpiresInMinutes"),
        (json!("ProtectionEnabled"), "struct State"),
    ] {
        let (status, answer) = say(&world, &task, Some(body.clone())).await;
        let error = &answer["error"];
        assert_eq!((status, &error["Code"]), (400, &json!("InvalidParameterException")), "{body}: {answer}");
        assert_eq!(error["Arn"], task);
        assert!(error["Message"].as_str().unwrap().contains(field), "{body}: {answer}");
        assert!(answer["requestID"].is_string());
    }
    assert_eq!(say(&world, &task, None).await.1["protection"]["ProtectionEnabled"], false, "nothing changed");
    let alone = world.run_task("web", 1).await.unwrap().remove(0);
    world.until(|| async { world.driver.metadata(&world.task_id(&alone)).is_some() }).await;
    let (status, answer) = say(&world, &alone, Some(json!({ "ProtectionEnabled": true }))).await;
    assert_eq!((status, &answer["failure"]["Reason"]), (200, &json!("TASK_NOT_VALID")), "{answer}");
    assert_eq!(answer["failure"]["Arn"], alone);
}
