//! `coracle exec`: a command inside a task that runs.

use serde_json::json;

use crate::support::{Daemon, eventually, guest, post};

/// A task that does nothing for a long time, and its id.
fn idle_task(daemon: &Daemon) -> String {
    let command = json!(["--mib", "1", "--hold-seconds", "600"]);
    daemon.register("idle", json!({ "image": guest("hog"), "memory": 64, "command": command }));
    let id = daemon.output("task run idle").stdout.trim().to_owned();
    eventually("the task", || daemon.output("ps").stdout, |text| text.contains("RUNNING"));
    id
}

#[test]
fn a_command_s_input_output_and_exit_code_are_ours() {
    let daemon = Daemon::start();
    let id = idle_task(&daemon);
    let wordcount = guest("wordcount");
    let short = &id[..8];

    let counted = daemon.command(&format!("exec -i {short} -- {wordcount} -")).output_with_input("a b\nc\n");
    assert_eq!((counted.code, counted.stdout.trim()), (Some(0), "2       3       6 -"), "{counted:?}");

    let silent = daemon.command(&format!("exec {short} -- {wordcount}")).output();
    assert_eq!((silent.code, silent.stdout.trim()), (Some(0), "0       0       0"), "{silent:?}");

    let failed = daemon.command(&format!("exec {short} --container idle -- {wordcount} /nope")).output();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("wordcount: /nope"), "{failed:?}");

    let own = daemon.command(&format!("exec {short} -- --mib 2")).output();
    assert_eq!(own.code, Some(0), "{own:?}");
    let wrong = daemon.command(&format!("exec {short} -- --mib none")).output();
    assert_eq!(wrong.code, Some(2), "the guest's own exit code: {wrong:?}");
}

#[test]
fn a_command_ends_when_its_client_leaves_and_when_its_task_stops() {
    let daemon = Daemon::start();
    let id = idle_task(&daemon);
    let burn = guest("burn");
    let mut client = daemon.command(&format!("exec {id} -- {burn} --forever")).start();
    client.output_with("iterations");
    client.kill();
    // Sixteen are let in at a time: were those before still running, the last ones would not be.
    for _ in 0..20 {
        let mut client = daemon.command(&format!("exec {id} -- {burn} --forever")).start();
        client.output_with("iterations");
        client.kill();
    }
    let mut client = daemon.command(&format!("exec {id} -- {burn} --forever")).start();
    client.output_with("iterations");
    daemon.output(&format!("task stop {id}"));
    let ended = client.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the task stopped, and the command with it"), "{ended:?}");
}

#[test]
fn what_cannot_be_executed_is_said() {
    let daemon = Daemon::start();
    let id = idle_task(&daemon);
    for (line, code, because) in [
        (format!("exec {id} --container other -- a"), 2, "The container 'other' does not exist"),
        (format!("exec {id} -- none.wasm"), 2, "none.wasm cannot be read"),
        ("exec 1234567 -- a".to_owned(), 1, "there is no task 1234567"),
    ] {
        let output = daemon.command(&line).output();
        assert_eq!(output.code, Some(code), "{line}: {output:?}");
        assert!(output.stderr.contains(because), "{line}: {output:?}");
    }
    let closed = daemon.call("RunTask", &json!({ "taskDefinition": "idle" })).unwrap();
    let arn = closed["tasks"][0]["taskArn"].as_str().unwrap();
    let refused = daemon.command(&format!("exec {arn} -- a")).output();
    assert!(refused.stderr.contains("execute command was not enabled"), "{refused:?}");
}

#[test]
fn a_session_is_for_whoever_has_its_token_and_for_no_web_page() {
    let daemon = Daemon::start();
    let id = idle_task(&daemon);
    let input = json!({ "task": id, "command": "--mib 1", "interactive": false });
    let session = daemon.call("ExecuteCommand", &input).unwrap()["session"].clone();
    let path = session["streamUrl"].as_str().unwrap();
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "coracle-session")];
    for (headers, status) in [(vec![], 405), (vec![("Origin", "http://evil.example")], 403)] {
        let headers: Vec<_> = upgrade.into_iter().chain(headers).collect();
        assert_eq!(post(daemon.api, path, &headers, "").unwrap().status, status);
    }
}
