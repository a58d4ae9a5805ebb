//! What a component's store holds, and how a new one is filled.

use crate::container::{ContainerSpec, Meters, Network, Output, StartError, Stdin};
use crate::logs::{GuestOutput, LogLine, Stream};
use crate::memory::StoreMemory;
use crate::network::TaskSockets;
use crate::outgoing::OutgoingHttp;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The store data of a component's instance.
pub(crate) struct ComponentState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: OutgoingHttp,
    table: ResourceTable,
    network: Network,
    pub(crate) memory: StoreMemory,
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

/// The view that the sockets of `network` work on.
pub(crate) fn sockets(state: &mut ComponentState) -> TaskSockets<'_> {
    let network = state.network;
    TaskSockets { inner: wasmtime_wasi::sockets::WasiSocketsView::sockets(state), network }
}

/// All that is needed to make a store for one more instance of a container.
#[derive(Debug)]
pub(crate) struct Template {
    spec: ContainerSpec,
    outputs: Option<(GuestOutput, GuestOutput)>,
    meters: Arc<Meters>,
}

impl Template {
    /// Checks what can fail, so that [`wasi`](Self::wasi) only fails when the host changed since.
    pub(crate) fn new(spec: ContainerSpec, meters: Arc<Meters>) -> Result<Self, StartError> {
        for mount in &spec.mounts {
            std::fs::read_dir(&mount.host)
                .map_err(|source| StartError::Mount { path: mount.host.clone(), source })?;
        }
        let outputs = match &spec.output {
            Output::Log(sink) => Some((
                GuestOutput::new(Stream::Stdout, sink.clone()),
                GuestOutput::new(Stream::Stderr, sink.clone()),
            )),
            Output::Null | Output::Inherit => None,
        };
        Ok(Self { spec, outputs, meters })
    }

    pub(crate) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// The limiter of a new store.
    pub(crate) fn memory(&self) -> StoreMemory {
        StoreMemory::new(self.meters.memory.clone())
    }

    /// The data of a new store for a component.
    pub(crate) fn component_state(&self) -> wasmtime::Result<ComponentState> {
        Ok(ComponentState {
            wasi: self.wasi()?.build(),
            http: WasiHttpCtx::new(),
            outgoing: OutgoingHttp::new(self.spec.network),
            table: ResourceTable::new(),
            network: self.spec.network,
            memory: self.memory(),
        })
    }

    /// What the guest sees through WASI.
    pub(crate) fn wasi(&self) -> wasmtime::Result<WasiCtxBuilder> {
        let spec = &self.spec;
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&spec.env);
        wasi.arg(&spec.name).args(&spec.args);
        if spec.stdin == Stdin::Inherit {
            wasi.inherit_stdin();
        }
        match (&spec.output, &self.outputs) {
            (Output::Inherit, _) => {
                wasi.inherit_stdout().inherit_stderr();
            }
            (_, Some((stdout, stderr))) => {
                wasi.stdout(stdout.clone()).stderr(stderr.clone());
            }
            (Output::Null | Output::Log(_), None) => {}
        }
        for mount in &spec.mounts {
            let permissions = if mount.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            wasi.preopened_dir(&mount.host, &mount.guest, permissions)?;
        }
        let network = spec.network;
        match network {
            Network::None => {
                wasi.allow_tcp(false).allow_udp(false);
            }
            Network::Host => {
                wasi.inherit_network().allow_ip_name_lookup(true).allow_tcp(true).allow_udp(true);
            }
            Network::Address(_) => {
                wasi.allow_tcp(true).allow_udp(true);
                wasi.socket_addr_check(move |address, purpose| {
                    Box::pin(std::future::ready(permits(network, address, purpose)))
                });
            }
        }
        Ok(wasi)
    }

    /// Says something about a guest where the guest's own words go.
    pub(crate) fn log(&self, message: &str) {
        match &self.spec.output {
            Output::Log(sink) => {
                for line in message.lines() {
                    let (time, message) = (SystemTime::now(), line.to_owned());
                    sink.line(LogLine { time, stream: Stream::Stderr, message });
                }
            }
            Output::Inherit => eprintln!("{message}"),
            Output::Null => {}
        }
    }
}

/// Whether a guest with an address of its own may use `address`: it may listen there, and talk to who connected.
fn permits(network: Network, address: SocketAddr, purpose: SocketAddrUse) -> bool {
    let Network::Address(own) = network else { return network == Network::Host };
    match purpose {
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind | SocketAddrUse::TcpListen => address.ip() == own,
        SocketAddrUse::TcpAccept | SocketAddrUse::UdpReceive => true,
        SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => false,
    }
}
