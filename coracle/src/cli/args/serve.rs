//! `coracle serve`

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{Workload, values, workload::HandlerOptions};

#[derive(Debug, Args)]
#[command(
    after_help = "Serves until it is interrupted or terminated, then answers what is under way and exits with 0. The first line on standard error is `Serving on http://ADDRESS:PORT`, once the first replica answers.

Examples:
  coracle serve hello.wasm --replicas 3
  coracle serve hello.wasm --listen 0.0.0.0:80 --memory 64 --cpu 256
  coracle serve shop.wasm --egress api.example.com:443 --egress 10.0.0.0/8:5432
  coracle serve web.wasm --env PORT=8080 --container-port 8080 --health-path /health"
)]
pub(crate) struct ServeArgs {
    /// A WebAssembly file: an HTTP handler, or a program that listens on a port
    pub(crate) image: PathBuf,

    /// How many tasks answer
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = values::some_replicas, allow_negative_numbers = true)]
    pub(crate) replicas: u32,

    /// Where to listen; port 0 picks one
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = values::listen_address)]
    pub(crate) listen: SocketAddr,

    /// The port that the tasks listen on, when the image is not a handler
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) container_port: Option<u16>,

    /// The path that health checks ask for
    #[arg(long, value_name = "PATH", value_parser = values::url_path)]
    pub(crate) health_path: Option<String>,

    #[command(flatten)]
    pub(crate) handler: HandlerOptions,

    #[command(flatten)]
    pub(crate) workload: Workload,
}
