//! `coracle target-group`

use clap::{Args, Subcommand, ValueEnum};

use super::{ApiArgs, ResourceName, values};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle target-group create hello --health-path /health
  coracle target-group set hello deregistration_delay.timeout_seconds=10
  coracle target-group describe hello
  coracle target-group create legacy --type ip
  coracle target-group register legacy 127.0.0.1:9000")]
pub(crate) enum TargetGroupCommand {
    /// List the target groups
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle target-group ls")]
    Ls(ApiArgs),
    /// Create a target group
    #[command(
        after_help = "Examples:\n  coracle target-group create hello --health-path /health --interval 10\n  coracle target-group create legacy --type ip --port 9000"
    )]
    Create(TargetGroupCreate),
    /// Show a target group, its attributes, and how its targets are
    #[command(after_help = "Examples:\n  coracle target-group describe hello")]
    Describe(ResourceName),
    /// Change how targets are checked
    #[command(
        after_help = "Examples:\n  coracle target-group update hello --health-path /ready --interval 5 --timeout 2"
    )]
    Update(TargetGroupUpdate),
    /// Change attributes, by ELB's names
    #[command(
        after_help = "Examples:\n  coracle target-group set hello deregistration_delay.timeout_seconds=10 stickiness.enabled=true"
    )]
    Set(TargetGroupSet),
    /// Add servers to a target group of the type ip
    #[command(after_help = "Examples:\n  coracle target-group register legacy 127.0.0.1:9000 127.0.0.1:9001")]
    Register(TargetGroupTargets),
    /// Take servers out of a target group
    #[command(after_help = "Examples:\n  coracle target-group deregister legacy 127.0.0.1:9000")]
    Deregister(TargetGroupTargets),
    /// Delete a target group that no rule and no service uses
    #[command(after_help = "Examples:\n  coracle target-group delete hello")]
    Delete(ResourceName),
}

/// What the targets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetTypeChoice {
    /// Tasks of a service
    Instance,
    /// Servers by their addresses, and tasks of a service
    Ip,
}

#[derive(Debug, Args)]
pub(crate) struct TargetGroupCreate {
    /// Its name: up to 32 letters, digits and hyphens
    pub(crate) name: String,

    /// What its targets are
    #[arg(long = "type", value_name = "TYPE", default_value = "instance")]
    pub(crate) target_type: TargetTypeChoice,

    /// The port of servers that are registered without one
    #[arg(short, long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) health_check: HealthCheckArgs,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TargetGroupUpdate {
    /// Its name or ARN
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) health_check: HealthCheckArgs,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// How targets are checked. What is not given is ELB's default, or stays as it is.
#[derive(Debug, Args)]
pub(crate) struct HealthCheckArgs {
    /// The path that is asked for; by default /
    #[arg(long, value_name = "PATH", value_parser = values::url_path)]
    pub(crate) health_path: Option<String>,

    /// Codes that are healthy, such as 200-299; by default 200
    #[arg(long, value_name = "CODES")]
    pub(crate) matcher: Option<String>,

    /// Seconds from one check to the next; by default 30
    #[arg(long, value_name = "SECONDS")]
    pub(crate) interval: Option<f64>,

    /// Seconds for an answer; by default 5, at most half of the interval
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,

    /// Successes in a row that make an unhealthy target healthy; by default 5
    #[arg(long, value_name = "N")]
    pub(crate) healthy_threshold: Option<u32>,

    /// Failures in a row that make a target unhealthy; by default 2
    #[arg(long, value_name = "N")]
    pub(crate) unhealthy_threshold: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct TargetGroupSet {
    /// Its name or ARN
    pub(crate) name: String,

    /// Attributes
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = values::variable)]
    pub(crate) attributes: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TargetGroupTargets {
    /// Its name or ARN
    pub(crate) name: String,

    /// Where the servers listen
    #[arg(value_name = "IP[:PORT]", required = true)]
    pub(crate) targets: Vec<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
