//! What the containers of a task share: its address, its open ports and its limits.

use super::discovery::Discovery;
use super::egress::Egress;
use super::metadata::{Metadata, TaskMetadata};
use super::{Mode, Network, Uplink};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio::sync::Semaphore;

/// Sockets of a task, listening and connected, over all its containers and instances. A process has file descriptors for some of these.
pub const MAX_SOCKETS: usize = 1024;
/// Requests of a task that are on their way to others at once; more wait.
pub const MAX_OUTGOING_REQUESTS: usize = 128;
/// Names that a task has resolved at once; more wait. Resolving takes a thread of the process each.
pub const MAX_LOOKUPS: usize = 8;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A task's place on the network. A handle: clones are the same task's.
#[derive(Clone, Debug)]
pub struct TaskNetwork {
    share: Arc<TaskShare>,
}

impl TaskNetwork {
    /// A task with a loopback address of its own: the network modes `bridge` and `awsvpc`.
    pub fn with_address(address: Ipv4Addr, uplink: Arc<Uplink>) -> Self {
        Self::new(Mode::Own(address), uplink)
    }

    /// A task that uses the host's addresses, without restriction.
    pub fn host(uplink: Arc<Uplink>) -> Self {
        Self::new(Mode::Host, uplink)
    }

    /// A task without a network.
    pub fn none(uplink: Arc<Uplink>) -> Self {
        Self::new(Mode::None, uplink)
    }

    fn new(mode: Mode, uplink: Arc<Uplink>) -> Self {
        let share = TaskShare {
            mode,
            uplink,
            ports: RwLock::default(),
            sockets: AtomicUsize::new(0),
            requests: Arc::new(Semaphore::new(MAX_OUTGOING_REQUESTS)),
            lookups: Semaphore::new(MAX_LOOKUPS),
            metadata: TaskMetadata::default(),
            discovery: OnceLock::new(),
        };
        Self { share: Arc::new(share) }
    }

    /// The same task, which may ask `metadata` about itself.
    #[must_use]
    pub fn with_metadata(self, metadata: Arc<dyn Metadata>) -> Self {
        self.share.metadata.set(metadata);
        self
    }

    /// The same task, which finds services by name.
    #[must_use]
    pub fn with_discovery(self, discovery: Arc<dyn Discovery>) -> Self {
        // A task has one for its life.
        let _first = self.share.discovery.set(discovery);
        self
    }

    /// The network of one of the task's containers, which may reach what `egress` grants.
    pub fn container(&self, egress: Egress) -> Network {
        Network::new(egress, self.share.clone())
    }

    /// Lets the task's containers connect to a port at its address that the host has bound for it, until the result is dropped.
    pub fn open(&self, transport: Transport, port: u16) -> OpenPort {
        OpenPort::new(self.share.clone(), transport, port)
    }
}

/// The shared part.
#[derive(Debug)]
pub(crate) struct TaskShare {
    mode: Mode,
    uplink: Arc<Uplink>,
    /// How often each port is bound at the task's address.
    ports: RwLock<BTreeMap<(Transport, u16), usize>>,
    sockets: AtomicUsize,
    requests: Arc<Semaphore>,
    lookups: Semaphore,
    metadata: TaskMetadata,
    discovery: OnceLock<Arc<dyn Discovery>>,
}

impl TaskShare {
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn uplink(&self) -> &Uplink {
        &self.uplink
    }

    pub(crate) fn requests(&self) -> &Arc<Semaphore> {
        &self.requests
    }

    pub(super) fn metadata(&self) -> &TaskMetadata {
        &self.metadata
    }

    pub(super) fn discovery(&self) -> Option<&dyn Discovery> {
        self.discovery.get().map(|discovery| &**discovery)
    }

    pub(super) fn lookups(&self) -> &Semaphore {
        &self.lookups
    }

    pub(super) fn has_port(&self, transport: Transport, port: u16) -> bool {
        self.ports.read().unwrap_or_else(PoisonError::into_inner).contains_key(&(transport, port))
    }

    /// Room for one more socket; `None` when the task has as many as it may have.
    pub(crate) fn socket(self: &Arc<Self>) -> Option<SocketPermit> {
        let room = |sockets: usize| (sockets < MAX_SOCKETS).then_some(sockets + 1);
        // Counts, and orders nothing else.
        self.sockets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(SocketPermit { task: self.clone() })
    }

    #[cfg(test)]
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }
}

/// Room for one socket, given back when dropped.
#[derive(Debug)]
pub(crate) struct SocketPermit {
    task: Arc<TaskShare>,
}

impl SocketPermit {
    /// Notes that the socket is bound at the task's address.
    pub(crate) fn open(&self, transport: Transport, port: u16) -> OpenPort {
        OpenPort::new(self.task.clone(), transport, port)
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        self.task.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A port that is bound at a task's address, until this is dropped.
#[derive(Debug)]
pub struct OpenPort {
    task: Arc<TaskShare>,
    key: (Transport, u16),
}

impl OpenPort {
    fn new(task: Arc<TaskShare>, transport: Transport, port: u16) -> Self {
        let key = (transport, port);
        *task.ports.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        Self { task, key }
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        let mut ports = self.task.ports.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = ports.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                ports.remove(&self.key);
            }
        }
    }
}
