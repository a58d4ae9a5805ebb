//! What a process has once: the engines that compile and run guests, and the threads they run on.

mod platform;
mod pool;

use crate::container::{Container, ContainerSpec, StartError};
use crate::cpu::executor::Executor;
use crate::image::{Image, ImageError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub(crate) use platform::Platform;
use platform::Wasi;

/// Instances that may live at once when nothing else is said. Bounds address space: 4 GiB each of the 128 TiB there are.
pub const DEFAULT_MAX_INSTANCES: u32 = 4096;

/// What the runtime may be told at its start.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// Where compiled code is kept between runs; `None` compiles anew each time. The directory must be writable by
    /// this user alone: what lies in it is run as it is.
    pub cache_dir: Option<PathBuf>,
    /// Instances that may live at once in the process, over all tasks; one more is refused, not waited for. As many of programs of WASI 0.3
    /// may live beside those of all others. Each costs about a microsecond when the runtime starts. `None` is 4,096.
    pub max_instances: Option<u32>,
    /// Threads for guests that use the CPU for more than a moment; `None` is one per core.
    pub guest_threads: Option<usize>,
}

/// The runtime could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// wasmtime refused the configuration or could not reserve address space.
    #[error("cannot set up the WebAssembly engine")]
    Engine(#[source] wasmtime::Error),
    /// The cache directory cannot be used.
    #[error("cannot use the compile cache {path}")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// Threads could not be started.
    #[error("cannot start the guest threads")]
    Threads(#[source] std::io::Error),
}

/// Runs containers. A handle: clones are the same runtime.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) executor: Executor,
    /// For preview 1 and WASI 0.2: what nearly all images are.
    sequential: Platform,
    /// For WASI 0.3, made when the first image needs it.
    concurrent: OnceLock<Platform>,
    cache_dir: Option<PathBuf>,
    max_instances: u32,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runtime").field("cache", &self.shared.cache_dir).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Sets the engine up and starts the guest threads, which end with the last handle.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let max_instances = config.max_instances.unwrap_or(DEFAULT_MAX_INSTANCES);
        let threads = config.guest_threads.unwrap_or_else(cores);
        let shared = Shared {
            sequential: platform(Wasi::Sequential, max_instances, config.cache_dir.as_deref())?,
            concurrent: OnceLock::new(),
            executor: Executor::start(threads).map_err(RuntimeError::Threads)?,
            cache_dir: config.cache_dir,
            max_instances,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes an image of a component, a core module, or the text form of either. Compiles it unless the cache has it,
    /// so it may take seconds: call it where blocking is allowed.
    pub fn load(&self, bytes: &[u8]) -> Result<Image, ImageError> {
        Image::load(&self.shared, bytes)
    }

    /// [`load`](Self::load) on a file's content.
    pub fn load_file(&self, path: &Path) -> Result<Image, ImageError> {
        let bytes =
            std::fs::read(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
        self.load(&bytes)
    }

    /// Creates a container and starts it. Must be called inside a tokio runtime, which the guest's timers and
    /// sockets will use. A handler is ready for requests when this returns; a command has been handed to the
    /// guest threads.
    #[expect(clippy::unused_async, reason = "starting will wait for files and networks to be made")]
    pub async fn start(&self, image: &Image, spec: ContainerSpec) -> Result<Container, StartError> {
        Container::start(&self.shared, image, spec)
    }
}

impl Shared {
    /// Where programs run that do not use WASI 0.3.
    pub(crate) fn sequential(&self) -> &Platform {
        &self.sequential
    }

    /// Where all components run.
    pub(crate) fn concurrent(&self) -> Result<&Platform, RuntimeError> {
        if let Some(platform) = self.concurrent.get() {
            return Ok(platform);
        }
        // Two that come first at once make two; one is dropped before anything runs on it.
        let platform = platform(Wasi::Concurrent, self.max_instances, self.cache_dir.as_deref())?;
        Ok(self.concurrent.get_or_init(|| platform))
    }
}

fn platform(wasi: Wasi, instances: u32, cache: Option<&Path>) -> Result<Platform, RuntimeError> {
    let platform = Platform::new(wasi, instances).map_err(RuntimeError::Engine)?;
    match cache {
        None => Ok(platform),
        Some(path) => {
            platform.with_cache(path).map_err(|source| RuntimeError::Cache { path: path.to_owned(), source })
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
