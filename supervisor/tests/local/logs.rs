//! What becomes of what containers print, by their log configuration.

use coracle_supervisor::driver::local::ContainerLog;
use coracle_supervisor::model::names::TaskId;
use serde_json::json;

use crate::host::{Host, get, guest};

fn id(arn: &str) -> TaskId {
    TaskId::parse(arn.rsplit('/').next().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_logs_without_end_fills_no_more_than_its_definition_allows() {
    let host = Host::new().await;
    let logging = json!({ "logDriver": "json-file", "options": { "max-size": "64k", "max-file": "3" } });
    host.register("chaos", &guest("chaos"), json!({ "memory": 64, "logConfiguration": logging })).await;
    let address = host.serve("chaos", 1, &[]).await.unwrap();
    assert_eq!(get(address, "/log?lines=20000").await.0, 200);
    let task = host.running("chaos").await.remove(0);
    let directory = host.data.path().join("logs").join(id(&task).as_str());
    let sizes: Vec<u64> =
        std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
    let text = std::fs::read_to_string(directory.join("app.log")).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["log"], &last["stream"]), (&json!("line 20000 to standard error\n"), &json!("stderr")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shall_not_be_kept_is_not_and_what_has_names_is_found_by_them() {
    let host = Host::new().await;
    let options =
        json!({ "awslogs-group": "shop", "awslogs-region": "eu-central-1", "awslogs-stream-prefix": "job" });
    for (family, logging) in [
        ("silent", json!({ "logDriver": "none" })),
        ("named", json!({ "logDriver": "awslogs", "options": options })),
    ] {
        let container = json!({ "command": ["-"], "logConfiguration": logging });
        host.register(family, &guest("wordcount"), container).await;
        let arn = host.run(family).await.unwrap();
        assert_eq!(host.until_stopped(&arn).await.containers[0].exit_code, Some(0));
        let task = id(&arn);
        assert_eq!(host.driver.log(&task, "app").is_some(), family == "named");
        let stream = format!("job/app/{task}");
        let named = host.driver.log_stream("shop", &stream);
        assert_eq!(named.is_some(), family == "named");
        if let Some(ContainerLog::File(path)) = named {
            assert!(std::fs::read_to_string(path).unwrap().contains("0       0       0"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_there_is_not_is_refused_with_those_there_are() {
    let host = Host::new().await;
    for (logging, part) in [
        (json!({ "logDriver": "splunk" }), "available are awslogs, file, json-file, none, stdout"),
        (
            json!({ "logDriver": "json-file", "options": { "tag": "x" } }),
            "Log driver json-file disallows options: tag",
        ),
        (json!({ "logDriver": "file", "options": { "max-size": "big" } }), "option max-size must be a size"),
    ] {
        // Another node may have it: the definition is kept.
        host.register("job", &guest("wordcount"), json!({ "logConfiguration": logging })).await;
        let refusal = host.run("job").await.unwrap_err().to_string();
        assert!(refusal.contains("Container 'app': ") && refusal.contains(part), "{refusal}");
    }
}
