//! What containers find in their environment: files, secrets, overrides.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use coracle_supervisor::model::task::StopCode;
use coracle_supervisor::operations::*;
use coracle_supervisor::secrets::FileSecrets;
use coracle_supervisor::testing::Faults;
use serde_json::{Value, json};

use crate::world::World;

async fn run(
    world: &World,
    family: &str,
    overrides: Value,
) -> Result<String, coracle_supervisor::OperationError> {
    let request = json!({"taskDefinition": family, "overrides": overrides});
    let request = parse_request(request.to_string().as_bytes())?;
    Ok(world.supervisor.run_task(request).await?.tasks.remove(0).task_arn)
}

/// Reading files is real work on another thread, which a paused clock does not wait for.
async fn until_started(world: &World, arn: &str) {
    for _ in 0..10_000 {
        let task = world.task(arn).await;
        if task.started_at.is_some() || task.stopped_at.is_some() {
            return;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it did not start");
}

fn found(world: &World, arn: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> =
        world.driver.environment(&world.task_id(arn), "app").into_iter().collect();
    found.remove("CORACLE_TASK_ID").expect("every container gets it");
    found
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn each_source_of_variables_stands_over_the_one_before() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        json!({"type": "s3", "value": path})
    };
    let (first, second) = (file("first.env", "A=1\nB=1\nC=1\n"), file("second.env", "A=2\nD=2\n# no\nE=2"));
    let third = file("third.env", "A=3\n");
    let world = World::new().await;
    let app = json!({"name": "app", "image": "app.wasm", "environmentFiles": [first, second],
        "environment": [{"name": "B", "value": "definition"}, {"name": "E", "value": "definition"}]});
    world.define(json!({"family": "app", "containerDefinitions": [app]})).await;

    let arn = run(&world, "app", json!({})).await.unwrap();
    until_started(&world, &arn).await;
    let variables = [("A", "1"), ("B", "definition"), ("C", "1"), ("D", "2"), ("E", "definition")];
    assert_eq!(found(&world, &arn), expected(&variables));

    let over = json!({"containerOverrides": [{"name": "app", "environmentFiles": [third],
        "environment": [{"name": "E", "value": "override"}]}]});
    let arn = run(&world, "app", over).await.unwrap();
    until_started(&world, &arn).await;
    let variables = [("A", "3"), ("B", "definition"), ("E", "override")];
    assert_eq!(found(&world, &arn), expected(&variables));
}

#[tokio::test]
async fn a_file_that_is_not_there_or_no_list_of_variables_fails_the_task() {
    let files = tempfile::tempdir().unwrap();
    let bad = files.path().join("bad.env");
    std::fs::write(&bad, "A=1\nnonsense\n").unwrap();
    let world = World::new().await;
    for (path, why) in [
        (files.path().join("none.env"), "cannot be read (entity not found)"),
        (bad, "line 2 is not VARIABLE=VALUE"),
    ] {
        let app = json!({"name": "app", "image": "app.wasm", "environmentFiles": [{"type": "file", "value": path}]});
        world.define(json!({"family": "app", "containerDefinitions": [app]})).await;
        let arn = run(&world, "app", json!({})).await.unwrap();
        until_started(&world, &arn).await;
        world.until_stopped(&arn).await;
        let task = world.task(&arn).await;
        assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
        let reason = task.stopped_reason.unwrap_or_default();
        let begin = "ResourceInitializationError: failed to download env files: container 'app': ";
        assert!(reason.starts_with(begin) && reason.ends_with(why), "{reason}");
    }
}

#[tokio::test]
async fn secrets_reach_the_container_and_nothing_else() {
    let secrets = tempfile::tempdir().unwrap();
    for (name, value) in [("password", "hunter2\n"), ("db", r#"{"user": "ada", "port": 5432}"#)] {
        let path = secrets.path().join(name);
        std::fs::write(&path, value).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let world = World::with_secrets(1, Faults::default(), Arc::new(FileSecrets::new(secrets.path()))).await;
    let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf";
    let app = json!({"name": "app", "image": "app.wasm", "secrets": [
        {"name": "PASSWORD", "valueFrom": "/password"},
        {"name": "DB_USER", "valueFrom": format!("{arn}:user::")},
        {"name": "DB_PORT", "valueFrom": format!("{arn}:port")},
    ]});
    world.define(json!({"family": "app", "containerDefinitions": [app]})).await;
    let task = run(&world, "app", json!({})).await.unwrap();
    until_started(&world, &task).await;
    let variables = [("DB_PORT", "5432"), ("DB_USER", "ada"), ("PASSWORD", "hunter2")];
    assert_eq!(found(&world, &task), expected(&variables));
    let described = serde_json::to_string(&world.task(&task).await).unwrap();
    let launched = format!("{:?}", world.driver);
    for shown in [described, launched] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn a_missing_secret_fails_the_task_with_ecss_reason() {
    let secrets = tempfile::tempdir().unwrap();
    let world = World::with_secrets(1, Faults::default(), Arc::new(FileSecrets::new(secrets.path()))).await;
    let app = json!({"name": "app", "image": "app.wasm", "secrets": [{"name": "PASSWORD", "valueFrom": "password"}]});
    world.define(json!({"family": "app", "containerDefinitions": [app]})).await;
    let arn = run(&world, "app", json!({})).await.unwrap();
    until_started(&world, &arn).await;
    world.until_stopped(&arn).await;
    let task = world.task(&arn).await;
    let reason = task.stopped_reason.unwrap_or_default();
    assert!(
        reason.starts_with("ResourceInitializationError: unable to pull secrets or registry auth: ")
            && reason.contains("'PASSWORD'")
            && reason.ends_with("password does not exist"),
        "{reason}"
    );
    assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
}

#[tokio::test(start_paused = true)]
async fn overrides_are_checked_against_what_they_override() {
    let world = World::new().await;
    let task = json!({"family": "app", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "app", "image": "app.wasm", "memory": 128, "cpu": 128}]});
    world.define(task).await;
    let container = |fields: Value| {
        let mut app = json!({"name": "app"});
        app.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"containerOverrides": [app]})
    };
    for (overrides, message) in [
        (
            json!({"containerOverrides": [{"name": "other"}]}),
            "named other is not a container in the TaskDefinition.",
        ),
        (container(json!({"memory": 5})), "'memory' must be at least 6 MiB"),
        (container(json!({"memory": 513})), "'memory' must not be greater than the task's 'memory' (512)"),
        (container(json!({"cpu": 257})), "total 'cpu'"),
        (
            container(json!({"memoryReservation": 129})),
            "'memoryReservation' must not be greater than 'memory'",
        ),
        (container(json!({"environment": [{"name": "", "value": ""}]})), "'environment'"),
        (container(json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::a/b.env"}]})), "S3"),
        (container(json!({"resourceRequirements": [{"type": "TPU"}]})), "'resourceRequirements[0].type'"),
        (json!({"cpu": "512"}), "No Fargate configuration exists for given values."),
        (json!({"cpu": "much"}), "Invalid 'cpu' setting for task"),
        (json!({"ephemeralStorage": {"sizeInGiB": 500}}), "ephemeralStorage.sizeInGiB"),
        (json!({"inferenceAcceleratorOverrides": [{"deviceName": 1}]}), "inferenceAcceleratorOverrides"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let error = run(&world, "app", overrides.clone()).await.expect_err(message);
        assert!(error.to_string().contains(message), "{overrides}: {error}");
    }
    let overrides = json!({"cpu": "0.5 vCPU", "memory": "1 GB", "ephemeralStorage": {"sizeInGiB": 30}, "taskRoleArn": "arn:aws:iam::000000000000:role/a",
        "containerOverrides": [{"name": "app", "cpu": 512, "memory": 1024, "memoryReservation": 64, "command": ["--quick"]}]});
    let arn = run(&world, "app", overrides).await.unwrap();
    let task = world.task(&arn).await;
    assert_eq!((task.cpu.as_deref(), task.memory.as_deref()), (Some("512"), Some("1024")));
    assert_eq!(task.ephemeral_storage.map(|storage| storage.size_in_gib), Some(30));
    assert_eq!(task.overrides.task_role_arn.as_deref(), Some("arn:aws:iam::000000000000:role/a"));
    let container = &task.containers[0];
    assert_eq!((container.cpu.as_str(), container.memory.as_deref()), ("512", Some("1024")));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_started_on_the_node_that_was_named_and_nowhere_else() {
    let world = World::new().await;
    world.register("web").await;
    let first = world.run_task("web", 1).await.unwrap().remove(0);
    let node = world.task(&first).await.container_instance_arn;
    let request = json!({"taskDefinition": "web", "containerInstances": [node, "other"],
        "overrides": {"containerOverrides": [{"name": "app", "cpu": 7}]}});
    let request = parse_request(request.to_string().as_bytes()).unwrap();
    let started = world.supervisor.start_task(request).await.unwrap();
    assert_eq!(started.tasks.len(), 1);
    assert_eq!(started.tasks[0].containers[0].cpu, "7");
    let arn = "arn:aws:ecs:us-east-1:000000000000:container-instance/default/other";
    assert_eq!(started.failures[0].arn.as_deref(), Some(arn));
    let none = parse_request(br#"{"taskDefinition": "web", "containerInstances": []}"#).unwrap();
    assert!(world.supervisor.start_task(none).await.is_err());
}
