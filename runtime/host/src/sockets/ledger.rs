//! The sockets that a store has, and the room in its task that they take.
//!
//! wasmtime's sockets are closed to us: nothing can be kept inside of them. So the room is kept beside them, under the number that the
//! store's table knows them by.

use crate::network::task::{OpenPort, SocketPermit, TaskShare, Transport};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The sockets of one store; the room they take goes back with it.
#[derive(Debug, Default)]
pub struct SocketLedger {
    ledger: Ledger,
}

impl SocketLedger {
    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    pub(super) fn accepted(&self) -> Accepted {
        self.ledger.accepted.clone()
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    held: HashMap<u32, Held>,
    /// Of sockets whose streams of connections may outlive them: we cannot see those end, so the room is kept until the store does.
    kept: Vec<Held>,
    /// Those that are still there.
    kept_sockets: HashSet<u32>,
    accepted: Accepted,
}

#[derive(Debug)]
struct Held {
    permit: Arc<SocketPermit>,
    port: Option<OpenPort>,
}

/// Room that was taken for connections before their sockets were known.
#[derive(Clone, Debug, Default)]
pub(super) struct Accepted(Arc<Mutex<Vec<SocketPermit>>>);

impl Accepted {
    /// Takes room for a connection that is about to be accepted; false when there is none.
    pub(super) fn admit(&self, task: &Arc<TaskShare>) -> bool {
        let permit = task.socket();
        let admitted = permit.is_some();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(permit);
        admitted
    }

    fn take(&self) -> Option<SocketPermit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Ledger {
    pub(super) fn hold(&mut self, socket: u32, permit: SocketPermit) {
        self.held.insert(socket, Held { permit: Arc::new(permit), port: None });
    }

    /// Notes that a socket is bound at the task's address.
    pub(super) fn bound(&mut self, socket: u32, transport: Transport, port: u16) {
        if let Some(held) = self.held.get_mut(&socket) {
            held.port = Some(held.permit.open(transport, port));
        }
    }

    /// The room of a socket, for what may outlive it. One that was accepted is seen here for the first time.
    pub(super) fn room_of(&mut self, socket: u32) -> Option<Arc<SocketPermit>> {
        if let Some(held) = self.held.get(&socket) {
            return Some(held.permit.clone());
        }
        let permit = Arc::new(self.accepted.take()?);
        self.held.insert(socket, Held { permit: permit.clone(), port: None });
        Some(permit)
    }

    /// Keeps the room and the port of a socket that listens for the life of the store.
    pub(super) fn keep(&mut self, socket: u32) {
        self.kept.extend(self.held.remove(&socket));
        self.kept_sockets.insert(socket);
    }

    /// Gives back the room of a socket that is dropped.
    pub(super) fn release(&mut self, socket: u32) {
        if self.held.remove(&socket).is_none() && !self.kept_sockets.remove(&socket) {
            // Accepted, and never asked for anything.
            drop(self.accepted.take());
        }
    }
}
