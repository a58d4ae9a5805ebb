//! A store in memory that takes its time, fails when told to, and counts what it is asked.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use coracle_supervisor::store::memory::MemoryStore;
use coracle_supervisor::store::{Entry, Outcome, Store, StoreError, Transaction, Watch};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// What goes wrong with a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreFaults {
    /// Probability that something cannot be read, or a watch not begun.
    pub(crate) read_fails: f64,
    /// Probability that a transaction is refused.
    pub(crate) write_fails: f64,
    /// Probability that a transaction is carried out, and said to have failed.
    pub(crate) answer_lost: f64,
    /// Probability that a watch ends after some changes.
    pub(crate) watch_ends: f64,
    /// Longest that a transaction takes before it is carried out, and after that until it is answered.
    pub(crate) latency: Duration,
}

/// How a store is doing. Clones are the same, and outlive the crashes of those who use it.
#[derive(Clone, Debug)]
pub(crate) struct Troubles(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: StdRng,
    faults: StoreFaults,
    seen: Seen,
}

/// What a store was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Keys and prefixes that were read.
    pub(crate) reads: Vec<String>,
    /// Keys that were put or deleted.
    pub(crate) writes: Vec<String>,
    /// When the last usage of tasks was written.
    pub(crate) metered_at: Option<Instant>,
}

impl Troubles {
    pub(crate) fn new(seed: u64, faults: StoreFaults) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(State { rng, faults, seen: Seen::default() })))
    }

    /// The store with these troubles.
    pub(crate) fn of(&self, store: Arc<MemoryStore>) -> Arc<dyn Store> {
        Arc::new(TroubledStore { store, troubles: self.clone() })
    }

    pub(crate) fn set(&self, faults: StoreFaults) {
        self.lock().faults = faults;
    }

    /// What was asked since the last time.
    pub(crate) fn take_seen(&self) -> Seen {
        let mut state = self.lock();
        let metered_at = state.seen.metered_at;
        std::mem::replace(&mut state.seen, Seen { metered_at, ..Seen::default() })
    }

    pub(crate) fn metered_at(&self) -> Option<Instant> {
        self.lock().seen.metered_at
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn pause(&self) {
        let pause = {
            let mut state = self.lock();
            let most = state.faults.latency;
            most.mul_f64(state.rng.random_range(0.0..=1.0))
        };
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }

    fn happens(&self, chance: impl Fn(&StoreFaults) -> f64) -> bool {
        let mut state = self.lock();
        let chance = chance(&state.faults);
        chance > 0.0 && state.rng.random_bool(chance)
    }

    fn read(&self, key: &str) -> Result<(), StoreError> {
        self.lock().seen.reads.push(key.to_owned());
        if self.happens(|faults| faults.read_fails) { Err(failed()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct TroubledStore {
    store: Arc<MemoryStore>,
    troubles: Troubles,
}

#[async_trait]
impl Store for TroubledStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.troubles.read(key)?;
        self.store.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.troubles.read(prefix)?;
        self.store.range(prefix).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        // Here a crash finds the transaction not done yet, and done but not answered.
        self.troubles.pause().await;
        if self.troubles.happens(|faults| faults.write_fails) {
            return Err(failed());
        }
        let keys: Vec<String> = transaction.ops.iter().map(|op| op.key().to_owned()).collect();
        let is_usage = keys.iter().any(|key| key.starts_with("usage/"));
        let outcome = self.store.commit(transaction).await?;
        if matches!(outcome, Outcome::Committed(_)) {
            let mut state = self.troubles.lock();
            state.seen.writes.extend(keys);
            if is_usage {
                state.seen.metered_at = Some(Instant::now());
            }
        }
        self.troubles.pause().await;
        if self.troubles.happens(|faults| faults.answer_lost) {
            return Err(failed());
        }
        Ok(outcome)
    }

    async fn watch(&self, prefixes: &[&str]) -> Result<Watch, StoreError> {
        for prefix in prefixes {
            self.troubles.read(prefix)?;
        }
        let mut watch = self.store.watch(prefixes).await?;
        if !self.troubles.happens(|faults| faults.watch_ends) {
            return Ok(watch);
        }
        let left = self.troubles.lock().rng.random_range(0..200);
        let (changes, receiver) = mpsc::channel(1024);
        let snapshot = std::mem::take(&mut watch.snapshot);
        // Ends with its reader, and in any case after so many changes.
        tokio::spawn(async move {
            for _ in 0..left {
                tokio::select! {
                    change = watch.next() => {
                        let Ok(change) = change else { return };
                        if changes.send(change).await.is_err() {
                            return;
                        }
                    }
                    () = changes.closed() => return,
                }
            }
        });
        Ok(Watch::new(snapshot, receiver))
    }
}

fn failed() -> StoreError {
    StoreError::Failed(Arc::new(io::Error::other("no luck")))
}
