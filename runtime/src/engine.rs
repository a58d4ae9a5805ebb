//! The one engine of a process: compiler settings, the pool that instances come from, linkers and guest threads.

use crate::cache::CodeCache;
use crate::container::{Container, ContainerSpec, StartError};
use crate::cpu::executor::Executor;
use crate::image::{Image, ImageError};
use coracle_runtime_host::state::{self, ComponentState, ModuleState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, component};

/// Instances that may live at once when nothing else is said. Bounds address space: 4 GiB each of the 128 TiB there are.
pub const DEFAULT_MAX_INSTANCES: u32 = 4096;

/// Elements a table may have. Language runtimes (JavaScript, Python) need some ten thousand; 8 bytes each.
const MAX_TABLE_ELEMENTS: usize = 200_000;

/// Memory of a finished instance that is cleared in place instead of being returned to the kernel, so that the next
/// instance does not fault it in again. Measured: twice the requests per second of an instance-per-request handler.
const KEEP_RESIDENT: usize = 4 << 20;
const TABLE_KEEP_RESIDENT: usize = 1 << 20;

/// What the runtime may be told at its start.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// Where compiled code is kept between runs; `None` compiles anew each time. The directory must be writable by
    /// this user alone: what lies in it is run as it is.
    pub cache_dir: Option<PathBuf>,
    /// Instances that may live at once in the process, over all tasks; one more is refused, not waited for. Each costs
    /// about a microsecond when the runtime starts. `None` is 4,096.
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
    pub(crate) engine: Engine,
    pub(crate) executor: Executor,
    pub(crate) cache: Option<CodeCache>,
    pub(crate) component_linker: component::Linker<ComponentState>,
    module_linker: OnceLock<wasmtime::Linker<ModuleState>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runtime").field("cache", &self.shared.cache).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Sets the engine up and starts the guest threads, which end with the last handle.
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let engine = Engine::new(&engine_config(config.max_instances.unwrap_or(DEFAULT_MAX_INSTANCES)))
            .map_err(RuntimeError::Engine)?;
        let cache = match config.cache_dir {
            Some(path) => {
                Some(CodeCache::open(&path, &engine).map_err(|source| RuntimeError::Cache { path, source })?)
            }
            None => None,
        };
        let threads = config.guest_threads.unwrap_or_else(cores);
        let shared = Shared {
            component_linker: state::component_linker(&engine).map_err(RuntimeError::Engine)?,
            module_linker: OnceLock::new(),
            executor: Executor::start(threads).map_err(RuntimeError::Threads)?,
            engine,
            cache,
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
    /// The linker for preview 1 modules, made when the first of them comes.
    pub(crate) fn module_linker(&self) -> wasmtime::Result<&wasmtime::Linker<ModuleState>> {
        if let Some(linker) = self.module_linker.get() {
            return Ok(linker);
        }
        let linker = state::module_linker(&self.engine)?;
        Ok(self.module_linker.get_or_init(|| linker))
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn engine_config(instances: u32) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .wasm_component_model_async(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool_config(instances)));
    config
}

/// A component is several core instances and may have several tables; a few in ten thousand have a second memory.
fn pool_config(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .total_gc_heaps(64)
        .max_memories_per_module(16)
        .max_tables_per_module(16)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .pagemap_scan(if swap_is_off() { Enabled::Auto } else { Enabled::No });
    pool
}

/// Whether `PAGEMAP_SCAN` may decide which pages the next instance must find cleared: a page that was swapped out
/// while dirty could be missed, so only where nothing is ever swapped. (`Auto` then asks the kernel, which has it from 6.7 on.)
fn swap_is_off() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1)
}
