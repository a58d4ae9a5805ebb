//! State that each data-plane thread has to itself: which copy of it the current thread uses.
//!
//! A crate of its own because balancer and runtime know nothing of each other and serve a request on the same thread.
//!
//! What every request writes to (counters, connection pools, reference counts) exists once per stripe, and each
//! data-plane thread has a stripe to itself as long as there are no more threads than stripes. Cores then share no
//! cache line that is written on the way of a request. Correctness never depends on it: stripes are made of atomics
//! and locks all the same, so two threads on one stripe are only slower.
//!
//! ```
//! use coracle_stripe::Counter;
//!
//! let requests = Counter::default();
//! requests.add(1);
//! assert_eq!(requests.sum(), 1);
//! ```

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_utils::CachePadded;

/// More stripes would cost memory per target (about half a KiB each) for machines we have not measured.
const MAX_STRIPES: usize = 16;

thread_local! {
    /// Threads outside the data plane share the first stripe.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Number of stripes in this process: one per core and one for the threads outside the data plane.
#[must_use]
pub fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (cores + 1).min(MAX_STRIPES)
    })
}

/// Gives the current thread, data-plane worker number `worker`, its stripe.
pub fn assign(worker: usize) {
    CURRENT.set(1 + worker % (count() - 1).max(1));
}

/// One `T` per stripe, each on cache lines of its own.
#[derive(Debug)]
pub struct Striped<T>(Box<[CachePadded<T>]>);

impl<T> Striped<T> {
    /// Makes each stripe's copy.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        Self((0..count()).map(|_| CachePadded::new(make())).collect())
    }

    /// The current thread's copy.
    pub fn here(&self) -> &T {
        &self.0[CURRENT.get() % self.0.len()]
    }

    /// All copies, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &**padded)
    }
}

/// A count that many threads add to.
#[derive(Debug)]
pub struct Counter(Striped<AtomicU64>);

impl Default for Counter {
    fn default() -> Self {
        Self(Striped::new(AtomicU64::default))
    }
}

impl Counter {
    /// Adds `amount`, wrapping around after 2^64.
    pub fn add(&self, amount: u64) {
        self.0.here().fetch_add(amount, Ordering::Relaxed);
    }

    /// What was added until now. Additions that happen meanwhile may or may not be in it.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|copy| copy.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}
