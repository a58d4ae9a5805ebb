//! `coracle exec`

use clap::Args;

use super::ClusterArgs;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  coracle exec 1b2c3d4e -- --version              the image's own command with other arguments
  coracle exec 1b2c3d4e -- ./tools/check.wasm     another WebAssembly file in the task's environment
  coracle exec -i 1b2c3d4e --container app -- repl.wasm < script

A file is looked for in the container's volumes by its path there, then beside its image when its path is relative, then here.")]
pub(crate) struct ExecArgs {
    /// The task's id, the beginning of it, or its ARN
    pub(crate) task: String,

    /// The container, if the task has several
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,

    /// Hand on standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// A WebAssembly file and its arguments, or arguments for the image's own command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
