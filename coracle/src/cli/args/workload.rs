//! What a task may be given: options that `run` and `serve` share.

use std::time::Duration;

use clap::Args;
use coracle_runtime::network::egress::Egress;

use super::values::{self, NetworkChoice, VolumeOption};

#[derive(Debug, Clone, Args)]
pub(crate) struct Workload {
    /// Set an environment variable; nothing is inherited
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) environment: Vec<(String, String)>,

    /// Let the task use a directory of the host, read-only with `:ro`
    #[arg(short, long = "volume", value_name = "HOST:GUEST[:ro]")]
    pub(crate) volumes: Vec<VolumeOption>,

    /// What of the network a task may use [default: run: none, or with --egress an address of its own; serve: an address of its own to listen on]
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<NetworkChoice>,

    /// Let the task reach what a pattern names, as label coracle.egress does: a host, *.suffix, *, an address or a CIDR, with :port or without;
    /// several are separated by commas or given one by one
    #[arg(long, value_name = "PATTERN", value_parser = values::egress)]
    pub(crate) egress: Vec<String>,

    /// CPU quota of a task in units of 1/1024 core, from 2 (serve: 128) to 196608; without one it may use every core
    #[arg(long, value_name = "UNITS", value_parser = values::cpu_quota, allow_negative_numbers = true)]
    pub(crate) cpu: Option<u32>,

    /// Memory limit of a task; one that exceeds it is killed
    #[arg(short, long, value_name = "MIB", value_parser = values::task_memory, allow_negative_numbers = true)]
    pub(crate) memory: Option<u32>,

    /// Instructions, roughly, that a task (or each request to it) may take; `unlimited` only counts them
    #[arg(long, value_name = "N", value_parser = values::fuel, allow_negative_numbers = true)]
    pub(crate) fuel: Option<u64>,

    /// Arguments of the guest
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<String>,
}

impl Workload {
    /// What the options grant of the outside, all together. `Err` says why they cannot be meant.
    pub(crate) fn granted(&self) -> Result<Egress, String> {
        let egress = values::all_egress(&self.egress).map_err(|error| format!("--egress: {error}"))?;
        let meaningless = match self.network {
            _ if egress.is_empty() => return Ok(egress),
            None => return Ok(egress),
            Some(NetworkChoice::Host) => "host, where everything can be reached",
            Some(NetworkChoice::None) => "none, where nothing can be reached",
        };
        Err(format!("--egress means nothing with --network {meaningless}"))
    }
}

/// How requests to a handler are run.
#[derive(Debug, Clone, Args)]
pub(crate) struct HandlerOptions {
    /// Requests that one instance answers before it is thrown away
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true)]
    pub(crate) instance_reuse: Option<u32>,

    /// Requests that a task answers at the same time
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true)]
    pub(crate) max_concurrency: Option<u32>,

    /// Seconds that a request may take
    #[arg(long, value_name = "SECONDS", value_parser = values::seconds, allow_negative_numbers = true)]
    pub(crate) request_timeout: Option<Duration>,
}
