//! The command line as typed. Each command has a file of its own here, and one of the same name in `cli` that does it.

mod autoscale;
mod balance;
mod capacity;
mod cluster;
mod events;
mod exec;
mod load_balancer;
mod logs;
mod parameter;
mod ps;
mod run;
mod schedule;
mod secret;
mod serve;
mod service;
mod stats;
mod target_group;
mod task;
mod task_definition;
mod up;
mod usage;
mod values;
mod workload;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use autoscale::ServiceAutoscale;
pub(crate) use balance::BalanceArgs;
pub(crate) use capacity::{CapacityCommand, CapacityReclaim};
pub(crate) use cluster::ClusterCommand;
pub(crate) use events::EventsArgs;
pub(crate) use exec::ExecArgs;
pub(crate) use load_balancer::{
    ActionArgs, ListenerCommand, ListenerCreate, ListenerUpdate, LoadBalancerCommand, LoadBalancerCreate,
    ResourceName, RuleCommand, RuleCreate,
};
pub(crate) use logs::LogsArgs;
pub(crate) use parameter::{ParameterCommand, ParameterList, ParameterName, ParameterPut};
pub(crate) use ps::PsArgs;
pub(crate) use run::RunArgs;
pub(crate) use schedule::{ScheduleCommand, ScheduleCreate, ScheduleName, ScheduleUpdate};
pub(crate) use secret::{SecretCommand, SecretName, SecretPut};
pub(crate) use serve::ServeArgs;
pub(crate) use service::{
    DeploymentOptions, ServiceCommand, ServiceContinue, ServiceCreate, ServiceRollback, ServiceUpdate,
    ServiceWait, StrategyChoice,
};
pub(crate) use stats::StatsArgs;
pub(crate) use target_group::{
    HealthCheckArgs, TargetGroupCommand, TargetGroupCreate, TargetGroupTargets, TargetTypeChoice,
};
pub(crate) use task::{OverrideArgs, TaskCommand, TaskCrashes, TaskProtect, TaskRun};
pub(crate) use task_definition::TaskDefinitionCommand;
pub(crate) use up::UpArgs;
pub(crate) use usage::UsageArgs;
pub(crate) use values::LEAST_TASK_CPU;
pub(crate) use values::{Endpoint, NetworkChoice};
pub(crate) use workload::Workload;

/// A container service in one binary: WebAssembly tasks behind a load balancer.
#[derive(Debug, Parser)]
#[command(
    name = "coracle",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_value_name = "COMMAND",
    after_help = "Examples:
  coracle serve hello.wasm --replicas 3       three replicas behind a load balancer, no daemon
  coracle run wordcount.wasm < README.md      one task in the foreground
  coracle up                                  the daemon; applies compose.yaml if there is one
  coracle service ls                          what the daemon keeps running"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one task in the foreground
    Run(RunArgs),
    /// Serve replicas of an image behind a load balancer, without a daemon
    Serve(ServeArgs),
    /// Start the daemon in the foreground, and apply a Compose file
    Up(UpArgs),
    /// Balance requests over servers that run elsewhere, as a file says
    Balance(BalanceArgs),
    /// List the tasks that run
    Ps(PsArgs),
    /// Show what tasks printed
    Logs(LogsArgs),
    /// Show what happened to services
    Events(EventsArgs),
    /// Take a service back to the revision it ran before
    #[command(after_help = "Examples:\n  coracle rollback web\n  coracle rollback web --wait")]
    Rollback(ServiceRollback),
    /// Show what tasks use: CPU, memory, requests, fuel
    Stats(StatsArgs),
    /// Show what services and tasks used in a month, and what it costs
    Usage(UsageArgs),
    /// Run a command inside a task
    Exec(ExecArgs),
    /// Services: tasks that are kept running
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Standalone tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Schedules: tasks that are run at their times
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Task definitions: what tasks are made from
    #[command(subcommand, visible_alias = "td")]
    TaskDefinition(TaskDefinitionCommand),
    /// Load balancers: where requests come in
    #[command(subcommand, visible_alias = "lb")]
    LoadBalancer(LoadBalancerCommand),
    /// Listeners: the ports of load balancers
    #[command(subcommand)]
    Listener(ListenerCommand),
    /// Rules: which of a listener's requests go where
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Target groups: what requests are sent to
    #[command(subcommand, visible_alias = "tg")]
    TargetGroup(TargetGroupCommand),
    /// Secrets: values that task definitions name and nobody else is told
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Parameters: values by name and path, for task definitions and whoever asks
    #[command(subcommand)]
    Parameter(ParameterCommand),
    /// Capacity that tasks run on
    #[command(subcommand)]
    Capacity(CapacityCommand),
    /// Clusters: name spaces of services and tasks
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show the version
    #[command(after_help = "Examples:\n  coracle version --output json")]
    Version(VersionArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// How to write the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Table,
    /// The API's own answer
    Json,
}

/// Where the daemon is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiArgs {
    /// The daemon's API
    #[arg(long, value_name = "URL", env = "CORACLE_ENDPOINT", default_value = coracle::DEFAULT_ENDPOINT)]
    pub(crate) endpoint: Endpoint,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where the daemon is, and which of its clusters is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterArgs {
    /// The cluster's name or ARN
    #[arg(short, long, value_name = "NAME", env = "CORACLE_CLUSTER", default_value = "default")]
    pub(crate) cluster: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[cfg(test)]
mod tests;
