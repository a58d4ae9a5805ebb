//! From outcomes of probes to ELB's states: a state machine without time or I/O.

use std::fmt;

use super::config::HealthCheckConfig;
use crate::TargetState;

/// What one probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(Failure),
}

/// Why a probe failed, by ELB's reason codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It answered with a status the matcher does not name.
    ResponseCodeMismatch(u16),
    /// It did not answer in time.
    Timeout,
    /// No connection, or no well-formed answer.
    FailedHealthChecks,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Failure(failure) => f.write_str(&failure.description()),
        }
    }
}

impl Failure {
    fn reason(self) -> &'static str {
        match self {
            Self::ResponseCodeMismatch(_) => "Target.ResponseCodeMismatch",
            Self::Timeout => "Target.Timeout",
            Self::FailedHealthChecks => "Target.FailedHealthChecks",
        }
    }

    fn description(self) -> String {
        match self {
            Self::ResponseCodeMismatch(code) => format!("Health checks failed with these codes: [{code}]"),
            Self::Timeout => "Request timed out".to_owned(),
            Self::FailedHealthChecks => "Health checks failed".to_owned(),
        }
    }
}

/// The health of one target.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    state: TargetState,
    /// Outcomes like the last one, in a row.
    streak: u32,
    last: Option<Outcome>,
    /// Still what an unhealthy target is unhealthy for while it recovers.
    last_failure: Failure,
}

impl Health {
    /// A target just registered. `checked`: health checks are enabled.
    pub(crate) fn new(initial: TargetState, checked: bool) -> Self {
        let state = match (initial, checked) {
            (TargetState::Healthy, _) => TargetState::Healthy,
            (_, true) => TargetState::Initial,
            (_, false) => TargetState::Unavailable,
        };
        Self { state, streak: 0, last: None, last_failure: Failure::FailedHealthChecks }
    }

    pub(crate) fn state(&self) -> TargetState {
        self.state
    }

    /// Takes in one outcome. True if state or reason is another than before.
    pub(crate) fn observe(&mut self, outcome: Outcome, config: &HealthCheckConfig) -> bool {
        if matches!(self.state, TargetState::Draining | TargetState::Unavailable) {
            return false;
        }
        let same = |last: &Outcome| (*last == Outcome::Success) == (outcome == Outcome::Success);
        self.streak = if self.last.as_ref().is_some_and(same) { self.streak.saturating_add(1) } else { 1 };
        let (state, reason) = (self.state, self.reason());
        self.last = Some(outcome);
        if let Outcome::Failure(failure) = outcome {
            self.last_failure = failure;
        }
        self.state = match (state, outcome) {
            // "A new target is considered healthy after one successful health check" (ELB's guide).
            (TargetState::Initial, Outcome::Success) => TargetState::Healthy,
            (_, Outcome::Success) if self.streak >= config.healthy_threshold => TargetState::Healthy,
            (_, Outcome::Failure(_)) if self.streak >= config.unhealthy_threshold => TargetState::Unhealthy,
            _ => state,
        };
        (self.state, self.reason()) != (state, reason)
    }

    /// Health checks were enabled or disabled. Who got traffic without them gets it until they say otherwise.
    pub(crate) fn set_checked(&mut self, checked: bool) {
        self.state = match (self.state, checked) {
            (TargetState::Draining, _) => TargetState::Draining,
            (_, false) => TargetState::Unavailable,
            (TargetState::Unavailable, true) => TargetState::Healthy,
            (state, true) => state,
        };
    }

    pub(crate) fn drain(&mut self) {
        self.state = TargetState::Draining;
    }

    /// ELB's reason code, for any state but healthy.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self.state {
            TargetState::Initial if self.last.is_none() => Some("Elb.RegistrationInProgress"),
            TargetState::Initial => Some("Elb.InitialHealthChecking"),
            TargetState::Healthy => None,
            TargetState::Unhealthy => Some(self.last_failure.reason()),
            TargetState::Unused => Some("Target.NotInUse"),
            TargetState::Draining => Some("Target.DeregistrationInProgress"),
            TargetState::Unavailable => Some("Target.HealthCheckDisabled"),
        }
    }

    /// The reason in ELB's words.
    pub(crate) fn description(&self) -> Option<String> {
        let text = match self.state {
            TargetState::Initial if self.last.is_none() => "Target registration is in progress",
            TargetState::Initial => "Initial health checks in progress",
            TargetState::Healthy => return None,
            TargetState::Unhealthy => return Some(self.last_failure.description()),
            TargetState::Unused => "Target group is not configured to receive traffic from the load balancer",
            TargetState::Draining => "Target deregistration is in progress",
            TargetState::Unavailable => "Health checks are disabled for this target group",
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: Outcome = Outcome::Failure(Failure::FailedHealthChecks);

    fn after(initial: TargetState, outcomes: &[Outcome]) -> Health {
        let mut health = Health::new(initial, true);
        for outcome in outcomes {
            health.observe(*outcome, &HealthCheckConfig::default());
        }
        health
    }

    #[test]
    fn the_first_success_makes_a_new_target_healthy() {
        assert_eq!(after(TargetState::Initial, &[]).state(), TargetState::Initial);
        assert_eq!(after(TargetState::Initial, &[Outcome::Success]).state(), TargetState::Healthy);
        assert_eq!(after(TargetState::Initial, &[FAILED, Outcome::Success]).state(), TargetState::Healthy);
    }

    #[test]
    fn two_failures_in_a_row_make_it_unhealthy() {
        for initial in [TargetState::Initial, TargetState::Healthy] {
            assert_eq!(after(initial, &[FAILED]).state(), initial);
            assert_eq!(after(initial, &[FAILED, FAILED]).state(), TargetState::Unhealthy);
        }
        let interrupted = [FAILED, Outcome::Success, FAILED, Outcome::Success, FAILED];
        assert_eq!(after(TargetState::Healthy, &interrupted).state(), TargetState::Healthy);
    }

    #[test]
    fn an_unhealthy_target_needs_five_successes_in_a_row() {
        let mut outcomes = vec![FAILED, FAILED];
        outcomes.extend([Outcome::Success; 4]);
        assert_eq!(after(TargetState::Healthy, &outcomes).state(), TargetState::Unhealthy);
        outcomes.push(FAILED);
        outcomes.extend([Outcome::Success; 4]);
        assert_eq!(after(TargetState::Healthy, &outcomes).state(), TargetState::Unhealthy);
        outcomes.push(Outcome::Success);
        assert_eq!(after(TargetState::Healthy, &outcomes).state(), TargetState::Healthy);
    }

    #[test]
    fn reasons_are_elbs() {
        let reason = |outcomes: &[Outcome]| {
            let health = after(TargetState::Initial, outcomes);
            (health.reason(), health.description())
        };
        let words = |reason, text: &str| (Some(reason), Some(text.to_owned()));
        assert_eq!(reason(&[]), words("Elb.RegistrationInProgress", "Target registration is in progress"));
        assert_eq!(
            reason(&[FAILED]),
            words("Elb.InitialHealthChecking", "Initial health checks in progress")
        );
        assert_eq!(reason(&[Outcome::Success]), (None, None));
        assert_eq!(reason(&[FAILED, FAILED]), words("Target.FailedHealthChecks", "Health checks failed"));
        let mismatch = Outcome::Failure(Failure::ResponseCodeMismatch(500));
        assert_eq!(
            reason(&[FAILED, mismatch]),
            words("Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]")
        );
        let timeout = Outcome::Failure(Failure::Timeout);
        assert_eq!(reason(&[timeout, timeout]), words("Target.Timeout", "Request timed out"));
    }

    #[test]
    fn without_checks_a_target_is_unavailable_unless_vouched_for() {
        let mut health = Health::new(TargetState::Initial, false);
        assert_eq!(health.state(), TargetState::Unavailable);
        assert_eq!(health.reason(), Some("Target.HealthCheckDisabled"));
        assert!(!health.observe(FAILED, &HealthCheckConfig::default()));
        assert_eq!(Health::new(TargetState::Healthy, false).state(), TargetState::Healthy);
    }

    #[test]
    fn nothing_ends_a_drain() {
        let mut health = after(TargetState::Healthy, &[]);
        health.drain();
        for outcome in [Outcome::Success, FAILED, FAILED] {
            assert!(!health.observe(outcome, &HealthCheckConfig::default()));
        }
        assert_eq!(health.reason(), Some("Target.DeregistrationInProgress"));
    }

    proptest! {
        /// Against the rule spelled out over the whole history.
        #[test]
        fn the_state_follows_from_the_last_streak(history in prop::collection::vec(any::<bool>(), 0..60), up in 2u32..=10, down in 2u32..=10) {
            let config = HealthCheckConfig { healthy_threshold: up, unhealthy_threshold: down, ..Default::default() };
            let mut health = Health::new(TargetState::Initial, true);
            let mut expected = TargetState::Initial;
            for end in 1..=history.len() {
                let success = history[end - 1];
                health.observe(if success { Outcome::Success } else { FAILED }, &config);
                let streak = history[..end].iter().rev().take_while(|past| **past == success).count();
                if success && (expected == TargetState::Initial || streak >= up as usize) {
                    expected = TargetState::Healthy;
                } else if !success && streak >= down as usize {
                    expected = TargetState::Unhealthy;
                }
                prop_assert_eq!(health.state(), expected);
            }
        }
    }
}
