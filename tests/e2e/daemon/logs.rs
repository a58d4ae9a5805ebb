//! `logConfiguration`, and `coracle logs`.

use serde_json::json;

use crate::support::{Daemon, eventually, guest};

#[test]
fn a_log_driver_decides_where_lines_go() {
    let mut daemon = Daemon::start();
    let stopped = |daemon: &Daemon, id: &str| {
        eventually(
            "the end",
            || daemon.output(&format!("task describe {id}")).stdout,
            |text| text.contains("STOPPED"),
        );
    };
    let job = |driver: &str| json!({ "image": guest("wordcount"), "command": ["-"], "logConfiguration": { "logDriver": driver } });

    daemon.register("kept", job("json-file"));
    let id = daemon.output("task run kept").stdout.trim().to_owned();
    stopped(&daemon, &id);
    assert!(daemon.output(&format!("logs {id}")).stdout.contains("0       0       0 -"));

    daemon.register("shown", job("stdout"));
    let id = daemon.output("task run shown").stdout.trim().to_owned();
    let line = daemon.process.output_with("0       0       0 -");
    assert!(line.starts_with(&format!("shown/{} | ", &id[..12])), "{line}");
    stopped(&daemon, &id);
    assert_eq!(daemon.output(&format!("logs {id}")).stdout, "");

    daemon.register("elsewhere", job("splunk"));
    let refused = daemon.command("task run elsewhere").output();
    refused.assert_refused("available are awslogs, file, json-file, none, stdout");
}
