//! `coracle capacity`

use clap::{Args, Subcommand};

use super::ClusterArgs;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle capacity reclaim --service web --count 2
  coracle capacity reclaim 1b2c3d4e")]
pub(crate) enum CapacityCommand {
    /// Take Spot capacity back: its tasks are interrupted with two minutes' notice
    #[command(after_help = "Examples:
  coracle capacity reclaim                            all Spot tasks of the cluster
  coracle capacity reclaim --service web --count 2    the two newest of a service
  coracle capacity reclaim 1b2c3d4e")]
    Reclaim(CapacityReclaim),
}

#[derive(Debug, Args)]
pub(crate) struct CapacityReclaim {
    /// Tasks, by their ids, the beginnings of ids, or ARNs [default: the Spot tasks of the cluster]
    #[arg(value_name = "TASK")]
    pub(crate) tasks: Vec<String>,

    /// Only this service's
    #[arg(long, value_name = "NAME", conflicts_with = "tasks")]
    pub(crate) service: Option<String>,

    /// So many at most, the newest first
    #[arg(long, value_name = "N", conflicts_with = "tasks")]
    pub(crate) count: Option<u32>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
