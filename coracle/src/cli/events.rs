//! `coracle events`

use std::{collections::BTreeMap, time::Duration};

use coracle_supervisor::model::service::{Service, ServiceEvent};
use serde_json::json;

use super::{
    args::{EventsArgs, OutputFormat},
    client::Client,
    error::Failure,
    output::{self, name_of},
    service,
};

/// Between two looks at what happened.
const POLL: Duration = Duration::from_millis(250);

pub(crate) async fn main(args: EventsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let cluster = args.cluster.cluster.as_str();
    for name in &args.services {
        if service::describe(&client, cluster, name).await?.is_none() {
            return Err(service::missing(cluster, name));
        }
    }
    // By service, the newest event that was shown.
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let mut tail = args.tail.and_then(|tail| usize::try_from(tail).ok());
    loop {
        let services = service::named(&client, cluster, &args.services).await?;
        let mut fresh: Vec<ServiceEvent> = services.iter().flat_map(|known| unseen(known, &shown)).collect();
        fresh.sort_by(|a, b| a.created_at.seconds().total_cmp(&b.created_at.seconds()));
        let skip = tail.take().map_or(0, |tail| fresh.len().saturating_sub(tail));
        print(args.cluster.api.output.output, &fresh[skip..])?;
        for known in services {
            if let Some(newest) = known.events.into_iter().next() {
                shown.insert(known.service_arn, newest.id);
            }
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A service's events that are newer than the newest that was shown, oldest first.
fn unseen(service: &Service, shown: &BTreeMap<String, String>) -> Vec<ServiceEvent> {
    let last = shown.get(&service.service_arn);
    let mut events: Vec<ServiceEvent> =
        service.events.iter().take_while(|event| Some(&event.id) != last).cloned().collect();
    events.reverse();
    events
}

fn print(format: OutputFormat, events: &[ServiceEvent]) -> Result<(), Failure> {
    let line = |event: &ServiceEvent| match format {
        OutputFormat::Table => {
            let message: String = event.message.chars().filter(|c| !c.is_control()).collect();
            format!("{}  {message}\n", output::at(event.created_at))
        }
        OutputFormat::Json => format!("{}\n", json!(event)),
    };
    output::write(&events.iter().map(line).collect::<String>())
}

/// Events of the service alone, for [`super::rollout`].
pub(super) fn newest_of(service: &Service, kind: &str) -> Option<String> {
    let events = service.events.iter().map(|event| event.message.as_str());
    let name = format!("(service {}) ", name_of(&service.service_arn));
    events
        .map(|text| text.strip_prefix(&name).unwrap_or(text))
        .find(|text| text.contains(kind))
        .map(str::to_owned)
}
