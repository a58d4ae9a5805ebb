//! What was acknowledged survives `kill -9`.

use serde_json::json;

use crate::support::{Daemon, eventually, guest};

#[test]
fn services_come_back_after_a_kill_as_they_were_wanted() {
    let daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64 }));
    daemon.output("service create web -t hello --replicas 2");
    daemon.output("service scale web 3");
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.service("web")["desiredCount"], 3);
    eventually("three tasks", || daemon.service("web"), |service| service["runningCount"] == 3);
}

#[test]
fn each_acknowledged_change_of_fifty_survives_kills_in_between() {
    let mut daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64 }));
    for round in 0..5_u32 {
        for change in 0..10_u32 {
            let name = format!("s{round}-{change}");
            let input = json!({ "serviceName": name, "taskDefinition": "hello", "desiredCount": change });
            daemon.call("CreateService", &input).unwrap();
            let input = json!({ "service": name, "desiredCount": 0 });
            daemon.call("UpdateService", &input).unwrap();
        }
        daemon = daemon.kill_and_restart();
        for earlier in 0..=round {
            for change in 0..10 {
                let service = daemon.service(&format!("s{earlier}-{change}"));
                assert_eq!(
                    (&service["status"], &service["desiredCount"]),
                    (&json!("ACTIVE"), &json!(0)),
                    "{service}"
                );
            }
        }
    }
}

#[test]
fn two_daemons_do_not_share_a_data_directory() {
    let daemon = Daemon::start();
    let data = daemon.directory.path().join("data");
    let second = daemon.command(&format!("up --api 127.0.0.1:0 --data-dir {}", data.display())).output();
    second.assert_refused("another coracle");
}
