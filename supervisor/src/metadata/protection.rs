//! A task's protection from scale-in, which the task itself sees and sets: ECS's agent endpoint `task-protection/v1/state`.
//!
//! AWS answers with one of three objects: `protection`; `failure`, where the task cannot have any; `error`, where the request is wrong or was not carried out.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Inner, time};
use crate::error::OperationError;
use crate::model::names::hex_id;
use crate::model::task_protection::TaskProtection;
use crate::operations::task_protection::{self as operation, ProtectedTask};
use crate::operations::{Failure, parse_request};
use crate::supervisor::Shared;

/// What a task says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct State {
    protection_enabled: bool,
    #[serde(default)]
    expires_in_minutes: Option<i64>,
}

impl Inner {
    /// The answer to a GET, or to a PUT of this body.
    pub(super) async fn protection(&self, put: Option<&[u8]>) -> (StatusCode, Value) {
        let Some(shared) = self.shared.upgrade() else {
            return (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": { "Code": "ServerException" } }));
        };
        let arn = shared.config.identity.task(&self.cluster, &self.id);
        let answer = match put {
            None => operation::protection_of(&shared, &self.cluster, &self.id).await,
            Some(body) => self.protect(&shared, body).await,
        };
        match answer {
            Ok(Ok(protected)) => (StatusCode::OK, protection(&protected)),
            Ok(Err(failure)) => (StatusCode::OK, refused(&failure)),
            Err(error) => {
                let (status, code) = match &error {
                    OperationError::Store(_) | OperationError::Conflict => {
                        (StatusCode::INTERNAL_SERVER_ERROR, "ServerException")
                    }
                    _ => (StatusCode::BAD_REQUEST, "InvalidParameterException"),
                };
                let id = shared.random(hex_id);
                let error = json!({ "Arn": arn, "Code": code, "Message": error.to_string() });
                (status, json!({ "requestID": id, "error": error }))
            }
        }
    }

    async fn protect(
        &self,
        shared: &Shared,
        body: &[u8],
    ) -> Result<Result<ProtectedTask, Failure>, OperationError> {
        let state: State = parse_request(body)?;
        let minutes =
            operation::minutes("ExpiresInMinutes", state.protection_enabled, state.expires_in_minutes)?;
        let ends = |minutes: u32| shared.now().after(Duration::from_secs(u64::from(minutes) * 60));
        let protection = minutes.map(|minutes| TaskProtection { expires_at: ends(minutes) });
        operation::protect(shared, &self.cluster, &self.id, protection).await
    }
}

fn protection(task: &ProtectedTask) -> Value {
    json!({ "protection": {
        "TaskArn": task.task_arn,
        "ProtectionEnabled": task.protection_enabled,
        "ExpirationDate": task.expiration_date.map(time),
    }})
}

fn refused(failure: &Failure) -> Value {
    json!({ "failure": { "Arn": failure.arn, "Reason": failure.reason, "Detail": failure.detail } })
}
