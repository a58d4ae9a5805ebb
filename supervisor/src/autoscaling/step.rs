//! Step scaling: how far a metric is from an alarm's threshold says what to do.

use super::decision::{Capacity, Proposal, Verdict};
use super::target_tracking::whole;
use crate::model::scaling::{AdjustmentType, Aggregation, Step, StepScaling};

/// An alarm that is raised: its metric's last values and its threshold.
#[derive(Clone, Debug)]
pub(super) struct Breach {
    /// Its name.
    pub(super) alarm: String,
    pub(super) points: Vec<f64>,
    pub(super) threshold: f64,
}

/// Decides for a raised alarm; without one the policy has no say.
pub(super) fn decide(policy: &StepScaling, breach: Option<&Breach>, capacity: &Capacity) -> Verdict {
    let Some(breach) = breach else {
        return Verdict { proposal: Proposal::NeverIn, trace: "no alarm is raised".to_owned() };
    };
    let Some(metric) = aggregate(policy.aggregation, &breach.points) else {
        return Verdict { proposal: Proposal::NoData, trace: "no data".to_owned() };
    };
    let distance = metric - breach.threshold;
    let Some(step) = policy.steps.iter().find(|step| is_within(step, distance)) else {
        let trace = format!("no step for metric {metric:.3}, threshold {}", breach.threshold);
        return Verdict { proposal: Proposal::NeverIn, trace };
    };
    let current = capacity.current;
    let grows = adjusted(policy, step.adjustment, current) > current;
    let base = if grows { capacity.out_base(policy.cooldown) } else { current };
    let wanted = adjusted(policy, step.adjustment, base);
    let trace = format!(
        "metric {metric:.3}, threshold {}, distance {distance:.3}: {:?} {} on {base} = {wanted}",
        breach.threshold, policy.adjustment, step.adjustment
    );
    let proposal = match wanted.cmp(&current) {
        std::cmp::Ordering::Greater => Proposal::Out(wanted),
        // "With scale-in policies, ... blocks further scale in until the cooldown period has expired."
        std::cmp::Ordering::Less if !grows && !capacity.in_cooldown(policy.cooldown) => Proposal::In(wanted),
        _ => Proposal::Stay,
    };
    Verdict { proposal, trace }
}

/// Lower bound inclusive and upper exclusive above the threshold; below it the other way around.
fn is_within(step: &Step, distance: f64) -> bool {
    let (lower, upper) = (step.lower.unwrap_or(f64::NEG_INFINITY), step.upper.unwrap_or(f64::INFINITY));
    if lower >= 0.0 {
        lower <= distance && distance < upper
    } else if upper <= 0.0 {
        lower < distance && distance <= upper
    } else {
        // One step for everything on both sides.
        lower <= distance && distance <= upper
    }
}

fn adjusted(policy: &StepScaling, adjustment: i32, base: u32) -> u32 {
    let by = |change: i64| u32::try_from((i64::from(base) + change).max(0)).unwrap_or(u32::MAX);
    match policy.adjustment {
        AdjustmentType::ExactCapacity => u32::try_from(adjustment).unwrap_or(0),
        AdjustmentType::ChangeInCapacity => by(adjustment.into()),
        AdjustmentType::PercentChangeInCapacity => {
            let exact = f64::from(base) * f64::from(adjustment.unsigned_abs()) / 100.0;
            // "Values greater than 1 are rounded down. Values between 0 and 1 are rounded to 1", and so for less.
            let rounded = if exact > 0.0 && exact < 1.0 { 1 } else { whole(exact.floor()) };
            let change = i64::from(rounded.max(policy.min_adjustment_magnitude));
            by(change * i64::from(adjustment.signum()))
        }
    }
}

fn aggregate(aggregation: Aggregation, points: &[f64]) -> Option<f64> {
    let reduced = match aggregation {
        Aggregation::Minimum => points.iter().copied().reduce(f64::min),
        Aggregation::Maximum => points.iter().copied().reduce(f64::max),
        #[expect(clippy::cast_precision_loss, reason = "some minutes")]
        Aggregation::Average => {
            points.iter().copied().reduce(|sum, point| sum + point).map(|sum| sum / points.len() as f64)
        }
    };
    reduced.filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(adjustment: AdjustmentType, steps: &[(Option<f64>, Option<f64>, i32)]) -> StepScaling {
        StepScaling {
            adjustment,
            steps: steps
                .iter()
                .map(|&(lower, upper, adjustment)| Step { lower, upper, adjustment })
                .collect(),
            min_adjustment_magnitude: 0,
            cooldown: 300,
            aggregation: Aggregation::Average,
        }
    }

    fn proposal(policy: &StepScaling, metric: f64, capacity: &Capacity) -> Proposal {
        decide(
            policy,
            Some(&Breach { alarm: "busy".to_owned(), points: vec![metric], threshold: 50.0 }),
            capacity,
        )
        .proposal
    }

    /// Application Auto Scaling's own example of the user guide: threshold 50, +0 % below 10, +10 % to 20, +30 % above.
    #[test]
    fn the_guides_example_comes_out_as_the_guide_says() {
        let policy = policy(
            AdjustmentType::PercentChangeInCapacity,
            &[(Some(0.0), Some(10.0), 0), (Some(10.0), Some(20.0), 10), (Some(20.0), None, 30)],
        );
        assert_eq!(proposal(&policy, 50.0, &Capacity::of(10)), Proposal::Stay);
        assert_eq!(
            proposal(&policy, 60.0, &Capacity::of(10)),
            Proposal::Out(11),
            "the lower bound is inclusive"
        );
        assert_eq!(proposal(&policy, 69.9, &Capacity::of(10)), Proposal::Out(11));
        assert_eq!(proposal(&policy, 70.0, &Capacity::of(10)), Proposal::Out(13), "the upper one exclusive");
        assert_eq!(proposal(&policy, 99.0, &Capacity::of(11)), Proposal::Out(14), "3.3 are 3");
        assert_eq!(proposal(&policy, 65.0, &Capacity::of(4)), Proposal::Out(5), "0.4 are 1");
    }

    #[test]
    fn below_the_threshold_the_bounds_are_the_other_way_around() {
        let policy = policy(
            AdjustmentType::ChangeInCapacity,
            &[(Some(-10.0), Some(0.0), -1), (None, Some(-10.0), -3)],
        );
        assert_eq!(proposal(&policy, 50.0, &Capacity::of(10)), Proposal::In(9));
        assert_eq!(proposal(&policy, 40.0, &Capacity::of(10)), Proposal::In(7));
        assert_eq!(proposal(&policy, 40.1, &Capacity::of(10)), Proposal::In(9));
        assert_eq!(proposal(&policy, 0.0, &Capacity::of(2)), Proposal::In(0), "not below nothing");
        let cooling = Capacity { since_in: Some(10.0), ..Capacity::of(10) };
        assert_eq!(proposal(&policy, 40.0, &cooling), Proposal::Stay);
    }

    #[test]
    fn what_a_cooldowns_scale_out_added_counts_for_the_next() {
        let policy =
            policy(AdjustmentType::ChangeInCapacity, &[(Some(0.0), Some(20.0), 2), (Some(20.0), None, 3)]);
        let cooling = Capacity { since_out: Some((10.0, 10)), ..Capacity::of(12) };
        assert_eq!(proposal(&policy, 60.0, &cooling), Proposal::Stay);
        assert_eq!(proposal(&policy, 80.0, &cooling), Proposal::Out(13), "one more, not three");
    }

    #[test]
    fn a_minimum_magnitude_and_exact_counts_are_kept() {
        let mut percent = policy(AdjustmentType::PercentChangeInCapacity, &[(Some(0.0), None, 25)]);
        percent.min_adjustment_magnitude = 2;
        assert_eq!(proposal(&percent, 60.0, &Capacity::of(4)), Proposal::Out(6));
        let exact = policy(AdjustmentType::ExactCapacity, &[(Some(0.0), None, 7)]);
        assert_eq!(proposal(&exact, 60.0, &Capacity::of(4)), Proposal::Out(7));
        assert_eq!(proposal(&exact, 60.0, &Capacity::of(9)), Proposal::In(7));
        assert_eq!(decide(&exact, None, &Capacity::of(9)).proposal, Proposal::NeverIn);
    }
}
