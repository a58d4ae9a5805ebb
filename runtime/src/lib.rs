//! Runs WebAssembly images as isolated tasks whose CPU and memory limits are enforced.
//!
//! The crate knows wasm and WASI; it knows nothing of services, of routing or of where images come from. An
//! [`Image`] is compiled once and mapped from the cache afterwards; [`Runtime::start`] makes a [`Container`] of it:
//! a *handler* that answers HTTP requests in process, or a *command* that runs to its exit code (and, when it
//! listens on a socket, is a server). Everything a guest could reach is denied unless its [`ContainerSpec`]
//! grants it.
//!
//! The modules, in the order to read them:
//!
//! - `image`, `cache`: bytes to compiled code, and what kind of program it is.
//! - `container`: what is asked for ([`ContainerSpec`]) and the life of the thing that runs.
//! - `command`: a guest with a beginning and an exit code.
//! - `handler`: a guest that answers requests; instances, concurrency, streaming.
//! - `cgi`: a preview 1 module as one that answers requests.
//! - `metering`: how guests are made to yield.
//! - `cpu`: quotas, fair shares and the threads that guests run on.
//! - `pipes`: standard input and output that somebody else reads and writes.
//! - `crash`: what is told of a guest that failed.
//! - `state`, `logs`: what a guest sees of the world. The host functions behind it are the crate `coracle-runtime-host`.
//!
//! ```
//! # use coracle_runtime::{ContainerSpec, ExitReason, Runtime, RuntimeConfig};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::new(RuntimeConfig::default())?;
//! let image = runtime.load(br#"(module (memory (export "memory") 1) (func (export "_start")))"#)?;
//! let container = runtime.start(&image, ContainerSpec::named("job")).await?;
//! let exit = container.wait().await;
//! assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Exited));
//! # Ok(())
//! # }
//! ```

mod cache;
mod cgi;
mod command;
mod container;
mod cpu;
mod crash;
mod engine;
mod exit;
mod handler;
mod image;
mod logs;
mod metering;
mod pipes;
mod state;

pub use container::{
    Container, ContainerSpec, DEFAULT_CONCURRENCY, Envelope, Output, StartError, Stdin, Usage,
};
pub use coracle_runtime_host::files::mounts::{EphemeralStorage, MAX_OPEN_FILES, Mount, MountSource};
pub use coracle_runtime_host::files::quota::{NAME_BYTES, Quota, StorageLimits};
pub use coracle_runtime_host::network::{self, Network, TaskNetwork, Uplink};
pub use coracle_runtime_host::outgoing::HttpClient;
pub use crash::{CORE_DUMPS, CoreDump, Crash, CrashSink};
pub use engine::{DEFAULT_MAX_INSTANCES, Runtime, RuntimeConfig, RuntimeError};
pub use exit::{Exit, ExitReason};
pub use handler::{GuestBody, GuestBodyError, HandleError};
pub use image::{Abi, Image, ImageError, ImageKind};
pub use logs::{FileLog, LogFormat, LogLine, LogSink, RingLog, Rotation, Stream};
pub use metering::Metering;
pub use pipes::{InputPipe, OutputPipe, OutputReader, output_pipe};

/// The version of wasmtime that compiles and runs the guests.
pub const WASMTIME_VERSION: &str = "48.0.8";
