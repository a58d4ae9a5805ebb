//! What a task is told about itself, over its life.

use coracle_supervisor::driver::MetadataDocument;
use coracle_supervisor::model::names::TaskId;
use coracle_supervisor::model::tags::Tag;
use coracle_supervisor::operations::RunTaskRequest;
use coracle_supervisor::testing::Load;
use serde_json::{Value, json};

use crate::world::World;

async fn ask(world: &World, task: &str, document: MetadataDocument) -> Option<Value> {
    let id = TaskId::parse(task.rsplit('/').next().unwrap()).unwrap();
    world.driver.metadata(&id)?.document("app", document).await
}

#[tokio::test(start_paused = true)]
async fn a_task_is_told_its_definition_its_state_and_its_tags() {
    let world = World::new().await;
    world.define(json!({
        "family": "web", "cpu": "512", "memory": "128",
        "containerDefinitions": [{
            "name": "app", "image": "hello.wasm", "cpu": 128, "memory": 64, "dockerLabels": { "team": "shop" },
            "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-group": "shop" } },
        }],
    })).await;
    let request = RunTaskRequest {
        task_definition: "web".to_owned(),
        tags: vec![Tag::new("stage", "test")],
        ..RunTaskRequest::default()
    };
    let task = world.supervisor.run_task(request).await.unwrap().tasks.remove(0).task_arn;
    world.until(async || world.task(&task).await.started_at.is_some()).await;
    let whole = ask(&world, &task, MetadataDocument::Task).await.unwrap();
    let expected = json!({
        "TaskARN": task, "Family": "web", "Revision": "1", "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING",
        "Limits": { "CPU": 0.5, "Memory": 128 }, "LaunchType": "EC2",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&whole[field], value, "{field}");
    }
    assert!(whole["PullStartedAt"].as_str().unwrap().starts_with("2026-01-01T00:00:0"), "{whole}");
    assert!(whole.get("TaskTags").is_none());
    let tagged = ask(&world, &task, MetadataDocument::TaskWithTags).await.unwrap();
    assert_eq!(tagged["TaskTags"], json!({ "stage": "test" }));

    let container = ask(&world, &task, MetadataDocument::Container).await.unwrap();
    assert_eq!(whole["Containers"], json!([container]));
    let expected = json!({
        "Name": "app", "Image": "hello.wasm", "ImageID": "sha256:hello.wasm", "KnownStatus": "RUNNING",
        "Limits": { "CPU": 128, "Memory": 64 }, "LogDriver": "awslogs", "LogOptions": { "awslogs-group": "shop" },
        "RestartCount": 0, "Type": "NORMAL",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&container[field], value, "{field}");
    }
    assert_eq!(container["Labels"]["team"], "shop");
    assert_eq!(container["Labels"]["com.amazonaws.ecs.task-arn"], task);
    assert_eq!(container["Networks"][0]["IPv4Addresses"][0], "127.1.0.1");

    world.driver.set_load(Load { memory: 4096, ..Load::default() });
    let stats = ask(&world, &task, MetadataDocument::Stats).await.unwrap();
    assert_eq!(stats["memory_stats"]["usage"], 4096);
    assert_eq!(stats["id"], container["DockerId"]);
    let all = ask(&world, &task, MetadataDocument::TaskStats).await.unwrap();
    assert_eq!(all[stats["id"].as_str().unwrap()]["name"], "app");

    world.stop_task(&task).await.unwrap();
    world.until_stopped(&task).await;
    assert!(ask(&world, &task, MetadataDocument::Stats).await.is_none(), "it is gone");
}
