//! The application layer: one typed operation for each of ECS's, with ECS's field names on the wire.
//!
//! An operation parses its request into domain types, writes what is wanted to the store, durably, and answers. Nothing here starts or stops
//! anything: the loops see the change and act. The API and the command line are thin layers over these.

pub mod alarms;
mod attachments;
pub mod autoscaling;
pub mod clusters;
pub mod execute_command;
mod fields;
pub(crate) mod host_ports;
pub mod load_balancing;
mod new_service;
pub mod parameters;
pub mod reclaim_capacity;
pub mod schedules;
pub mod secrets_manager;
mod service_connect;
pub mod service_deployments;
mod service_deployments_view;
pub mod services;
mod services_view;
pub mod start_task;
pub mod tags;
pub mod task_crashes;
pub mod task_definitions;
pub mod task_protection;
pub mod task_stats;
pub mod tasks;
#[cfg(test)]
mod tests;
pub mod usage;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::error::OperationError;

pub use alarms::*;
pub use autoscaling::*;
pub use clusters::*;
pub use execute_command::*;
pub use load_balancing::*;
pub use parameters::*;
pub use reclaim_capacity::*;
pub use schedules::*;
pub use secrets_manager::*;
pub use service_deployments::*;
pub use services::*;
pub use start_task::*;
pub use tags::*;
pub use task_crashes::*;
pub use task_definitions::*;
pub use task_protection::*;
pub use task_stats::*;
pub use tasks::*;
pub use usage::*;

/// Parses the body of a request. What does not fit is refused with the path of the field and what is allowed there.
pub fn parse_request<T: DeserializeOwned>(body: &[u8]) -> Result<T, OperationError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_data() {
            OperationError::invalid(format!("Invalid request at {path}: {}", without_position(&cause)))
        } else if serde_json::from_slice::<IgnoredAny>(body).is_ok() {
            // serde_json calls it a syntax error where a value cannot be any variant of an enumeration, such as a number.
            OperationError::invalid(format!("Invalid request at {path}: a value of another type is expected"))
        } else {
            OperationError::Serialization(format!("The request is not JSON: {cause}"))
        }
    })?;
    json.end().map_err(|cause| OperationError::Serialization(format!("The request is not JSON: {cause}")))?;
    Ok(request)
}

/// serde_json ends its messages with a line and a column, which say nothing about a request that a program wrote.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(cut) => text[..cut].to_owned(),
        None => text,
    }
}

/// Something a batch operation could not find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// `MISSING`, or why a task was not placed: `RESOURCE:PORTS`.
    pub reason: String,
    /// More words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Failure {
    fn missing(arn: String) -> Self {
        Self { arn: Some(arn), reason: "MISSING".to_owned(), detail: None }
    }
}

/// One page of a list.
struct Page {
    items: Vec<String>,
    next_token: Option<String>,
}

/// Cuts a page out of `items`, which are in order. The token is the last item of the page before: it stays valid whatever comes and goes.
fn page(
    mut items: Vec<String>,
    token: Option<&str>,
    max_results: Option<i64>,
    default: usize,
    descending: bool,
) -> Result<Page, OperationError> {
    const MOST: usize = 100;
    let size = match max_results {
        None => default,
        Some(asked) => {
            usize::try_from(asked).ok().filter(|size| (1..=MOST).contains(size)).ok_or_else(|| {
                OperationError::invalid(format!("maxResults must be 1 to {MOST}, not {asked}."))
            })?
        }
    };
    if let Some(token) = token {
        if token.is_empty() || token.len() > 2048 {
            return Err(OperationError::invalid("Invalid token"));
        }
        items.retain(|item| if descending { item.as_str() < token } else { item.as_str() > token });
    }
    let more = items.len() > size;
    items.truncate(size);
    let next_token = if more { items.last().cloned() } else { None };
    Ok(Page { items, next_token })
}

/// Refuses empty lists and those with too many names.
fn bounded(what: &str, length: usize, most: usize) -> Result<(), OperationError> {
    if length == 0 {
        return Err(OperationError::invalid(format!("{what} cannot be empty.")));
    }
    if length > most {
        return Err(OperationError::invalid(format!("{what} can have at most {most} items, not {length}.")));
    }
    Ok(())
}
