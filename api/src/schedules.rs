//! EventBridge Scheduler: which method and path is which operation.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_supervisor::Supervisor;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::ApiError;
use crate::ecs::run;
use crate::rest::{RestRequest, RestService};

/// EventBridge Scheduler over a supervisor.
#[derive(Debug, Clone)]
pub struct Scheduler(Supervisor);

impl Scheduler {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl RestService for Scheduler {
    fn root(&self) -> &'static str {
        "schedules"
    }

    async fn call(&self, request: RestRequest) -> Result<Bytes, ApiError> {
        let s = &self.0;
        let answer = match (&request.method, request.path.as_slice()) {
            (&Method::GET, []) => {
                run(&request.input(list_members(&request)?)?, |input| s.list_schedules(input)).await
            }
            (method, [name]) => {
                let mut members = vec![("Name", Value::from(name.as_str()))];
                if [Method::GET, Method::DELETE].contains(method) {
                    let queried = [("groupName", "GroupName"), ("clientToken", "ClientToken")];
                    members.extend(queried.into_iter().filter_map(|(parameter, member)| {
                        Some((member, request.parameter(parameter)?.into()))
                    }));
                }
                let input = request.input(members)?;
                match *method {
                    Method::POST => run(&input, |input| s.create_schedule(input)).await,
                    Method::PUT => run(&input, |input| s.update_schedule(input)).await,
                    Method::GET => run(&input, |input| s.get_schedule(input)).await,
                    Method::DELETE => run(&input, |input| s.delete_schedule(input)).await,
                    _ => Err(ApiError::unknown_operation(method.as_str())),
                }
            }
            (method, path) => {
                Err(ApiError::unknown_operation(&format!("{method} /schedules/{}", path.join("/"))))
            }
        };
        answer.map_err(in_its_words)
    }
}

fn list_members(request: &RestRequest) -> Result<Vec<(&'static str, Value)>, ApiError> {
    let mut members = Vec::new();
    for (name, value) in &request.query {
        members.push(match name.as_str() {
            "ScheduleGroup" => ("GroupName", value.as_str().into()),
            "NamePrefix" => ("NamePrefix", value.as_str().into()),
            "State" => ("State", value.as_str().into()),
            "NextToken" => ("NextToken", value.as_str().into()),
            "MaxResults" => {
                let number = value.parse::<i64>().map_err(|_| {
                    ApiError::bad_request("ValidationException", "MaxResults must be a number.")
                })?;
                ("MaxResults", number.into())
            }
            other => {
                let message = format!("The query has an unknown parameter {other:?}.");
                return Err(ApiError::bad_request("ValidationException", message));
            }
        });
    }
    Ok(members)
}

/// EventBridge Scheduler has exceptions with HTTP statuses of their own, and calls `ValidationException` what is `InvalidParameterException` with ECS.
fn in_its_words(error: ApiError) -> ApiError {
    let (code, status) = match &*error.code {
        "InvalidParameterException" | "ClientException" | "SerializationException" => {
            (Cow::Borrowed("ValidationException"), StatusCode::BAD_REQUEST)
        }
        "ClusterNotFoundException" => (Cow::Borrowed("ValidationException"), StatusCode::BAD_REQUEST),
        "ResourceNotFoundException" => (error.code, StatusCode::NOT_FOUND),
        "ConflictException" => (error.code, StatusCode::CONFLICT),
        "LimitExceededException" => {
            (Cow::Borrowed("ServiceQuotaExceededException"), StatusCode::PAYMENT_REQUIRED)
        }
        "ServerException" => (Cow::Borrowed("InternalServerException"), StatusCode::INTERNAL_SERVER_ERROR),
        _ => (error.code, error.status),
    };
    ApiError { code, status, message: error.message }
}
