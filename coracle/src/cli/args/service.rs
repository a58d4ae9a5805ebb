//! `coracle service`

use std::net::SocketAddr;

use clap::{Args, Subcommand};

use super::{ClusterArgs, ServiceAutoscale, values};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle service create web --task-definition hello --replicas 3 --listen 127.0.0.1:8080
  coracle service ls
  coracle service scale web 5
  coracle service update web --task-definition hello:2
  coracle service delete web --force")]
pub(crate) enum ServiceCommand {
    /// List the services of a cluster
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle service ls --cluster shop")]
    Ls(ClusterArgs),
    /// Create a service
    #[command(
        after_help = "Examples:\n  coracle service create web --task-definition hello --replicas 3 --listen 127.0.0.1:8080\n  coracle service create worker -t worker:2 --tag team=data"
    )]
    Create(ServiceCreate),
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
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = values::replicas, allow_negative_numbers = true)]
    pub(crate) replicas: u32,

    /// Publish it on this address; port 0 picks one
    #[arg(short, long, value_name = "ADDRESS", value_parser = values::listen_address)]
    pub(crate) listen: Option<SocketAddr>,

    /// The path that health checks ask for
    #[arg(long, value_name = "PATH", value_parser = values::url_path, requires = "listen")]
    pub(crate) health_path: Option<String>,

    /// Put a tag on it
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = values::variable)]
    pub(crate) tags: Vec<(String, String)>,

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
    #[arg(short, long, value_name = "N", value_parser = values::replicas, allow_negative_numbers = true)]
    pub(crate) replicas: Option<u32>,

    /// Replace the tasks even when nothing else changes
    #[arg(long)]
    pub(crate) force_new_deployment: bool,

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
