//! Picking among the usable targets. One algorithm is one file with an implementation of [`Algorithm`], and one line in
//! [`ALL`].

mod least_outstanding_requests;
mod maglev;
mod power_of_two_choices;
mod round_robin;
mod weighted_random;

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_utils::CachePadded;

use super::entry::Entry;

/// Which of the usable targets gets the next request. Made anew, with the targets, at each change of them.
pub(crate) trait Algorithm: Send + Sync + 'static {
    /// An index into `targets`, which are those it was made for. In O(1) or O(log n).
    fn pick(&self, targets: &[Arc<Entry>], client: IpAddr) -> usize;
}

/// The turn of a group: a number that grows with each pick and outlives the algorithms made for its targets.
pub(crate) type Turn = Arc<CachePadded<AtomicU64>>;

/// What an algorithm is made from. There is at least one target, and each has a weight over 0.
pub(crate) struct Field<'a> {
    pub(crate) targets: &'a [Arc<Entry>],
    pub(crate) weights: &'a [u32],
    pub(crate) turn: &'a Turn,
}

/// ELB's `load_balancing.algorithm.type`, and two that ELB does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlgorithmType {
    /// `round_robin`: each in turn, by weight; exact over any cycle.
    #[default]
    RoundRobin,
    /// `least_outstanding_requests`: the one with the fewest requests in flight.
    LeastOutstandingRequests,
    /// `weighted_random`: any, by weight.
    WeightedRandom,
    /// `power_of_two_choices`: of two drawn at random the one with fewer requests in flight. (Not in ELB.)
    PowerOfTwoChoices,
    /// `maglev`: the same for the same client address, whoever else comes and goes. (Not in ELB.)
    Maglev,
}

type Make = fn(&Field<'_>) -> Box<dyn Algorithm>;

const ALL: [(AlgorithmType, &str, Make); 5] = [
    (AlgorithmType::RoundRobin, "round_robin", round_robin::make),
    (AlgorithmType::LeastOutstandingRequests, "least_outstanding_requests", least_outstanding_requests::make),
    (AlgorithmType::WeightedRandom, "weighted_random", weighted_random::make),
    (AlgorithmType::PowerOfTwoChoices, "power_of_two_choices", power_of_two_choices::make),
    (AlgorithmType::Maglev, "maglev", maglev::make),
];

impl AlgorithmType {
    fn row(self) -> &'static (Self, &'static str, Make) {
        ALL.iter().find(|(known, ..)| *known == self).expect("each type has a row")
    }

    /// Its value as an attribute.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    pub(super) fn names() -> String {
        ALL.map(|(_, name, _)| name).join(", ")
    }

    /// ELB: slow start is not available with least outstanding requests. With Maglev a growing share would be clients
    /// taken from other targets.
    pub(super) fn goes_with_slow_start(self) -> bool {
        !matches!(self, Self::LeastOutstandingRequests | Self::Maglev)
    }

    pub(super) fn make(self, field: &Field<'_>) -> Box<dyn Algorithm> {
        (self.row().2)(field)
    }
}

impl FromStr for AlgorithmType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        ALL.iter().find(|(_, name, _)| *name == text).map(|(known, ..)| *known).ok_or(())
    }
}

/// Requests in flight per weight, to be compared without dividing.
#[derive(Clone, Copy)]
struct Load {
    in_flight: u64,
    weight: u32,
}

impl Load {
    fn of(entry: &Entry, weight: u32) -> Self {
        Self { in_flight: entry.in_flight(), weight }
    }

    /// As it would be with one more request, so that of two idle targets the heavier one is less loaded.
    fn less_than(self, other: Self) -> bool {
        (self.in_flight + 1) * u64::from(other.weight) < (other.in_flight + 1) * u64::from(self.weight)
    }
}

#[cfg(test)]
mod tests;
