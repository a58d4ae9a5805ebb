//! `coracle cluster`

use clap::{Args, Subcommand};

use super::{ApiArgs, values};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle cluster create shop
  coracle cluster ls
  coracle cluster delete shop")]
pub(crate) enum ClusterCommand {
    /// List the clusters
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle cluster ls --output json")]
    Ls(ApiArgs),
    /// Create a cluster; one that is there already is left as it is
    #[command(after_help = "Examples:\n  coracle cluster create shop")]
    Create(ClusterName),
    /// Show one cluster
    #[command(after_help = "Examples:\n  coracle cluster describe shop")]
    Describe(ClusterName),
    /// Delete a cluster without services and tasks
    #[command(after_help = "Examples:\n  coracle cluster delete shop")]
    Delete(ClusterName),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterName {
    /// The cluster's name
    #[arg(value_parser = values::name)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
