//! A port the balancer listens on.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::drain::Drain;
use crate::headers::HeaderPolicy;
use crate::limits::{Limiter, Limits};
use crate::pace::TransferRates;
use crate::tls::Certificates;
use crate::trace::Tracer;
use crate::{BalancerError, Routes};

/// Connections the kernel holds for us while we are busy; it caps this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Connections cut off at the deadline are gone as soon as their tasks are polled; this only bounds that.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a listener is opened with.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Name for logs.
    pub name: String,
    /// Where to listen; port 0 picks a free one.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// Each connection begins with a PROXY protocol header, version 1 or 2, that tells the client's address; one without
    /// is closed. Only for a listener that none but such a proxy can reach.
    pub proxy_protocol: bool,
    /// What is done about `X-Forwarded-For`: ALB's `routing.http.xff_header_processing.mode`, `append` by default.
    pub x_forwarded_for: HeaderPolicy,
    /// What is done about `Forwarded` (RFC 7239): `preserve` by default, as on ALB, which does not know it.
    pub forwarded: HeaderPolicy,
    /// What clients may ask for. By default nothing is limited but headers.
    pub limits: Limits,
    /// How slow clients may be.
    pub transfer_rates: TransferRates,
    /// Where a line is written for each request.
    pub access_log: Option<Arc<AccessLog>>,
    /// Who is told what becomes of each request.
    pub tracer: Option<Arc<Tracer>>,
}

impl ListenerConfig {
    /// HTTP, from clients themselves.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            name: name.into(),
            address,
            protocol: ListenerProtocol::Http,
            proxy_protocol: false,
            x_forwarded_for: HeaderPolicy::Append,
            forwarded: HeaderPolicy::Preserve,
            limits: Limits::default(),
            transfer_rates: TransferRates::default(),
            access_log: None,
            tracer: None,
        }
    }
}

/// What a listener speaks, in ELBv2's words.
#[derive(Clone, Debug, Default)]
pub enum ListenerProtocol {
    /// `HTTP`: HTTP/1.1, and HTTP/2 with prior knowledge.
    #[default]
    Http,
    /// `HTTPS`: TLS with HTTP/2 or HTTP/1.1 inside, as the client chooses by ALPN.
    Https(Certificates),
    /// `TCP`: connections are passed on as they are.
    Tcp,
    /// `TLS`: what is inside is passed on as it is.
    Tls(Certificates),
}

/// [`ListenerProtocol`] as connections need it.
#[derive(Debug)]
pub(crate) struct Speaks {
    /// HTTP, else connections are passed on.
    pub(crate) http: bool,
    pub(crate) tls: Option<ArcSwap<ServerConfig>>,
}

impl From<ListenerProtocol> for Speaks {
    fn from(protocol: ListenerProtocol) -> Self {
        let (http, certificates) = match protocol {
            ListenerProtocol::Http => (true, None),
            ListenerProtocol::Https(certificates) => (true, Some(certificates)),
            ListenerProtocol::Tcp => (false, None),
            ListenerProtocol::Tls(certificates) => (false, Some(certificates)),
        };
        Self { http, tls: certificates.map(|certificates| ArcSwap::new(certificates.server_config(http))) }
    }
}

/// A port the balancer listens on. A cheap handle: dropping it does not close the port, [`Listener::close`] and
/// [`Balancer::shutdown`](crate::Balancer::shutdown) do.
#[derive(Clone, Debug)]
pub struct Listener {
    pub(crate) shared: Arc<Shared>,
}

/// What the data-plane threads share of a listener; they only read it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) speaks: Speaks,
    pub(crate) proxy_protocol: bool,
    pub(crate) x_forwarded_for: HeaderPolicy,
    pub(crate) forwarded: HeaderPolicy,
    /// Looked at once per connection.
    pub(crate) limiter: ArcSwapOption<Limiter>,
    /// Looked at once per connection.
    pub(crate) transfer_rates: ArcSwap<TransferRates>,
    pub(crate) access_log: Option<Arc<AccessLog>>,
    /// Looked at once per connection.
    pub(crate) tracer: ArcSwapOption<Tracer>,
    pub(crate) routes: ArcSwap<Routes>,
    pub(crate) drain: Drain,
    /// The accept loops and connections.
    pub(crate) tasks: TaskTracker,
}

impl Listener {
    /// The address it listens on, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.address
    }

    /// The name it was opened with.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Treats all requests from now on by other rules. Those under way stay where they are, and no connection is closed.
    pub fn set_routes(&self, routes: impl Into<Routes>) {
        self.shared.routes.store(Arc::new(routes.into()));
    }

    /// The rules requests are treated by.
    pub fn routes(&self) -> Arc<Routes> {
        self.shared.routes.load_full()
    }

    /// Lets connections in by other limits from now on. Those that are open keep the limits they came under, and what they
    /// take is not counted against the new ones.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.limiter.store(Limiter::new(limits));
    }

    /// Serves connections that come from now on by other minima of their speed.
    pub fn set_transfer_rates(&self, rates: TransferRates) {
        self.shared.transfer_rates.store(Arc::new(rates));
    }

    /// Tells of the requests of connections that come from now on to another, or nobody.
    pub fn set_tracer(&self, tracer: Option<Arc<Tracer>>) {
        self.shared.tracer.store(tracer);
    }

    /// Makes TLS handshakes with other certificates from now on. False: it speaks no TLS.
    pub fn set_certificates(&self, certificates: &Certificates) -> bool {
        let speaks = &self.shared.speaks;
        let Some(tls) = &speaks.tls else { return false };
        tls.store(certificates.server_config(speaks.http));
        true
    }

    /// Whether it was closed and all its connections have ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.tasks.is_closed() && self.shared.tasks.is_empty()
    }

    /// Closes the port and drains: connections that were accepted, or waited to be, get their answers; idle ones are
    /// closed; the others are told that this is the last answer (`Connection: close`, GOAWAY). What is not done by
    /// `deadline` from now is cut off. Must be called inside a tokio runtime.
    pub async fn close(&self, deadline: Duration) {
        let shared = &self.shared;
        shared.drain.begin();
        shared.tasks.close();
        if tokio::time::timeout(deadline, shared.tasks.wait()).await.is_err() {
            tracing::warn!(
                listener = shared.name,
                connections = shared.tasks.len(),
                "cut off at the deadline"
            );
            shared.drain.abort();
            let ended = tokio::time::timeout(ABORT_TIMEOUT, shared.tasks.wait()).await;
            if ended.is_err() {
                tracing::warn!(listener = shared.name, "a connection did not end when cut off");
            }
        }
    }
}

/// One socket per data-plane thread, all on one port, among which Linux spreads the connections. Other kernels would give them all to one of
/// the sockets, so there the threads share a queue.
pub(crate) fn bind(
    address: SocketAddr,
    sockets: usize,
) -> Result<(SocketAddr, Vec<TcpListener>), BalancerError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BalancerError::PortInUse { address },
        _ => BalancerError::Bind { address, source },
    };
    // The first socket claims the port for itself, and is opened to sharing only then. Were it shared from the start, a
    // second coracle of the same user could listen on the same port and get half of our connections, and port 0 could
    // come out as the port of another listener.
    let first = socket(address, false).and_then(listen).map_err(failed)?;
    first.set_reuse_port(true).map_err(failed)?;
    let first = TcpListener::from(first);
    let address = first.local_addr().map_err(failed)?;
    let other = |_| match socket(address, true).and_then(listen) {
        Ok(socket) if cfg!(target_os = "linux") => Ok(socket.into()),
        _ => first.try_clone(),
    };
    let others = (1..sockets).map(other).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    Ok((address, std::iter::once(first).chain(others).collect()))
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Or a restart would have to wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
