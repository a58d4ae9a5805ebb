//! What was acknowledged survives `kill -9`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Daemon, eventually, guest, try_call};

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

/// What of a service is known to be wanted, and what might be as well because the answer did not come.
#[derive(Debug, Default)]
struct Wanted {
    counts: BTreeMap<String, (Option<u32>, Option<u32>)>,
}

#[test]
fn of_fifty_changes_each_acknowledged_one_survives_kills_at_any_moment_and_none_is_half_done() {
    let mut daemon = Daemon::start();
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64 }));
    let mut wanted = Wanted::default();
    let mut change = 0_u32;
    let mut kills = 0_u32;
    while change < 50 {
        // Anything from the middle of the first change to some changes later.
        let delay = Duration::from_micros(u64::from(kills) * 7919 % 40_000);
        let (api, done) = (daemon.api, AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) && change < 50 && wanted.change(api, change) {
                    change += 1;
                }
            });
            thread::sleep(delay);
            daemon.process.signal(Signal::KILL);
            done.store(true, Ordering::Relaxed);
        });
        // A change without an answer is not repeated: it may have been made, or not.
        change += 1;
        kills += 1;
        daemon = daemon.kill_and_restart();
        wanted.settle(&daemon);
    }
    assert!(kills > 3, "{kills} kills");
}

impl Wanted {
    /// Creates a service, or changes how many tasks it has. Whether that was acknowledged.
    fn change(&mut self, api: SocketAddr, number: u32) -> bool {
        let name = format!("s{}", number / 3);
        let known = self.counts.entry(name.clone()).or_default();
        let count = number % 3;
        let (operation, input) = match known.0 {
            None => (
                "CreateService",
                json!({ "serviceName": name, "taskDefinition": "hello", "desiredCount": count }),
            ),
            Some(_) => ("UpdateService", json!({ "service": name, "desiredCount": count })),
        };
        known.1 = Some(count);
        match try_call(api, operation, &input) {
            Some(answer) => {
                assert_eq!(answer["service"]["desiredCount"], count, "{answer}");
                *known = (Some(count), None);
                true
            }
            None => false,
        }
    }

    /// Compares with what is there, which is from now on what is known.
    fn settle(&mut self, daemon: &Daemon) {
        for (name, known) in &mut self.counts {
            let service = daemon.service(name);
            let there = service["desiredCount"].as_u64().map(|count| u32::try_from(count).unwrap());
            assert!(
                there == known.0 || (there.is_some() && there == known.1),
                "{name}: {known:?}, but {service}"
            );
            if there.is_some() {
                assert_eq!(service["status"], "ACTIVE", "{service}");
                assert!(service["taskDefinition"].as_str().unwrap().ends_with("hello:1"), "{service}");
            }
            *known = (there, None);
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
