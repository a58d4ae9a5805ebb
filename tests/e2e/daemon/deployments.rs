//! Deployments as a person follows them with the commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, get, guest};

fn endpoint(daemon: &Daemon) -> SocketAddr {
    let service = daemon.service("web");
    let tags = service["tags"].as_array().unwrap();
    let tag = tags.iter().find(|tag| tag["key"] == "coracle.endpoint").unwrap();
    tag["value"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

/// `web` with two tasks of `hello`, checked often.
fn web(daemon: &Daemon, options: &str) {
    daemon.register("web", json!({ "image": guest("hello"), "memory": 64 }));
    let steady = "service web is steady: 2 tasks of web:1\n";
    let created = daemon.output(&format!(
        "service create web -t web --desired-count 2 --listen 127.0.0.1:0 --health-path /health \
         --tag coracle.health-check.interval=0.2 --tag coracle.health-check.timeout=0.1 \
         --tag coracle.proving-time=1 --wait {options}"
    ));
    assert_eq!(created.stdout, steady);
    assert_eq!(daemon.output("service wait web").stdout, steady);
}

fn status_of_newest(daemon: &Daemon) -> Value {
    let list = daemon.call("ListServiceDeployments", &json!({ "service": "web" })).unwrap();
    list["serviceDeployments"][0]["status"].clone()
}

#[test]
fn a_good_revision_is_rolled_out_and_taken_back() {
    let daemon = Daemon::start();
    web(&daemon, "");
    daemon.register("web", json!({ "image": guest("hello"), "memory": 64 }));
    let rolled = daemon.output("service update web -t web --wait").stdout;
    assert_eq!(rolled, "service web is steady: 2 tasks of web:2\n");
    let back = daemon.output("rollback web --wait").stdout;
    assert_eq!(back, "service web is steady: 2 tasks of web:1\n");
    let table = daemon.output("service deployments web").stdout;
    assert_eq!(table.matches("SUCCESSFUL").count(), 3, "{table}");
    let events = daemon.output("events web").stdout;
    assert_eq!(events.matches("deployment completed.").count(), 3, "{events}");
    let last = daemon.output("events -n 1 web --output json").stdout;
    assert!(serde_json::from_str::<Value>(&last).unwrap()["message"].is_string(), "{last}");
    let missing = daemon.command("events nowhere").output();
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.starts_with("error: there is no service nowhere"), "{missing:?}");
}

#[test]
fn a_bad_revision_is_given_up_and_the_command_says_so() {
    let daemon = Daemon::start();
    web(&daemon, "--circuit-breaker");
    // Answers 404 where it is asked how it is.
    daemon.register("web", json!({ "image": guest("chaos"), "memory": 64 }));
    let failed = daemon.command("service update web -t web --wait").output();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let expected = "was rolled back to web:1: ECS deployment circuit breaker: tasks failed to start.";
    assert!(failed.stderr.contains(expected), "{failed:?}");
    assert!(get(endpoint(&daemon), "/").unwrap().body.starts_with("hello from"));
    let text = daemon.output("service describe web").stdout;
    assert!(text.contains("ROLLBACK_SUCCESSFUL") && text.contains("TRIGGERED, "), "{text}");
    assert!(!text.contains("not steady"), "{text}");
}

#[test]
fn blue_green_waits_for_a_person_and_survives_a_kill() {
    let daemon = Daemon::start();
    web(&daemon, "--strategy blue-green --bake-time 0 --pause-at post-test-traffic-shift");
    daemon.register("web", json!({ "image": guest("chaos"), "memory": 64 }));
    daemon.output("service scale web 1");
    let input = json!({ "service": "web", "taskDefinition": "web" });
    // Chaos answers 404 to the health check: it can never be whole.
    daemon.call("UpdateService", &input).unwrap();
    let early = daemon.command("service continue web").output();
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.stderr.starts_with("error: no deployment of service web waits"), "{early:?}");
    daemon.output("rollback web --wait");
    assert_eq!(status_of_newest(&daemon), "ROLLBACK_SUCCESSFUL");

    daemon.register(
        "web",
        json!({ "image": guest("hello"), "memory": 64, "environment": [{"name": "A", "value": "b"}] }),
    );
    daemon.call("UpdateService", &input).unwrap();
    let waits = |daemon: &Daemon| daemon.output("service describe web").stdout;
    let asks = |text: &String| text.contains("it waits for `coracle service continue web`");
    let text = eventually("the deployment waits", || waits(&daemon), asks);
    assert!(text.contains("100% to the old revision, 0% to the new one"), "{text}");
    let daemon = daemon.kill_and_restart();
    eventually("the deployment still waits", || waits(&daemon), asks);
    eventually("both revisions run", || daemon.service("web")["runningCount"].clone(), |count| *count == 2);
    daemon.output("service continue web");
    let waited = daemon.output("service wait web").stdout;
    assert_eq!(waited, "service web is steady: 1 tasks of web:3\n");
    assert_eq!(status_of_newest(&daemon), "SUCCESSFUL");
    assert_eq!(get(endpoint(&daemon), "/").unwrap().status, 200);
}

/// A server that answers each call with the next of `statuses`, and hands on what it was sent.
fn hook(statuses: &'static [&'static str]) -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (called, calls) = mpsc::channel();
    thread::spawn(move || {
        for (stream, status) in listener.incoming().map_while(Result::ok).zip(statuses) {
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            called.send(serde_json::from_slice(&body).unwrap()).unwrap();
            let answer = json!({ "hookStatus": status }).to_string();
            write!(&stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
        }
    });
    (address, calls)
}

#[test]
fn a_hook_is_asked_at_its_stage_and_what_it_refuses_is_taken_back() {
    // The first deployment has nothing to go back to, and asks nobody.
    let (address, calls) = hook(&["SUCCEEDED", "FAILED"]);
    let daemon = Daemon::start();
    let at = "post-test-traffic-shift";
    web(&daemon, &format!("--strategy blue-green --hook {at}=http://{address}/check"));
    let wrong = daemon.command("service create other -t web --hook post-scale-up=https://h/").output();
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("STAGE=http://HOST:PORT/PATH is expected"), "{wrong:?}");

    daemon.register("web", json!({ "image": guest("hello"), "memory": 64 }));
    let rolled = daemon.output("service update web -t web:2 --wait").stdout;
    assert_eq!(rolled, "service web is steady: 2 tasks of web:2\n");
    let refused = daemon.command("service update web -t web:1 --wait").output();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("was rolled back to web:2"), "{refused:?}");
    assert_eq!(status_of_newest(&daemon), "ROLLBACK_SUCCESSFUL");
    let stages: Vec<_> = calls.try_iter().map(|mut call| call["lifecycleStage"].take()).collect();
    assert_eq!(stages, ["POST_TEST_TRAFFIC_SHIFT", "POST_TEST_TRAFFIC_SHIFT"]);
}
