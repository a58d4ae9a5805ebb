//! A daemon with a directory and a port of its own.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Output, Running, coracle, post, process::Coracle};

/// One operation of ECS; `None` when no answer came.
#[track_caller]
pub(crate) fn try_call(api: SocketAddr, operation: &str, input: &Value) -> Option<Value> {
    let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
    let headers = [("X-Amz-Target", target.as_str()), ("Content-Type", "application/x-amz-json-1.1")];
    let answer = post(api, "/", &headers, &input.to_string()).ok()?;
    // Half an answer is none.
    let body = serde_json::from_str(&answer.body).ok()?;
    assert_eq!(answer.status, 200, "{operation} {input}: {body}");
    Some(body)
}

/// `coracle up`, with what it keeps.
pub(crate) struct Daemon {
    pub(crate) process: Running,
    pub(crate) api: SocketAddr,
    pub(crate) directory: TempDir,
}

impl Daemon {
    /// A daemon without a Compose file and with nothing in its store.
    pub(crate) fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), &[])
    }

    /// A daemon over what the directory has; waits until its API answers and its Compose file is applied.
    pub(crate) fn start_in(directory: TempDir, arguments: &[&str]) -> Self {
        let data = directory.path().join("data");
        let mut all = vec!["up", "--api", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
        all.extend(arguments);
        let mut process = coracle(all).in_directory(directory.path()).start();
        let line = process.line_with("API on http://");
        let api = line.rsplit("http://").next().unwrap().parse().unwrap();
        process.line_with("Ready");
        Self { process, api, directory }
    }

    /// Kills it as a power cut would, and starts another one over what it left.
    pub(crate) fn kill_and_restart(self) -> Self {
        let Self { process, directory, .. } = self;
        process.kill();
        Self::start_in(directory, &[])
    }

    /// A command that talks to it.
    pub(crate) fn command(&self, line: &str) -> Coracle {
        self.command_of(line.split(' ').filter(|word| !word.is_empty()))
    }

    /// A command whose words may have spaces.
    pub(crate) fn command_of<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Coracle {
        coracle(words)
            .env("CORACLE_ENDPOINT", &format!("http://{}", self.api))
            .in_directory(self.directory.path())
    }

    /// What a command prints.
    #[track_caller]
    pub(crate) fn output(&self, line: &str) -> Output {
        self.command(line).output().assert_success()
    }

    /// One operation of ECS over its wire protocol: the answer, or the exception's name and message.
    #[track_caller]
    pub(crate) fn call(&self, operation: &str, input: &Value) -> Result<Value, (String, String)> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers = [("X-Amz-Target", target.as_str()), ("Content-Type", "application/x-amz-json-1.1")];
        let answer = post(self.api, "/", &headers, &input.to_string()).unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        if answer.status == 200 { Ok(body) } else { Err((text("__type"), text("message"))) }
    }

    /// Registers a task definition of one container, and returns `family:revision`.
    #[track_caller]
    pub(crate) fn register(&self, family: &str, container: Value) -> String {
        let mut container = container;
        container["name"] = json!(family);
        let input = json!({ "family": family, "containerDefinitions": [container] });
        let answer = self.call("RegisterTaskDefinition", &input).unwrap();
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// A service of the default cluster, as DescribeServices has it; null when there is none.
    #[track_caller]
    pub(crate) fn service(&self, name: &str) -> Value {
        let input = json!({ "services": [name], "include": ["TAGS"] });
        self.call("DescribeServices", &input).unwrap()["services"].get(0).cloned().unwrap_or_default()
    }
}
