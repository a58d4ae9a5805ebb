//! Each in turn, over all data-plane threads together.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Algorithm, Field, Turn};
use crate::target_group::entry::Entry;
use crate::turns::Turns;

/// One counter for the group: any cycle of picks in a row gives each target its weight, whichever threads they came from.
/// It is the one cache line cores share on the way of a request; a counter per thread would lose that exactness,
/// which users see (three replicas, three requests, three ids).
struct RoundRobin {
    turns: Turns,
    turn: Turn,
}

pub(super) fn make(field: &Field<'_>) -> Box<dyn Algorithm> {
    let turns = Turns::new(field.weights).expect("each target has a weight over 0");
    Box::new(RoundRobin { turns, turn: Arc::clone(field.turn) })
}

impl Algorithm for RoundRobin {
    fn pick(&self, _targets: &[Arc<Entry>], _client: IpAddr) -> usize {
        self.turns.at(self.turn.fetch_add(1, Ordering::Relaxed))
    }
}
