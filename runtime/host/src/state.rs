//! What a store holds, and the linkers that work on it.

use crate::memory::StoreMemory;
use crate::network::Network;
use crate::outgoing::OutgoingHttp;
use crate::sockets::{self, SocketLedger, TaskSockets};
use wasmtime::component::{self, ResourceTable};
use wasmtime::{Engine, Linker, Result};
use wasmtime_wasi::p1::WasiP1Ctx;
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
    memory: StoreMemory,
}

impl std::fmt::Debug for ComponentState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ComponentState").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl ComponentState {
    /// The data of a store whose guest sees `wasi`, lives on `network` and is charged to `memory`.
    pub fn new(mut wasi: WasiCtxBuilder, network: Network, memory: StoreMemory) -> Self {
        let sockets = sockets::grant(&mut wasi, &network);
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            outgoing: OutgoingHttp::new(network.clone()),
            table: ResourceTable::new(),
            network,
            sockets,
            memory,
        }
    }

    fn sockets(&mut self) -> TaskSockets<'_> {
        let inner = WasiSocketsCtxView { ctx: self.wasi.sockets(), table: &mut self.table };
        TaskSockets::new(inner, &self.network, &mut self.sockets)
    }

    /// The store's limiter.
    pub fn memory(&mut self) -> &mut StoreMemory {
        &mut self.memory
    }
}

impl WasiView for ComponentState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for ComponentState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The store data of a preview 1 module.
pub struct ModuleState {
    wasi: WasiP1Ctx,
    memory: StoreMemory,
}

impl std::fmt::Debug for ModuleState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ModuleState").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl ModuleState {
    /// The data of a store whose guest sees `wasi` and is charged to `memory`.
    pub fn new(wasi: WasiP1Ctx, memory: StoreMemory) -> Self {
        Self { wasi, memory }
    }

    /// The store's limiter.
    pub fn memory(&mut self) -> &mut StoreMemory {
        &mut self.memory
    }
}

/// Everything that a component of WASI 0.2 or 0.3 may import.
pub fn component_linker(engine: &Engine) -> Result<component::Linker<ComponentState>> {
    let mut linker = component::Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    // The sockets above live where the guest says; ours live where the task does.
    linker.allow_shadowing(true);
    sockets::add_to_linker(&mut linker, ComponentState::sockets)?;
    Ok(linker)
}

/// Everything that a module of WASI preview 1 may import.
pub fn module_linker(engine: &Engine) -> Result<Linker<ModuleState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |state: &mut ModuleState| &mut state.wasi)?;
    // wasmtime's own traps on codes from 126 up, which mean nothing special here: a container has them as they are.
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| -> Result<()> {
        Err(wasmtime_wasi::I32Exit(code & 0xff).into())
    })?;
    Ok(linker)
}
