//! What a process has once: the engines that compile and run guests, and the threads they run on.

mod address_space;
mod platform;
mod pool;

use crate::container::{Container, ContainerSpec, StartError};
use crate::cpu::executor::Executor;
use crate::image::{Image, ImageError};
use crate::metering::Metering;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub(crate) use platform::{Platform, Wasi};

/// Instances that may live at once when nothing else is said. Bounds address space: 4 GiB each of the 128 TiB there are.
pub const DEFAULT_MAX_INSTANCES: u32 = 4096;

/// What the runtime may be told at its start.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// Where compiled code is kept between runs; `None` compiles anew each time. The directory must be writable by
    /// this user alone: what lies in it is run as it is.
    pub cache_dir: Option<PathBuf>,
    /// Instances that may live at once in the process, over all tasks; one more is refused, not waited for. Programs of WASI 0.3 and
    /// those whose fuel is counted are counted apart, each kind up to the same bound. Each costs about a microsecond when the runtime starts. `None` is 4,096.
    ///
    /// Each takes 4 GiB of address space, and each kind of program at most a quarter of what the process has left: several runtimes fit
    /// into one process, those that come late with fewer instances (16 at least), and so does one on a host with little address space.
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
    /// For preview 1 and WASI 0.2 without a count of fuel: what nearly all images are.
    usual: Platform,
    /// The others, each made when the first image needs it.
    others: [OnceLock<Platform>; 3],
    settings: Settings,
}

/// What all platforms are made with.
struct Settings {
    cache_dir: Option<PathBuf>,
    max_instances: u32,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Runtime")
            .field("cache", &self.shared.settings.cache_dir)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Sets the engine up and starts the guest threads, which end with the last handle.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let max_instances = config.max_instances.unwrap_or(DEFAULT_MAX_INSTANCES);
        let threads = config.guest_threads.unwrap_or_else(cores);
        let executor = Executor::start(threads).map_err(RuntimeError::Threads)?;
        let settings = Settings { cache_dir: config.cache_dir, max_instances };
        let shared = Shared {
            usual: settings.platform(Wasi::Sequential, Metering::Time, &executor)?,
            others: Default::default(),
            executor,
            settings,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes an image of a component, a core module, or the text form of either. Compiles it unless the cache has it,
    /// so it may take seconds: call it where blocking is allowed. Containers that have a budget of fuel need one that counts it:
    /// [`load_metered`](Self::load_metered).
    pub fn load(&self, bytes: &[u8]) -> Result<Image, ImageError> {
        self.load_metered(bytes, Metering::default())
    }

    /// [`load`](Self::load) on a file's content.
    pub fn load_file(&self, path: &Path) -> Result<Image, ImageError> {
        self.load_file_metered(path, Metering::default())
    }

    /// [`load`](Self::load), with a choice of what its code does to yield. The same bytes may be loaded both ways.
    pub fn load_metered(&self, bytes: &[u8], metering: Metering) -> Result<Image, ImageError> {
        Image::load(&self.shared, bytes, metering)
    }

    /// [`load_metered`](Self::load_metered) on a file's content.
    pub fn load_file_metered(&self, path: &Path, metering: Metering) -> Result<Image, ImageError> {
        let bytes =
            std::fs::read(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
        self.load_metered(&bytes, metering)
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
    /// Where programs run that use this WASI and are metered so.
    pub(crate) fn platform(&self, wasi: Wasi, metering: Metering) -> Result<&Platform, RuntimeError> {
        let other = match (wasi, metering) {
            (Wasi::Sequential, Metering::Time) => return Ok(&self.usual),
            (Wasi::Sequential, Metering::Fuel) => &self.others[0],
            (Wasi::Concurrent, Metering::Time) => &self.others[1],
            (Wasi::Concurrent, Metering::Fuel) => &self.others[2],
        };
        if let Some(platform) = other.get() {
            return Ok(platform);
        }
        // Two that come first at once make two; one is dropped before anything runs on it.
        let platform = self.settings.platform(wasi, metering, &self.executor)?;
        Ok(other.get_or_init(|| platform))
    }
}

impl Settings {
    fn platform(
        &self,
        wasi: Wasi,
        metering: Metering,
        executor: &Executor,
    ) -> Result<Platform, RuntimeError> {
        let platform = Platform::new(wasi, metering, self.max_instances).map_err(RuntimeError::Engine)?;
        if metering == Metering::Time {
            executor.ticker().watch(platform.engine());
        }
        match &self.cache_dir {
            None => Ok(platform),
            Some(path) => {
                platform.with_cache(path).map_err(|source| RuntimeError::Cache { path: path.clone(), source })
            }
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
