//! A store that forgets.

use async_trait::async_trait;

use super::engine::{Engine, Lifetime};
use super::{Entry, Outcome, Store, StoreError, Transaction, Watch};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    engine: Engine,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a durable store would hold after the process was killed at this moment: everything but the session's keys.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        let (entries, revision) = self.engine.durable();
        Self { engine: Engine::restored(entries, revision) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.engine.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        Ok(self.engine.range(prefix))
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        Lifetime::of(&transaction)?;
        Ok(self.engine.commit(&transaction))
    }

    async fn watch(&self, prefixes: &[&str]) -> Result<Watch, StoreError> {
        Ok(self.engine.watch(prefixes))
    }
}
