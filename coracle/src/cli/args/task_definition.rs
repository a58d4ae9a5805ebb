//! `coracle task-definition`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ApiArgs;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle task-definition register hello.json
  jq '.containerDefinitions[0].memory = 64' hello.json | coracle task-definition register -
  coracle task-definition ls
  coracle task-definition describe hello:2")]
pub(crate) enum TaskDefinitionCommand {
    /// Register a revision from ECS's JSON
    #[command(
        after_help = "Examples:\n  coracle task-definition register hello.json\n  jq '.cpu = \"256\"' hello.json | coracle task-definition register -"
    )]
    Register(Register),
    /// List the revisions
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle task-definition ls --family hello")]
    Ls(List),
    /// Show one revision
    #[command(
        after_help = "Examples:\n  coracle task-definition describe hello\n  coracle task-definition describe hello:2 --output json"
    )]
    Describe(TaskDefinitionName),
    /// Let no new tasks be made from a revision
    #[command(after_help = "Examples:\n  coracle task-definition deregister hello:1")]
    Deregister(TaskDefinitionName),
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// A file with the task definition in JSON, or - for standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this family's
    #[arg(long, value_name = "NAME")]
    pub(crate) family: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskDefinitionName {
    /// family:revision, a family for its newest revision, or an ARN
    #[arg(value_name = "TASK_DEFINITION")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
