//! The circuit breaker: how many failed tasks end a deployment.

use serde::{Deserialize, Serialize};

use crate::error::OperationError;

/// ECS: "the minimum threshold is 3" and "the maximum is 200" failures.
const BOUNDS: (u32, u32) = (3, 200);
/// ECS: half of the desired count.
const DEFAULT_PERCENT: u32 = 50;
/// Most failures that a `COUNT` may ask for: more tasks than a service may have would never be reached.
const MAX_COUNT: i64 = 10_000;

/// ECS's `deploymentCircuitBreaker`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeploymentCircuitBreaker {
    /// Whether a deployment is given up after so many failed tasks.
    pub enable: bool,
    /// Whether the service then goes back to its last completed revision.
    pub rollback: bool,
    /// Whether a task that becomes healthy wipes out the failures before it; `true` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_on_healthy_task: Option<bool>,
    /// How many failures; `BOUNDED_PERCENT` of 50 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_configuration: Option<ThresholdConfiguration>,
}

/// How many failures fire the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThresholdConfiguration {
    /// What `value` is.
    #[serde(rename = "type")]
    pub kind: ThresholdType,
    /// Failures, 1 to 10,000, or percent of the desired count, 1 to 100.
    pub value: i64,
}

/// What a threshold's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ThresholdType {
    /// Failures.
    Count,
    /// Percent of the desired count, at least 3 and at most 200 failures.
    BoundedPercent,
    /// Percent of the desired count.
    UnboundedPercent,
}

impl DeploymentCircuitBreaker {
    /// Failures that fire it, for so many desired tasks.
    pub fn threshold(&self, desired: u32) -> u32 {
        let percent = |value: u32| {
            let exact = u64::from(desired) * u64::from(value);
            u32::try_from(exact.div_ceil(100)).unwrap_or(u32::MAX)
        };
        let bounded = |value| percent(value).clamp(BOUNDS.0, BOUNDS.1);
        let Some(configured) = self.threshold_configuration else { return bounded(DEFAULT_PERCENT) };
        let value = u32::try_from(configured.value).unwrap_or(u32::MAX);
        match configured.kind {
            ThresholdType::Count => value,
            ThresholdType::BoundedPercent => bounded(value),
            ThresholdType::UnboundedPercent => percent(value).max(1),
        }
    }

    /// Whether a healthy task wipes out the failures before it.
    pub fn resets(&self) -> bool {
        self.reset_on_healthy_task.unwrap_or(true)
    }

    pub(super) fn validate(&self) -> Result<(), OperationError> {
        let Some(configured) = self.threshold_configuration else { return Ok(()) };
        let most = match configured.kind {
            ThresholdType::Count => MAX_COUNT,
            ThresholdType::BoundedPercent | ThresholdType::UnboundedPercent => 100,
        };
        if (1..=most).contains(&configured.value) {
            return Ok(());
        }
        let field = "deploymentCircuitBreaker.thresholdConfiguration.value";
        Err(super::configuration::refuse(field, &format!("1 to {most}"), configured.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(threshold: Option<(ThresholdType, i64)>) -> DeploymentCircuitBreaker {
        DeploymentCircuitBreaker {
            enable: true,
            rollback: true,
            reset_on_healthy_task: None,
            threshold_configuration: threshold.map(|(kind, value)| ThresholdConfiguration { kind, value }),
        }
    }

    #[test]
    fn the_threshold_is_ecss() {
        let default: Vec<u32> =
            [1, 4, 7, 20, 400, 5000].map(|desired| breaker(None).threshold(desired)).into();
        assert_eq!(default, [3, 3, 4, 10, 200, 200]);
        assert_eq!(breaker(Some((ThresholdType::Count, 1))).threshold(50), 1);
        assert_eq!(breaker(Some((ThresholdType::BoundedPercent, 10))).threshold(50), 5);
        assert_eq!(breaker(Some((ThresholdType::BoundedPercent, 1))).threshold(50), 3);
        assert_eq!(breaker(Some((ThresholdType::UnboundedPercent, 1))).threshold(50), 1);
        assert_eq!(breaker(Some((ThresholdType::UnboundedPercent, 100))).threshold(5000), 5000);
    }

    #[test]
    fn a_threshold_out_of_range_is_refused_by_name() {
        for (kind, value) in
            [(ThresholdType::Count, 0), (ThresholdType::BoundedPercent, 101), (ThresholdType::Count, 10_001)]
        {
            let error = breaker(Some((kind, value))).validate().unwrap_err().to_string();
            assert!(error.contains("deploymentCircuitBreaker.thresholdConfiguration.value"), "{error}");
        }
    }
}
