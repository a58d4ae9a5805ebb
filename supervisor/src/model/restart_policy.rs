//! A container's `restartPolicy`: the container is started again in place, and its task goes on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// ECS: "You can specify a maximum of 50 container exit codes."
pub const MAX_IGNORED_EXIT_CODES: usize = 50;
/// ECS: "minimum restartAttemptPeriod of 60 seconds and a maximum of 1800 seconds".
const PERIOD: std::ops::RangeInclusive<u32> = 60..=1800;
/// ECS: "By default, a container must run for 300 seconds before it can be restarted."
const DEFAULT_PERIOD: u32 = 300;

/// When a container is started again, as ECS writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct RestartPolicy {
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_exit_codes: Vec<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_attempt_period: Option<u32>,
}

impl RestartPolicy {
    /// Checks the ranges. The error names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.ignored_exit_codes.len() > MAX_IGNORED_EXIT_CODES {
            return Err(format!(
                "'restartPolicy.ignoredExitCodes' may have at most {MAX_IGNORED_EXIT_CODES} exit codes, not {}.",
                self.ignored_exit_codes.len()
            ));
        }
        match self.restart_attempt_period {
            Some(seconds) if !PERIOD.contains(&seconds) => Err(format!(
                "'restartPolicy.restartAttemptPeriod' must be {} to {} seconds, not {seconds}.",
                PERIOD.start(),
                PERIOD.end()
            )),
            _ => Ok(()),
        }
    }

    /// Whether a container that ran for `lived` and ended with `code` starts again: "A container can be restarted only once every
    /// restartAttemptPeriod seconds. If a container isn't able to run for this time period and exits early, it will not be restarted."
    pub fn restarts(&self, code: Option<i32>, lived: Duration) -> bool {
        let period = self.restart_attempt_period.unwrap_or(DEFAULT_PERIOD);
        self.enabled
            && lived >= Duration::from_secs(period.into())
            && code.is_none_or(|code| !self.ignored_exit_codes.contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(ignored_exit_codes: Vec<i32>, restart_attempt_period: Option<u32>) -> RestartPolicy {
        RestartPolicy { enabled: true, ignored_exit_codes, restart_attempt_period }
    }

    #[test]
    fn a_container_restarts_when_it_ran_long_enough_and_its_code_is_not_ignored() {
        let seconds = Duration::from_secs;
        assert!(policy(vec![], None).restarts(Some(0), seconds(300)));
        assert!(!policy(vec![], None).restarts(Some(0), seconds(299)));
        assert!(policy(vec![0], Some(60)).restarts(Some(1), seconds(60)));
        assert!(!policy(vec![0], Some(60)).restarts(Some(0), seconds(60)));
        assert!(policy(vec![0], Some(60)).restarts(None, seconds(60)));
        let off = RestartPolicy { enabled: false, ..policy(vec![], None) };
        assert!(!off.restarts(Some(1), seconds(9999)));
    }

    #[test]
    fn periods_and_lists_out_of_range_are_refused_by_name() {
        for (policy, field) in [
            (policy(vec![], Some(59)), "restartAttemptPeriod"),
            (policy(vec![], Some(1801)), "restartAttemptPeriod"),
            (policy(vec![1; 51], None), "ignoredExitCodes"),
        ] {
            assert!(policy.check().expect_err(field).contains(field));
        }
        assert_eq!(policy(vec![1; 50], Some(60)).check(), Ok(()));
    }
}
