//! `coracle secret`

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Daemon, eventually, guest};

#[test]
fn a_secret_survives_a_restart_reaches_its_task_and_is_nowhere_in_the_clear() {
    let daemon = Daemon::start();
    let file = daemon.directory.path().join("value");
    std::fs::write(&file, "tr0ub4dor\n").unwrap();
    let arn = daemon.output("secret put db --file value").stdout;
    assert!(arn.starts_with("arn:aws:secretsmanager:us-east-1:000000000000:secret:db-"), "{arn}");
    std::fs::write(&file, "correct-horse\n").unwrap();
    assert_eq!(daemon.output("secret put db --file value").stdout, arn, "the same secret");
    assert!(!daemon.output("secret ls --output json").stdout.contains("horse"));

    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.output("secret get db").stdout, "correct-horse\n");
    let data = daemon.directory.path().join("data");
    let key = std::fs::metadata(data.join("secrets.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let store = std::fs::read(data.join("state.redb")).unwrap();
    for word in ["correct-horse", "tr0ub4dor"] {
        assert!(!store.windows(word.len()).any(|bytes| bytes == word.as_bytes()), "{word} is in the store");
    }

    let container = |secret: &str| json!({ "image": guest("burn"), "memory": 32, "cpu": 64, "command": ["--forever"], "secrets": [{ "name": "PASSWORD", "valueFrom": secret }] });
    daemon.register("good", container("db"));
    daemon.register("bad", container("none"));
    let id = daemon.output("task run good").stdout.trim().to_owned();
    eventually("the task", || daemon.output("ps").stdout, |text| text.contains("RUNNING"));
    assert!(!daemon.output(&format!("task describe {id} -o json")).stdout.contains("horse"));
    let bad = daemon.output("task run bad").stdout.trim().to_owned();
    eventually(
        "the refusal",
        || daemon.output(&format!("task describe {bad}")).stdout,
        |text| text.contains("unable to pull secrets") && text.contains("none"),
    );

    assert_eq!(daemon.output("secret delete db").stdout, "db is deleted\n");
    assert_eq!(daemon.command("secret get db").output().code, Some(1));
}
