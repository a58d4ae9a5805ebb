//! One memory limit over everything a container, and the task around it, allocates or has the host keep.
//!
//! wasmtime asks a store's limiter for each linear memory and table apart. A [`MemoryAccount`] adds them up, over
//! all memories, tables, instances and containers that share it, so that no split of an allocation gets past the limit.

pub(crate) mod kept;

pub use kept::{BODY_PIECE, BODY_PIECES};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wasmtime::ResourceLimiter;

/// What one table element costs the host: a pointer.
const TABLE_ELEMENT: u64 = 8;

/// What a container, or a task over all its containers, has allocated and may allocate, in bytes.
#[derive(Debug)]
pub struct MemoryAccount {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    exceeded: AtomicBool,
    overrun: AtomicBool,
    parent: Option<Arc<Self>>,
}

impl MemoryAccount {
    /// An account of at most `limit` bytes (`None`: no limit of its own) inside `parent`'s.
    pub fn new(limit: Option<u64>, parent: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.unwrap_or(u64::MAX),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            overrun: AtomicBool::new(false),
            parent,
        })
    }

    /// Bytes in use now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever in use at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// The tightest limit that applies, own or a parent's.
    pub fn limit(&self) -> u64 {
        self.parent.as_ref().map_or(self.limit, |parent| self.limit.min(parent.limit()))
    }

    /// Whether an allocation was ever refused to this account, by its own limit or a parent's. What was refused to another account of the
    /// same parent is that one's end, not this one's.
    pub fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }

    /// Whether a guest was refused growth of its memory, which is the end of its container: also before the guest has been unwound and its end
    /// is known.
    pub fn overrun(&self) -> bool {
        self.overrun.load(Ordering::Acquire)
    }

    /// Takes `bytes` from the account and its parents, or nothing at all.
    fn take(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        if after > self.limit {
            self.exceeded.store(true, Ordering::Release);
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        if let Some(parent) = &self.parent
            && !parent.take(bytes)
        {
            self.exceeded.store(true, Ordering::Release);
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.peak.fetch_max(after, Ordering::Relaxed);
        true
    }

    /// Whether so many bytes could be taken now.
    fn has_room(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.limit
            && self.parent.as_ref().is_none_or(|parent| parent.has_room(bytes))
    }

    /// Takes bytes for as long as what is returned lives; `None` when there is no room.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        self.take(bytes).then(|| Held { account: self.clone(), bytes })
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }
}

/// Bytes that are taken from an account until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    account: Arc<MemoryAccount>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

/// The error that ends a guest whose growth was refused.
#[derive(Debug, thiserror::Error)]
#[error("memory limit exceeded")]
pub struct MemoryExceeded;

/// One store's part of an account; what it took goes back when the store is dropped.
#[derive(Debug)]
pub struct StoreMemory {
    account: Arc<MemoryAccount>,
    taken: u64,
}

impl StoreMemory {
    /// A store that has taken nothing yet.
    pub fn new(account: Arc<MemoryAccount>) -> Self {
        Self { account, taken: 0 }
    }

    /// The account it is part of.
    pub(crate) fn account(&self) -> &Arc<MemoryAccount> {
        &self.account
    }

    fn grow(&mut self, bytes: u64) -> wasmtime::Result<bool> {
        if !self.account.take(bytes) {
            // Not `Ok(false)`: the guest would go on with -1 from memory.grow. A container over its limit is killed.
            self.account.overrun.store(true, Ordering::Release);
            return Err(MemoryExceeded.into());
        }
        self.taken += bytes;
        Ok(true)
    }
}

impl Drop for StoreMemory {
    fn drop(&mut self) {
        self.account.give_back(self.taken);
    }
}

impl ResourceLimiter for StoreMemory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false); // past the module's own declared maximum: an ordinary -1
        }
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_all_memories_is_what_is_limited() {
        let account = MemoryAccount::new(Some(100), None);
        let mut one = StoreMemory::new(account.clone());
        let mut other = StoreMemory::new(account.clone());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(other.memory_growing(0, 40, None).unwrap());
        assert!(!account.exceeded());
        assert!(other.memory_growing(40, 41, None).is_err());
        assert!(account.exceeded() && account.overrun());
        assert_eq!((account.used(), account.peak()), (100, 100));
    }

    #[test]
    fn a_tasks_limit_holds_over_its_containers() {
        let task = MemoryAccount::new(Some(100), None);
        let first = MemoryAccount::new(Some(90), Some(task.clone()));
        let second = MemoryAccount::new(None, Some(task.clone()));
        let mut one = StoreMemory::new(first.clone());
        assert!(one.memory_growing(0, 80, None).unwrap());
        assert!(StoreMemory::new(second.clone()).memory_growing(0, 21, None).is_err());
        assert!(second.exceeded() && task.exceeded());
        assert!(second.overrun() && !task.overrun(), "its guest is the one that ends");
        assert!(!first.exceeded(), "it was refused nothing");
        assert_eq!(second.used(), 0);
    }

    #[test]
    fn a_dropped_store_gives_its_memory_back() {
        let account = MemoryAccount::new(Some(100), None);
        let mut store = StoreMemory::new(account.clone());
        assert!(store.memory_growing(0, 50, None).unwrap());
        assert!(store.table_growing(0, 5, None).unwrap());
        assert_eq!(account.used(), 90);
        drop(store);
        assert_eq!((account.used(), account.peak()), (0, 90));
    }

    #[test]
    fn the_modules_own_maximum_is_not_the_containers_limit() {
        let account = MemoryAccount::new(Some(100), None);
        let mut store = StoreMemory::new(account.clone());
        assert!(!store.memory_growing(0, 50, Some(40)).unwrap());
        assert!(!account.exceeded());
    }
}
