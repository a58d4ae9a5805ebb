//! `tcp-socket`.

use super::too_many;
use crate::network::task::{SocketPermit, Transport};
use crate::sockets::{HasTaskSockets, TaskSockets, again};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureConsumer, FutureReader, Resource, Source, StreamReader};
use wasmtime::{AsContextMut, Result, StoreContextMut};
use wasmtime_wasi::p3::bindings::sockets::types::{
    Duration, ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress, TcpSocket,
};
use wasmtime_wasi::p3::sockets::SocketResult;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

impl TaskSockets<'_> {
    /// Puts an IPv4 socket in the place of an IPv6 one that is not bound yet. False if it is neither.
    fn replace_p3_tcp_by_v4(&mut self, this: &Resource<TcpSocket>) -> SocketResult<bool> {
        let family = HostTcpSocket::get_address_family(&mut self.inner, again(this)).map_err(trap)?;
        let is_fresh = matches!(family, IpAddressFamily::Ipv6) && !self.is_p3_tcp_bound(this);
        if is_fresh {
            let other = HostTcpSocket::create(&mut self.inner, IpAddressFamily::Ipv4)?;
            let mut other = self.inner.table.delete(other).map_err(trap)?;
            std::mem::swap(self.inner.table.get_mut(this).map_err(trap)?, &mut other);
        }
        Ok(is_fresh)
    }

    fn is_p3_tcp_bound(&mut self, this: &Resource<TcpSocket>) -> bool {
        HostTcpSocket::get_local_address(&mut self.inner, again(this)).is_ok()
    }

    /// What a connection really goes to.
    fn p3_tcp_destination(
        &mut self,
        this: &Resource<TcpSocket>,
        wanted: IpSocketAddress,
    ) -> SocketResult<IpSocketAddress> {
        let wanted = SocketAddr::from(wanted);
        let address = self.network.destination(wanted, Transport::Tcp);
        if self.network.is_closed(address) {
            return Err(ErrorCode::ConnectionRefused.into());
        }
        if wanted.is_ipv6() && address.is_ipv4() {
            self.replace_p3_tcp_by_v4(this)?;
        }
        Ok(address.into())
    }
}

fn trap(error: impl Into<wasmtime::Error>) -> wasmtime_wasi::p3::sockets::SocketError {
    wasmtime_wasi::TrappableError::trap(error)
}

/// wasmtime's own view of the store that `access` is to.
fn plain<'a, T: WasiSocketsView + 'static>(
    access: &'a mut Access<'_, T, HasTaskSockets>,
) -> Access<'a, T, WasiSockets> {
    Access::<'a, T, WasiSockets>::new(access.as_context_mut(), T::sockets)
}

impl<T: WasiSocketsView + Send + 'static> HostTcpSocketWithStore<T> for HasTaskSockets {
    async fn connect(
        store: &Accessor<T, Self>,
        socket: Resource<TcpSocket>,
        remote_address: IpSocketAddress,
    ) -> SocketResult<()> {
        let address = store.with(|mut access| access.get().p3_tcp_destination(&socket, remote_address))?;
        let store = store.with_getter::<WasiSockets>(T::sockets);
        <WasiSockets as HostTcpSocketWithStore<T>>::connect(&store, socket, address).await
    }

    async fn listen(
        mut store: Access<'_, T, Self>,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<StreamReader<Resource<TcpSocket>>> {
        let mut sockets = store.get();
        if !sockets.is_p3_tcp_bound(&socket) {
            // Left to itself it would be bound to all of the host's addresses.
            let family =
                HostTcpSocket::get_address_family(&mut sockets.inner, again(&socket)).map_err(trap)?;
            let wildcard = match family {
                IpAddressFamily::Ipv4 => SocketAddr::from(([0; 4], 0)),
                IpAddressFamily::Ipv6 => SocketAddr::from(([0_u16; 8], 0)),
            };
            HostTcpSocket::bind(&mut sockets, again(&socket), wildcard.into()).await?;
        }
        // Connections keep coming after the socket itself was dropped.
        sockets.ledger.keep(socket.rep());
        <WasiSockets as HostTcpSocketWithStore<T>>::listen(plain(&mut store), socket).await
    }

    fn send(
        mut store: Access<'_, T, Self>,
        socket: Resource<TcpSocket>,
        data: StreamReader<u8>,
    ) -> Result<FutureReader<Result<(), ErrorCode>>> {
        let room = store.get().ledger.room_of(socket.rep());
        let done = <WasiSockets as HostTcpSocketWithStore<T>>::send(plain(&mut store), socket, data)?;
        with_room(store, done, room)
    }

    fn receive(
        mut store: Access<'_, T, Self>,
        socket: Resource<TcpSocket>,
    ) -> Result<(StreamReader<u8>, FutureReader<Result<(), ErrorCode>>)> {
        let room = store.get().ledger.room_of(socket.rep());
        let (data, done) = <WasiSockets as HostTcpSocketWithStore<T>>::receive(plain(&mut store), socket)?;
        Ok((data, with_room(store, done, room)?))
    }
}

/// A stream of preview 3 works on when its socket was dropped, and holds its descriptor: the room is kept until `done` tells that the
/// stream has ended.
fn with_room<T: 'static>(
    mut store: Access<'_, T, HasTaskSockets>,
    done: FutureReader<Result<(), ErrorCode>>,
    room: Option<Arc<SocketPermit>>,
) -> Result<FutureReader<Result<(), ErrorCode>>> {
    let (tell, told) = oneshot::channel();
    done.pipe(&mut store, Relay { tell: Some(tell), room })?;
    FutureReader::new(&mut store, told)
}

struct Relay {
    tell: Option<oneshot::Sender<Result<(), ErrorCode>>>,
    room: Option<Arc<SocketPermit>>,
}

impl<D> FutureConsumer<D> for Relay {
    type Item = Result<(), ErrorCode>;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, Self::Item>,
        _: bool,
    ) -> Poll<Result<()>> {
        let mut result = None;
        source.read(store, &mut result)?;
        self.room = None;
        if let (Some(result), Some(tell)) = (result, self.tell.take()) {
            // The guest need not want to know.
            drop(tell.send(result));
        }
        Poll::Ready(Ok(()))
    }
}

/// Hands host functions on to wasmtime's, unchanged.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name(&mut self, this: Resource<TcpSocket>, $($argument: $type),*) -> $output {
            HostTcpSocket::$name(&mut self.inner, this, $($argument),*)
        })*
    };
}

impl HostTcpSocket for TaskSockets<'_> {
    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let permit = self.network.task().socket().ok_or_else(too_many)?;
        let socket = HostTcpSocket::create(&mut self.inner, family)?;
        self.ledger.hold(socket.rep(), permit);
        Ok(socket)
    }

    async fn bind(&mut self, this: Resource<TcpSocket>, local_address: IpSocketAddress) -> SocketResult<()> {
        let binding = self.network.bind_address(local_address.into(), Transport::Tcp);
        let address = if binding.in_place_of_v6 && !self.replace_p3_tcp_by_v4(&this)? {
            local_address
        } else {
            binding.address.into()
        };
        HostTcpSocket::bind(&mut self.inner, again(&this), address).await?;
        let bound = SocketAddr::from(HostTcpSocket::get_local_address(&mut self.inner, again(&this))?);
        self.ledger.bound(this.rep(), Transport::Tcp, bound.port());
        Ok(())
    }

    fn get_remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let address = HostTcpSocket::get_remote_address(&mut self.inner, this)?;
        Ok(self.network.shown(address.into()).into())
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> Result<()> {
        let socket = this.rep();
        HostTcpSocket::drop(&mut self.inner, this)?;
        self.ledger.release(socket);
        Ok(())
    }

    delegate! {
        get_local_address() -> SocketResult<IpSocketAddress>;
        get_is_listening() -> Result<bool>;
        get_address_family() -> Result<IpAddressFamily>;
        set_listen_backlog_size(value: u64) -> SocketResult<()>;
        get_keep_alive_enabled() -> SocketResult<bool>;
        set_keep_alive_enabled(value: bool) -> SocketResult<()>;
        get_keep_alive_idle_time() -> SocketResult<Duration>;
        set_keep_alive_idle_time(value: Duration) -> SocketResult<()>;
        get_keep_alive_interval() -> SocketResult<Duration>;
        set_keep_alive_interval(value: Duration) -> SocketResult<()>;
        get_keep_alive_count() -> SocketResult<u32>;
        set_keep_alive_count(value: u32) -> SocketResult<()>;
        get_hop_limit() -> SocketResult<u8>;
        set_hop_limit(value: u8) -> SocketResult<()>;
        get_receive_buffer_size() -> SocketResult<u64>;
        set_receive_buffer_size(value: u64) -> SocketResult<()>;
        get_send_buffer_size() -> SocketResult<u64>;
        set_send_buffer_size(value: u64) -> SocketResult<()>;
    }
}
