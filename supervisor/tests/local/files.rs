//! Volumes, the root directory and the limit on both, as a task definition asks for them.

use coracle_supervisor::model::task::Task;
use serde_json::{Value, json};

use crate::host::{Host, guest};

/// Runs a task with one container that does these operations to files, and gives what it said of each.
async fn probe(host: &Host, container: Value, task: Value) -> Vec<String> {
    host.register_task("probe", &guest("fsprobe"), container, task).await;
    let arn = host.run("probe").await.unwrap();
    let ended: Task = host.until_stopped(&arn).await;
    assert_eq!(ended.containers[0].exit_code, Some(0), "{ended:?}");
    // Each line of a log's file is a time, a stream and the text.
    host.log(&arn).lines().map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()).collect()
}

fn shared() -> Value {
    json!({"volumes": [{"name": "data", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true}}]})
}

#[tokio::test]
async fn a_named_volume_outlives_its_tasks() {
    let host = Host::new().await;
    let mounts = json!([{"sourceVolume": "data", "containerPath": "/data"}]);
    let writes = json!({"command": ["text /data/a kept", "text /own gone"], "mountPoints": mounts});
    assert_eq!(probe(&host, writes, shared()).await, ["ok", "ok"]);
    let reads = json!({"command": ["read /data/a", "read /own", "list /"], "mountPoints": mounts});
    assert_eq!(probe(&host, reads, shared()).await, ["kept", "NotFound", "data"]);
    assert_eq!(std::fs::read_to_string(host.data.path().join("volumes/data/a")).unwrap(), "kept");
    host.until(|| async { std::fs::read_dir(host.data.path().join("tasks")).unwrap().count() == 0 }).await;
}

#[tokio::test]
async fn a_named_volume_that_does_not_exist_is_not_made_unless_asked_for() {
    let host = Host::new().await;
    let volumes = json!({"volumes": [{"name": "data", "dockerVolumeConfiguration": {"scope": "shared"}}]});
    let mounts = json!([{"sourceVolume": "data", "containerPath": "/data"}]);
    host.register_task("probe", &guest("fsprobe"), json!({"mountPoints": mounts}), volumes).await;
    let arn = host.run("probe").await.unwrap();
    let reason = host.until_stopped(&arn).await.stopped_reason.unwrap();
    assert!(reason.starts_with("ResourceInitializationError: volume 'data'"), "{reason}");
}

#[tokio::test]
async fn a_read_only_root_leaves_the_volumes_writable() {
    let host = Host::new().await;
    let container = json!({
        "command": ["list /", "write /a 1", "mkdir /tmp", "write /data/a 1"],
        "readonlyRootFilesystem": true,
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
    });
    let said = probe(&host, container, json!({"volumes": [{"name": "data"}]})).await;
    assert_eq!(said, ["data", "PermissionDenied", "PermissionDenied", "ok"]);
}

#[tokio::test]
async fn a_task_keeps_no_more_than_its_ephemeral_storage() {
    let host = Host::new().await;
    let container = json!({
        "command": ["write /a 3000000", "write /data/a 3000000", "unlink /a", "write /data/a 3000000"],
        "dockerLabels": {"coracle.ephemeral-storage-mib": "4"},
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
    });
    let said = probe(&host, container, json!({"volumes": [{"name": "data"}]})).await;
    assert_eq!(said, ["ok", "StorageFull", "ok", "ok"]);
    let container =
        json!({"command": ["size /a 1", "write /a 1", "size /a 22548578304", "size /a 22548578305"]});
    let said = probe(&host, container, json!({"ephemeralStorage": {"sizeInGiB": 21}})).await;
    // 21 GiB, of which the file's name takes 4 KiB.
    assert_eq!(said, ["NotFound", "ok", "StorageFull", "StorageFull"]);
}

#[tokio::test]
async fn nofile_bounds_the_files_that_a_container_has_open() {
    let host = Host::new().await;
    let limited = |soft: i64| json!([{"name": "core", "softLimit": 0, "hardLimit": 0}, {"name": "nofile", "softLimit": soft, "hardLimit": 65_536}]);
    for (ulimits, expected) in [
        (json!([]), ["ok", "9"]),
        (limited(2), ["ok", "2"]),
        (limited(0), ["OutOfMemory", "0"]),
        (limited(-1), ["ok", "9"]),
    ] {
        let container = json!({"command": ["write /a 1", "open /a 9"], "ulimits": ulimits});
        assert_eq!(probe(&host, container, json!({})).await, expected, "{ulimits}");
    }
}

#[tokio::test]
async fn the_containers_of_a_task_share_its_volumes_and_not_their_roots() {
    let host = Host::new().await;
    let image = guest("fsprobe");
    let mounts = json!([{"sourceVolume": "data", "containerPath": "/data"}]);
    let writer = json!({
        "name": "writer", "image": image, "essential": false, "mountPoints": mounts,
        "command": ["text /data/a shared", "text /own mine"],
    });
    let reader = json!({
        "name": "app", "image": image, "mountPoints": mounts, "command": ["read /data/a", "read /own"],
        "dependsOn": [{"containerName": "writer", "condition": "SUCCESS"}],
    });
    let definition = json!({"containerDefinitions": [reader, writer], "volumes": [{"name": "data"}]});
    host.register_task("probe", &image, json!({}), definition).await;
    let arn = host.run("probe").await.unwrap();
    host.until_stopped(&arn).await;
    let log = host.log(&arn);
    assert!(log.contains("shared") && log.contains("NotFound") && !log.contains("mine"), "{log}");
}
