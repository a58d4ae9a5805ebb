//! `coracle stats`

use clap::Args;

use super::{ApiArgs, values};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  coracle stats                   all tasks that run, again each second
  coracle stats 1b2c3d4e --no-stream
  coracle stats --cluster shop --output json

CPU is in percent of one core. What is counted (requests, throttled time, fuel) is counted from the task's start.")]
pub(crate) struct StatsArgs {
    /// Tasks, by their ids, the beginnings of ids, or ARNs [default: all that run]
    #[arg(value_name = "TASK")]
    pub(crate) tasks: Vec<String>,

    /// Show one table and end, as in a pipe
    #[arg(long)]
    pub(crate) no_stream: bool,

    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = values::seconds)]
    pub(crate) interval: std::time::Duration,

    /// Only this cluster's [default: all]
    #[arg(short, long, value_name = "NAME", env = "CORACLE_CLUSTER")]
    pub(crate) cluster: Option<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
