//! `coracle run`

use std::path::PathBuf;

use clap::Args;

use super::Workload;

#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is the guest's own; 137 when it exceeded its memory limit, 130 or 143 when it was interrupted or terminated. The guest sees nothing of the host but what the options grant.

Examples:
  coracle run wordcount.wasm < README.md
  coracle run tool.wasm --volume .:/work:ro --env MODE=fast -- --verbose /work/input
  coracle run fetch.wasm --egress api.example.com:443 -- https://api.example.com/
  coracle run server.wasm --network host --cpu 512 --memory 64"
)]
pub(crate) struct RunArgs {
    /// A WebAssembly file: a component or a module that runs to an exit code
    pub(crate) image: PathBuf,

    #[command(flatten)]
    pub(crate) workload: Workload,
}
