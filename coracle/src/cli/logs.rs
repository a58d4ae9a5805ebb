//! `coracle logs`

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    args::{LogsArgs, OutputFormat},
    client::{CallError, Client},
    error::Failure,
    output::{self, name_of, short_id},
    service, task,
};

/// Between two looks at what was printed.
const POLL: Duration = Duration::from_millis(250);
/// Events that one call returns at most: CloudWatch's own limit.
const PAGE: u32 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    events: Vec<Event>,
    next_forward_token: String,
}

/// One line, as the API has it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    timestamp: i64,
    message: String,
}

/// A container's log, and how far we have read it.
#[derive(Debug)]
struct Source {
    stream: String,
    label: String,
    token: Option<String>,
}

pub(crate) async fn main(args: LogsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let cluster = args.cluster.cluster.as_str();
    let is_task_arn = args.target.contains(":task/");
    let service = if is_task_arn { None } else { service::describe(&client, cluster, &args.target).await? };
    let mut reader = Reader { client: &client, args: &args, sources: BTreeMap::new() };
    match service {
        Some(service) => loop {
            let tasks = task::all(&client, cluster, Some(&service.service_name), true).await?;
            reader.add(&tasks, true);
            reader.print_new().await?;
            if !args.follow {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        },
        None => {
            let mut task = task::find(&client, cluster, &args.target).await?;
            reader.add(std::slice::from_ref(&task), false);
            loop {
                // Looked at before the log is read, so that nothing is printed between the last read and the end.
                let ended = task.stopped_at.is_some();
                reader.print_new().await?;
                if !args.follow || ended {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
                task = task::find(&client, cluster, name_of(&task.task_arn)).await?;
            }
        }
    }
}

struct Reader<'a> {
    client: &'a Client,
    args: &'a LogsArgs,
    sources: BTreeMap<String, Source>,
}

impl Reader<'_> {
    /// Also reads the logs of these tasks. With several tasks each line says whose it is.
    fn add(&mut self, tasks: &[coracle_supervisor::model::task::Task], several: bool) {
        for task in tasks {
            for container in &task.containers {
                let stream = format!("{}/{}", container.name, name_of(&task.task_arn));
                let label = match (several, task.containers.len()) {
                    (false, 1) => String::new(),
                    (false, _) => format!("{} | ", container.name),
                    (true, _) => format!("{}/{} | ", container.name, short_id(&task.task_arn)),
                };
                let source = Source { stream: stream.clone(), label, token: None };
                self.sources.entry(stream).or_insert(source);
            }
        }
    }

    /// Prints what was written since the last time, oldest first.
    async fn print_new(&mut self) -> Result<(), Failure> {
        let mut events = Vec::new();
        for source in self.sources.values_mut() {
            let read = read(self.client, self.args, source).await?;
            events.extend(read.into_iter().map(|event| (event, source.label.clone(), source.stream.clone())));
        }
        events.sort_by_key(|(event, ..)| event.timestamp);
        let mut text = String::new();
        for (event, label, stream) in events {
            match self.args.cluster.api.output.output {
                OutputFormat::Table => text += &format!("{label}{}\n", event.message),
                OutputFormat::Json => {
                    let line = json!({ "logStreamName": stream, "timestamp": event.timestamp, "message": event.message });
                    text += &format!("{line}\n");
                }
            }
        }
        output::write(&text)
    }
}

/// All events after those that were read. The token stays the same when there are none.
async fn read(client: &Client, args: &LogsArgs, source: &mut Source) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    loop {
        let mut input = json!({
            "logGroupName": format!("/ecs/{}", name_of(&args.cluster.cluster)),
            "logStreamName": source.stream,
            "limit": PAGE,
            "startFromHead": true,
        });
        match (&source.token, args.tail) {
            (Some(token), _) => input["nextToken"] = json!(token),
            (None, Some(lines)) => {
                input["limit"] = json!(lines.min(PAGE));
                input["startFromHead"] = json!(false);
            }
            (None, None) => {}
        }
        let page: Page = match client.logs("GetLogEvents", &input).await {
            // A task that never came to run has printed nothing.
            Err(CallError::Refused { code, .. }) if code == "ResourceNotFoundException" => return Ok(events),
            answer => answer?,
        };
        let unchanged = source.token.as_deref() == Some(page.next_forward_token.as_str());
        source.token = Some(page.next_forward_token);
        let last = unchanged || page.events.is_empty();
        events.extend(page.events);
        if last {
            return Ok(events);
        }
    }
}
