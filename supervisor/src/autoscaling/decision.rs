//! What policies propose, and what becomes of several proposals.

use crate::model::scaling::Suspended;

/// How many tasks there are to be, and how long that has been so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Capacity {
    /// The desired count.
    pub(super) current: u32,
    /// Seconds since the last scale-out, and the count before it.
    pub(super) since_out: Option<(f64, u32)>,
    /// Seconds since the last scale-in.
    pub(super) since_in: Option<f64>,
}

impl Capacity {
    #[cfg(test)]
    pub(super) fn of(current: u32) -> Self {
        Self { current, since_out: None, since_in: None }
    }

    /// What a scale-out starts from: "while the cooldown period is in effect, the capacity that has been added by the initiating scale-out activity
    /// is calculated as part of the desired capacity for the next scale-out activity".
    pub(super) fn out_base(&self, cooldown: u32) -> u32 {
        match self.since_out {
            Some((seconds, from)) if seconds < f64::from(cooldown) => from.min(self.current),
            _ => self.current,
        }
    }

    /// Whether a scale-in must wait.
    pub(super) fn in_cooldown(&self, cooldown: u32) -> bool {
        self.since_in.is_some_and(|seconds| seconds < f64::from(cooldown))
    }
}

/// What one policy would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposal {
    /// More tasks: this many.
    Out(u32),
    /// Fewer: this many.
    In(u32),
    /// As many as there are; nobody else shall scale in either.
    Stay,
    /// Nothing, and no say in scaling in: it never scales in, or its alarm is not raised.
    NeverIn,
    /// It cannot know.
    NoData,
}

/// A proposal and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) proposal: Proposal,
    pub(super) trace: String,
}

/// What else bears on the decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) suspended: Suspended,
    /// A deployment is under way: nothing scales in.
    pub(super) deploying: bool,
}

/// The count that several policies come to, with the policy that decided; `None`: as it is.
///
/// The largest scale-out wins. In goes only what all agree on, and then the least of it: "scales in only if all of the target tracking policies (with
/// the scale-in portion enabled) are ready to scale in".
pub(super) fn combine(verdicts: &[Verdict], current: u32, bounds: Bounds) -> Option<(u32, usize)> {
    let out = verdicts.iter().enumerate().filter_map(|(index, verdict)| match verdict.proposal {
        Proposal::Out(count) => Some((count, index)),
        _ => None,
    });
    if let Some((count, index)) = out.max_by_key(|(count, index)| (*count, std::cmp::Reverse(*index))) {
        let count = count.min(bounds.max);
        return (count > current && !bounds.suspended.dynamic_scaling_out_suspended)
            .then_some((count, index));
    }
    if bounds.deploying || bounds.suspended.dynamic_scaling_in_suspended {
        return None;
    }
    let mut least = None;
    for (index, verdict) in verdicts.iter().enumerate() {
        match verdict.proposal {
            Proposal::In(count) => {
                if least.is_none_or(|(most, _)| count > most) {
                    least = Some((count, index));
                }
            }
            Proposal::NeverIn => {}
            Proposal::Out(_) | Proposal::Stay | Proposal::NoData => return None,
        }
    }
    let (count, index) = least?;
    let count = count.max(bounds.min);
    (count < current).then_some((count, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        min: 2,
        max: 10,
        suspended: Suspended {
            dynamic_scaling_in_suspended: false,
            dynamic_scaling_out_suspended: false,
            scheduled_scaling_suspended: false,
        },
        deploying: false,
    };

    fn count(proposals: &[Proposal], current: u32, bounds: Bounds) -> Option<u32> {
        let verdicts: Vec<_> =
            proposals.iter().map(|&proposal| Verdict { proposal, trace: String::new() }).collect();
        combine(&verdicts, current, bounds).map(|(count, _)| count)
    }

    #[test]
    fn the_largest_scale_out_wins_within_the_maximum() {
        assert_eq!(count(&[Proposal::Out(5), Proposal::Out(7), Proposal::In(2)], 4, BOUNDS), Some(7));
        assert_eq!(count(&[Proposal::Out(50)], 4, BOUNDS), Some(10));
        assert_eq!(count(&[Proposal::Out(50)], 10, BOUNDS), None, "it is there already");
    }

    #[test]
    fn in_goes_only_what_all_agree_on() {
        assert_eq!(count(&[Proposal::In(3), Proposal::In(5)], 8, BOUNDS), Some(5));
        assert_eq!(count(&[Proposal::In(3), Proposal::Stay], 8, BOUNDS), None);
        assert_eq!(count(&[Proposal::In(3), Proposal::NoData], 8, BOUNDS), None, "no data, no action");
        assert_eq!(count(&[Proposal::In(3), Proposal::NeverIn], 8, BOUNDS), Some(3));
        assert_eq!(count(&[Proposal::In(0)], 8, BOUNDS), Some(2), "not below the minimum");
        assert_eq!(count(&[Proposal::NeverIn], 8, BOUNDS), None);
    }

    #[test]
    fn a_deployment_holds_back_scaling_in_but_not_out() {
        let deploying = Bounds { deploying: true, ..BOUNDS };
        assert_eq!(count(&[Proposal::In(3)], 8, deploying), None);
        assert_eq!(count(&[Proposal::Out(9)], 8, deploying), Some(9));
    }

    #[test]
    fn what_is_suspended_does_not_happen() {
        let suspended = Suspended { dynamic_scaling_in_suspended: true, ..Suspended::default() };
        assert_eq!(count(&[Proposal::In(3)], 8, Bounds { suspended, ..BOUNDS }), None);
        let suspended = Suspended { dynamic_scaling_out_suspended: true, ..Suspended::default() };
        assert_eq!(count(&[Proposal::Out(9)], 8, Bounds { suspended, ..BOUNDS }), None);
        assert_eq!(count(&[Proposal::In(3)], 8, Bounds { suspended, ..BOUNDS }), Some(3));
    }
}
