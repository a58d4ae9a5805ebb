//! `coracle up`

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use coracle_supervisor::driver::local::DEFAULT_HOST_PORT_ADDRESS;

use super::values;

#[derive(Debug, Args)]
#[command(
    after_help = "Keeps running until it is interrupted or terminated. Its tasks end with it; what was wanted is kept in the data directory and started again the next time.

Examples:
  coracle up
  coracle up -f shop/compose.yaml
  coracle up --data-dir /var/lib/coracle --api 127.0.0.1:4566"
)]
pub(crate) struct UpArgs {
    /// The Compose file to apply [default: compose.yaml, compose.yml, docker-compose.yaml or docker-compose.yml, if there]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Where to keep what is wanted [default: $XDG_DATA_HOME/coracle or ~/.local/share/coracle]
    #[arg(long, value_name = "DIR", env = "CORACLE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// The key to secrets and parameters, made if it is missing [default: secrets.key in the data directory]
    #[arg(long, value_name = "FILE", env = "CORACLE_SECRET_KEY")]
    pub(crate) secret_key: Option<PathBuf>,

    /// Where to listen for commands; nobody but this host's users should be able to reach it
    #[arg(long, value_name = "ADDRESS", default_value = coracle::DEFAULT_API_ADDRESS, value_parser = values::listen_address)]
    pub(crate) api: SocketAddr,

    /// Where to bind the host ports of tasks; 0.0.0.0 lets other machines reach them
    #[arg(long, value_name = "IP", default_value_t = DEFAULT_HOST_PORT_ADDRESS)]
    pub(crate) host_ports: IpAddr,
}
