//! `coracle balance`

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "Serves until it is interrupted or terminated, then answers what is under way and exits with 0. A hangup signal (SIGHUP) reads the file again: what changed takes effect without closing a connection, and a file with an error changes nothing. It also opens the files of access logs anew, for those that rotate them. On standard error, once all of them accept, one line for each listener: `NAME: listening on ADDRESS:PORT`.

Examples:
  coracle balance --config balance.yaml
  kill -HUP $(pidof coracle)                  take in the changed file"
)]
pub(crate) struct BalanceArgs {
    /// Listeners, rules and target groups, as YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}
