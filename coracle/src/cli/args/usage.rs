//! `coracle usage`

use std::path::PathBuf;

use clap::Args;

use super::ApiArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  coracle usage                       this month, at the prices of AWS Fargate
  coracle usage --tasks               running tasks, too
  coracle usage --month 2026-10 --prices prices.json --output json

A price table is JSON: {\"currency\": \"USD\", \"source\": \"...\", \"prices\": {\"FARGATE\": {\"vcpuHour\": 0.04048, \"gibHour\": 0.004445}}}")]
pub(crate) struct UsageArgs {
    /// The month, in UTC [default: the present one]
    #[arg(long, value_name = "YYYY-MM")]
    pub(crate) month: Option<String>,

    /// Only this cluster's [default: all]
    #[arg(short, long, value_name = "NAME", env = "CORACLE_CLUSTER")]
    pub(crate) cluster: Option<String>,

    /// Running tasks one by one, too, since their start
    #[arg(long)]
    pub(crate) tasks: bool,

    /// A price table in place of AWS Fargate's
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
