//! `coracle stats`

mod row;

use std::collections::HashMap;
use std::io::{IsTerminal, stdout};

use coracle_supervisor::operations::{DescribeTaskStatsResponse, TaskStats};
use serde_json::json;

use super::{
    args::{OutputFormat, StatsArgs},
    client::Client,
    cluster,
    error::Failure,
    output::{self, name_of},
};
use row::Row;

/// Tasks of one DescribeTaskStats.
const BATCH: usize = 100;
/// Moves the cursor home; clears what is left of the line; clears what is left of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

pub(crate) async fn main(args: StatsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let clusters = match &args.cluster {
        Some(cluster) => vec![cluster.clone()],
        None => cluster::all(&client).await?.into_iter().map(|cluster| cluster.cluster_name).collect(),
    };
    let watched = Watched::find(&client, clusters, &args.tasks).await?;
    let format = args.api.output.output;
    let is_live = format == OutputFormat::Table && !args.no_stream && stdout().is_terminal();
    let mut before = watched.look(&client).await?;
    loop {
        tokio::time::sleep(args.interval).await;
        let now = watched.look(&client).await?;
        let rows: Vec<Row> =
            now.values().flat_map(|task| Row::of(task, before.get(&task.task_arn))).collect();
        let rows = row::sorted(rows);
        if !is_live {
            return output::print(format, &rows, || row::table(&rows));
        }
        let screen: String = row::table(&rows).lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
        output::write(&format!("{HOME}{screen}{CLEAR_BELOW}"))?;
        if watched.is_over(&now) {
            return Ok(());
        }
        before = now;
    }
}

/// Which tasks are looked at.
struct Watched {
    clusters: Vec<String>,
    /// The tasks that were named, each with its cluster; none are all of the clusters', those that are still to come included.
    named: Vec<(String, String)>,
}

impl Watched {
    async fn find(client: &Client, clusters: Vec<String>, names: &[String]) -> Result<Self, Failure> {
        let mut watched = Self { clusters, named: Vec::new() };
        if names.is_empty() {
            return Ok(watched);
        }
        let running = watched.running(client).await?;
        for name in names {
            let id = name_of(name);
            let mut matching =
                running.iter().filter(|(_, arn)| !id.is_empty() && name_of(arn).starts_with(id));
            match (matching.next(), matching.next()) {
                (Some(task), None) => watched.named.push(task.clone()),
                (Some(_), Some(_)) => {
                    return Err(Failure::usage(format!(
                        "several tasks' ids begin with {id}; give more of it"
                    )));
                }
                (None, _) => {
                    return Err(Failure::failed(format!(
                        "no task {id} runs; `coracle ps` lists those that do"
                    )));
                }
            }
        }
        Ok(watched)
    }

    async fn running(&self, client: &Client) -> Result<Vec<(String, String)>, Failure> {
        let mut running = Vec::new();
        for cluster in &self.clusters {
            let arns = client.list("ListTasks", json!({ "cluster": cluster }), "taskArns").await?;
            running.extend(arns.into_iter().map(|arn| (cluster.clone(), arn)));
        }
        Ok(running)
    }

    /// What the tasks have used until now, by ARN. Those that run no more are left out.
    async fn look(&self, client: &Client) -> Result<HashMap<String, TaskStats>, Failure> {
        let tasks = if self.named.is_empty() { self.running(client).await? } else { self.named.clone() };
        let mut seen = HashMap::new();
        for cluster in &self.clusters {
            let arns: Vec<&String> =
                tasks.iter().filter(|(of, _)| of == cluster).map(|(_, arn)| arn).collect();
            for some in arns.chunks(BATCH) {
                let input = json!({ "cluster": cluster, "tasks": some });
                let answer: DescribeTaskStatsResponse = client.coracle("DescribeTaskStats", &input).await?;
                seen.extend(answer.tasks.into_iter().map(|task| (task.task_arn.clone(), task)));
            }
        }
        Ok(seen)
    }

    /// Whether there will be nothing more to see.
    fn is_over(&self, now: &HashMap<String, TaskStats>) -> bool {
        !self.named.is_empty() && now.is_empty()
    }
}
