//! `coracle service autoscale`

use clap::{ArgGroup, Args};

use super::{ClusterArgs, values};

/// With an option, changes how a service scales; without one, shows it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("fast_metric").multiple(true).args(["cpu", "requests"]))]
pub(crate) struct ServiceAutoscale {
    /// The service's name
    #[arg(value_parser = values::name)]
    pub(crate) name: String,

    /// Least tasks
    #[arg(long, value_name = "N", value_parser = values::replicas, allow_negative_numbers = true)]
    pub(crate) min: Option<u32>,

    /// Most tasks
    #[arg(long, value_name = "N", value_parser = values::replicas, allow_negative_numbers = true)]
    pub(crate) max: Option<u32>,

    /// Keep the CPU at this many percent of what is reserved
    #[arg(long, value_name = "PERCENT")]
    pub(crate) cpu: Option<f64>,

    /// Keep the memory at this many percent of what is reserved
    #[arg(long, value_name = "PERCENT", conflicts_with = "fast")]
    pub(crate) memory: Option<f64>,

    /// Keep the requests of each task at this many a minute, or a second with --fast
    #[arg(long, value_name = "N")]
    pub(crate) requests: Option<f64>,

    /// Decide over seconds instead of minutes; with --cpu or --requests
    #[arg(long, requires = "fast_metric")]
    pub(crate) fast: bool,

    /// Scale it no more: its policies and schedules are removed, and its tasks stay
    #[arg(long, conflicts_with_all = ["min", "max", "cpu", "memory", "requests", "fast"])]
    pub(crate) off: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

impl ServiceAutoscale {
    /// Whether it only asks.
    pub(crate) fn is_question(&self) -> bool {
        self.min.is_none()
            && self.max.is_none()
            && self.cpu.is_none()
            && self.memory.is_none()
            && self.requests.is_none()
    }
}
