//! `coracle logs`

use clap::Args;

use super::{ClusterArgs, values};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  coracle logs web                every task of the service
  coracle logs -f 1b2c3d4e        one task, by the beginning of its id, as it prints
  coracle logs --tail 20 web --output json")]
pub(crate) struct LogsArgs {
    /// A service's name, or a task's id, the beginning of one, or its ARN
    #[arg(value_name = "TASK|SERVICE")]
    pub(crate) target: String,

    /// Go on with what is printed from now on
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Only the newest lines of each container
    #[arg(short = 'n', long, value_name = "LINES", value_parser = values::count)]
    pub(crate) tail: Option<u32>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
