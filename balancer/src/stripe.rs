//! Which copy of striped state the current thread uses.
//!
//! What every request writes to (counters, connection pools, reference counts) exists once per stripe, and each
//! data-plane thread has a stripe to itself as long as there are no more threads than stripes. Cores then share no
//! cache line that is written on the way of a request. Correctness never depends on it: stripes are made of atomics
//! and locks all the same, so two threads on one stripe are only slower.

use std::cell::Cell;
use std::sync::OnceLock;
use std::thread;

use crossbeam_utils::CachePadded;

/// More stripes would cost memory per target (about half a KiB each) for machines we have not measured.
const MAX_STRIPES: usize = 16;

thread_local! {
    /// Threads outside the data plane share the first stripe.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Number of stripes in this process: one per core and one for the threads outside the data plane.
pub(crate) fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (cores + 1).min(MAX_STRIPES)
    })
}

/// Gives the current thread, data-plane worker number `worker`, its stripe.
pub(crate) fn assign(worker: usize) {
    CURRENT.set(1 + worker % (count() - 1).max(1));
}

/// One `T` per stripe, each on cache lines of its own.
#[derive(Debug)]
pub(crate) struct Striped<T>(Box<[CachePadded<T>]>);

impl<T> Striped<T> {
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Self {
        Self((0..count()).map(|_| CachePadded::new(make())).collect())
    }

    /// The current thread's copy.
    pub(crate) fn here(&self) -> &T {
        &self.0[CURRENT.get() % self.0.len()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &**padded)
    }
}
