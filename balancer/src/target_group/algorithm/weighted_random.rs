//! Any, by weight.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Algorithm, Field};
use crate::target_group::entry::Entry;
use crate::turns::Turns;

struct WeightedRandom {
    turns: Turns,
}

pub(super) fn make(field: &Field<'_>) -> Box<dyn Algorithm> {
    Box::new(WeightedRandom { turns: Turns::new(field.weights).expect("each target has a weight over 0") })
}

impl Algorithm for WeightedRandom {
    fn pick(&self, _targets: &[Arc<Entry>], _client: IpAddr) -> usize {
        // A turn drawn at random is a target drawn by its weight.
        self.turns.at(fastrand::u64(..self.turns.cycle()))
    }
}
