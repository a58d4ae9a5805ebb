//! Where a container lives on the network, and what it may reach.
//!
//! Every task of the network modes `bridge` and `awsvpc` has a loopback address of its own, so that many replicas all listen on port
//! 8080. To the containers of the task it is what localhost is on a machine: they share it, and reach each other there. Beyond it they
//! reach the services of their namespace and what their `coracle.egress` grants, and nothing else.
//!
//! - [`egress`]: what may be reached, by name and by address.
//! - [`special`]: addresses that no name leads to.
//! - [`lookup`]: names to addresses, and which of them may be connected to for a while.
//! - [`discovery`]: services that a task finds by name.
//! - [`metadata`]: what a task may ask about itself.
//! - [`task`]: what the containers of a task share: its address, its open ports and its limits.
//! - `peers`: who sent us datagrams, and may be answered.
//!
//! [`Network`] decides; `crate::sockets` and `crate::outgoing` ask it.

pub mod discovery;
pub mod egress;
pub mod lookup;
pub mod metadata;
mod peers;
pub mod special;
pub mod task;

use crate::outgoing::HttpClient;
use discovery::Destination;
use egress::Egress;
use http::Request;
use lookup::{LookupError, Names, Resolve, SystemResolver};
use metadata::Metadata;
use peers::Peers;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use task::{TaskShare, Transport};
use wasmtime_wasi::sockets::SocketAddrUse;

pub use task::TaskNetwork;

/// What tasks use of the host's network: one for the process.
#[derive(Debug)]
pub struct Uplink {
    resolver: Arc<dyn Resolve>,
    reserved: Vec<SocketAddr>,
    http: HttpClient,
}

impl Uplink {
    /// Names are resolved by `resolver`. What listens at a `reserved` address, the host's own API, is out of reach unless a pattern
    /// names that very address.
    pub fn new(resolver: Arc<dyn Resolve>, reserved: Vec<SocketAddr>, http: HttpClient) -> Arc<Self> {
        Arc::new(Self { resolver, reserved, http })
    }

    /// The system's resolver, nothing reserved, and the roots of trust that are built in.
    pub fn system() -> Arc<Self> {
        Self::new(Arc::new(SystemResolver), Vec::new(), HttpClient::default())
    }

    fn is_reserved(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.reserved.iter().any(|reserved| {
            reserved.port() == address.port()
                && (reserved.ip() == ip || (reserved.ip().is_unspecified() && is_this_hosts(ip)))
        })
    }
}

/// Whether one of this host's interfaces has the address. Asked only for ports that are reserved on all of them.
fn is_this_hosts(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Which addresses a task has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    None,
    Host,
    Own(Ipv4Addr),
}

/// One container's network. A handle: clones are the same.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    egress: Egress,
    names: Names,
    peers: Peers,
    task: Arc<TaskShare>,
    stopped_accepting: AtomicBool,
}

/// Where a socket that a guest wants to bind is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) address: SocketAddr,
    /// The guest's socket is of IPv6 and the address of IPv4: another kind of socket must take its place.
    pub(crate) in_place_of_v6: bool,
}

impl Network {
    /// No network at all.
    pub fn none() -> Self {
        TaskNetwork::none(Uplink::system()).container(Egress::default())
    }

    /// The host's, without restriction.
    pub fn host() -> Self {
        TaskNetwork::host(Uplink::system()).container(Egress::default())
    }

    fn new(egress: Egress, task: Arc<TaskShare>) -> Self {
        let inner = Inner {
            egress,
            names: Names::default(),
            peers: Peers::default(),
            task,
            stopped_accepting: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// From now on new connections are refused; those that were made go on.
    pub fn stop_accepting(&self) {
        self.inner.stopped_accepting.store(true, Ordering::Relaxed);
    }

    /// Whether a guest may have sockets at all.
    pub fn has_sockets(&self) -> bool {
        self.mode() != Mode::None
    }

    /// Whether a guest may use `address`. It may listen at its task's address, talk to who connected or sent something, and connect
    /// to what it is granted.
    pub fn permits(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        if matches!(purpose, SocketAddrUse::TcpAccept) && self.inner.stopped_accepting.load(Ordering::Relaxed)
        {
            return false;
        }
        let own = match self.mode() {
            Mode::None => return false,
            Mode::Host => return true,
            Mode::Own(own) => own,
        };
        match purpose {
            // The wildcard with port 0 is what a socket gets that connects or sends before it was bound; `bind_address` lets
            // no guest have it by its own choice, except to send datagrams to the outside.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                address.ip() == own || (address.ip().is_unspecified() && address.port() == 0)
            }
            SocketAddrUse::TcpListen => address.ip() == own,
            // Whoever can reach a task's loopback address is this host: another task is stopped on its own side.
            SocketAddrUse::TcpAccept => true,
            SocketAddrUse::TcpConnect => self.grants(address, Transport::Tcp),
            SocketAddrUse::UdpSend => {
                self.grants(address, Transport::Udp) || self.inner.peers.include(address)
            }
            SocketAddrUse::UdpReceive => {
                if address.ip().is_loopback() {
                    if address.ip() != own {
                        self.inner.peers.remember(address);
                    }
                    return true;
                }
                // A socket that sends to the outside is bound to the wildcard: strangers could write to it.
                self.grants(address, Transport::Udp)
            }
        }
    }

    /// Whether a guest may reach `address` by its own will.
    pub(crate) fn grants(&self, address: SocketAddr, transport: Transport) -> bool {
        let own = match self.mode() {
            Mode::None => return false,
            Mode::Host => return true,
            Mode::Own(own) => own,
        };
        let address = canonical(address);
        let Inner { egress, names, task, .. } = &*self.inner;
        if transport == Transport::Tcp && task.metadata().is_listener(address) {
            return true;
        }
        if address.ip() == own {
            // Only what the task itself has bound: what another program of this host listens to on all addresses, it listens to on
            // the task's as well.
            return task.has_port(transport, address.port());
        }
        if egress.grants_literally(address) || (transport == Transport::Tcp && self.reaches(address)) {
            return true;
        }
        if task.uplink().is_reserved(address) {
            return false;
        }
        egress.grants(address) || (!special::is_special(address.ip()) && names.grant(address))
    }

    /// Where a guest that asks for `wanted` is bound. The task's address stands for the wildcard and for loopback, of IPv6 too:
    /// there is no IPv6 loopback network to give addresses from.
    pub(crate) fn bind_address(&self, wanted: SocketAddr, transport: Transport) -> Binding {
        let unchanged = Binding { address: wanted, in_place_of_v6: false };
        let Mode::Own(own) = self.mode() else { return unchanged };
        let ip = wanted.ip().to_canonical();
        if !(ip.is_unspecified() || is_localhost(ip)) {
            return unchanged;
        }
        // A client's socket. At a loopback address it could send nothing to the outside, so where something there is granted it
        // is bound to the wildcard, and `permits` keeps strangers' datagrams out.
        let is_client = transport == Transport::Udp && ip.is_unspecified() && wanted.port() == 0;
        if is_client && !self.inner.egress.is_empty() {
            return unchanged;
        }
        Binding { address: SocketAddr::new(own.into(), wanted.port()), in_place_of_v6: wanted.is_ipv6() }
    }

    /// What a guest means by the address that it connects or sends to: localhost is the task itself, unless the host's is granted or
    /// the guest answers one who sent from there.
    pub(crate) fn destination(&self, wanted: SocketAddr, transport: Transport) -> SocketAddr {
        if transport == Transport::Tcp
            && self.has_sockets()
            && let Some(listener) = self.inner.task.metadata().destination(wanted)
        {
            return listener;
        }
        if transport == Transport::Tcp
            && let Some(actual) = self.actual(wanted)
        {
            return actual;
        }
        let Mode::Own(own) = self.mode() else { return wanted };
        let ip = wanted.ip().to_canonical();
        if !(ip.is_unspecified() || is_localhost(ip)) {
            return wanted;
        }
        let Inner { egress, peers, task, .. } = &*self.inner;
        let answers = || {
            transport == Transport::Udp && !task.has_port(transport, wanted.port()) && peers.include(wanted)
        };
        let is_meant = is_localhost(ip) && (egress.grants_address(wanted) || answers());
        if is_meant { wanted } else { SocketAddr::new(own.into(), wanted.port()) }
    }

    /// How a remote address is shown to the guest: what is at the task's own is at localhost, where the guest expects its answer from.
    pub(crate) fn shown(&self, remote: SocketAddr) -> SocketAddr {
        if self.inner.task.metadata().is_listener(remote) {
            return metadata::ADDRESS;
        }
        match self.mode() {
            Mode::Own(own) if remote.ip() == own => {
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), remote.port())
            }
            _ => remote,
        }
    }

    /// Whether `address` is a port of the task that nothing has opened. A program that waits for its neighbour wants to hear that, and
    /// not that it may not connect.
    pub(crate) fn is_closed(&self, address: SocketAddr) -> bool {
        matches!(self.mode(), Mode::Own(own) if address.ip() == own)
            && !self.inner.task.has_port(Transport::Tcp, address.port())
    }

    /// The addresses that a name leads to, as far as the guest may connect to them. It may, for some minutes.
    pub(crate) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Some(found) = self.addresses_of(name).await {
            return found;
        }
        let Inner { egress, names, task, .. } = &*self.inner;
        let resolver = &task.uplink().resolver;
        match self.mode() {
            Mode::None => Err(LookupError::Denied),
            Mode::Host => lookup::unrestricted(name, &**resolver, task.lookups()).await,
            Mode::Own(_) => names.lookup(name, egress, &**resolver, task.lookups()).await,
        }
    }

    /// The addresses at which `host` may be reached on `port`.
    pub(crate) async fn route(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = host.parse::<IpAddr>() {
            let address = self.destination(SocketAddr::new(ip, port), Transport::Tcp);
            return if self.grants(address, Transport::Tcp) {
                Ok(vec![address])
            } else {
                Err(LookupError::Denied)
            };
        }
        if self.mode() != Mode::Host && !self.names_port(host, port) {
            return Err(LookupError::Denied);
        }
        let ips = self.lookup(host).await?.into_iter();
        let addresses = ips.map(|ip| self.destination(SocketAddr::new(ip, port), Transport::Tcp));
        let granted: Vec<_> = addresses.filter(|address| self.grants(*address, Transport::Tcp)).collect();
        if granted.is_empty() { Err(LookupError::Prohibited) } else { Ok(granted) }
    }

    /// Whether the container may reach `host` on `port` at all, by name.
    fn names_port(&self, host: &str, port: u16) -> bool {
        let name = egress::normal_name(host);
        egress::is_local_name(&name)
            || self.inner.egress.ports_of(&name).iter().any(|ports| ports.contains(&port))
            || matches!(self.service(host, port), Destination::Service(_))
    }

    /// Who answers a request to the task metadata endpoint, if it is one.
    pub(crate) fn metadata<B>(&self, request: &Request<B>) -> Option<Arc<dyn Metadata>> {
        let metadata = self.inner.task.metadata().of(request)?;
        self.has_sockets().then(|| metadata.clone())
    }

    pub(crate) fn task(&self) -> &Arc<TaskShare> {
        &self.inner.task
    }

    pub(crate) fn http(&self) -> &HttpClient {
        &self.inner.task.uplink().http
    }

    /// Tells containers apart that connect with different rights. As long as the handle lives, no other has it.
    pub(crate) fn id(&self) -> u64 {
        self.inner.names.id()
    }

    fn mode(&self) -> Mode {
        self.inner.task.mode()
    }
}

fn is_localhost(ip: IpAddr) -> bool {
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
