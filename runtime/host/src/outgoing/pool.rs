//! Connections that wait for another request.

use super::connect::Sender;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Idle connections of the process: each is a descriptor.
const MOST: usize = 256;
/// Idle connections of one container to one server.
const MOST_PER_KEY: usize = 32;
/// How long one waits. Servers close theirs after a minute or so, and a request that meets the close is sent twice.
const LIFETIME: Duration = Duration::from_secs(50);
/// How long a connection may take to be ready after the last byte of an answer.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection may be used for. It carries the container, for it was made with that one's rights.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) network: u64,
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first.
    idle: HashMap<Key, Vec<Idle>>,
    count: usize,
    sweeper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// The connection that was used last, as the one that is least likely to be closed by the server.
    pub(super) fn take(&self, key: &Key) -> Option<Sender> {
        let mut state = self.lock();
        let connections = state.idle.get_mut(key)?;
        let mut taken = 0;
        let found = loop {
            let Some(idle) = connections.pop() else { break None };
            taken += 1;
            if idle.sender.is_ready() && idle.since.elapsed() < LIFETIME {
                break Some(idle.sender);
            }
        };
        if connections.is_empty() {
            state.idle.remove(key);
        }
        state.count -= taken;
        found
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(self: &Arc<Self>, key: Key, mut sender: Sender) {
        if sender.is_ready() {
            return self.keep(key, sender);
        }
        // The connection's own task has yet to see that the answer is over.
        let pool = self.clone();
        tokio::spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE_TIMEOUT, sender.ready()).await {
                pool.keep(key, sender);
            }
        });
    }

    fn keep(self: &Arc<Self>, key: Key, sender: Sender) {
        let mut state = self.lock();
        if state.count >= MOST {
            state.drop_oldest();
        }
        let connections = state.idle.entry(key).or_default();
        let is_full = connections.len() >= MOST_PER_KEY;
        if is_full {
            connections.remove(0);
        }
        connections.push(Idle { sender, since: Instant::now() });
        state.count += usize::from(!is_full);
        // It ends when nothing is left, or with the tokio runtime that it was spawned on.
        if state.sweeper.as_ref().is_none_or(JoinHandle::is_finished) {
            state.sweeper = Some(tokio::spawn(sweep(Arc::downgrade(self))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_oldest(&mut self) {
        let oldest =
            self.idle.iter().min_by_key(|(_, connections)| connections.first().map(|idle| idle.since));
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
        if let Some(connections) = self.idle.get_mut(&key) {
            connections.remove(0);
            self.count -= 1;
            if connections.is_empty() {
                self.idle.remove(&key);
            }
        }
    }

    fn drop_expired(&mut self) {
        for connections in self.idle.values_mut() {
            connections.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < LIFETIME);
        }
        self.idle.retain(|_, connections| !connections.is_empty());
        self.count = self.idle.values().map(Vec::len).sum();
    }
}

/// Closes what waited too long, until nothing waits.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(LIFETIME / 5).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.lock();
        state.drop_expired();
        if state.count == 0 {
            state.sweeper = None;
            return;
        }
    }
}
