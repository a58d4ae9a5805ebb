//! `wasi:sockets` of preview 3: the same rules over other signatures.

mod tcp;
mod udp;

use super::{HasTaskSockets, TaskSockets};
use crate::network::Network;
use crate::network::lookup::LookupError;
use wasmtime::Result;
use wasmtime::component::{Accessor, Linker};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup::{self, ErrorCode as LookupErrorCode};
use wasmtime_wasi::p3::bindings::sockets::types::{self, ErrorCode, IpAddress};
use wasmtime_wasi::p3::sockets::SocketError;
use wasmtime_wasi::sockets::WasiSocketsView;

pub(super) fn add_to_linker<T: WasiSocketsView + Send + 'static>(
    linker: &mut Linker<T>,
    sockets: fn(&mut T) -> TaskSockets<'_>,
) -> Result<()> {
    types::add_to_linker::<T, HasTaskSockets>(linker, sockets)?;
    ip_name_lookup::add_to_linker::<T, HasTaskSockets>(linker, sockets)
}

impl types::Host for TaskSockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        types::Host::convert_error_code(&mut self.inner, error)
    }
}

impl ip_name_lookup::Host for TaskSockets<'_> {}

impl<T: 'static> ip_name_lookup::HostWithStore<T> for HasTaskSockets {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> Result<Result<Vec<IpAddress>, LookupErrorCode>> {
        let network: Network = store.with(|mut access| access.get().network.clone());
        let found = network.lookup(&name).await;
        Ok(found.map(|ips| ips.into_iter().map(IpAddress::from).collect()).map_err(LookupErrorCode::from))
    }
}

impl From<LookupError> for LookupErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Denied | LookupError::Prohibited => Self::AccessDenied,
            LookupError::Invalid => Self::InvalidArgument,
            LookupError::NotFound => Self::NameUnresolvable,
            LookupError::TimedOut => Self::TemporaryResolverFailure,
        }
    }
}

/// Preview 3 has no code for a process, here a task, that has as many sockets as it may have.
fn too_many() -> SocketError {
    ErrorCode::Other(Some("new-socket-limit".to_owned())).into()
}
