//! A service without tasks, and the request that brings it back.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::{Daemon, eventually, get, guest};

#[test]
fn a_service_sleeps_and_the_next_requests_wait_for_it_and_are_all_answered_once() {
    let daemon = Daemon::start();
    daemon.register("web", json!({ "image": guest("hello"), "memory": 64 }));
    daemon.output(
        "service create web -t web -r 2 --listen 127.0.0.1:0 --health-path /health --scale-to-zero 0.5",
    );
    daemon.output("service wait web");
    let tag = |key: &str| {
        let service = daemon.service("web");
        let tags = service["tags"].as_array().unwrap().clone();
        tags.iter().find(|tag| tag["key"] == key).map(|tag| tag["value"].as_str().unwrap().to_owned())
    };
    let address: SocketAddr =
        tag("coracle.endpoint").unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    for _ in 0..3 {
        eventually("it sleeps", || tag("coracle.asleep"), |count| count.as_deref() == Some("2"));
        eventually("no task is left", || daemon.output("ps").stdout, |text| !text.contains("RUNNING"));
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| get(address, "/").unwrap())).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body.starts_with("hello from")));
        assert_eq!(tag("coracle.asleep"), None);
    }
    let listed = daemon.output("service ls").stdout;
    assert!(listed.contains("ACTIVE"), "{listed}");
    let daemon = daemon.kill_and_restart();
    eventually("it sleeps", || daemon.output("service ls").stdout, |text| text.contains("ACTIVE (asleep)"));
    assert_eq!(daemon.output("ps").stdout.matches("RUNNING").count(), 0);
}
