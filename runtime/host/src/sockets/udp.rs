//! `wasi:sockets/udp` and `udp-create-socket` of preview 2.

use super::{TaskSockets, again};
use crate::network::task::Transport;
use std::net::SocketAddr;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram,
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult};

impl udp_create_socket::Host for TaskSockets<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let permit = self.network.task().socket().ok_or(ErrorCode::NewSocketLimit)?;
        let socket = self.inner.create_udp_socket(family).await?;
        self.ledger.hold(socket.rep(), permit);
        Ok(socket)
    }
}

impl TaskSockets<'_> {
    /// Puts an IPv4 socket in the place of an IPv6 one that is not bound yet. False if it is neither.
    async fn replace_udp_by_v4(&mut self, this: &Resource<UdpSocket>) -> SocketResult<bool> {
        let family = HostUdpSocket::address_family(&mut self.inner, again(this));
        let is_fresh = family.map_err(SocketError::trap)? == IpAddressFamily::Ipv6
            && HostUdpSocket::local_address(&mut self.inner, again(this)).is_err();
        if is_fresh {
            let family = IpAddressFamily::Ipv4;
            let other = udp_create_socket::Host::create_udp_socket(&mut self.inner, family).await?;
            let mut other = self.inner.table.delete(other)?;
            std::mem::swap(self.inner.table.get_mut(this)?, &mut other);
        }
        Ok(is_fresh)
    }

    fn meant(&self, wanted: IpSocketAddress) -> IpSocketAddress {
        self.network.destination(wanted.into(), Transport::Udp).into()
    }
}

impl Host for TaskSockets<'_> {}

/// Hands host functions on to wasmtime's, unchanged.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name(&mut self, this: Resource<UdpSocket>, $($argument: $type),*) -> $output {
            HostUdpSocket::$name(&mut self.inner, this, $($argument),*)
        })*
    };
}

impl HostUdpSocket for TaskSockets<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<UdpSocket>,
        network: Resource<Network>,
        local_address: IpSocketAddress,
    ) -> SocketResult<()> {
        let binding = self.network.bind_address(local_address.into(), Transport::Udp);
        let address = if binding.in_place_of_v6 && !self.replace_udp_by_v4(&this).await? {
            local_address
        } else {
            binding.address.into()
        };
        HostUdpSocket::start_bind(&mut self.inner, again(&this), network, address).await?;
        let bound = SocketAddr::from(HostUdpSocket::local_address(&mut self.inner, again(&this))?);
        self.ledger.bound(this.rep(), Transport::Udp, bound.port());
        Ok(())
    }

    async fn stream(
        &mut self,
        this: Resource<UdpSocket>,
        remote_address: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>)> {
        let remote_address = remote_address.map(|wanted| self.meant(wanted));
        self.inner.stream(this, remote_address).await
    }

    fn remote_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let address = HostUdpSocket::remote_address(&mut self.inner, this)?;
        Ok(self.network.shown(address.into()).into())
    }

    fn drop(&mut self, this: Resource<UdpSocket>) -> Result<()> {
        let socket = this.rep();
        HostUdpSocket::drop(&mut self.inner, this)?;
        self.ledger.release(socket);
        Ok(())
    }

    delegate! {
        finish_bind() -> SocketResult<()>;
        local_address() -> SocketResult<IpSocketAddress>;
        address_family() -> Result<IpAddressFamily>;
        unicast_hop_limit() -> SocketResult<u8>;
        set_unicast_hop_limit(value: u8) -> SocketResult<()>;
        receive_buffer_size() -> SocketResult<u64>;
        set_receive_buffer_size(value: u64) -> SocketResult<()>;
        send_buffer_size() -> SocketResult<u64>;
        set_send_buffer_size(value: u64) -> SocketResult<()>;
        subscribe() -> Result<Resource<DynPollable>>;
    }
}

impl HostIncomingDatagramStream for TaskSockets<'_> {
    fn receive(
        &mut self,
        this: Resource<IncomingDatagramStream>,
        max_results: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        let mut datagrams = self.inner.receive(this, max_results)?;
        for datagram in &mut datagrams {
            datagram.remote_address = self.network.shown(datagram.remote_address.into()).into();
        }
        Ok(datagrams)
    }

    fn subscribe(&mut self, this: Resource<IncomingDatagramStream>) -> Result<Resource<DynPollable>> {
        HostIncomingDatagramStream::subscribe(&mut self.inner, this)
    }

    fn drop(&mut self, this: Resource<IncomingDatagramStream>) -> Result<()> {
        HostIncomingDatagramStream::drop(&mut self.inner, this)
    }
}

impl HostOutgoingDatagramStream for TaskSockets<'_> {
    fn check_send(&mut self, this: Resource<OutgoingDatagramStream>) -> SocketResult<u64> {
        self.inner.check_send(this)
    }

    fn send(
        &mut self,
        this: Resource<OutgoingDatagramStream>,
        mut datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        for datagram in &mut datagrams {
            datagram.remote_address = datagram.remote_address.map(|wanted| self.meant(wanted));
        }
        self.inner.send(this, datagrams)
    }

    fn subscribe(&mut self, this: Resource<OutgoingDatagramStream>) -> Result<Resource<DynPollable>> {
        HostOutgoingDatagramStream::subscribe(&mut self.inner, this)
    }

    async fn drop(&mut self, this: Resource<OutgoingDatagramStream>) -> Result<()> {
        HostOutgoingDatagramStream::drop(&mut self.inner, this).await
    }
}
