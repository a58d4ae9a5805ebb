//! Coracle: a container service in one binary, and the same thing inside any other program.
//!
//! A [`Host`] runs WebAssembly images as isolated tasks with enforced limits, keeps the wanted number of them alive, and
//! spreads HTTP requests over the healthy ones. [`Serving`] is the short way to one service; [`Host::supervisor`] has
//! everything else, as ECS's operations. [`compose`] reads and applies Compose files. [`balance`] is the balancer by itself,
//! in front of HTTP servers, from a file.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use coracle::{Host, Serving};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::builder().start().await?;
//! let mut serving = Serving::new("hello.wasm");
//! serving.replicas = 2;
//! let address = host.serve(&serving).await?;
//! println!("two replicas answer at http://{address}");
//! host.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! In reading order: `host` (assembly), `serving`, `compose`, `balance`, `paths`. The command line is in the binary's `cli`.

pub mod balance;
pub mod compose;
mod host;
mod paths;
mod serving;

pub use coracle_runtime::WASMTIME_VERSION;
pub use coracle_supervisor::model::service::MAX_DESIRED_COUNT as MAX_REPLICAS;
pub use host::{Host, HostBuilder, HostError};
pub use paths::{cache_dir, data_dir, http_client, open_runtime};
pub use serving::{CLUSTER, ServeError, Serving};

/// Where the daemon's API listens unless it is told otherwise: nobody but this host can reach it.
pub const DEFAULT_API_ADDRESS: &str = "127.0.0.1:4566";
/// [`DEFAULT_API_ADDRESS`] as a URL.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4566";

/// Whether an image is named by a file's path, against a digest or an image reference.
#[must_use]
pub fn is_file_image(image: &str) -> bool {
    image.starts_with(['.', '/']) || image.ends_with(".wasm") || image.ends_with(".wat")
}
