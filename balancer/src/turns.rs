//! Weighted turns: who is next, from a number that only grows.

/// Divides turns among `n` participants by weight.
///
/// Any `total` turns in a row (the sum of the weights, divided by their greatest common divisor) give each participant
/// exactly its weight, and those of one participant lie apart from each other as evenly as nginx's smooth weighted round
/// robin puts them, within a few turns. nginx updates every participant at every turn; here a turn is
/// stateless and costs O(1) with equal weights and O(log n) else:
///
/// the participants lie side by side on a ring of `total` slots, each as wide as its weight, and turn `t` is slot
/// `t * step mod total`. `step` has no divisor in common with `total`, so `total` turns visit each slot once; and it is
/// near the golden section of the ring, which is the distance that leaves no gap unvisited for long.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Where each participant's slots end. Empty when all weights are equal.
    ends: Box<[u64]>,
    total: u64,
    step: u64,
}

impl Turns {
    /// `None`: nobody has a weight over 0.
    pub(crate) fn new(weights: &[u32]) -> Option<Self> {
        let first = *weights.first()?;
        if weights.iter().all(|weight| *weight == first) {
            return (first > 0).then(|| Self { ends: [].into(), total: weights.len() as u64, step: 1 });
        }
        let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, u64::from(*weight)));
        let mut total = weights.iter().map(|weight| u64::from(*weight) / divisor).sum::<u64>();
        // `slot * step` must not overflow. Nobody has so many targets that this matters for their shares.
        let shift = total.checked_ilog2().unwrap_or(0).saturating_sub(30);
        let scaled = |weight: u32| match u64::from(weight) / divisor {
            0 => 0,
            weight => (weight >> shift).max(1),
        };
        total = 0;
        let ends = weights.iter().map(|weight| {
            total += scaled(*weight);
            total
        });
        let ends = ends.collect();
        Some(Self { ends, total, step: step(total) })
    }

    /// Whose turn number `turn` is.
    #[expect(clippy::cast_possible_truncation, reason = "less than the number of participants, a usize")]
    pub(crate) fn at(&self, turn: u64) -> usize {
        let slot = turn % self.total;
        if self.ends.is_empty() {
            return slot as usize;
        }
        let slot = slot * self.step % self.total;
        self.ends.partition_point(|end| *end <= slot)
    }

    /// After this many turns everything repeats.
    pub(crate) fn cycle(&self) -> u64 {
        self.total
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Of the numbers near the golden section of `total` the one whose multiples are spread most evenly: that with the
/// smallest sum of partial quotients (the discrepancy of `k * step mod total` is bounded by it).
fn step(total: u64) -> u64 {
    const WINDOW: u64 = 32;
    // 0.618...: of all numbers the worst to approximate by fractions.
    let golden = total.saturating_mul(618_033_988) / 1_000_000_000;
    let candidates = golden.saturating_sub(WINDOW).max(1)..(golden + WINDOW).min(total).max(2);
    candidates
        .filter(|step| gcd(total, *step) == 1)
        .min_by_key(|step| (partial_quotients(total, *step), step.abs_diff(golden)))
        .unwrap_or(1)
}

fn partial_quotients(a: u64, b: u64) -> u64 {
    a.checked_div(b).map_or(0, |quotient| quotient + partial_quotients(b, a % b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(0..100_u32, 1..12)
            .prop_filter("somebody has a weight", |weights| weights.iter().any(|weight| *weight > 0))
    }

    proptest! {
        #[test]
        fn any_cycle_in_a_row_gives_each_its_weight(weights in weights(), start in any::<u32>()) {
            let turns = Turns::new(&weights).unwrap();
            let mut counts = vec![0_u64; weights.len()];
            for turn in 0..turns.cycle() {
                counts[turns.at(u64::from(start) + turn)] += 1;
            }
            let total = weights.iter().copied().map(u64::from).sum::<u64>();
            for (count, weight) in counts.iter().zip(&weights) {
                prop_assert_eq!(count * total, u64::from(*weight) * turns.cycle());
            }
        }

        #[test]
        fn nobody_is_ever_far_from_his_share(weights in weights()) {
            let turns = Turns::new(&weights).unwrap();
            let total = f64::from(weights.iter().sum::<u32>());
            let mut counts = vec![0_f64; weights.len()];
            for turn in 0..turns.cycle() {
                counts[turns.at(turn)] += 1.0;
                for (count, weight) in counts.iter().zip(&weights) {
                    let share = (turn + 1) as f64 * f64::from(*weight) / total;
                    prop_assert!((count - share).abs() < 4.0, "{} of {} at turn {}", count, share, turn);
                }
            }
        }
    }

    #[test]
    fn equal_weights_are_each_in_turn() {
        let turns = Turns::new(&[7, 7, 7]).unwrap();
        assert_eq!((0..7).map(|turn| turns.at(turn)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn without_any_weight_there_are_no_turns() {
        assert!(Turns::new(&[]).is_none());
        assert!(Turns::new(&[0, 0]).is_none());
    }

    #[test]
    fn ten_thousand_targets_of_all_weights_fit() {
        let weights: Vec<u32> = (0..10_000).map(|index| 1 + index % 256_000).collect();
        let turns = Turns::new(&weights).unwrap();
        let last = turns.at(u64::MAX);
        assert!(last < weights.len());
        let heavy = Turns::new(&[u32::MAX, 1, u32::MAX]).unwrap();
        let picked: Vec<_> = (0..1000).map(|turn| heavy.at(turn)).collect();
        assert!(picked.contains(&0) && picked.contains(&2));
    }
}
