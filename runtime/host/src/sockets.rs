//! wasmtime's sockets, living where the task does.
//!
//! WASI's address check can refuse an address but not change it. So the host functions of `wasi:sockets` are put behind a wrapper that
//! turns the addresses a guest names into those it means ([`Network`] knows), counts the sockets of the task, and leaves all else to
//! wasmtime: a byte of TCP passes no code of ours.
//!
//! - `ledger`: the sockets that a store has.
//! - `tcp`, `udp`, `names`: preview 2.
//! - `preview3`: the same for preview 3.

mod ledger;
mod names;
mod preview3;
mod tcp;
mod udp;

use crate::network::Network;
use ledger::Ledger;
pub use ledger::SocketLedger;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::SocketError;
use wasmtime_wasi::p2::bindings::sockets::{self, network};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView, WasiSocketsView};

/// wasmtime's sockets, with the network they live on.
pub struct TaskSockets<'a> {
    inner: WasiSocketsCtxView<'a>,
    network: &'a Network,
    ledger: &'a mut Ledger,
}

impl std::fmt::Debug for TaskSockets<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TaskSockets").field("network", self.network).finish_non_exhaustive()
    }
}

impl<'a> TaskSockets<'a> {
    /// The sockets of a store whose guest has `network`.
    pub fn new(inner: WasiSocketsCtxView<'a>, network: &'a Network, sockets: &'a mut SocketLedger) -> Self {
        Self { inner, network, ledger: sockets.ledger() }
    }
}

/// Grants what `network` does in a context that is being built, and gives what the store needs to keep count.
pub fn grant(wasi: &mut WasiCtxBuilder, network: &Network) -> SocketLedger {
    let ledger = SocketLedger::default();
    let may = network.has_sockets();
    wasi.allow_tcp(may).allow_udp(may).allow_ip_name_lookup(may);
    let (network, accepted) = (network.clone(), ledger.accepted());
    wasi.socket_addr_check(move |address, purpose| {
        let permitted = network.permits(address, purpose)
            // Preview 3 accepts where no wrapper sees it. One connection too many is closed, as by a full backlog.
            && (!matches!(purpose, SocketAddrUse::TcpAccept) || accepted.admit(network.task()));
        Box::pin(std::future::ready(permitted))
    });
    ledger
}

/// Marks [`TaskSockets`] as what the host functions work on.
struct HasTaskSockets;

impl HasData for HasTaskSockets {
    type Data<'a> = TaskSockets<'a>;
}

/// Adds the wrapped interfaces. The linker must allow shadowing where it has wasmtime's already.
pub(crate) fn add_preview2_to_linker<T: WasiSocketsView + Send + 'static>(
    linker: &mut Linker<T>,
    task_sockets: fn(&mut T) -> TaskSockets<'_>,
) -> Result<()> {
    sockets::tcp::add_to_linker::<T, HasTaskSockets>(linker, task_sockets)?;
    sockets::udp::add_to_linker::<T, HasTaskSockets>(linker, task_sockets)?;
    sockets::tcp_create_socket::add_to_linker::<T, HasTaskSockets>(linker, task_sockets)?;
    sockets::udp_create_socket::add_to_linker::<T, HasTaskSockets>(linker, task_sockets)?;
    names::add_to_linker(linker, task_sockets)
}

/// The same for WASI 0.3.
pub(crate) fn add_preview3_to_linker<T: WasiSocketsView + Send + 'static>(
    linker: &mut Linker<T>,
    task_sockets: fn(&mut T) -> TaskSockets<'_>,
) -> Result<()> {
    preview3::add_to_linker(linker, task_sockets)
}

impl network::Host for TaskSockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> Result<network::ErrorCode> {
        network::Host::convert_error_code(&mut self.inner, error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<network::ErrorCode>> {
        self.inner.network_error_code(error)
    }
}

impl network::HostNetwork for TaskSockets<'_> {
    fn drop(&mut self, this: Resource<network::Network>) -> Result<()> {
        network::HostNetwork::drop(&mut self.inner, this)
    }
}

/// The same handle once more: what it is given to only borrows it.
fn again<T: 'static>(this: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(this.rep())
}
