//! The one with the fewest requests in flight.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Algorithm, Field, Load, Turn};
use crate::target_group::entry::Entry;

/// How many targets are looked at for one request. Up to here the answer is exact. Of more than that, so many are drawn at
/// random: keeping all of them in order would have every request of every thread write to one shared structure
/// twice, while the best of 32 draws is among the least loaded tenth with a probability of 97 %.
const LOOKED_AT: usize = 32;

struct LeastOutstandingRequests {
    weights: Box<[u32]>,
    /// Where to begin, so that targets with equally many take turns.
    turn: Turn,
}

pub(super) fn make(field: &Field<'_>) -> Box<dyn Algorithm> {
    Box::new(LeastOutstandingRequests { weights: field.weights.into(), turn: Arc::clone(field.turn) })
}

impl LeastOutstandingRequests {
    fn least(&self, targets: &[Arc<Entry>], candidates: impl Iterator<Item = usize>) -> usize {
        let load = |index: usize| Load::of(&targets[index], self.weights[index]);
        let candidates = candidates.map(|index| (index, load(index)));
        // The first of several equal ones.
        let least = candidates.reduce(|least, other| if other.1.less_than(least.1) { other } else { least });
        least.map_or(0, |(index, _)| index)
    }
}

impl Algorithm for LeastOutstandingRequests {
    #[expect(clippy::cast_possible_truncation, reason = "less than targets.len(), which is a usize")]
    fn pick(&self, targets: &[Arc<Entry>], _client: IpAddr) -> usize {
        let count = targets.len();
        if count > LOOKED_AT {
            return self.least(targets, (0..LOOKED_AT).map(|_| fastrand::usize(..count)));
        }
        let start = (self.turn.fetch_add(1, Ordering::Relaxed) % count as u64) as usize;
        self.least(targets, (0..count).map(|offset| (start + offset) % count))
    }
}
