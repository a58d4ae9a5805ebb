//! What a store holds, and the linkers that work on it.

use crate::files::mounts::Mounts;
use crate::files::{self, InstanceFiles, ModuleWasi, TaskFiles};
use crate::memory::kept::KeptMemory;
use crate::memory::{MemoryExceeded, StoreMemory};
use crate::network::Network;
use crate::outgoing::OutgoingHttp;
use crate::sockets::{self, SocketLedger, TaskSockets};
use crate::{http as wasi_http, limits};
use std::sync::Arc;
use wasmtime::component::{self, ResourceTable};
use wasmtime::{Engine, Linker, Result};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p1::{WasiP1Ctx, wasi_snapshot_preview1};
use wasmtime_wasi::sockets::WasiSocketsCtxView;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The store data of a component's instance.
pub struct ComponentState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: OutgoingHttp,
    table: ResourceTable,
    network: Network,
    sockets: SocketLedger,
    files: InstanceFiles,
    memory: StoreMemory,
    kept: KeptMemory,
}

impl std::fmt::Debug for ComponentState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ComponentState").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl ComponentState {
    /// The data of a store whose guest sees `wasi` and `mounts`, lives on `network` and is charged to `memory`.
    pub fn new(
        mut wasi: WasiCtxBuilder,
        mounts: &Arc<Mounts>,
        network: Network,
        memory: StoreMemory,
    ) -> Self {
        let sockets = sockets::grant(&mut wasi, &network);
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            outgoing: OutgoingHttp::new(network.clone()),
            table: limits::table(),
            network,
            sockets,
            files: InstanceFiles::new(mounts.clone(), memory.account().clone()),
            kept: KeptMemory::new(memory.account().clone()),
            memory,
        }
    }

    fn sockets(&mut self) -> TaskSockets<'_> {
        let inner = WasiSocketsCtxView { ctx: self.wasi.sockets(), table: &mut self.table };
        TaskSockets::new(inner, &self.network, &mut self.sockets)
    }

    /// A handler's instance begins to answer a request.
    pub fn begin<B>(&mut self, request: &http::Request<B>) {
        self.outgoing.begin(request);
    }

    /// The host is about to keep so many bytes for the guest.
    pub(crate) fn keep(&mut self, bytes: u64) -> Result<(), MemoryExceeded> {
        self.kept.keep(bytes, &mut self.table)
    }

    /// What the file system functions work on.
    pub(crate) fn files(&mut self) -> TaskFiles<'_> {
        self.kept.called(&mut self.table);
        let inner = WasiFilesystemCtxView { ctx: self.wasi.filesystem(), table: &mut self.table };
        TaskFiles::new(inner, &mut self.files)
    }

    /// The store's limiter.
    pub fn memory(&mut self) -> &mut StoreMemory {
        &mut self.memory
    }
}

impl WasiView for ComponentState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.kept.called(&mut self.table);
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for ComponentState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.kept.called(&mut self.table);
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The store data of a preview 1 module.
pub struct ModuleState {
    wasi: ModuleWasi,
    memory: StoreMemory,
}

impl std::fmt::Debug for ModuleState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ModuleState").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl ModuleState {
    /// The data of a store whose guest sees `wasi` and `mounts` and is charged to `memory`.
    pub fn new(wasi: WasiP1Ctx, mounts: &Arc<Mounts>, memory: StoreMemory) -> Self {
        Self { wasi: ModuleWasi::new(wasi, mounts, memory.account().clone()), memory }
    }

    /// The store's limiter.
    pub fn memory(&mut self) -> &mut StoreMemory {
        &mut self.memory
    }
}

/// Everything that a component of WASI 0.2 may import.
pub fn preview2_linker(engine: &Engine) -> Result<component::Linker<ComponentState>> {
    let mut linker = component::Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // The sockets above live where the guest says, ours where the task does; the files above have no limits.
    linker.allow_shadowing(true);
    files::add_preview2_to_linker(&mut linker)?;
    wasi_http::add_preview2_to_linker(&mut linker)?;
    sockets::add_preview2_to_linker(&mut linker, ComponentState::sockets)?;
    Ok(linker)
}

/// Everything that a component of WASI 0.2 or 0.3 may import, on an engine with concurrency.
pub fn component_linker(engine: &Engine) -> Result<component::Linker<ComponentState>> {
    let mut linker = preview2_linker(engine)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    files::add_preview3_to_linker(&mut linker)?;
    wasi_http::add_preview3_to_linker(&mut linker)?;
    sockets::add_preview3_to_linker(&mut linker, ComponentState::sockets)?;
    Ok(linker)
}

/// Everything that a module of WASI preview 1 may import.
pub fn module_linker(engine: &Engine) -> Result<Linker<ModuleState>> {
    let mut linker = Linker::new(engine);
    wasi_snapshot_preview1::add_to_linker(&mut linker, |state: &mut ModuleState| &mut state.wasi)?;
    Ok(linker)
}
