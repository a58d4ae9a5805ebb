//! `coracle ps`

use clap::Args;

use super::ApiArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  coracle ps
  coracle ps --all --cluster shop
  coracle ps --output json")]
pub(crate) struct PsArgs {
    /// Also tasks that stopped lately
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Only this cluster's [default: all]
    #[arg(short, long, value_name = "NAME", env = "CORACLE_CLUSTER")]
    pub(crate) cluster: Option<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
