//! Commands that people run inside tasks of real guests, and how commands are told to stop.

use coracle_supervisor::driver::{Execution, OutputStream};
use coracle_supervisor::model::task::{LastStatus, Task};
use coracle_supervisor::operations::*;
use coracle_supervisor::sessions::Attached;
use futures_util::StreamExt;
use serde_json::json;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::host::{DEADLINE, Host, guest};

async fn execute(
    host: &Host,
    task: &str,
    command: &str,
) -> Result<Attached, coracle_supervisor::OperationError> {
    let request = ExecuteCommandRequest {
        command: command.to_owned(),
        task: task.to_owned(),
        ..ExecuteCommandRequest::default()
    };
    let session = host.supervisor.execute_command(request).await?.session;
    host.supervisor.attach(&session.session_id, &session.token_value).await
}

/// What it printed to both outputs, and its exit code.
async fn outcome(execution: Execution) -> (String, String, Option<i32>) {
    let Execution { stdin, mut output, exit } = execution;
    drop(stdin);
    let all = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some((stream, bytes)) = output.next().await {
            match stream {
                OutputStream::Stdout => stdout.extend(bytes),
                OutputStream::Stderr => stderr.extend(bytes),
            }
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(stdout), text(stderr), exit.await.code)
    };
    timeout(DEADLINE, all).await.expect("it ends")
}

async fn job(host: &Host) -> String {
    let directory = host.data.path().join("in");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("text"), "one two\n").unwrap();
    let container = json!({
        "command": ["--mib", "1", "--hold-seconds", "600"],
        "mountPoints": [{"sourceVolume": "in", "containerPath": "/in", "readOnly": true}],
    });
    let volume = json!({"volumes": [{"name": "in", "host": {"sourcePath": directory}}], "memory": "64"});
    host.register_task("job", &guest("hog"), container, volume).await;
    let request = RunTaskRequest {
        task_definition: "job".to_owned(),
        enable_execute_command: Some(true),
        ..RunTaskRequest::default()
    };
    let arn = host.supervisor.run_task(request).await.unwrap().tasks.remove(0).task_arn;
    host.until(|| async { host.task(&arn).await.started_at.is_some() }).await;
    arn
}

#[tokio::test]
async fn another_file_runs_with_the_containers_volumes_and_its_own_input() {
    let host = Host::new().await;
    let arn = job(&host).await;
    let wordcount = guest("wordcount");
    let command = format!("{} /in/text /in/none", wordcount.display());
    let (stdout, stderr, code) = outcome(execute(&host, &arn, &command).await.unwrap().execution).await;
    assert!(stdout.contains("2       8 /in/text"), "{stdout}");
    assert!(stderr.contains("/in/none"), "{stderr}");
    assert_eq!(code, Some(1));

    let mut execution = execute(&host, &arn, &wordcount.display().to_string()).await.unwrap().execution;
    execution.stdin.write_all(b"a b c\n").await.unwrap();
    let (stdout, _, code) = outcome(execution).await;
    assert_eq!((stdout.trim(), code), ("1       3       6", Some(0)));
    assert!(!host.log(&arn).contains("/in/text"), "its output is not the container's");
}

#[tokio::test]
async fn the_images_own_command_runs_within_the_tasks_memory() {
    let host = Host::new().await;
    let arn = job(&host).await;
    let (stdout, _, code) = outcome(execute(&host, &arn, "--mib 2").await.unwrap().execution).await;
    assert!(stdout.contains("2 MiB"), "{stdout}");
    assert_eq!(code, Some(0));
    let (_, _, code) = outcome(execute(&host, &arn, "--mib 100").await.unwrap().execution).await;
    assert_eq!(code, Some(137), "the task has 64 MiB");
    assert!(host.task(&arn).await.stopped_at.is_none(), "the task goes on");
}

#[tokio::test]
async fn what_cannot_run_says_why_and_a_command_ends_with_its_task() {
    let host = Host::new().await;
    let arn = job(&host).await;
    for (command, why) in [("none.wasm", "cannot be read"), ("/in/none.wasm", "/in/none.wasm cannot be read")]
    {
        let error = execute(&host, &arn, command).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let hello = guest("hello").display().to_string();
    let error = execute(&host, &arn, &hello).await.unwrap_err().to_string();
    assert!(error.ends_with("is no command but a handler"), "{error}");

    let attached = execute(&host, &arn, "--mib 1 --hold-seconds 600").await.unwrap();
    let request = StopTaskRequest { task: arn.clone(), ..StopTaskRequest::default() };
    host.supervisor.stop_task(request).await.unwrap();
    timeout(DEADLINE, attached.stopping.cancelled()).await.expect("it is told");
    host.until_stopped(&arn).await;
}

#[tokio::test]
async fn a_command_that_reads_its_input_ends_by_itself_when_it_is_told_to_stop() {
    let host = Host::new().await;
    // Counts until the end of its input.
    host.register("count", &guest("wordcount"), json!({"interactive": true})).await;
    let arn = host.run("count").await.unwrap();
    host.until(|| async { host.task(&arn).await.started_at.is_some() }).await;
    let request = StopTaskRequest { task: arn.clone(), ..StopTaskRequest::default() };
    host.supervisor.stop_task(request).await.unwrap();
    let task = host.until_stopped(&arn).await;
    assert_eq!(task.containers[0].exit_code, Some(0));
    assert!(host.log(&arn).contains("0       0       0"), "{}", host.log(&arn));
}

#[tokio::test]
async fn a_command_is_killed_when_its_stop_timeout_is_over() {
    let host = Host::new().await;
    for (stop_timeout, code) in [(json!(1), 137), (json!(null), 143)] {
        let mut container = json!({"command": ["--forever"]});
        if !stop_timeout.is_null() {
            container["stopTimeout"] = stop_timeout;
        }
        host.register("burn", &guest("burn"), container).await;
        let arn = host.run("burn").await.unwrap();
        host.until(|| async { host.task(&arn).await.started_at.is_some() }).await;
        let request = StopTaskRequest { task: arn.clone(), ..StopTaskRequest::default() };
        host.supervisor.stop_task(request).await.unwrap();
        assert_eq!(host.until_stopped(&arn).await.containers[0].exit_code, Some(code));
    }
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_takes_no_new_connection_and_is_killed_in_the_end() {
    let host = Host::new().await;
    let port = json!([{"containerPort": 8080}]);
    host.register("web", &guest("web"), json!({"portMappings": port, "stopTimeout": 3})).await;
    let arn = host.run("web").await.unwrap();
    host.until(|| async { address_of(&host.task(&arn).await).is_some() }).await;
    let address = address_of(&host.task(&arn).await).unwrap();
    host.until(|| async { answer(address).await.starts_with("HTTP/1.1 200") }).await;
    let request = StopTaskRequest { task: arn.clone(), ..StopTaskRequest::default() };
    host.supervisor.stop_task(request).await.unwrap();
    host.until(|| async { host.task(&arn).await.last_status == LastStatus::Stopping }).await;
    // The order is given right after that was told.
    host.until(|| async { answer(address).await.is_empty() }).await;
    assert_eq!(host.task(&arn).await.last_status, LastStatus::Stopping, "it has its time");
    assert_eq!(host.until_stopped(&arn).await.containers[0].exit_code, Some(137));
}

/// What a server answers to a GET; nothing when it refuses.
async fn answer(address: SocketAddr) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address).await {
        let request = "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok();
        stream.read_to_string(&mut answer).await.ok();
    }
    answer
}

fn address_of(task: &Task) -> Option<SocketAddr> {
    let binding = task.containers.first()?.network_bindings.first()?;
    format!("{}:{}", binding.bind_ip, binding.host_port).parse().ok()
}
