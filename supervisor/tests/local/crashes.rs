//! Crash reports of real guests.

use coracle_supervisor::model::crash::{CrashKind, CrashReport};
use coracle_supervisor::operations::DescribeTaskCrashesRequest;
use serde_json::json;

use crate::host::{Host, get, guest};

async fn crashes(host: &Host, task: &str) -> Vec<CrashReport> {
    let request = DescribeTaskCrashesRequest { cluster: None, task: task.to_owned() };
    host.supervisor.describe_task_crashes(request).await.unwrap().crashes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_leaves_a_report_that_outlives_the_task() {
    let host = Host::new().await;
    let image = host.data.path().join("trap.wat");
    let text = r#"(module $app
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 16) "last words\n")
        (func $fall unreachable)
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 11))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $fall)))"#;
    std::fs::write(&image, text).unwrap();
    host.register("trap", &image, json!({ "memory": 16 })).await;
    let arn = host.run("trap").await.unwrap();
    host.until_stopped(&arn).await;
    host.until(async || crashes(&host, &arn).await.len() == 1).await;
    let crash = crashes(&host, &arn).await.remove(0);
    assert_eq!((&crash.task_arn, crash.container_name.as_str()), (&arn, "app"));
    assert_eq!((crash.task_definition.as_str(), crash.kind), ("trap:1", CrashKind::Trap));
    assert!(crash.reason.contains("unreachable") && crash.image_digest.starts_with("sha256:"), "{crash:?}");
    assert!(crash.backtrace.iter().any(|line| line.contains("app!fall")), "{crash:?}");
    assert!(
        crash.log.iter().any(|line| line.message == "last words" && line.stream == "stdout"),
        "{crash:?}"
    );
    assert_eq!((crash.memory, crash.memory_limit), (65536, Some(16 << 20)));
    assert_eq!(crash.fuel, 0, "counted only where it was asked for: {crash:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_fails_with_each_request_costs_a_bounded_number_of_reports() {
    let host = Host::new().await;
    host.register("chaos", &guest("chaos"), json!({ "memory": 64 })).await;
    let address = host.serve("chaos", 1, &[]).await.unwrap();
    for _ in 0..50 {
        assert_eq!(get(address, "/trap").await.0, 502);
    }
    let task = host.running("chaos").await.remove(0);
    host.until(async || !crashes(&host, &task).await.is_empty()).await;
    let first = crashes(&host, &task).await;
    assert!(first.len() < 50, "a report for each");
    // The others are counted by the next one that is written.
    host.until(async || {
        get(address, "/trap").await;
        crashes(&host, &task).await.len() > first.len()
    })
    .await;
    let all = crashes(&host, &task).await;
    let told = all.iter().map(|crash| crash.unreported + 1).sum::<u64>();
    assert!(told >= 50, "{told} of at least 51");
    let directory = host.data.path().join("crashes");
    let size: u64 = walk(&directory).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(size < all.len() as u64 * (256 << 10), "{size} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_beyond_the_limit_and_spent_fuel_are_crashes_and_an_exit_code_is_none() {
    let host = Host::new().await;
    for (family, image, container, kind) in [
        ("hog", "hog", json!({ "memory": 16, "command": ["--mib", "100"] }), Some(CrashKind::OutOfMemory)),
        (
            "burn",
            "burn",
            json!({ "command": ["--forever"], "dockerLabels": { "coracle.fuel": "1000000" } }),
            Some(CrashKind::OutOfFuel),
        ),
        ("wordcount", "wordcount", json!({ "command": ["/nowhere"] }), None),
    ] {
        host.register(family, &guest(image), container).await;
        let arn = host.run(family).await.unwrap();
        host.until_stopped(&arn).await;
        if let Some(kind) = kind {
            host.until(async || crashes(&host, &arn).await.len() == 1).await;
            let crash = crashes(&host, &arn).await.remove(0);
            assert_eq!(crash.kind, kind);
            assert_eq!(crash.fuel > 0, kind == CrashKind::OutOfFuel, "{crash:?}");
        } else {
            assert_eq!(crashes(&host, &arn).await, []);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_dump_is_taken_where_it_is_asked_for_and_can_be() {
    let host = Host::new().await;
    for (mib, expected) in [("1", false), ("16", true)] {
        host.register(
            "chaos",
            &guest("chaos"),
            json!({ "memory": 64, "dockerLabels": { "coracle.core-dump": mib } }),
        )
        .await;
        if !coracle_runtime::CORE_DUMPS {
            let refusal = host.run("chaos").await.unwrap_err().to_string();
            assert!(refusal.contains("without the feature core-dump"), "{refusal}");
            continue;
        }
        let address = host.serve("chaos", 1, &[]).await.unwrap();
        get(address, "/trap").await;
        let task = host.running("chaos").await.remove(0);
        host.until(async || !crashes(&host, &task).await.is_empty()).await;
        let dump = crashes(&host, &task).await[0].core_dump.clone();
        assert_eq!(dump.is_some(), expected, "{mib} MiB");
        if let Some(path) = dump {
            let bytes = std::fs::read(path).unwrap();
            assert!(bytes.starts_with(b"\0asm") && bytes.len() < 16 << 20);
        }
        let delete = coracle_supervisor::operations::DeleteServiceRequest {
            service: "chaos".to_owned(),
            force: Some(true),
            ..Default::default()
        };
        host.supervisor.delete_service(delete).await.unwrap();
        host.until(async || host.running("chaos").await.is_empty()).await;
    }
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
