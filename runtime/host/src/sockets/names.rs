//! `wasi:sockets/ip-name-lookup` of preview 2.
//!
//! Linked function by function: the stream of addresses that wasmtime's generated trait has can only be made by wasmtime, which would
//! resolve what it likes.

use super::TaskSockets;
use crate::network::Network;
use crate::network::lookup::LookupError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::vec;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network as NetworkHandle};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

/// The very version that wasmtime links: only so is its own shadowed.
const INTERFACE: &str = "wasi:sockets/ip-name-lookup@0.2.12";

/// A lookup that is under way, or its addresses.
enum Addresses {
    Pending(BoxFuture<'static, Result<Vec<IpAddr>, LookupError>>),
    Found(vec::IntoIter<IpAddr>),
    Failed(LookupError),
}

impl Addresses {
    fn of(network: Network, name: String) -> Self {
        Self::Pending(Box::pin(async move { network.lookup(&name).await }))
    }

    fn settle(&mut self, result: Result<Vec<IpAddr>, LookupError>) {
        *self = match result {
            Ok(addresses) => Self::Found(addresses.into_iter()),
            Err(error) => Self::Failed(error),
        };
    }

    /// Looks whether the answer is there.
    fn advance(&mut self) {
        if let Self::Pending(lookup) = self
            && let Some(result) = lookup.now_or_never()
        {
            self.settle(result);
        }
    }

    fn next(&mut self) -> Result<Option<IpAddress>, ErrorCode> {
        self.advance();
        match self {
            Self::Pending(_) => Err(ErrorCode::WouldBlock),
            Self::Found(addresses) => Ok(addresses.next().map(IpAddress::from)),
            Self::Failed(error) => Err((*error).into()),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        if let Self::Pending(lookup) = self {
            let result = lookup.await;
            self.settle(result);
        }
    }
}

impl From<LookupError> for ErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Denied | LookupError::Prohibited => Self::AccessDenied,
            LookupError::Invalid => Self::InvalidArgument,
            LookupError::NotFound => Self::NameUnresolvable,
            LookupError::TimedOut => Self::TemporaryResolverFailure,
        }
    }
}

type Stream = Resource<Addresses>;

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    sockets: fn(&mut T) -> TaskSockets<'_>,
) -> Result<()> {
    let mut interface = linker.instance(INTERFACE)?;
    interface.resource(
        "resolve-address-stream",
        ResourceType::host::<Addresses>(),
        move |mut store: StoreContextMut<'_, T>, stream| {
            sockets(store.data_mut()).inner.table.delete(Resource::<Addresses>::new_own(stream))?;
            Ok(())
        },
    )?;
    interface.func_wrap(
        "resolve-addresses",
        move |mut store: StoreContextMut<'_, T>, (handle, name): (Resource<NetworkHandle>, String)| {
            let sockets = sockets(store.data_mut());
            // The handle is the right to use the network at all; what may be resolved, the network says.
            sockets.inner.table.get(&handle)?;
            let mut addresses = Addresses::of(sockets.network.clone(), name);
            // What is refused is refused at once.
            addresses.advance();
            let answer: Result<Stream, ErrorCode> = match addresses {
                Addresses::Failed(error) => Err(error.into()),
                _ => Ok(sockets.inner.table.push(addresses)?),
            };
            Ok((answer,))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        move |mut store: StoreContextMut<'_, T>, (stream,): (Stream,)| {
            Ok((sockets(store.data_mut()).inner.table.get_mut(&stream)?.next(),))
        },
    )?;
    interface.func_wrap(
        "[method]resolve-address-stream.subscribe",
        move |mut store: StoreContextMut<'_, T>, (stream,): (Stream,)| -> Result<(Resource<DynPollable>,)> {
            Ok((subscribe(sockets(store.data_mut()).inner.table, stream)?,))
        },
    )?;
    Ok(())
}
