//! Scaling over seconds, with a stable and a panic window, as Knative's autoscaler does it.
//!
//! Each tick brings the load of the whole service (requests a second, requests at the same time, or the sum of its tasks' utilisation). The stable
//! window's average says how many tasks are wanted. When the panic window's average alone wants twice the tasks there are, the policy panics: it follows
//! the panic window, and does not scale in until it has been calm for a stable window. Knative's windows are 60 s and 6 s because its pods take seconds to
//! start. Our tasks start in milliseconds, so that looking at the last second is worth while.

use std::collections::VecDeque;

use super::decision::{Proposal, Verdict};
use super::target_tracking::whole;
use crate::model::scaling::FastTracking;

/// Seconds between two looks.
pub(super) const TICK: f64 = 0.25;
/// What scaling in is decided on, in seconds.
pub(super) const STABLE_WINDOW: f64 = 30.0;
/// What scaling out in a hurry is decided on, in seconds.
pub(super) const PANIC_WINDOW: f64 = 1.0;
/// Panic begins when the panic window wants so many times the tasks that there are.
const PANIC_THRESHOLD: f64 = 2.0;
/// One decision leaves at least one of so many tasks: Knative's `max-scale-down-rate`.
const MAX_SCALE_IN_RATE: f64 = 2.0;

/// The loads of the last stable window, and whether it panics.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    /// Time in seconds, and the load. Oldest first.
    loads: VecDeque<(f64, f64)>,
    /// Since when, and the most tasks that were wanted since.
    panic: Option<(f64, u32)>,
}

impl Windows {
    /// Takes in the load at a time (seconds on any clock that only grows).
    pub(super) fn observe(&mut self, at: f64, load: f64) {
        self.loads.push_back((at, load));
        while self.loads.front().is_some_and(|(then, _)| at - then >= STABLE_WINDOW) {
            self.loads.pop_front();
        }
    }

    fn average(&self, at: f64, window: f64) -> Option<f64> {
        let within = self.loads.iter().rev().take_while(|(then, _)| at - then < window);
        let (count, sum) = within.fold((0_u32, 0.0), |(count, sum), (_, load)| (count + 1, sum + load));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Decides at a time, for `current` tasks.
    pub(super) fn decide(&mut self, policy: &FastTracking, at: f64, current: u32) -> Verdict {
        let averages = self.average(at, STABLE_WINDOW).zip(self.average(at, PANIC_WINDOW));
        let Some((stable, hurried)) = averages else {
            return Verdict { proposal: Proposal::NoData, trace: "no data".to_owned() };
        };
        let (stable_count, hurried_count) = (whole(stable / policy.target), whole(hurried / policy.target));
        if f64::from(hurried_count) >= PANIC_THRESHOLD * f64::from(current.max(1)) {
            let most = self.panic.map_or(0, |(_, most)| most);
            self.panic = Some((at, most.max(hurried_count)));
        } else if let Some((since, most)) = self.panic {
            // While there is more to do than ever since it began, it goes on.
            let still = hurried_count > most;
            self.panic = (still || at - since < STABLE_WINDOW)
                .then(|| (if still { at } else { since }, most.max(hurried_count)));
        }
        let (wanted, mood) = match self.panic {
            Some((_, most)) => (most.max(hurried_count), "panic"),
            None => (stable_count.max(least(current)), "stable"),
        };
        let trace = format!(
            "{mood}; load {hurried:.3} over {PANIC_WINDOW} s = {hurried_count} tasks, {stable:.3} over {STABLE_WINDOW} s = {stable_count}; target {}, current {current}, wanted {wanted}",
            policy.target
        );
        let proposal = match wanted.cmp(&current) {
            std::cmp::Ordering::Greater => Proposal::Out(wanted),
            std::cmp::Ordering::Less if policy.disable_scale_in => Proposal::NeverIn,
            std::cmp::Ordering::Less if self.panic.is_none() && self.is_full(at) => Proposal::In(wanted),
            _ => Proposal::Stay,
        };
        Verdict { proposal, trace }
    }

    /// Whether it has seen a whole stable window: after a restart it does not scale in for what it has not seen.
    fn is_full(&self, at: f64) -> bool {
        self.loads.front().is_some_and(|(then, _)| at - then >= STABLE_WINDOW - 2.0 * TICK)
    }
}

/// What one scale-in leaves of so many tasks.
fn least(current: u32) -> u32 {
    whole((f64::from(current) / MAX_SCALE_IN_RATE).floor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::scaling::FastMetric;

    const POLICY: FastTracking =
        FastTracking { metric: FastMetric::RequestsPerSecond, target: 100.0, disable_scale_in: false };

    /// Runs a series of loads, one a tick, and applies what is decided. Gives the counts.
    fn run(
        windows: &mut Windows,
        from: f64,
        loads: impl IntoIterator<Item = f64>,
        mut current: u32,
    ) -> Vec<u32> {
        let mut counts = Vec::new();
        for (tick, load) in (0_u32..).zip(loads) {
            let at = from + f64::from(tick) * TICK;
            windows.observe(at, load);
            if let Proposal::Out(count) | Proposal::In(count) = windows.decide(&POLICY, at, current).proposal
            {
                current = count;
            }
            counts.push(current);
        }
        counts
    }

    #[test]
    fn a_rush_is_followed_within_the_panic_window() {
        let mut windows = Windows::default();
        let calm = run(&mut windows, 0.0, [100.0; 120], 1);
        assert_eq!(calm.last(), Some(&1));
        // The panic window is four ticks: 100 and 2000 make averages of 575, 1050, 1525 and 2000.
        let rush = run(&mut windows, 30.0, [2000.0; 6], 1);
        assert_eq!(rush, [6, 11, 16, 20, 20, 20]);
    }

    #[test]
    fn after_a_rush_it_scales_in_only_when_a_stable_window_was_calm() {
        let mut windows = Windows::default();
        run(&mut windows, 0.0, [100.0; 120], 1);
        run(&mut windows, 30.0, [2000.0; 20], 1);
        // The last tick that panicked was at 30.75 s.
        let after = run(&mut windows, 35.0, [100.0; 200], 20);
        let first_in = after.iter().position(|&count| count < 20).unwrap();
        assert!(35.0 + 0.25 * first_in as f64 >= 30.75 + STABLE_WINDOW, "tick {first_in}");
        assert_eq!(after.last(), Some(&1));
        assert!(after.windows(2).all(|pair| pair[1] >= pair[0] / 2), "never by more than half: {after:?}");
    }

    #[test]
    fn a_slow_growth_does_not_panic_and_follows_the_stable_window() {
        let mut windows = Windows::default();
        let counts = run(&mut windows, 0.0, (0..400).map(|tick| 400.0 + f64::from(tick)), 4);
        assert!(windows.panic.is_none());
        assert!(counts.windows(2).all(|pair| pair[1] >= pair[0] && pair[1] - pair[0] <= 1), "{counts:?}");
    }

    #[test]
    fn without_data_nothing_is_done() {
        assert_eq!(Windows::default().decide(&POLICY, 0.0, 3).proposal, Proposal::NoData);
        let mut windows = Windows::default();
        windows.observe(0.0, 0.0);
        assert_eq!(windows.decide(&POLICY, 0.0, 3).proposal, Proposal::Stay, "nor for one look");
    }
}
