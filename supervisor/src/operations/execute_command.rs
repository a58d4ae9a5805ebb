//! ExecuteCommand: a session in which a command runs inside a task.
#![expect(
    missing_docs,
    reason = "requests and responses are ECS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::OperationError;
use crate::model::task::ContainerState;
use crate::sessions::Session;
use crate::supervisor::Supervisor;

/// Longest command line.
const MAX_COMMAND: usize = 16 * 1024;
/// Where the API lets people attach to a session; its id follows.
pub const SESSION_PATH: &str = "/session/";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecuteCommandRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    pub command: String,
    pub interactive: bool,
    pub task: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecuteCommandResponse {
    pub cluster_arn: String,
    pub container_arn: String,
    pub container_name: String,
    pub interactive: bool,
    pub session: ExecuteCommandSession,
    pub task_arn: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecuteCommandSession {
    pub session_id: String,
    pub stream_url: String,
    pub token_value: String,
}

/// The token is a secret.
impl std::fmt::Debug for ExecuteCommandSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecuteCommandSession").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Makes a session for a command in a task. The command starts when somebody attaches to the session.
    pub async fn execute_command(
        &self,
        request: ExecuteCommandRequest,
    ) -> Result<ExecuteCommandResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let id = self.identity().parse_task(&cluster, &request.task)?;
        let command = words(&request.command)?;
        self.records().cluster(&cluster).await?;
        let task = self.records().task(&cluster, &id).await?;
        let task = task.ok_or_else(|| OperationError::invalid("The referenced task was not found."))?;
        if !task.record.enable_execute_command {
            return Err(OperationError::invalid(
                "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn't running. \
                 Wait and try again or run a new task with execute command enabled and try again.",
            ));
        }
        let containers = &task.status.containers;
        let container = match (&request.container, containers.as_slice()) {
            (Some(name), _) => {
                containers.iter().find(|container| container.name == *name).ok_or_else(|| {
                    OperationError::invalid(format!("The container '{name}' does not exist in the task."))
                })?
            }
            (None, [only]) => only,
            (None, _) => {
                return Err(OperationError::invalid(
                    "A container must be named: the task has several, or none yet.",
                ));
            }
        };
        if container.last_status != ContainerState::Running || !self.sessions().has_task(&id) {
            return Err(OperationError::TargetNotConnected(format!(
                "The execute command failed: the container '{}' is not running.",
                container.name
            )));
        }
        let (session_id, token) = self.new_session_token();
        let session = Session {
            token: token.clone(),
            task: id.clone(),
            container: container.name.clone(),
            command,
            interactive: request.interactive,
            made: Instant::now(),
        };
        self.sessions().wait(session_id.clone(), session)?;
        Ok(ExecuteCommandResponse {
            cluster_arn: self.identity().cluster(&cluster),
            container_arn: self.identity().container(&cluster, &id, &container.id),
            container_name: container.name.clone(),
            interactive: request.interactive,
            session: ExecuteCommandSession {
                stream_url: format!("{SESSION_PATH}{session_id}"),
                session_id,
                token_value: token,
            },
            task_arn: self.identity().task(&cluster, &id),
        })
    }
}

/// ECS's command is one line; there is no shell to read it, but quotation marks keep words together as in one.
fn words(line: &str) -> Result<Vec<String>, OperationError> {
    if line.len() > MAX_COMMAND || line.contains('\0') {
        return Err(OperationError::invalid(format!(
            "command can have at most {MAX_COMMAND} bytes, and no NUL character."
        )));
    }
    match shlex::split(line) {
        Some(words) if !words.is_empty() => Ok(words),
        Some(_) => Err(OperationError::invalid("command cannot be empty.")),
        None => Err(OperationError::invalid("command has a quotation mark that is not closed.")),
    }
}
