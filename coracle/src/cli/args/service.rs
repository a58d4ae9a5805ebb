//! `coracle service`

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::{ClusterArgs, ServiceAutoscale, values};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle service create web --task-definition hello --replicas 3 --listen 127.0.0.1:8080
  coracle service ls
  coracle service scale web 5
  coracle service update web --task-definition hello:2 --wait
  coracle service rollback web
  coracle service delete web --force")]
pub(crate) enum ServiceCommand {
    /// List the services of a cluster
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle service ls --cluster shop")]
    Ls(ClusterArgs),
    /// Create a service
    #[command(
        after_help = "Examples:\n  coracle service create web --task-definition hello --replicas 3 --listen 127.0.0.1:8080\n  coracle service create worker -t worker:2 --tag team=data\n  coracle service create orders -t orders --namespace shop.local --port-name http\n  coracle service create web -t hello -r 3 --target-group hello\n  coracle service create web -t hello -r 3 --listen 127.0.0.1:8080 --circuit-breaker --wait\n  coracle service create web -t hello -r 3 --listen 127.0.0.1:8080 --strategy blue-green --test-listen 127.0.0.1:8081 --bake-time 60"
    )]
    Create(Box<ServiceCreate>),
    /// Show one service, its deployments and newest events
    #[command(after_help = "Examples:\n  coracle service describe web")]
    Describe(ServiceName),
    /// Change how many tasks a service has
    #[command(after_help = "Examples:\n  coracle service scale web 5")]
    Scale(ServiceScale),
    /// Roll a service out to another revision
    #[command(
        after_help = "Examples:\n  coracle service update web --task-definition hello:2\n  coracle service update web --force-new-deployment"
    )]
    Update(ServiceUpdate),
    /// Wait until a service has the tasks it should have, and its deployment is over
    #[command(after_help = "Examples:\n  coracle service wait web\n  coracle service wait web --timeout 60")]
    Wait(ServiceWait),
    /// Take a service back to the revision it ran before
    #[command(
        after_help = "Examples:\n  coracle service rollback web\n  coracle service rollback web --wait"
    )]
    Rollback(ServiceRollback),
    /// Say that a deployment which waits at a PAUSE hook may go on
    #[command(
        after_help = "Examples:\n  coracle service continue web\n  coracle service continue web --rollback"
    )]
    Continue(ServiceContinue),
    /// List a service's deployments, newest first
    #[command(after_help = "Examples:\n  coracle service deployments web")]
    Deployments(ServiceName),
    /// Scale a service by its load, or show how it is scaled
    #[command(
        after_help = "Examples:\n  coracle service autoscale web --min 2 --max 20 --cpu 60\n  coracle service autoscale web --min 1 --max 40 --requests 100 --fast\n  coracle service autoscale web"
    )]
    Autoscale(ServiceAutoscale),
    /// Delete a service that is scaled to 0, or with --force one that is not
    #[command(after_help = "Examples:\n  coracle service delete web --force")]
    Delete(ServiceDelete),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceCreate {
    /// The service's name
    #[arg(value_parser = values::name)]
    pub(crate) name: String,

    /// What its tasks run: family:revision, a family for its newest revision, or an ARN
    #[arg(short, long, value_name = "TASK_DEFINITION")]
    pub(crate) task_definition: String,

    /// How many tasks
    #[arg(short, long, alias = "desired-count", value_name = "N", default_value = "1", value_parser = values::replicas, allow_negative_numbers = true)]
    pub(crate) replicas: u32,

    /// One task on each node: ECS's scheduling strategy DAEMON
    #[arg(long, conflicts_with = "replicas")]
    pub(crate) daemon: bool,

    /// Publish it on this address; port 0 picks one
    #[arg(short, long, value_name = "ADDRESS", value_parser = values::listen_address)]
    pub(crate) listen: Option<SocketAddr>,

    /// Have its tasks be targets of this group, which a load balancer sends requests to
    #[arg(long, value_name = "NAME", conflicts_with_all = ["listen", "health_path"])]
    pub(crate) target_group: Option<String>,

    /// The container and port that its requests come to; by default the first port of its task definition
    #[arg(long, value_name = "NAME:PORT", requires = "target_group")]
    pub(crate) container: Option<String>,

    /// The target group of the revision that comes, for strategies that run two side by side
    #[arg(long, value_name = "NAME", requires = "target_group", requires = "production_rule")]
    pub(crate) alternate_target_group: Option<String>,

    /// The rule whose requests such strategies shift: a listener's default rule, or the one of this priority
    #[arg(long, value_name = "LOAD_BALANCER:PORT[/PRIORITY]", requires = "alternate_target_group")]
    pub(crate) production_rule: Option<String>,

    /// The rule that reaches the new revision first
    #[arg(long, value_name = "LOAD_BALANCER:PORT[/PRIORITY]", requires = "alternate_target_group")]
    pub(crate) test_rule: Option<String>,

    /// The path that health checks ask for
    #[arg(long, value_name = "PATH", value_parser = values::url_path)]
    pub(crate) health_path: Option<String>,

    /// Seconds without a request after which it has no tasks; the next request brings them back, and waits
    #[arg(long, value_name = "SECONDS", value_parser = values::seconds_of_a_day)]
    pub(crate) scale_to_zero: Option<f64>,

    /// Have its tasks find the services of this namespace by name, such as shop.local
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Have it found there by its name, at the port mapping of this name in its task definition
    #[arg(long, value_name = "NAME", requires = "namespace")]
    pub(crate) port_name: Option<String>,

    #[command(flatten)]
    pub(crate) deployments: DeploymentOptions,

    /// Put a tag on it
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = values::variable)]
    pub(crate) tags: Vec<(String, String)>,

    /// Wait until its tasks run and are healthy
    #[arg(short, long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// How a service's deployments go.
#[derive(Debug, Args)]
pub(crate) struct DeploymentOptions {
    /// How it moves from one revision to another
    #[arg(long, value_name = "STRATEGY", default_value = "rolling")]
    pub(crate) strategy: StrategyChoice,

    /// Give a deployment up whose tasks fail again and again, and go back
    #[arg(long)]
    pub(crate) circuit_breaker: bool,

    /// Seconds in which both revisions run after all traffic has moved; ECS's own default is none
    #[arg(long, value_name = "SECONDS", value_parser = values::seconds_of_a_day)]
    pub(crate) bake_time: Option<f64>,

    /// Seconds between two steps of traffic; by default ECS's 6 or 10 minutes
    #[arg(long, value_name = "SECONDS", value_parser = values::seconds_of_a_day)]
    pub(crate) step_bake_time: Option<f64>,

    /// What linear moves with each step and canary first, in percent; by default 10 and 5
    #[arg(long, value_name = "PERCENT")]
    pub(crate) step_percent: Option<f64>,

    /// Where the new revision can be tried before it gets any other request
    #[arg(long, value_name = "ADDRESS", value_parser = values::listen_address, requires = "listen")]
    pub(crate) test_listen: Option<SocketAddr>,

    /// Wait for `coracle service continue` at this stage of each deployment, such as POST_TEST_TRAFFIC_SHIFT
    #[arg(long = "pause-at", value_name = "STAGE")]
    pub(crate) pauses: Vec<String>,

    /// Ask this http:// URL at this stage of each deployment whether it may go on, such as PRE_SCALE_UP=http://127.0.0.1:9000/check
    #[arg(long = "hook", value_name = "STAGE=URL", value_parser = values::hook)]
    pub(crate) hooks: Vec<(String, String)>,
}

/// ECS's strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyChoice {
    /// A few tasks at a time
    Rolling,
    /// A second set of tasks, which gets all traffic at once
    BlueGreen,
    /// A second set of tasks, which gets traffic in equal steps
    Linear,
    /// A second set of tasks, which gets a little traffic, then all
    Canary,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceWait {
    /// The service's name or ARN
    pub(crate) name: String,

    /// Longest wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = values::seconds_of_a_day)]
    pub(crate) timeout: f64,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceRollback {
    /// The service's name or ARN
    pub(crate) name: String,

    /// Wait until it is done
    #[arg(short, long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceContinue {
    /// The service's name or ARN
    pub(crate) name: String,

    /// Go back to the old revision in place of going on
    #[arg(long)]
    pub(crate) rollback: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceName {
    /// The service's name or ARN
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceScale {
    /// The service's name or ARN
    pub(crate) name: String,

    /// How many tasks
    #[arg(value_parser = values::replicas, allow_negative_numbers = true)]
    pub(crate) replicas: u32,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceUpdate {
    /// The service's name or ARN
    pub(crate) name: String,

    /// What its tasks run from now on
    #[arg(short, long, value_name = "TASK_DEFINITION", required_unless_present_any = ["replicas", "force_new_deployment"])]
    pub(crate) task_definition: Option<String>,

    /// How many tasks
    #[arg(short, long, alias = "desired-count", value_name = "N", value_parser = values::replicas, allow_negative_numbers = true)]
    pub(crate) replicas: Option<u32>,

    /// Replace the tasks even when nothing else changes
    #[arg(long)]
    pub(crate) force_new_deployment: bool,

    /// Wait until it is done, and say how it went
    #[arg(short, long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceDelete {
    /// The service's name or ARN
    pub(crate) name: String,

    /// Delete it with the tasks it has
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
