//! `coracle events`

use clap::Args;

use super::{ClusterArgs, values};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  coracle events                  the newest of every service of the cluster
  coracle events -f web           one service's, as they happen
  coracle events -n 5 web --output json")]
pub(crate) struct EventsArgs {
    /// A service's name or ARN; all of the cluster's unless given
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,

    /// Go on with what happens from now on
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Only so many of the newest
    #[arg(short = 'n', long, value_name = "EVENTS", value_parser = values::count)]
    pub(crate) tail: Option<u32>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
