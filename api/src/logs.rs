//! CloudWatch Logs, as far as it takes to read what a task printed.
//!
//! Groups and streams are those that ECS's `awslogs` driver would write to: group `/ecs/<cluster>`, stream
//! `<container>/<task id>`, or what the definition says: `awslogs-group`, and `awslogs-stream-prefix` before the stream.

mod read;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_supervisor::driver::local::LocalDriver;
use serde::{Deserialize, Serialize};

use crate::{ApiError, Service, json};
use read::{Position, Window};

/// "The maximum number of log events returned... up to 10,000 log events", and 1 MB of them.
const MAX_EVENTS: usize = 10_000;

/// The logs of one host's tasks.
#[derive(Debug, Clone)]
pub struct Logs(LocalDriver);

impl Logs {
    /// The service for the tasks of one driver.
    #[must_use]
    pub fn new(driver: LocalDriver) -> Self {
        Self(driver)
    }
}

#[async_trait]
impl Service for Logs {
    fn target_prefix(&self) -> &'static str {
        "Logs_20140328"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        match operation {
            "GetLogEvents" => json::render(&self.get_log_events(json::parse(&body)?).await?),
            _ => Err(ApiError::unknown_operation(operation)),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GetLogEvents {
    log_group_name: String,
    log_stream_name: String,
    /// Milliseconds since 1970, inclusive.
    start_time: Option<i64>,
    /// Milliseconds since 1970, exclusive.
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    start_from_head: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogEvents {
    events: Vec<Event>,
    next_forward_token: String,
    next_backward_token: String,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    timestamp: i64,
    message: String,
    ingestion_time: i64,
}

impl Logs {
    /// A page of one container's lines. "If you have reached the end of the stream, it returns the same token you passed in."
    async fn get_log_events(&self, request: GetLogEvents) -> Result<LogEvents, ApiError> {
        let window = window(&request)?;
        let (group, stream) = (&request.log_group_name, &request.log_stream_name);
        let log = self.0.log_stream(group, stream).ok_or_else(|| {
            // Groups of definitions are known by their streams alone.
            let what = if group.starts_with("/ecs/") { "stream" } else { "group" };
            let message = format!("The specified log {what} does not exist.");
            ApiError::bad_request("ResourceNotFoundException", message)
        })?;
        let page = tokio::task::spawn_blocking(move || read::page(&log, &window)).await;
        let page = page.map_err(std::io::Error::other).flatten().map_err(|error| {
            tracing::error!(%error, group, stream, "a log cannot be read");
            ApiError::internal()
        })?;
        Ok(LogEvents {
            events: page.events,
            next_forward_token: format!("f/{}", page.end),
            next_backward_token: format!("b/{}", page.begin),
        })
    }
}

fn window(request: &GetLogEvents) -> Result<Window, ApiError> {
    let invalid = |message: &str| ApiError::bad_request("InvalidParameterException", message);
    let limit = request.limit.unwrap_or(MAX_EVENTS);
    if !(1..=MAX_EVENTS).contains(&limit) {
        return Err(invalid("limit must be 1 to 10000."));
    }
    let times = request.start_time.unwrap_or(i64::MIN)..request.end_time.unwrap_or(i64::MAX);
    let position =
        |text: &str| text.parse::<Position>().map_err(|()| invalid("nextToken is none that was returned."));
    let (from, until) = match request.next_token.as_deref().map(|token| token.split_at_checked(2)) {
        None => (None, None),
        Some(Some(("f/", token))) => (Some(position(token)?), None),
        Some(Some(("b/", token))) => (None, Some(position(token)?)),
        Some(_) => return Err(invalid("nextToken is none that was returned.")),
    };
    let newest = until.is_some() || (from.is_none() && !request.start_from_head);
    Ok(Window { from, until, newest, limit, times })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Window, ApiError> {
        let with_names = json.replacen('{', r#"{"logGroupName":"/ecs/a","logStreamName":"b/c","#, 1);
        window(&json::parse(with_names.replace(",}", "}").as_bytes()).unwrap())
    }

    #[test]
    fn without_a_token_the_newest_events_are_meant_unless_the_head_is_asked_for() {
        assert!(parsed("{}").unwrap().newest);
        assert!(!parsed(r#"{"startFromHead":true}"#).unwrap().newest);
        assert!(!parsed(r#"{"nextToken":"f/1-2"}"#).unwrap().newest);
        assert!(parsed(r#"{"nextToken":"b/1-2","startFromHead":true}"#).unwrap().newest);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for json in [
            r#"{"limit":0}"#,
            r#"{"limit":10001}"#,
            r#"{"nextToken":"1-2"}"#,
            r#"{"nextToken":"f/x"}"#,
            r#"{"nextToken":""}"#,
        ] {
            assert_eq!(parsed(json).expect_err(json).code, "InvalidParameterException", "{json}");
        }
    }
}
