//! `coracle secret`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ApiArgs;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle secret put db < password.txt
  coracle secret ls
  coracle secret get db
  coracle secret delete db")]
pub(crate) enum SecretCommand {
    /// Create a secret, or give it a new value: from a file or standard input, never from the command line
    #[command(
        after_help = "Examples:\n  coracle secret put db < password.txt\n  coracle secret put prod/db --file db.json"
    )]
    Put(SecretPut),
    /// Write a secret's value to standard output
    #[command(after_help = "Examples:\n  coracle secret get db")]
    Get(SecretName),
    /// List the secrets, without their values
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle secret ls --output json")]
    Ls(ApiArgs),
    /// Delete a secret for good; tasks that run keep the value they have
    #[command(after_help = "Examples:\n  coracle secret delete db")]
    Delete(SecretName),
}

#[derive(Debug, Args)]
pub(crate) struct SecretPut {
    /// The secret's name
    pub(crate) name: String,

    /// The file that has the value [default: standard input]; one line end at its end is not part of it
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SecretName {
    /// The secret's name or ARN
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
