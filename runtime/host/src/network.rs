//! Sockets at a task's own address.
//!
//! Every task of the network modes `bridge` and `awsvpc` has an address of its own, so that many replicas all listen on
//! port 8080. WASI's address check can refuse an address but not change it, so the host functions of `wasi:sockets/tcp` are
//! put behind a wrapper that turns the wildcard address into the task's on the way in, and leaves all else to wasmtime.

use std::net::{IpAddr, SocketAddr};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, HostNetwork, IpAddressFamily, IpSocketAddress, Network as NetworkHandle,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{self, HostTcpSocket, ShutdownType, TcpSocket};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, SocketError, SocketResult};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};

/// Which addresses a guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// None at all.
    None,
    /// The host's, without restriction.
    Host,
    /// This address of its own: what the guest binds to the wildcard address lands there, other addresses cannot be
    /// bound, and nothing can be connected to.
    Address(IpAddr),
}

impl Network {
    /// Whether a guest with this network may use `address`. With an address of its own it may listen there, and talk
    /// to who connected.
    pub fn permits(self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        let own = match self {
            Self::None => return false,
            Self::Host => return true,
            Self::Address(own) => own,
        };
        match purpose {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind | SocketAddrUse::TcpListen => address.ip() == own,
            SocketAddrUse::TcpAccept | SocketAddrUse::UdpReceive => true,
            SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => false,
        }
    }
}

/// wasmtime's sockets, binding where the task lives.
pub struct TaskSockets<'a> {
    inner: WasiSocketsCtxView<'a>,
    network: Network,
}

impl std::fmt::Debug for TaskSockets<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TaskSockets").field("network", &self.network).finish_non_exhaustive()
    }
}

impl<'a> TaskSockets<'a> {
    /// `inner`, binding where a task with `network` lives.
    pub fn new(inner: WasiSocketsCtxView<'a>, network: Network) -> Self {
        Self { inner, network }
    }

    /// Where the guest really binds when it asks for `wanted`.
    fn bind_address(&self, wanted: IpSocketAddress) -> IpSocketAddress {
        let address = SocketAddr::from(wanted);
        match self.network {
            Network::Address(own) if is_same_family(own, address) && address.ip().is_unspecified() => {
                SocketAddr::new(own, address.port()).into()
            }
            _ => wanted,
        }
    }
}

fn is_same_family(own: IpAddr, wanted: SocketAddr) -> bool {
    own.is_ipv4() == wanted.is_ipv4()
}

/// Marks [`TaskSockets`] as what the host functions work on.
struct HasTaskSockets;

impl HasData for HasTaskSockets {
    type Data<'a> = TaskSockets<'a>;
}

/// Adds the wrapped interfaces. The linker must allow shadowing where it has wasmtime's already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    sockets: fn(&mut T) -> TaskSockets<'_>,
) -> Result<()> {
    tcp::add_to_linker::<T, HasTaskSockets>(linker, sockets)
}

impl network::Host for TaskSockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        self.inner.convert_error_code(error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        self.inner.network_error_code(error)
    }
}

impl HostNetwork for TaskSockets<'_> {
    fn drop(&mut self, this: Resource<NetworkHandle>) -> Result<()> {
        HostNetwork::drop(&mut self.inner, this)
    }
}

impl tcp::Host for TaskSockets<'_> {}

/// Hands host functions on to wasmtime's, unchanged.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name(&mut self, this: Resource<TcpSocket>, $($argument: $type),*) -> $output {
            self.inner.$name(this, $($argument),*)
        })*
    };
}

impl HostTcpSocket for TaskSockets<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<NetworkHandle>,
        local_address: IpSocketAddress,
    ) -> SocketResult<()> {
        let local_address = self.bind_address(local_address);
        self.inner.start_bind(this, network, local_address).await
    }

    async fn start_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        self.inner.start_listen(this).await
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> Result<()> {
        HostTcpSocket::drop(&mut self.inner, this)
    }

    delegate! {
        finish_bind() -> SocketResult<()>;
        start_connect(network: Resource<NetworkHandle>, remote_address: IpSocketAddress) -> SocketResult<()>;
        finish_connect() -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)>;
        finish_listen() -> SocketResult<()>;
        accept() -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)>;
        local_address() -> SocketResult<IpSocketAddress>;
        remote_address() -> SocketResult<IpSocketAddress>;
        is_listening() -> Result<bool>;
        address_family() -> Result<IpAddressFamily>;
        set_listen_backlog_size(value: u64) -> SocketResult<()>;
        keep_alive_enabled() -> SocketResult<bool>;
        set_keep_alive_enabled(value: bool) -> SocketResult<()>;
        keep_alive_idle_time() -> SocketResult<u64>;
        set_keep_alive_idle_time(value: u64) -> SocketResult<()>;
        keep_alive_interval() -> SocketResult<u64>;
        set_keep_alive_interval(value: u64) -> SocketResult<()>;
        keep_alive_count() -> SocketResult<u32>;
        set_keep_alive_count(value: u32) -> SocketResult<()>;
        hop_limit() -> SocketResult<u8>;
        set_hop_limit(value: u8) -> SocketResult<()>;
        receive_buffer_size() -> SocketResult<u64>;
        set_receive_buffer_size(value: u64) -> SocketResult<()>;
        send_buffer_size() -> SocketResult<u64>;
        set_send_buffer_size(value: u64) -> SocketResult<()>;
        subscribe() -> Result<Resource<DynPollable>>;
        shutdown(shutdown_type: ShutdownType) -> SocketResult<()>;
    }
}
