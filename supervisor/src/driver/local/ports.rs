//! A container's ports, where others than its task reach them.
//!
//! | network mode | a server | a handler, which has no socket |
//! | --- | --- | --- |
//! | `bridge` | the host port is forwarded to the task's address | its requests are answered at the host port |
//! | `awsvpc` | it is reached at the task's address | its requests are answered at the task's address |
//! | `host` | it listens at the host's itself | its requests are answered at the host port |
//!
//! In a task of several containers, and in one that others find by name, a handler is answered at the task's address in `bridge` too, where they look for it.

mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    Balancer, BalancerError, HealthCheckConfig, Listener, ListenerConfig, RegisterOptions, Target,
    TargetGroup, TargetGroupConfig, TargetState,
};
use coracle_runtime::TaskNetwork;
use coracle_runtime::network::task::{OpenPort, Transport};
use tokio::task::JoinHandle;

use super::{failure, in_words};
use crate::driver::{StartFailure, StartFailureKind};
use crate::model::task::NetworkBinding;
use crate::model::task_definition::{ContainerDefinition, NetworkMode, TransportProtocol};

/// Where host ports are bound when nothing else is said: as the API, out of reach of other machines.
pub const DEFAULT_HOST_PORT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The place that a container's ports are opened for.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) mode: NetworkMode,
    /// The task's own address, where its mode gives it one.
    pub(super) address: Option<Ipv4Addr>,
    /// Where host ports are bound.
    pub(super) host: IpAddr,
    /// Whether the task has other containers, or is found by others.
    pub(super) has_neighbours: bool,
    pub(super) network: TaskNetwork,
}

/// The open ports of one container. Dropped, they are closed at once.
#[derive(Debug, Default)]
pub(super) struct OpenPorts {
    bindings: Vec<NetworkBinding>,
    forwarders: Vec<Forwarder>,
    listeners: Vec<Answering>,
}

/// A listener of the balancer's that answers with a handler.
#[derive(Debug)]
struct Answering {
    listener: Option<Listener>,
    /// For the handler's neighbours.
    _open: Option<OpenPort>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        // Its handle is not the port: it must be told.
        if let (Some(listener), Ok(runtime)) = (self.listener.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { listener.close(Duration::ZERO).await });
        }
    }
}

/// A task that forwards; ended when dropped.
#[derive(Debug)]
struct Forwarder(JoinHandle<()>);

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Site {
    /// The task's address, where a handler is answered there.
    pub(super) fn answers_at(&self) -> Option<Ipv4Addr> {
        self.address.filter(|_| self.mode == NetworkMode::Awsvpc || self.has_neighbours)
    }
}

impl OpenPorts {
    /// Opens the ports of a server, before it starts: what comes early waits or is refused, as it would be by a server that starts.
    pub(super) async fn of_server(
        definition: &ContainerDefinition,
        site: &Site,
    ) -> Result<Self, StartFailure> {
        let mut open = Self::default();
        for (port, wanted, protocol) in mappings(definition) {
            match (site.mode, site.address) {
                // Where it listens is its own choice.
                (NetworkMode::Host, _) => open.bound(Ipv4Addr::UNSPECIFIED.into(), port, port, protocol),
                (NetworkMode::Bridge, Some(address)) => {
                    let host = SocketAddr::new(site.host, wanted.unwrap_or(0));
                    let task = SocketAddr::new(address.into(), port);
                    let forwarding = match protocol {
                        TransportProtocol::Tcp => tcp::forward(host, task).await,
                        TransportProtocol::Udp => udp::forward(host, task).await,
                    };
                    let (bound, forwarder) =
                        forwarding.map_err(|error| cannot_open(definition, host, protocol, &error))?;
                    open.forwarders.push(Forwarder(forwarder));
                    open.bound(bound.ip(), port, bound.port(), protocol);
                }
                // At the task's own address there is nothing to do; ECS lists no bindings there.
                _ => {}
            }
        }
        Ok(open)
    }

    /// Opens the ports of a handler that has started.
    pub(super) fn of_handler(
        definition: &ContainerDefinition,
        site: &Site,
        balancer: &Balancer,
        handler: &Arc<dyn Target>,
    ) -> Result<Self, StartFailure> {
        let mut open = Self::default();
        for (port, wanted, protocol) in mappings(definition) {
            if protocol == TransportProtocol::Udp {
                continue; // refused before the task began
            }
            let mut answer = |at: SocketAddr, is_tasks: bool| {
                let listener = answer_at(at, definition, balancer, handler)
                    .map_err(|error| cannot_open(definition, at, protocol, &error))?;
                let bound = listener.local_addr();
                let opened = is_tasks.then(|| site.network.open(Transport::Tcp, bound.port()));
                open.listeners.push(Answering { listener: Some(listener), _open: opened });
                Ok::<_, StartFailure>(bound)
            };
            if let Some(address) = site.answers_at() {
                answer(SocketAddr::new(address.into(), port), true)?;
            }
            let host = match site.mode {
                NetworkMode::Bridge => SocketAddr::new(site.host, wanted.unwrap_or(0)),
                NetworkMode::Host => SocketAddr::new(site.host, port),
                NetworkMode::Awsvpc | NetworkMode::None => continue,
            };
            let bound = answer(host, false)?;
            open.bound(bound.ip(), port, bound.port(), protocol);
        }
        Ok(open)
    }

    /// As DescribeTasks lists them.
    pub(super) fn bindings(&self) -> &[NetworkBinding] {
        &self.bindings
    }

    /// Takes nothing new; requests under way have `grace`. (What is forwarded to a server ends with the server.) The ports are free when
    /// this returns.
    pub(super) async fn close(mut self, grace: Duration) {
        for forwarder in &mut self.forwarders {
            forwarder.0.abort();
            // It was cancelled, which is all there is to know.
            (&mut forwarder.0).await.ok();
        }
        let listeners = self.listeners.iter_mut().filter_map(|answering| answering.listener.take());
        let listeners: Vec<Listener> = listeners.collect();
        futures_util::future::join_all(listeners.iter().map(|listener| listener.close(grace))).await;
    }

    fn bound(&mut self, ip: IpAddr, container_port: u16, host_port: u16, protocol: TransportProtocol) {
        self.bindings.push(NetworkBinding { bind_ip: ip.to_string(), container_port, host_port, protocol });
    }
}

/// Container port, host port if one was chosen, and protocol.
fn mappings(
    definition: &ContainerDefinition,
) -> impl Iterator<Item = (u16, Option<u16>, TransportProtocol)> + '_ {
    definition.port_mappings.iter().filter_map(|mapping| {
        let chosen = mapping.host_port.filter(|port| *port != 0);
        Some((mapping.container_port?, chosen, mapping.protocol))
    })
}

/// A group of its own for the one target: it is not checked, and its end is the container's.
fn answer_at(
    address: SocketAddr,
    definition: &ContainerDefinition,
    balancer: &Balancer,
    handler: &Arc<dyn Target>,
) -> io::Result<Listener> {
    let group = TargetGroup::new(TargetGroupConfig {
        health_check: HealthCheckConfig { enabled: false, ..HealthCheckConfig::default() },
        ..TargetGroupConfig::new(&definition.name)
    });
    group.register("container", Arc::clone(handler), RegisterOptions::new(TargetState::Unavailable));
    balancer.listen(ListenerConfig::new(definition.name.clone(), address), group).map_err(|error| match error
    {
        BalancerError::PortInUse { .. } => io::ErrorKind::AddrInUse.into(),
        BalancerError::Bind { source, .. } => source,
        error => io::Error::other(in_words(&error)),
    })
}

fn cannot_open(
    definition: &ContainerDefinition,
    address: SocketAddr,
    protocol: TransportProtocol,
    error: &io::Error,
) -> StartFailure {
    let protocol = match protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    };
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is already in use".to_owned(),
        _ => error.to_string(),
    };
    failure(
        StartFailureKind::ResourceInitialization,
        format!("cannot open {address}/{protocol} for container '{}': {why}", definition.name),
    )
}
