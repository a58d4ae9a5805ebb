//! `wasi:sockets/tcp` and `tcp-create-socket` of preview 2.

use super::{TaskSockets, again};
use crate::network::task::Transport;
use std::net::SocketAddr;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::{Host, HostTcpSocket, ShutdownType, TcpSocket};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, SocketError, SocketResult};

impl tcp_create_socket::Host for TaskSockets<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let permit = self.network.task().socket().ok_or(ErrorCode::NewSocketLimit)?;
        let socket = self.inner.create_tcp_socket(family)?;
        self.ledger.hold(socket.rep(), permit);
        Ok(socket)
    }
}

impl TaskSockets<'_> {
    /// Puts an IPv4 socket in the place of an IPv6 one that is not bound yet. False if it is neither.
    fn replace_by_v4(&mut self, this: &Resource<TcpSocket>) -> SocketResult<bool> {
        let family = self.inner.address_family(again(this)).map_err(SocketError::trap)?;
        let is_fresh = family == IpAddressFamily::Ipv6 && self.inner.local_address(again(this)).is_err();
        if is_fresh {
            let other = tcp_create_socket::Host::create_tcp_socket(&mut self.inner, IpAddressFamily::Ipv4)?;
            let mut other = self.inner.table.delete(other)?;
            std::mem::swap(self.inner.table.get_mut(this)?, &mut other);
        }
        Ok(is_fresh)
    }
}

impl Host for TaskSockets<'_> {}

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
        network: Resource<Network>,
        local_address: IpSocketAddress,
    ) -> SocketResult<()> {
        let binding = self.network.bind_address(local_address.into(), Transport::Tcp);
        let address = if binding.in_place_of_v6 && !self.replace_by_v4(&this)? {
            local_address
        } else {
            binding.address.into()
        };
        self.inner.start_bind(again(&this), network, address).await?;
        let port = SocketAddr::from(self.inner.local_address(again(&this))?).port();
        self.ledger.bound(this.rep(), Transport::Tcp, port);
        Ok(())
    }

    fn start_connect(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<Network>,
        remote_address: IpSocketAddress,
    ) -> SocketResult<()> {
        let wanted = SocketAddr::from(remote_address);
        let address = self.network.destination(wanted, Transport::Tcp);
        if self.network.is_closed(address) {
            return Err(ErrorCode::ConnectionRefused.into());
        }
        if wanted.is_ipv6() && address.is_ipv4() {
            self.replace_by_v4(&this)?;
        }
        self.inner.start_connect(this, network, address.into())
    }

    fn accept(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let accepted = self.inner.accept(this)?;
        // Takes up the room that was made for it when it was let in.
        self.ledger.room_of(accepted.0.rep());
        Ok(accepted)
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let address = self.inner.remote_address(this)?;
        Ok(self.network.shown(address.into()).into())
    }

    async fn start_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        self.inner.start_listen(this).await
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> Result<()> {
        let socket = this.rep();
        HostTcpSocket::drop(&mut self.inner, this)?;
        self.ledger.release(socket);
        Ok(())
    }

    delegate! {
        finish_bind() -> SocketResult<()>;
        finish_connect() -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)>;
        finish_listen() -> SocketResult<()>;
        local_address() -> SocketResult<IpSocketAddress>;
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
