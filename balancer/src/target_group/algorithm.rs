//! Picking among the usable targets. One algorithm is one implementation of [`Algorithm`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::entry::Entry;

/// Which of the usable targets gets the next request.
pub(crate) trait Algorithm: Send + Sync + 'static {
    /// An index into `targets`, which is not empty.
    fn pick(&self, targets: &[Arc<Entry>]) -> usize;
}

/// Each in turn, over all data-plane threads together.
///
/// One counter for the group: any n picks in a row among n targets hit each once, whichever threads they came from.
/// It is the one cache line cores share on the way of a request; a counter per thread would lose that exactness,
/// which users see (three replicas, three requests, three ids).
#[derive(Debug, Default)]
pub(crate) struct RoundRobin {
    next: CachePadded<AtomicU64>,
}

impl Algorithm for RoundRobin {
    fn pick(&self, targets: &[Arc<Entry>]) -> usize {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "less than targets.len(), which is a usize")]
        let index = (turn % targets.len() as u64) as usize;
        index
    }
}
