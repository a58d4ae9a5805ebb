//! Where wanted state is kept: a small transactional key-value store with etcd's semantics.
//!
//! Keys are ordered texts, each put gives its key a new revision, a transaction compares revisions and then changes several keys at once or
//! none, and a prefix can be watched. That is the part of etcd that we use, so that several nodes are the same code over etcd's own client.
//!
//! Keys under [`SESSION`] live as long as the process that wrote them: what etcd does with keys under a lease whose holder died. Embedded stores
//! keep them in memory only, which makes writing one cost no disk flush. Everything else is durable before it is answered.
//!
//! - [`memory::MemoryStore`]: nothing survives. For `coracle serve` and for tests.
//! - [`redb::RedbStore`]: one file, one flush for all transactions that wait at the same time.

pub(crate) mod engine;
pub mod memory;
pub mod redb;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Keys under this prefix vanish with the process that wrote them.
pub const SESSION: &str = "session/";

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The value.
    pub value: Bytes,
    /// Of the transaction that last put the key: etcd's `mod_revision`. Grows with each transaction; a key's revisions are never reused while
    /// the store is open.
    pub revision: u64,
}

/// What must hold for a transaction to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists.
    Exists(String),
    /// The key was last put at this revision.
    Revision(String, u64),
    /// No key begins with this prefix.
    NoneUnder(String),
}

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates or overwrites.
    Put(String, Bytes),
    /// Deletes; nothing happens if there is no such key.
    Delete(String),
}

impl Op {
    /// The key that it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Changes that are carried out together, or not at all when one of the comparisons does not hold.
///
/// All its changes are durable, or all are under [`SESSION`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What then happens, in this order.
    pub ops: Vec<Op>,
}

impl Transaction {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires `compare` too.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Puts too.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put(key.into(), value.into()));
        self
    }

    /// Deletes too.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete(key.into()));
        self
    }
}

/// How a transaction went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out, at this revision.
    Committed(u64),
    /// Nothing happened: this comparison did not hold.
    Conflict(Compare),
}

/// A change that a watcher sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key was put.
    Put(Entry),
    /// A key was deleted, at this revision.
    Delete(Arc<str>, u64),
}

/// A store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error("the store {0} is in use by another process")]
    InUse(String),
    /// The file could not be opened or written.
    #[error("the store failed: {0}")]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
    /// A transaction mixed durable keys and keys under [`SESSION`].
    #[error("a transaction must not change durable and session keys together")]
    MixedLifetimes,
    /// What is stored under the key is not what this version writes there.
    #[error("the record {key} cannot be read: {source}")]
    Corrupt {
        /// The key.
        key: String,
        /// Why.
        source: Arc<serde_json::Error>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The store. All of it is safe to call from many tasks at a time.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// The entry of a key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All entries whose keys begin with `prefix`, in the order of their keys.
    async fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Carries out a transaction. Once it answers `Committed`, durable changes survive a kill of the process and a loss of power. When the caller
    /// stops waiting, the transaction is still carried out or not.
    async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError>;

    /// What there is under `prefixes` and, without a gap, each change after it. Changes of one key come in the order of their revisions.
    async fn watch(&self, prefixes: &[&str]) -> Result<Watch, StoreError>;
}

/// Changes as they happen.
#[derive(Debug)]
pub struct Watch {
    /// What there was when the watch began.
    pub snapshot: Vec<Entry>,
    changes: mpsc::Receiver<Change>,
}

/// A watch ended: its reader was too slow for the bounded queue, or the store was closed. Watch again and compare with the new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watch ended")]
pub struct WatchEnded;

impl Watch {
    /// For a store: what it saw, and where it will send what comes.
    pub fn new(snapshot: Vec<Entry>, changes: mpsc::Receiver<Change>) -> Self {
        Self { snapshot, changes }
    }

    /// The next change.
    pub async fn next(&mut self) -> Result<Change, WatchEnded> {
        self.changes.recv().await.ok_or(WatchEnded)
    }

    /// A change that is there already.
    pub fn try_next(&mut self) -> Option<Change> {
        self.changes.try_recv().ok()
    }
}
