//! `coracle task`

use clap::{Args, Subcommand};

use super::{ClusterArgs, values};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle task run wordcount --count 2 --env MODE=fast -- /data/input
  coracle task ls --all
  coracle task describe 1b2c3d4e
  coracle task crashes 1b2c3d4e
  coracle task stop 1b2c3d4e --reason 'no longer needed'
  coracle task protect 1b2c3d4e --minutes 30")]
pub(crate) enum TaskCommand {
    /// Run standalone tasks; nobody replaces them
    #[command(
        after_help = "Examples:\n  coracle task run wordcount --count 2 --env MODE=fast -- /data/input"
    )]
    Run(TaskRun),
    /// List the tasks of a cluster
    #[command(visible_alias = "list")]
    #[command(
        after_help = "Examples:\n  coracle task ls --all\n  coracle task ls --service web --cluster shop"
    )]
    Ls(TaskList),
    /// Show one task, and why it stopped
    #[command(after_help = "Examples:\n  coracle task describe 1b2c3d4e")]
    Describe(TaskName),
    /// Show why a task's guests failed: backtraces, last words, what they had used
    #[command(
        after_help = "Examples:\n  coracle task crashes 1b2c3d4e\n  coracle task crashes 1b2c3d4e --last --output json"
    )]
    Crashes(TaskCrashes),
    /// Stop a task
    #[command(after_help = "Examples:\n  coracle task stop 1b2c3d4e --reason 'no longer needed'")]
    Stop(TaskStop),
    /// Keep a service's task from being stopped by scale-in and deployments for a while
    #[command(
        after_help = "Examples:\n  coracle task protect 1b2c3d4e --minutes 30\n  coracle task protect 1b2c3d4e --off"
    )]
    Protect(TaskProtect),
}

/// What is different from the task definition.
#[derive(Debug, Args)]
pub(crate) struct OverrideArgs {
    /// Set an environment variable in the first container
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) environment: Vec<(String, String)>,

    /// The first container's arguments, instead of the definition's
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TaskRun {
    /// What to run: family:revision, a family for its newest revision, or an ARN
    pub(crate) task_definition: String,

    /// How many
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10), allow_negative_numbers = true)]
    pub(crate) count: u32,

    #[command(flatten)]
    pub(crate) overrides: OverrideArgs,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskList {
    /// Also tasks that stopped lately
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Only this service's
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskName {
    /// The task's id, the beginning of it, or its ARN
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskCrashes {
    /// The task's id, the beginning of it, or its ARN
    pub(crate) task: String,

    /// Only the newest
    #[arg(long)]
    pub(crate) last: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskStop {
    /// The task's id, the beginning of it, or its ARN
    pub(crate) task: String,

    /// Why, for those who look later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TaskProtect {
    /// The tasks' ids, the beginnings of them, or their ARNs
    #[arg(required = true, num_args = 1..=10, value_name = "TASK")]
    pub(crate) tasks: Vec<String>,

    /// For how long
    #[arg(long, value_name = "MINUTES", default_value = "120", value_parser = clap::value_parser!(u32).range(1..=2880), allow_negative_numbers = true)]
    pub(crate) minutes: u32,

    /// Protect them no more
    #[arg(long, conflicts_with = "minutes")]
    pub(crate) off: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
