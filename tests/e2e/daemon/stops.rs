//! Why a task stopped, and what happens to those beside it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, get, guest};

/// Runs a job of one container to its end.
fn ended(daemon: &Daemon, family: &str, container: Value) -> Value {
    let definition = daemon.register(family, container);
    let task = daemon.call("RunTask", &json!({ "taskDefinition": definition })).unwrap()["tasks"][0].take();
    let look =
        || daemon.call("DescribeTasks", &json!({ "tasks": [task["taskArn"]] })).unwrap()["tasks"][0].take();
    eventually("the job's end", look, |task| task["lastStatus"] == "STOPPED")
}

#[test]
fn each_way_to_end_has_its_exit_code_and_reason() {
    let daemon = Daemon::start();
    let trap = daemon.directory.path().join("trap.wat");
    let text = r#"(module (func $fall (unreachable)) (func $walk (call $fall)) (func (export "_start") (call $walk)))"#;
    std::fs::write(&trap, text).unwrap();
    let burn = |fuel: &str| json!({ "coracle.fuel": fuel });
    let table = [
        ("fine", json!({ "image": guest("burn"), "command": ["--iterations", "1"] }), 0, None),
        ("failing", json!({ "image": guest("wordcount"), "command": ["/nope"] }), 1, None),
        ("trap", json!({ "image": trap }), 134, Some("unreachable")),
        (
            "hog",
            json!({ "image": guest("hog"), "command": ["--mib", "64"], "memory": 16 }),
            137,
            Some("OutOfMemoryError: Container killed due to memory usage"),
        ),
        (
            "fuel",
            json!({ "image": guest("burn"), "command": ["--forever"], "dockerLabels": burn("1000000") }),
            134,
            Some("OutOfFuel"),
        ),
    ];
    for (family, container, code, reason) in table {
        let task = ended(&daemon, family, container);
        let container = &task["containers"][0];
        assert_eq!(container["exitCode"], code, "{family}: {task}");
        assert_eq!(task["stopCode"], "EssentialContainerExited", "{family}: {task}");
        assert_eq!(task["stoppedReason"], "Essential container in task exited", "{family}: {task}");
        let said = container["reason"].as_str();
        assert_eq!(said.is_some(), reason.is_some(), "{family}: {task}");
        assert!(said.unwrap_or_default().contains(reason.unwrap_or_default()), "{family}: {task}");
        if family == "trap" {
            let id = task["taskArn"].as_str().unwrap().rsplit('/').next().unwrap();
            let log = daemon.output(&format!("logs {id}")).stdout;
            assert!(log.contains("fall") && log.contains("walk"), "the backtrace names the functions: {log}");
        }
    }
}

#[test]
fn a_task_over_its_memory_is_replaced_while_its_neighbours_answer() {
    let daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64 }));
    daemon.output("service create web -t hello --replicas 2 --listen 127.0.0.1:0");
    let address = published(&daemon, "web");
    let hog =
        json!({ "image": guest("hog"), "command": ["--mib", "64", "--hold-seconds", "60"], "memory": 16 });
    daemon.register("hog", hog);

    let answers = Load::on(address);
    daemon.output("service create greedy -t hog");
    let stopped = || {
        let input = json!({ "serviceName": "greedy", "desiredStatus": "STOPPED" });
        daemon.call("ListTasks", &input).unwrap()["taskArns"].as_array().unwrap().clone()
    };
    let arns = eventually("two that were killed", stopped, |arns| arns.len() >= 2);
    let task = daemon.call("DescribeTasks", &json!({ "tasks": [arns[0]] })).unwrap()["tasks"][0].take();
    assert_eq!(task["containers"][0]["exitCode"], 137, "{task}");
    answers.assert_all_good();
}

#[test]
fn no_request_is_lost_while_tasks_are_stopped() {
    let daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64 }));
    daemon.output("service create web -t hello --replicas 3 --listen 127.0.0.1:0");
    let address = published(&daemon, "web");
    eventually("three tasks", || daemon.service("web"), |service| service["runningCount"] == 3);
    let running = || daemon.call("ListTasks", &json!({ "serviceName": "web" })).unwrap()["taskArns"].take();

    let answers = Load::on(address);
    for _ in 0..10 {
        let before = running();
        daemon.call("StopTask", &json!({ "task": before[0] })).unwrap();
        eventually(
            "a replacement",
            || daemon.service("web"),
            |service| {
                service["runningCount"] == 3
                    && running().as_array().unwrap().iter().all(|task| *task != before[0])
            },
        );
    }
    answers.assert_all_good();
}

/// Where a service listens, once it answers there.
fn published(daemon: &Daemon, service: &str) -> std::net::SocketAddr {
    let tags = daemon.service(service)["tags"].take();
    let tag = tags.as_array().unwrap().iter().find(|tag| tag["key"] == "coracle.endpoint").unwrap();
    let address = tag["value"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let status = || get(address, "/").map(|answer| answer.status).ok();
    eventually("an answer", status, |status| *status == Some(200));
    address
}

/// Clients that ask one request after the other.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<Result<u32, String>>>,
}

impl Load {
    fn on(address: std::net::SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = || {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut good = 0;
                while !stop.load(Ordering::Relaxed) {
                    match get(address, "/") {
                        Ok(answer) if answer.status == 200 => good += 1,
                        other => return Err(format!("after {good} good answers: {other:?}")),
                    }
                }
                Ok(good)
            })
        };
        let clients = (0..2).map(|_| client()).collect();
        Self { stop, clients }
    }

    #[track_caller]
    fn assert_all_good(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let good = client.join().unwrap().unwrap();
            assert!(good > 0, "nothing was asked");
        }
    }
}

#[test]
fn a_crash_is_described_with_its_backtrace() {
    let daemon = Daemon::start();
    let image = daemon.directory.path().join("trap.wat");
    std::fs::write(
        &image,
        "(module $app (memory (export \"memory\") 1) (func $fall unreachable) (func (export \"_start\") (call $fall)))",
    )
    .unwrap();
    daemon.register("trap", json!({ "image": image }));
    let id = daemon.output("task run trap").stdout.trim().to_owned();
    let described = |what: &str| daemon.output(&format!("task {what} {id}")).stdout;
    eventually("the crash", || described("describe"), |text| text.contains("CRASHED"));
    let text = described("describe");
    assert!(text.contains("trap        Trapped: wasm trap") && text.contains("shows it in full"), "{text}");
    let text = described("crashes");
    assert!(text.contains("app!fall") && text.contains("container   trap of trap:1"), "{text}");
}
