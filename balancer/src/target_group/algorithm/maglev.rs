//! The same target for the same client, whoever else comes and goes: Maglev hashing (Eisenbud et al., NSDI 2016, 3.4).

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Algorithm, Field};
use crate::target_group::entry::Entry;

/// The paper's two table sizes, both prime. A table is to be a hundred times as large as there are targets; then shares
/// differ by 1 % at most.
const SMALL: usize = 65_537;
const LARGE: usize = 655_373;
const SLOTS_PER_TARGET: usize = 100;

struct Maglev {
    /// Which target a client whose hash falls on this slot goes to.
    slots: Box<[u32]>,
}

pub(super) fn make(field: &Field<'_>) -> Box<dyn Algorithm> {
    let names: Vec<_> = field.targets.iter().map(|entry| entry.core.id.as_str()).collect();
    Box::new(Maglev { slots: populate(&names, field.weights) })
}

/// Keys fixed: the same client goes to the same target after a restart, and from every balancer.
fn hash(what: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}

/// Each target goes through all slots in an order of its own (from `offset` on by `skip`) and they take turns at claiming
/// the next one that is free; a target with half the greatest weight comes to every second turn.
#[expect(
    clippy::cast_possible_truncation,
    reason = "remainders of the table size; targets are counted in u32"
)]
pub(super) fn populate(names: &[&str], weights: &[u32]) -> Box<[u32]> {
    const FREE: u32 = u32::MAX;
    let size = if names.len() * SLOTS_PER_TARGET <= SMALL { SMALL } else { LARGE };
    let greatest = f64::from(weights.iter().copied().max().unwrap_or(1));
    struct Claimant {
        next: usize,
        skip: usize,
        weight: f64,
        claimed: f64,
    }
    let mut claimants: Vec<_> = names
        .iter()
        .zip(weights)
        .map(|(name, weight)| Claimant {
            next: (hash(("offset", name)) % size as u64) as usize,
            skip: (hash(("skip", name)) % (size as u64 - 1) + 1) as usize,
            weight: f64::from(*weight) / greatest,
            claimed: 0.0,
        })
        .collect();
    let mut slots = vec![FREE; size].into_boxed_slice();
    let mut free = size;
    let mut round = 0.0;
    while free > 0 {
        round += 1.0;
        for (index, claimant) in claimants.iter_mut().enumerate() {
            if claimant.claimed + 1.0 > round * claimant.weight + f64::EPSILON && claimant.weight < 1.0 {
                continue;
            }
            // Ends: size is prime, so the walk comes by every slot, and one is free.
            while slots[claimant.next] != FREE {
                claimant.next = (claimant.next + claimant.skip) % size;
            }
            slots[claimant.next] = index as u32;
            claimant.claimed += 1.0;
            free -= 1;
            if free == 0 {
                break;
            }
        }
    }
    slots
}

impl Algorithm for Maglev {
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of the table size")]
    fn pick(&self, _targets: &[Arc<Entry>], client: IpAddr) -> usize {
        self.slots[(hash(client) % self.slots.len() as u64) as usize] as usize
    }
}
