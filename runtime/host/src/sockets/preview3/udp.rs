//! `udp-socket`.

use super::too_many;
use crate::network::task::Transport;
use crate::sockets::{HasTaskSockets, TaskSockets, again};
use std::net::SocketAddr;
use wasmtime::Result;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi::p3::bindings::sockets::types::{
    HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress, UdpSocket,
};
use wasmtime_wasi::p3::sockets::SocketResult;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

impl TaskSockets<'_> {
    /// Puts an IPv4 socket in the place of an IPv6 one that is not bound yet. False if it is neither.
    async fn replace_p3_udp_by_v4(&mut self, this: &Resource<UdpSocket>) -> SocketResult<bool> {
        let family = HostUdpSocket::get_address_family(&mut self.inner, again(this));
        let is_fresh = matches!(family.map_err(TrappableError::trap)?, IpAddressFamily::Ipv6)
            && HostUdpSocket::get_local_address(&mut self.inner, again(this)).is_err();
        if is_fresh {
            let other = HostUdpSocket::create(&mut self.inner, IpAddressFamily::Ipv4).await?;
            let mut other = self.inner.table.delete(other).map_err(TrappableError::trap)?;
            std::mem::swap(self.inner.table.get_mut(this).map_err(TrappableError::trap)?, &mut other);
        }
        Ok(is_fresh)
    }

    fn p3_udp_destination(&self, wanted: IpSocketAddress) -> IpSocketAddress {
        self.network.destination(wanted.into(), Transport::Udp).into()
    }
}

impl<T: WasiSocketsView + Send + 'static> HostUdpSocketWithStore<T> for HasTaskSockets {
    async fn send(
        store: &Accessor<T, Self>,
        socket: Resource<UdpSocket>,
        data: Vec<u8>,
        remote_address: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        let meant = |wanted| store.with(|mut access| access.get().p3_udp_destination(wanted));
        let address = remote_address.map(meant);
        let store = store.with_getter::<WasiSockets>(T::sockets);
        <WasiSockets as HostUdpSocketWithStore<T>>::send(&store, socket, data, address).await
    }

    async fn receive(
        store: &Accessor<T, Self>,
        socket: Resource<UdpSocket>,
    ) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let plain = store.with_getter::<WasiSockets>(T::sockets);
        let (data, from) = <WasiSockets as HostUdpSocketWithStore<T>>::receive(&plain, socket).await?;
        let shown = store.with(|mut access| access.get().network.shown(from.into()));
        Ok((data, shown.into()))
    }
}

/// Hands host functions on to wasmtime's, unchanged.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name(&mut self, this: Resource<UdpSocket>, $($argument: $type),*) -> $output {
            HostUdpSocket::$name(&mut self.inner, this, $($argument),*)
        })*
    };
}

impl HostUdpSocket for TaskSockets<'_> {
    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let permit = self.network.task().socket().ok_or_else(too_many)?;
        let socket = HostUdpSocket::create(&mut self.inner, family).await?;
        self.ledger.hold(socket.rep(), permit);
        Ok(socket)
    }

    async fn bind(&mut self, this: Resource<UdpSocket>, local_address: IpSocketAddress) -> SocketResult<()> {
        let binding = self.network.bind_address(local_address.into(), Transport::Udp);
        let address = if binding.in_place_of_v6 && !self.replace_p3_udp_by_v4(&this).await? {
            local_address
        } else {
            binding.address.into()
        };
        HostUdpSocket::bind(&mut self.inner, again(&this), address).await?;
        let bound = SocketAddr::from(HostUdpSocket::get_local_address(&mut self.inner, again(&this))?);
        self.ledger.bound(this.rep(), Transport::Udp, bound.port());
        Ok(())
    }

    async fn connect(&mut self, this: Resource<UdpSocket>, remote: IpSocketAddress) -> SocketResult<()> {
        let address = self.p3_udp_destination(remote);
        HostUdpSocket::connect(&mut self.inner, this, address).await
    }

    fn get_remote_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let address = HostUdpSocket::get_remote_address(&mut self.inner, this)?;
        Ok(self.network.shown(address.into()).into())
    }

    fn drop(&mut self, this: Resource<UdpSocket>) -> Result<()> {
        let socket = this.rep();
        HostUdpSocket::drop(&mut self.inner, this)?;
        self.ledger.release(socket);
        Ok(())
    }

    delegate! {
        disconnect() -> SocketResult<()>;
        get_local_address() -> SocketResult<IpSocketAddress>;
        get_address_family() -> Result<IpAddressFamily>;
        get_unicast_hop_limit() -> SocketResult<u8>;
        set_unicast_hop_limit(value: u8) -> SocketResult<()>;
        get_receive_buffer_size() -> SocketResult<u64>;
        set_receive_buffer_size(value: u64) -> SocketResult<()>;
        get_send_buffer_size() -> SocketResult<u64>;
        set_send_buffer_size(value: u64) -> SocketResult<()>;
    }
}
