//! What both embedded stores have in common: the ordered map, its revisions and its watchers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Change, Compare, Entry, Op, Outcome, SESSION, StoreError, Transaction, Watch};

/// Changes that a watcher may be behind before its watch is ended.
const WATCH_QUEUE: usize = 65_536;

/// The map in memory. Its lock is held for lookups and changes only, never over a wait or a disk access.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Arc<str>, Stored>,
    revision: u64,
    watchers: Vec<Watcher>,
}

#[derive(Clone, Debug)]
struct Stored {
    value: Bytes,
    revision: u64,
}

#[derive(Debug)]
struct Watcher {
    prefixes: Vec<String>,
    changes: mpsc::Sender<Change>,
}

/// Which keys a transaction changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Durable,
    Session,
}

impl Lifetime {
    pub(crate) fn of(transaction: &Transaction) -> Result<Self, StoreError> {
        let session = transaction.ops.iter().filter(|op| op.key().starts_with(SESSION)).count();
        match session {
            0 => Ok(Self::Durable),
            all if all == transaction.ops.len() => Ok(Self::Session),
            _ => Err(StoreError::MixedLifetimes),
        }
    }
}

impl Engine {
    /// An engine that holds what was found on disk.
    pub(crate) fn restored(entries: impl IntoIterator<Item = Entry>, revision: u64) -> Self {
        let entries = entries
            .into_iter()
            .map(|entry| (entry.key, Stored { value: entry.value, revision: entry.revision }));
        Self { state: Mutex::new(State { entries: entries.collect(), revision, watchers: Vec::new() }) }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        let state = self.lock();
        let (key, stored) = state.entries.get_key_value(key)?;
        Some(entry(key, stored))
    }

    pub(crate) fn range(&self, prefix: &str) -> Vec<Entry> {
        self.lock().under(prefix).map(|(key, stored)| entry(key, stored)).collect()
    }

    pub(crate) fn watch(&self, prefixes: &[&str]) -> Watch {
        let (changes, receiver) = mpsc::channel(WATCH_QUEUE);
        let mut state = self.lock();
        // Under the same lock as the changes: nothing falls between the snapshot and the first change.
        let snapshot = prefixes
            .iter()
            .flat_map(|prefix| state.under(prefix))
            .map(|(key, stored)| entry(key, stored))
            .collect();
        let prefixes = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        state.watchers.push(Watcher { prefixes, changes });
        Watch::new(snapshot, receiver)
    }

    /// Compares and changes in one step.
    pub(crate) fn commit(&self, transaction: &Transaction) -> Outcome {
        let mut state = self.lock();
        if let Some(compare) = state.first_failure(&transaction.compares, &HashMap::new()) {
            return Outcome::Conflict(compare);
        }
        let revision = state.reserve(1);
        state.apply(&transaction.ops, revision);
        Outcome::Committed(revision)
    }

    /// Compares a batch of durable transactions, each as if those before it were done, without doing any. The revisions of those that pass are
    /// reserved. Only one thread does this, so that durable keys stay as they are until [`publish`](Self::publish).
    pub(crate) fn prepare<'a>(&self, batch: impl IntoIterator<Item = &'a Transaction>) -> Vec<Outcome> {
        let mut state = self.lock();
        let mut pending = HashMap::new();
        let outcomes = batch.into_iter().map(|transaction| {
            if let Some(compare) = state.first_failure(&transaction.compares, &pending) {
                return Outcome::Conflict(compare);
            }
            for op in &transaction.ops {
                pending.insert(op.key(), matches!(op, Op::Put(..)));
            }
            Outcome::Committed(state.reserve(1))
        });
        outcomes.collect()
    }

    /// Makes a prepared transaction visible.
    pub(crate) fn publish(&self, transaction: &Transaction, revision: u64) {
        self.lock().apply(&transaction.ops, revision);
    }

    /// All that would survive the process.
    pub(crate) fn durable(&self) -> (Vec<Entry>, u64) {
        let state = self.lock();
        let durable = state.entries.iter().filter(|(key, _)| !key.starts_with(SESSION));
        (durable.map(|(key, stored)| entry(key, stored)).collect(), state.revision)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is complete or not begun when a panic could happen, so that a poisoned lock guards a sound map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a Stored)> {
        self.entries
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// `pending`: keys that earlier transactions of the batch put (true) or delete (false). No client knows a pending key's revision yet, so a
    /// comparison with one cannot hold.
    fn first_failure(&self, compares: &[Compare], pending: &HashMap<&str, bool>) -> Option<Compare> {
        let exists = |key: &str| pending.get(key).copied().unwrap_or_else(|| self.entries.contains_key(key));
        let holds = |compare: &Compare| match compare {
            Compare::Absent(key) => !exists(key),
            Compare::Exists(key) => exists(key),
            Compare::Revision(key, revision) => {
                !pending.contains_key(key.as_str())
                    && self.entries.get(key.as_str()).is_some_and(|stored| stored.revision == *revision)
            }
            Compare::NoneUnder(prefix) => {
                !pending.iter().any(|(key, put)| *put && key.starts_with(prefix))
                    && self.under(prefix).all(|(key, _)| pending.get(&**key) == Some(&false))
            }
        };
        compares.iter().find(|compare| !holds(compare)).cloned()
    }

    fn reserve(&mut self, revisions: u64) -> u64 {
        self.revision += revisions;
        self.revision
    }

    fn apply(&mut self, ops: &[Op], revision: u64) {
        for op in ops {
            let change = match op {
                Op::Put(key, value) => {
                    let stored = Stored { value: value.clone(), revision };
                    let key: Arc<str> = match self.entries.get_key_value(key.as_str()) {
                        Some((known, _)) => Arc::clone(known),
                        None => Arc::from(key.as_str()),
                    };
                    self.entries.insert(Arc::clone(&key), stored.clone());
                    Change::Put(entry(&key, &stored))
                }
                Op::Delete(key) => match self.entries.remove_entry(key.as_str()) {
                    Some((key, _)) => Change::Delete(key, revision),
                    None => continue,
                },
            };
            // A watcher that is gone or too far behind is dropped: its queue then ends, which tells it to look at everything again.
            self.watchers.retain(|watcher| {
                !watcher.sees(op.key()) || watcher.changes.try_send(change.clone()).is_ok()
            });
        }
    }
}

impl Watcher {
    fn sees(&self, key: &str) -> bool {
        self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }
}

fn entry(key: &Arc<str>, stored: &Stored) -> Entry {
    Entry { key: Arc::clone(key), value: stored.value.clone(), revision: stored.revision }
}
