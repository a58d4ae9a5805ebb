//! `coracle stats`

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, guest};

#[test]
fn one_table_in_a_pipe_and_json_for_programs() {
    let daemon = Daemon::start();
    daemon.register(
        "burn",
        json!({ "image": guest("burn"), "memory": 32, "cpu": 128, "command": ["--forever"], "dockerLabels": { "coracle.fuel": "unlimited" } }),
    );
    let id = daemon.output("task run burn").stdout.trim().to_owned();
    eventually("the task", || daemon.output("ps").stdout, |text| text.contains("RUNNING"));

    let table = daemon.output("stats --interval 0.2").stdout;
    let lines: Vec<&str> = table.lines().collect();
    let [head, row] = lines.as_slice() else { panic!("{table}") };
    assert!(head.starts_with("TASK           CONTAINER   CPU %"), "{table}");
    assert!(row.starts_with(&id[..12]) && row.contains("/ 32.0MiB"), "{table}");

    let json = daemon.output(&format!("stats {} --interval 0.2 --output json", &id[..6])).stdout;
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[0]["container"], "burn", "{rows}");
    assert!(rows[0]["cpuPercent"].as_f64() > Some(1.0), "{rows}");
    assert!(rows[0]["fuel"].as_u64() > Some(0), "{rows}");
    assert_eq!(rows[0]["memoryLimit"], 32 << 20, "{rows}");

    daemon.output(&format!("task stop {id}"));
    eventually("the stop", || daemon.output("ps").stdout, |text| !text.contains("RUNNING"));
    assert_eq!(daemon.output("stats --interval 0.01").stdout.lines().count(), 1);
    let gone = daemon.command(&format!("stats {id}")).output();
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("no task") && gone.stderr.contains("runs"), "{gone:?}");
}
