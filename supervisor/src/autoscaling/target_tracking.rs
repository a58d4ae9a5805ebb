//! Target tracking over minutes: the alarms that AWS makes for such a policy, and what they do.
//!
//! AWS publishes the alarms (3 periods above the target; 15 below 0.9 of it) and that the change is proportional; the formula itself, `ceil(current x
//! metric / target)`, is a judgement.

use super::decision::{Capacity, Proposal, Verdict};
use crate::model::scaling::TargetTracking;

/// Periods of 60 s in a row above the target until it scales out.
pub(super) const OUT_PERIODS: usize = 3;
/// Periods in a row below the target until it scales in.
pub(super) const IN_PERIODS: usize = 15;
/// "Below" is less than this part of the target.
const IN_SHARE: f64 = 0.9;

/// Decides from the values of the last periods, newest last. A period without a value is no reason for anything.
pub(super) fn decide(policy: &TargetTracking, points: &[Option<f64>], capacity: &Capacity) -> Verdict {
    let target = policy.target;
    let last = |count: usize| points.len().checked_sub(count).map(|from| &points[from..]);
    let all = |count, holds: &dyn Fn(f64) -> bool| {
        last(count).is_some_and(|points| points.iter().all(|point| point.is_some_and(holds)))
    };
    let Some(metric) = points.last().copied().flatten() else {
        return Verdict { proposal: Proposal::NoData, trace: format!("no data; target {target}") };
    };
    let told = format!("metric {metric:.3}, target {target}, current {}", capacity.current);
    if all(OUT_PERIODS, &|value| value > target) {
        // Within the cooldown, what the last scale-out added counts: only a larger one goes on.
        let base = capacity.out_base(policy.scale_out_cooldown);
        let wanted = proportional(base, metric, target);
        let trace = format!(
            "AlarmHigh ({OUT_PERIODS} of 60 s); {told}; ceil({base} x {metric:.3} / {target}) = {wanted}"
        );
        if wanted > capacity.current {
            return Verdict { proposal: Proposal::Out(wanted), trace };
        }
        return Verdict { proposal: Proposal::Stay, trace: format!("{trace}; no more than there are") };
    }
    if !policy.disable_scale_in && all(IN_PERIODS, &|value| value < IN_SHARE * target) {
        let wanted = proportional(capacity.current, metric, target);
        let trace = format!(
            "AlarmLow ({IN_PERIODS} of 60 s below {IN_SHARE} of it); {told}; ceil({} x {metric:.3} / {target}) = {wanted}",
            capacity.current
        );
        if capacity.in_cooldown(policy.scale_in_cooldown) {
            return Verdict { proposal: Proposal::Stay, trace: format!("{trace}; in its cooldown") };
        }
        if wanted < capacity.current {
            return Verdict { proposal: Proposal::In(wanted), trace };
        }
        return Verdict { proposal: Proposal::Stay, trace };
    }
    let proposal = if policy.disable_scale_in { Proposal::NeverIn } else { Proposal::Stay };
    Verdict { proposal, trace: format!("OK; {told}") }
}

/// `ceil(count x metric / target)`.
pub(super) fn proportional(count: u32, metric: f64, target: f64) -> u32 {
    whole(f64::from(count) * metric / target)
}

/// Rounded up, but not for what is only a rounding error above a whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
pub(super) fn whole(exact: f64) -> u32 {
    (exact - 1e-9).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::scaling::{DEFAULT_COOLDOWN_SECONDS, Metric};

    const POLICY: TargetTracking = TargetTracking {
        metric: Metric::Cpu,
        target: 50.0,
        scale_out_cooldown: DEFAULT_COOLDOWN_SECONDS,
        scale_in_cooldown: DEFAULT_COOLDOWN_SECONDS,
        disable_scale_in: false,
    };

    fn proposal(policy: &TargetTracking, points: &[f64], capacity: &Capacity) -> Proposal {
        let points: Vec<_> = points.iter().copied().map(Some).collect();
        decide(policy, &points, capacity).proposal
    }

    #[test]
    fn it_scales_out_in_proportion_after_three_periods_above_the_target() {
        let four = Capacity::of(4);
        assert_eq!(proposal(&POLICY, &[90.0, 90.0], &four), Proposal::Stay, "two are not enough");
        assert_eq!(proposal(&POLICY, &[40.0, 90.0, 90.0], &four), Proposal::Stay, "nor with one below");
        // ceil(4 x 90 / 50) = ceil(7.2)
        assert_eq!(proposal(&POLICY, &[60.0, 70.0, 90.0], &four), Proposal::Out(8));
        // ceil(4 x 50.1 / 50) = ceil(4.008)
        assert_eq!(proposal(&POLICY, &[50.1, 50.1, 50.1], &four), Proposal::Out(5));
        assert_eq!(proposal(&POLICY, &[50.0, 50.0, 50.0], &four), Proposal::Stay, "at it is not above it");
    }

    #[test]
    fn it_scales_in_after_fifteen_periods_clearly_below_it() {
        let ten = Capacity::of(10);
        assert_eq!(proposal(&POLICY, &[20.0; 14], &ten), Proposal::Stay);
        // ceil(10 x 20 / 50)
        assert_eq!(proposal(&POLICY, &[20.0; 15], &ten), Proposal::In(4));
        assert_eq!(proposal(&POLICY, &[45.0; 15], &ten), Proposal::Stay, "0.9 of the target is near enough");
        let without = TargetTracking { disable_scale_in: true, ..POLICY };
        assert_eq!(proposal(&without, &[20.0; 15], &ten), Proposal::NeverIn);
    }

    #[test]
    fn a_period_without_data_is_no_reason_for_anything() {
        let capacity = Capacity::of(4);
        for points in [vec![Some(90.0), None, Some(90.0)], vec![Some(90.0), Some(90.0), None], vec![]] {
            let verdict = decide(&POLICY, &points, &capacity);
            assert!(
                !matches!(verdict.proposal, Proposal::Out(_) | Proposal::In(_)),
                "{points:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn within_the_cooldown_only_a_larger_scale_out_goes_on() {
        // 4 became 8 a minute ago. ceil(4 x 95 / 50) = 8: that is what there is. ceil(4 x 120 / 50) = 10 is more.
        let capacity = Capacity { current: 8, since_out: Some((60.0, 4)), since_in: None };
        assert_eq!(proposal(&POLICY, &[95.0; 3], &capacity), Proposal::Stay);
        assert_eq!(proposal(&POLICY, &[120.0; 3], &capacity), Proposal::Out(10));
        let after = Capacity { since_out: Some((300.0, 4)), ..capacity };
        // ceil(8 x 95 / 50) = ceil(15.2)
        assert_eq!(proposal(&POLICY, &[95.0; 3], &after), Proposal::Out(16));
    }

    #[test]
    fn the_cooldown_of_scaling_in_holds_back_scaling_in_alone() {
        let capacity = Capacity { current: 8, since_out: None, since_in: Some(299.0) };
        assert_eq!(proposal(&POLICY, &[10.0; 15], &capacity), Proposal::Stay);
        assert_eq!(proposal(&POLICY, &[90.0; 15], &capacity), Proposal::Out(15));
        let after = Capacity { since_in: Some(300.0), ..capacity };
        assert_eq!(proposal(&POLICY, &[10.0; 15], &after), Proposal::In(2));
    }
}
