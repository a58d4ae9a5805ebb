//! `coracle load-balancer`, `coracle listener` and `coracle rule`

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::{ApiArgs, values};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle load-balancer create web
  coracle target-group create hello --health-path /health
  coracle listener create web --port 8080 --target-group hello
  coracle service create web -t hello -r 4 --target-group hello
  curl http://127.0.0.1:8080")]
pub(crate) enum LoadBalancerCommand {
    /// List the load balancers
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle load-balancer ls --output json")]
    Ls(ApiArgs),
    /// Create a load balancer; it listens nowhere yet
    #[command(
        after_help = "Examples:\n  coracle load-balancer create web\n  coracle load-balancer create public --address 0.0.0.0"
    )]
    Create(LoadBalancerCreate),
    /// Show a load balancer with its listeners and rules
    #[command(after_help = "Examples:\n  coracle load-balancer describe web")]
    Describe(ResourceName),
    /// Delete a load balancer with its listeners and rules; its target groups stay
    #[command(after_help = "Examples:\n  coracle load-balancer delete web")]
    Delete(ResourceName),
}

#[derive(Debug, Args)]
pub(crate) struct LoadBalancerCreate {
    /// Its name: up to 32 letters, digits and hyphens
    pub(crate) name: String,

    /// The host's address that it listens at; 0.0.0.0 is all of them. By default 127.0.0.1, where no other machine gets in
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// A load balancer or target group.
#[derive(Debug, Args)]
pub(crate) struct ResourceName {
    /// Its name or ARN
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle listener create web --port 8080 --target-group hello
  coracle listener update web:8080 --target-group blue=60 --target-group green=40
  coracle listener delete web:8080")]
pub(crate) enum ListenerCommand {
    /// List the listeners of a load balancer
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle listener ls web")]
    Ls(ResourceName),
    /// Open a port of a load balancer
    #[command(
        after_help = "Examples:\n  coracle listener create web --port 8080 --target-group hello\n  coracle listener create web --port 8081 --fixed-response '503:closed for today'\n  coracle listener create web --port 8082 --redirect 'http://#{host}:8080/#{path}?#{query}'"
    )]
    Create(ListenerCreate),
    /// Change a listener's port, or what it does with requests that no rule is for
    #[command(
        after_help = "Examples:\n  coracle listener update web:8080 --target-group blue=60 --target-group green=40\n  coracle listener update web:8080 --port 9090"
    )]
    Update(ListenerUpdate),
    /// Close a listener and forget its rules
    #[command(after_help = "Examples:\n  coracle listener delete web:8080")]
    Delete(ListenerName),
}

#[derive(Debug, Args)]
pub(crate) struct ListenerCreate {
    /// The load balancer's name or ARN
    pub(crate) load_balancer: String,

    /// Its port
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) action: ActionArgs,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListenerUpdate {
    /// LOAD_BALANCER:PORT, or the listener's ARN
    pub(crate) listener: String,

    /// Its new port
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    #[command(flatten)]
    pub(crate) action: ActionArgs,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListenerName {
    /// LOAD_BALANCER:PORT, or the listener's ARN
    pub(crate) listener: String,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// What becomes of requests.
#[derive(Debug, Args)]
pub(crate) struct ActionArgs {
    /// Send them to a target group; to several by weight, which is 1 unless given
    #[arg(long = "target-group", value_name = "NAME[=WEIGHT]")]
    pub(crate) target_groups: Vec<String>,

    /// Answer them
    #[arg(long, value_name = "CODE[:TEXT]", conflicts_with = "target_groups")]
    pub(crate) fixed_response: Option<String>,

    /// Send clients to another URL, in which #{protocol}, #{host}, #{port}, #{path} and #{query} are the request's
    #[arg(long, value_name = "URL", conflicts_with_all = ["target_groups", "fixed_response"])]
    pub(crate) redirect: Option<String>,

    /// Tell them that this is for ever: a 301 in place of a 302
    #[arg(long, requires = "redirect")]
    pub(crate) permanent: bool,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  coracle rule create web:8080 --priority 10 --path '/api/*' --target-group api
  coracle rule ls web:8080
  coracle rule delete web:8080 10")]
pub(crate) enum RuleCommand {
    /// List the rules of a listener, the first asked first
    #[command(visible_alias = "list")]
    #[command(after_help = "Examples:\n  coracle rule ls web:8080")]
    Ls(ListenerName),
    /// Send some of a listener's requests elsewhere. All conditions of different kinds must hold
    #[command(
        after_help = "Examples:\n  coracle rule create web:8080 --priority 10 --path '/api/*' --target-group api\n  coracle rule create web:8080 --priority 20 --host 'admin.*' --source-ip 127.0.0.0/8 --target-group admin\n  coracle rule create web:8080 --priority 30 --header x-version=2 --target-group green"
    )]
    Create(Box<RuleCreate>),
    /// Delete a rule
    #[command(after_help = "Examples:\n  coracle rule delete web:8080 10")]
    Delete(RuleName),
}

#[derive(Debug, Args)]
pub(crate) struct RuleCreate {
    /// LOAD_BALANCER:PORT, or the listener's ARN
    pub(crate) listener: String,

    /// Its place: the lowest is asked first
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) priority: u32,

    /// Host names, with * and ?
    #[arg(long, value_name = "PATTERN")]
    pub(crate) host: Vec<String>,

    /// Paths, with * and ?
    #[arg(long, value_name = "PATTERN")]
    pub(crate) path: Vec<String>,

    /// Methods
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Vec<String>,

    /// Header fields
    #[arg(long, value_name = "NAME=PATTERN", value_parser = values::variable)]
    pub(crate) header: Vec<(String, String)>,

    /// Parameters of the query
    #[arg(long, value_name = "KEY=PATTERN", value_parser = values::variable)]
    pub(crate) query: Vec<(String, String)>,

    /// Networks of clients
    #[arg(long, value_name = "CIDR")]
    pub(crate) source_ip: Vec<String>,

    #[command(flatten)]
    pub(crate) action: ActionArgs,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RuleName {
    /// LOAD_BALANCER:PORT, or the listener's ARN
    pub(crate) listener: String,

    /// The rule's priority
    pub(crate) priority: u32,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
