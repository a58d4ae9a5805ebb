//! `coracle secret` and `coracle parameter`

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

#[test]
fn parameters_are_listed_by_their_path_and_a_secure_one_is_told_when_it_is_asked_for() {
    let daemon = Daemon::start();
    std::fs::write(daemon.directory.path().join("value"), "correct-horse\n").unwrap();
    assert_eq!(daemon.output("parameter put /shop/name --value Boats").stdout, "version 1\n");
    assert_eq!(daemon.output("parameter put /shop/db/password --secure --file value").stdout, "version 1\n");
    assert_eq!(daemon.output("parameter put /elsewhere --value x").stdout, "version 1\n");
    std::fs::write(daemon.directory.path().join("value"), "battery-staple\n").unwrap();
    let again = daemon.output("parameter put /shop/db/password --file value").stdout;
    assert_eq!(again, "version 2\n", "it stays secure");
    assert_eq!(daemon.output("parameter get /shop/db/password").stdout, "battery-staple\n");

    let names = |options: &str| -> Vec<String> {
        let table = daemon.output(&format!("parameter ls {options}")).stdout;
        table.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(""), ["/elsewhere", "/shop/db/password", "/shop/name"]);
    assert_eq!(names("--path /shop"), ["/shop/name"]);
    assert_eq!(names("--path /shop --recursive"), ["/shop/db/password", "/shop/name"]);
    let sealed = daemon.output("parameter ls --path /shop --recursive -o json").stdout;
    assert!(sealed.contains("Boats") && !sealed.contains("staple"), "{sealed}");
    let clear = daemon.output("parameter ls --path /shop --recursive --values").stdout;
    assert!(clear.contains("Boats") && clear.contains("battery-staple"), "{clear}");

    let wrong = daemon.command("parameter ls --path shop").output();
    assert!(wrong.stderr.contains("Path must begin with a forward slash"), "{wrong:?}");
    assert_eq!(daemon.output("parameter delete /shop/name").stdout, "/shop/name is deleted\n");
    assert_eq!(daemon.command("parameter get /shop/name").output().code, Some(1));
}
