//! Of two drawn at random, the one with less to do.
//!
//! With n targets the most loaded one is then within O(log log n) of the average, against O(log n / log log n) for one
//! drawn at random (Azar, Broder, Karlin, Upfal 1994; Mitzenmacher 1996), and threads that decide at the same moment do
//! not all pick the same target, as they would when each looked for the very least loaded.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Algorithm, Field, Load};
use crate::target_group::entry::Entry;

struct PowerOfTwoChoices {
    weights: Box<[u32]>,
}

pub(super) fn make(field: &Field<'_>) -> Box<dyn Algorithm> {
    Box::new(PowerOfTwoChoices { weights: field.weights.into() })
}

impl Algorithm for PowerOfTwoChoices {
    fn pick(&self, targets: &[Arc<Entry>], _client: IpAddr) -> usize {
        let count = targets.len();
        if count == 1 {
            return 0;
        }
        let first = fastrand::usize(..count);
        // Another than the first, each as likely.
        let second = (first + fastrand::usize(1..count)) % count;
        let load = |index: usize| Load::of(&targets[index], self.weights[index]);
        if load(second).less_than(load(first)) { second } else { first }
    }
}
