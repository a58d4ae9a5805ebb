//! Services that a task finds by name, in this process.
//!
//! Who they are is not this crate's to know: a [`Discovery`] finds them. What is decided here is what a container may make of them. Those of the
//! task's own namespace are its neighbours: it may reach them all, as in ECS Service Connect. Of others it may reach those that its egress names, by their full
//! names; `*` names none, for it means the outside.

use super::egress::normal_name;
use super::lookup::LookupError;
use super::{Mode, Network};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::time::timeout;

/// How long the addresses of a service may take that has to be woken.
const WAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// The port of a URL that names none. Whoever has a name answers there, unless the name is of several.
const DEFAULT_PORT: u16 = 80;

/// The body of a request to a service, and of its answer.
pub type Content = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What one task finds. It is asked on the way of requests, and waits for nobody.
pub trait Discovery: Debug + Send + Sync + 'static {
    /// The services of a name, in lower case and without a dot at its end: those of the task's own namespace, else, by their full names, those of others.
    fn find(&self, name: &str) -> Vec<Found>;

    /// Whose address a guest connects to, at a port that its clients use, and where that is in truth.
    fn at(&self, address: SocketAddr) -> Option<(SocketAddr, Found)>;
}

/// A service that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether it is in the task's own namespace.
    pub near: bool,
    /// Its full name: `orders.shop.local`.
    pub name: Arc<str>,
    /// It.
    pub service: Arc<dyn Service>,
}

/// What is behind a name.
pub trait Service: Debug + Send + Sync + 'static {
    /// The ports that its clients use.
    fn ports(&self) -> &[u16];

    /// Where its healthy tasks are reached by sockets. One that has no task because nobody asked for it is woken.
    fn addresses(&self, client: IpAddr) -> BoxFuture<'static, Vec<SocketAddr>>;

    /// Has one of its healthy tasks answer a request of `client`. It is always answered, if need be as a balancer would. Dropping the future, or the body of the
    /// answer, takes the request back.
    fn answer(&self, request: Request<Content>, client: IpAddr) -> BoxFuture<'static, Response<Content>>;
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Destination {
    /// To a service.
    Service(Arc<dyn Service>),
    /// To a service that does not answer on this port.
    Closed,
    /// Not to a service.
    Elsewhere,
}

impl Network {
    /// Where a request of `wasi:http` goes. Over https it goes to a socket, whoever has the name: a service's tasks encrypt for themselves.
    pub(crate) fn service_of<B>(&self, request: &Request<B>) -> Destination {
        let uri = request.uri();
        match uri.host() {
            Some(host) if uri.scheme() == Some(&Scheme::HTTP) => {
                self.service(host, uri.port_u16().unwrap_or(DEFAULT_PORT))
            }
            _ => Destination::Elsewhere,
        }
    }

    /// What a host name and a port mean.
    pub(super) fn service(&self, host: &str, port: u16) -> Destination {
        let found = self.found(host);
        let may = |found: &&Found| found.near || self.egress_names(found, port);
        let mut on_port = found.iter().filter(|found| found.service.ports().contains(&port)).filter(may);
        match (on_port.next(), found.as_slice()) {
            (Some(one), _) => Destination::Service(Arc::clone(&one.service)),
            (None, [only]) if port == DEFAULT_PORT && may(&only) => {
                Destination::Service(Arc::clone(&only.service))
            }
            (None, []) => Destination::Elsewhere,
            (None, _) => Destination::Closed,
        }
    }

    /// The addresses of a service's tasks; `None` if the name is no service's.
    pub(super) async fn addresses_of(&self, host: &str) -> Option<Result<Vec<IpAddr>, LookupError>> {
        let found = self.found(host);
        if found.is_empty() {
            return None;
        }
        let look = async {
            // The semaphore is never closed.
            let _turn = self.inner.task.lookups().acquire().await;
            let mut ips = Vec::new();
            for found in found {
                for address in found.service.addresses(self.address()).await {
                    // To a guest, 127.0.0.1 is its own task.
                    if address.ip() != Ipv4Addr::LOCALHOST && !ips.contains(&address.ip()) {
                        ips.push(address.ip());
                    }
                }
            }
            ips
        };
        Some(match timeout(WAKE_TIMEOUT, look).await {
            Ok(ips) if ips.is_empty() => Err(LookupError::NotFound),
            Ok(ips) => Ok(ips),
            Err(_) => Err(LookupError::TimedOut),
        })
    }

    /// Whether a service that may be reached has a task at `address`.
    pub(super) fn reaches(&self, address: SocketAddr) -> bool {
        self.at(address).is_some_and(|(actual, found)| {
            let mut ports = found.service.ports().iter().copied().chain([address.port()]);
            actual == address && (found.near || ports.any(|port| self.egress_names(&found, port)))
        })
    }

    /// Where a task of a service is in truth that a guest connects to at a port that only the service's name has.
    pub(super) fn actual(&self, address: SocketAddr) -> Option<SocketAddr> {
        self.at(address).map(|(actual, _)| actual)
    }

    /// Where the task's requests come from.
    pub(crate) fn address(&self) -> IpAddr {
        match self.mode() {
            Mode::Own(own) => own.into(),
            Mode::Host | Mode::None => Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn at(&self, address: SocketAddr) -> Option<(SocketAddr, Found)> {
        let ip = address.ip().to_canonical();
        // All tasks' own addresses are loopback ones.
        if !ip.is_loopback() || ip == Ipv4Addr::LOCALHOST {
            return None;
        }
        self.inner.task.discovery()?.at(SocketAddr::new(ip, address.port()))
    }

    /// The services of a name that the container may reach.
    fn found(&self, host: &str) -> Vec<Found> {
        let Some(discovery) = self.inner.task.discovery().filter(|_| self.has_sockets()) else {
            return Vec::new();
        };
        let mut found = discovery.find(&normal_name(host));
        found.retain(|found| found.near || !self.inner.egress.ports_naming(&found.name).is_empty());
        found
    }

    fn egress_names(&self, found: &Found, port: u16) -> bool {
        self.inner.egress.ports_naming(&found.name).iter().any(|ports| ports.contains(&port))
    }
}

#[cfg(test)]
mod tests;
