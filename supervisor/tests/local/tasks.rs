//! Standalone tasks.

use coracle_supervisor::model::task::StopCode;
use serde_json::json;

use crate::host::{Host, guest};

#[tokio::test]
async fn a_job_reads_its_volume_writes_its_log_and_ends_with_its_exit_code() {
    let host = Host::new().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("text"), "one two\nthree\n").unwrap();
    let volume = json!({"volumes": [{"name": "in", "host": {"sourcePath": directory.path()}}]});
    for (file, code) in [("/in/text", 0), ("/in/missing", 1)] {
        let mount = json!([{"sourceVolume": "in", "containerPath": "/in", "readOnly": true}]);
        let container = json!({"command": [file], "mountPoints": mount});
        host.register_task("count", &guest("wordcount"), container, volume.clone()).await;
        let arn = host.run("count").await.unwrap();
        let task = host.until_stopped(&arn).await;
        assert_eq!(task.containers[0].exit_code, Some(code), "{task:?}");
        assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
        assert_eq!(task.stopped_reason.as_deref(), Some("Essential container in task exited"));
        assert!(task.containers[0].image_digest.as_ref().is_some_and(|digest| digest.starts_with("sha256:")));
        if code == 0 {
            assert!(host.log(&arn).contains("text"), "{}", host.log(&arn));
        }
    }
}

#[tokio::test]
async fn a_task_over_its_memory_is_killed_with_ecss_reason() {
    let host = Host::new().await;
    let container = json!({"command": ["--mib", "64", "--hold-seconds", "60"], "memory": 16});
    host.register("hog", &guest("hog"), container).await;
    let arn = host.run("hog").await.unwrap();
    let task = host.until_stopped(&arn).await;
    assert_eq!(task.containers[0].exit_code, Some(137));
    let reason = task.containers[0].reason.as_deref();
    assert_eq!(reason, Some("OutOfMemoryError: Container killed due to memory usage"));
}

#[tokio::test]
async fn a_spinning_task_is_stopped_when_told_to() {
    let host = Host::new().await;
    let container = json!({"command": ["--forever"], "stopTimeout": 2});
    host.register_task("burn", &guest("burn"), container, json!({"cpu": "128"})).await;
    let arn = host.run("burn").await.unwrap();
    host.until(|| async { host.task(&arn).await.started_at.is_some() }).await;
    let request = coracle_supervisor::operations::StopTaskRequest {
        task: arn.clone(),
        reason: Some("enough".to_owned()),
        ..Default::default()
    };
    host.supervisor.stop_task(request).await.unwrap();
    let task = host.until_stopped(&arn).await;
    assert_eq!(
        (task.stop_code, task.stopped_reason.as_deref()),
        (Some(StopCode::UserInitiated), Some("enough"))
    );
}

#[tokio::test]
async fn a_task_that_traps_says_so_and_its_log_has_the_backtrace() {
    let host = Host::new().await;
    let image = host.data.path().join("trap.wat");
    std::fs::write(&image, "(module (memory (export \"memory\") 1) (func (export \"_start\") unreachable))")
        .unwrap();
    host.register("trap", &image, json!({})).await;
    let arn = host.run("trap").await.unwrap();
    let task = host.until_stopped(&arn).await;
    assert_eq!(task.containers[0].exit_code, Some(134));
    assert!(
        task.containers[0].reason.as_ref().is_some_and(|reason| reason.contains("unreachable")),
        "{task:?}"
    );
    assert!(host.log(&arn).contains("wasm backtrace"), "{}", host.log(&arn));
}

#[tokio::test]
async fn what_cannot_run_is_refused_when_it_is_asked_for() {
    let host = Host::new().await;
    let text = host.data.path().join("text");
    std::fs::write(&text, "no wasm").unwrap();
    let nowhere = host.data.path().join("nowhere");
    let importing = host.data.path().join("importing.wat");
    std::fs::write(&importing, "(module (import \"env\" \"moon\" (func)) (func (export \"_start\")))")
        .unwrap();
    for (image, container, message) in [
        (&text, json!({}), "not a WebAssembly image"),
        (&nowhere, json!({}), "cannot be read"),
        (&importing, json!({}), "moon"),
        (&guest("hog"), json!({"memory": 6, "image": "sha256:00"}), "was not loaded before"),
    ] {
        host.register("bad", image, container).await;
        let error = host.run("bad").await.unwrap_err();
        assert_eq!(error.code(), "ClientException");
        assert!(error.to_string().starts_with("Container 'app': "), "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let large = host.data.path().join("large.wat");
    std::fs::write(&large, "(module (memory (export \"memory\") 160) (func (export \"_start\")))").unwrap();
    host.register("bad", &large, json!({"memory": 6})).await;
    let error = host.run("bad").await.unwrap_err().to_string();
    assert_eq!(error, "Container 'app': memory of 6 MiB is below the image's minimum of 10 MiB.");
}

#[tokio::test]
async fn a_container_sees_the_volumes_of_another_and_one_without_network_has_none() {
    let host = Host::new().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("text"), "one two\n").unwrap();
    let volume = json!([{"name": "in", "host": {"sourcePath": directory.path()}}]);
    let mount = json!([{"sourceVolume": "in", "containerPath": "/in", "readOnly": true}]);
    let side = json!({"name": "side", "image": guest("wordcount"), "essential": false, "mountPoints": mount});
    let app = json!({"name": "app", "image": guest("wordcount"), "command": ["/in/text"],
        "volumesFrom": [{"sourceContainer": "side"}]});
    let task = json!({"volumes": volume, "containerDefinitions": [app, side]});
    host.register_task("count", &guest("wordcount"), json!({}), task).await;
    let arn = host.run("count").await.unwrap();
    assert_eq!(host.until_stopped(&arn).await.containers[0].exit_code, Some(0), "{}", host.log(&arn));

    host.register("web", &guest("web"), json!({"disableNetworking": true})).await;
    let arn = host.run("web").await.unwrap();
    let task = host.until_stopped(&arn).await;
    assert_eq!(task.containers[0].exit_code, Some(1), "it cannot listen: {}", host.log(&arn));
}
