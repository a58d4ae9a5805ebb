//! `coracle parameter`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ApiArgs;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle parameter put /shop/name --value Boats
  coracle parameter put /shop/db/password --secure < password.txt
  coracle parameter ls --path /shop --recursive
  coracle parameter get /shop/db/password
  coracle parameter delete /shop/name")]
pub(crate) enum ParameterCommand {
    /// Create a parameter, or give it a new value
    #[command(after_help = "Examples:
  coracle parameter put /shop/name --value Boats
  coracle parameter put /shop/db/password --secure < password.txt")]
    Put(ParameterPut),
    /// Write a parameter's value to standard output
    #[command(after_help = "Examples:\n  coracle parameter get /shop/name")]
    Get(ParameterName),
    /// List the parameters, all or those of a path
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:
  coracle parameter ls
  coracle parameter ls --path /shop --recursive --values")]
    Ls(ParameterList),
    /// Delete a parameter; tasks that run keep the value they have
    #[command(after_help = "Examples:\n  coracle parameter delete /shop/name")]
    Delete(ParameterName),
}

#[derive(Debug, Args)]
pub(crate) struct ParameterPut {
    /// The parameter's name, such as /shop/name
    pub(crate) name: String,

    /// Its value, where it is no secret: other users of the host can see it [default: read from --file or standard input]
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["file", "secure"])]
    pub(crate) value: Option<String>,

    /// The file that has the value [default: standard input]; one line end at its end is not part of it
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// A SecureString, which is not told by accident; one that exists stays what it is
    #[arg(long)]
    pub(crate) secure: bool,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ParameterList {
    /// Only those right below this path, such as /shop
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,

    /// All below the path, and not only one level
    #[arg(long, requires = "path")]
    pub(crate) recursive: bool,

    /// Their values too, those of SecureStrings included
    #[arg(long, requires = "path")]
    pub(crate) values: bool,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ParameterName {
    /// The parameter's name or ARN
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
