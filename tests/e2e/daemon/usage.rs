//! `coracle usage`

use serde_json::{Value, json};

use crate::support::{Daemon, eventually, guest};

#[test]
fn what_ran_is_metered_and_is_there_after_a_kill() {
    let daemon = Daemon::start();
    daemon.register(
        "burn",
        json!({ "image": guest("burn"), "memory": 64, "cpu": 256, "command": ["--forever"] }),
    );
    let id = daemon.output("task run burn").stdout.trim().to_owned();
    let used = |daemon: &Daemon| -> Value {
        serde_json::from_str(&daemon.output("usage --tasks --output json").stdout).unwrap()
    };
    let running = eventually(
        "two seconds of the task",
        || used(&daemon),
        |used| {
            let task = &used["tasks"][0];
            task["taskSeconds"].as_u64() >= Some(2) && task["cpuSeconds"].as_f64() > Some(0.1)
        },
    );
    assert_eq!(running["usage"][0]["family"], "burn", "{running}");
    assert!(running["usage"][0]["cpuSeconds"].as_f64() > Some(0.1), "{running}");
    assert!(running["usage"][0]["costs"]["cost"].as_f64() > Some(0.0), "{running}");
    daemon.output(&format!("task stop {id}"));
    eventually("the end", || used(&daemon), |used| used["tasks"] == json!([]));
    let seconds = used(&daemon)["usage"][0]["taskSeconds"].as_u64();
    // A second after its end it is written.
    std::thread::sleep(std::time::Duration::from_secs(3));

    let daemon = daemon.kill_and_restart();
    assert_eq!(used(&daemon)["usage"][0]["taskSeconds"].as_u64(), seconds);
    let table = daemon.output("usage").stdout;
    assert!(table.contains("default/burn (tasks)   FARGATE    1 "), "{table}");
    assert!(table.contains("USD (prices: aws.amazon.com/fargate/pricing"), "{table}");

    let prices = daemon.directory.path().join("prices.json");
    std::fs::write(
        &prices,
        r#"{"currency": "EUR", "prices": {"FARGATE": {"vcpuHour": 3600, "gibHour": 0}}}"#,
    )
    .unwrap();
    let table = daemon.output("usage --prices prices.json").stdout;
    let cost = format!("{:.6} EUR", seconds.unwrap() as f64 * 0.25);
    assert!(table.contains(&cost), "{cost}: {table}");
    std::fs::write(&prices, "{}").unwrap();
    let wrong = daemon.command("usage --prices prices.json").output();
    assert!(wrong.code == Some(2) && wrong.stderr.contains("currency"), "{wrong:?}");
}
