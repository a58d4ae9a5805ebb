//! An engine and what programs are linked against on it. There are several, because what an engine can is paid by every call.
//!
//! WASI 0.3 needs an engine that keeps books on each call between guest and host: tasks, threads, what may block. Programs of WASI 0.2
//! and preview 1 never use them. Measured with hello and an instance per request, the books were a tenth of a request, and one error for each
//! instance dropped, whose backtrace (with `RUST_BACKTRACE` set) was another. So those programs run on an engine without. For the same reason
//! fuel is counted on engines of its own.

use super::{address_space, pool};
use crate::cache::CodeCache;
use crate::metering::Metering;
use coracle_runtime_host::state::{self, ComponentState, ModuleState};
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use wasmtime::{Config, Engine, component};

/// What the programs of a platform may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wasi {
    /// Preview 1 and WASI 0.2.
    Sequential,
    /// WASI 0.2 and 0.3.
    Concurrent,
}

pub(crate) struct Platform {
    engine: Engine,
    cache: Option<CodeCache>,
    component_linker: component::Linker<ComponentState>,
    module_linker: OnceLock<wasmtime::Linker<ModuleState>>,
}

impl Platform {
    pub(crate) fn new(wasi: Wasi, metering: Metering, instances: u32) -> wasmtime::Result<Self> {
        let engine = engine(wasi, metering, instances)?;
        let component_linker = match wasi {
            Wasi::Sequential => state::preview2_linker(&engine)?,
            Wasi::Concurrent => state::component_linker(&engine)?,
        };
        Ok(Self { engine, cache: None, component_linker, module_linker: OnceLock::new() })
    }

    /// Keeps what is compiled for this platform in its own part of `directory`.
    pub(crate) fn with_cache(self, directory: &Path) -> io::Result<Self> {
        let cache = Some(CodeCache::open(directory, &self.engine)?);
        Ok(Self { cache, ..self })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn cache(&self) -> Option<&CodeCache> {
        self.cache.as_ref()
    }

    pub(crate) fn component_linker(&self) -> &component::Linker<ComponentState> {
        &self.component_linker
    }

    /// The linker for preview 1 modules, made when the first of them comes.
    pub(crate) fn module_linker(&self) -> wasmtime::Result<&wasmtime::Linker<ModuleState>> {
        if let Some(linker) = self.module_linker.get() {
            return Ok(linker);
        }
        let linker = state::module_linker(&self.engine)?;
        Ok(self.module_linker.get_or_init(|| linker))
    }
}

/// An engine with room for so many instances, or for as many as the process has address space for.
fn engine(wasi: Wasi, metering: Metering, wanted: u32) -> wasmtime::Result<Engine> {
    let mut instances = pool::fitting(wanted, address_space::left());
    let engine = loop {
        match Engine::new(&config(wasi, metering, instances)?) {
            // Somebody else took what was left, or the system does not tell how much that is.
            Err(error) if instances > pool::FEWEST => {
                tracing::debug!(%error, instances, "no room for a pool of instances");
                instances = (instances / 2).max(pool::FEWEST);
            }
            made => break made?,
        }
    };
    if instances < wanted {
        tracing::warn!(wanted, instances, "fewer instances may live at once: there is no more address space");
    }
    Ok(engine)
}

fn config(wasi: Wasi, metering: Metering, instances: u32) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    // The target is part of what the cache of compiled code is keyed by.
    #[cfg(feature = "interpreter")]
    config.target(if cfg!(target_endian = "big") { "pulley64be" } else { "pulley64" })?;
    config.allocation_strategy(pool::strategy(instances));
    metering.configure(&mut config);
    // A trap notes where the memories are; what they hold is copied for a container that wants it.
    #[cfg(feature = "core-dump")]
    config.coredump_on_trap(true);
    match wasi {
        Wasi::Sequential => config.concurrency_support(false),
        Wasi::Concurrent => config.wasm_component_model_async(true),
    };
    Ok(config)
}
