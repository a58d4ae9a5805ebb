//! `coracle task crashes`, and what `describe` shows of them.

use std::fmt::Write as _;

use coracle_supervisor::model::crash::{CrashKind, CrashReport};
use coracle_supervisor::model::task::Task;
use coracle_supervisor::operations::DescribeTaskCrashesResponse;
use serde_json::json;

use crate::cli::{
    args::TaskCrashes,
    client::Client,
    error::Failure,
    output::{self, Table, name_of, short_id},
};

/// Newest crashes that `describe` shows.
const SHOWN: usize = 3;

pub(super) async fn main(args: TaskCrashes) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let task = super::find(&client, &args.cluster.cluster, &args.task).await?;
    let mut crashes = of(&client, &task).await?;
    if args.last {
        crashes.drain(..crashes.len().saturating_sub(1));
    }
    output::print(args.cluster.api.output.output, &crashes, || match crashes.as_slice() {
        [] => "no crashes are kept of this task\n".to_owned(),
        crashes => crashes.iter().map(in_full).collect::<Vec<_>>().join("\n"),
    })
}

/// What is kept of a task.
pub(super) async fn of(client: &Client, task: &Task) -> Result<Vec<CrashReport>, Failure> {
    let input = json!({ "cluster": task.cluster_arn, "task": task.task_arn });
    let answer: DescribeTaskCrashesResponse = client.coracle("DescribeTaskCrashes", &input).await?;
    Ok(answer.crashes)
}

/// The newest crashes, one a line, and where the rest is; nothing where there is none.
pub(super) fn summary(task: &Task, crashes: &[CrashReport]) -> String {
    if crashes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["CRASHED", "CONTAINER", "WHY"]);
    for crash in crashes.iter().rev().take(SHOWN) {
        table.row([output::at(crash.at), crash.container_name.clone(), crash.reason.clone()]);
    }
    let id = short_id(&task.task_arn);
    format!("\n{}`coracle task crashes {id}` shows {} in full\n", table.render(), count(crashes.len()))
}

fn count(crashes: usize) -> String {
    if crashes == 1 { "it".to_owned() } else { format!("all {crashes}") }
}

fn in_full(crash: &CrashReport) -> String {
    let kind = match crash.kind {
        CrashKind::Trap => "trap",
        CrashKind::OutOfMemory => "out of memory",
        CrashKind::OutOfFuel => "out of fuel",
    };
    let limit = crash.memory_limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let mut lines = vec![
        ("crashed", format!("{} ({kind})", output::at(crash.at))),
        ("task", name_of(&crash.task_arn).to_owned()),
        ("container", format!("{} of {}", crash.container_name, crash.task_definition)),
        ("image", format!("{} ({})", crash.image, crash.image_digest)),
        ("why", crash.reason.clone()),
        ("memory", format!("{} bytes, {} at most, limit {limit}", crash.memory, crash.memory_peak)),
        ("fuel", crash.fuel.to_string()),
        ("requests", crash.requests.to_string()),
    ];
    if crash.unreported > 0 {
        lines.push((
            "also",
            format!("{} crashes before it that have no report of their own", crash.unreported),
        ));
    }
    lines.extend(crash.core_dump.clone().map(|path| ("core dump", path)));
    let mut text: String =
        lines.iter().map(|(name, value)| format!("{name:<12}{}\n", printable(value))).collect();
    // Writing to a string cannot fail.
    for line in &crash.backtrace {
        writeln!(text, "    {}", printable(line)).ok();
    }
    for line in &crash.log {
        writeln!(text, "  | {}", printable(&line.message)).ok();
    }
    text
}

/// Guests choose some of the texts: none of them may move the terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}
