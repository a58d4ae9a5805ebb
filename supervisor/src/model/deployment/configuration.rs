//! What a request says about a service's deployments.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DeploymentCircuitBreaker, DeploymentStrategy, LifecycleHook, Pace, hook};
use crate::error::OperationError;

/// Widest `maximumPercent`: more would let one deployment start more tasks than a service may have.
const MAX_MAXIMUM_PERCENT: i64 = 1000;
/// ECS: "Valid values are 0 to 1440 minutes (24 hours)".
const BAKE_MINUTES: RangeInclusive<i64> = 0..=1440;
/// ECS: "multiples of 0.1 from 3.0 to 100.0".
const STEP_PERCENT: RangeInclusive<f64> = 3.0..=100.0;
/// ECS: "multiples of 0.1 from 0.1 to 100.0".
const CANARY_PERCENT: RangeInclusive<f64> = 0.1..=100.0;

/// How deployments of a service go. A service's record has one that was checked, with both limits filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeploymentConfiguration {
    /// Fewest healthy tasks, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_healthy_percent: Option<i64>,
    /// Most tasks, 100 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_percent: Option<i64>,
    /// `ROLLING` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<DeploymentStrategy>,
    /// When a deployment is given up; never unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_circuit_breaker: Option<DeploymentCircuitBreaker>,
    /// Kept and given back: nothing raises alarms yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarms: Option<DeploymentAlarms>,
    /// How long both revisions run after all traffic has moved, 0 to 1440.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake_time_in_minutes: Option<i64>,
    /// What a deployment waits for at its stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_hooks: Option<Vec<LifecycleHook>>,
    /// For `LINEAR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_configuration: Option<LinearConfiguration>,
    /// For `CANARY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_configuration: Option<CanaryConfiguration>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_success_criteria: Option<Value>,
}

/// ECS's `alarms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct DeploymentAlarms {
    pub alarm_names: Vec<String>,
    pub rollback: bool,
    pub enable: bool,
}

/// Steps of a `LINEAR` deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LinearConfiguration {
    /// Traffic moved with each step, 3 to 100; 10 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_percent: Option<f64>,
    /// Wait between steps, 0 to 1440; 6 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_bake_time_in_minutes: Option<i64>,
}

/// The first step of a `CANARY` deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CanaryConfiguration {
    /// Traffic moved first, 0.1 to 100; 5 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<f64>,
    /// Wait before the rest, 0 to 1440; 10 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_bake_time_in_minutes: Option<i64>,
}

impl DeploymentConfiguration {
    /// Checks a request's configuration over `self`, the one so far, and fills in what neither says: the limits are `defaults`.
    pub(crate) fn updated(
        &self,
        request: Option<Self>,
        pace: Pace,
        defaults: DeploymentLimits,
    ) -> Result<Self, OperationError> {
        let request = request.unwrap_or_default();
        let strategy = request.strategy.or(self.strategy);
        request.check_fit(strategy.unwrap_or_default())?;
        let same = strategy == self.strategy;
        // What belongs to another strategy goes with it.
        let kept = if same { self.clone() } else { self.without_strategy() };
        let minimum = request.minimum_healthy_percent.or(kept.minimum_healthy_percent);
        let maximum = request.maximum_percent.or(kept.maximum_percent);
        let updated = Self {
            minimum_healthy_percent: Some(minimum.unwrap_or_else(|| defaults.minimum_healthy_percent.into())),
            maximum_percent: Some(maximum.unwrap_or_else(|| defaults.maximum_percent.into())),
            strategy,
            deployment_circuit_breaker: request
                .deployment_circuit_breaker
                .or(kept.deployment_circuit_breaker),
            alarms: request.alarms.or(kept.alarms),
            bake_time_in_minutes: request.bake_time_in_minutes.or(kept.bake_time_in_minutes),
            lifecycle_hooks: request.lifecycle_hooks.or(kept.lifecycle_hooks),
            linear_configuration: request.linear_configuration.or(kept.linear_configuration),
            canary_configuration: request.canary_configuration.or(kept.canary_configuration),
            early_success_criteria: request.early_success_criteria.or(kept.early_success_criteria),
        };
        updated.check_limits()?;
        updated.check_breaker_and_hooks()?;
        updated.check_bake_times(pace)?;
        Ok(updated)
    }

    fn without_strategy(&self) -> Self {
        Self {
            bake_time_in_minutes: None,
            lifecycle_hooks: None,
            linear_configuration: None,
            canary_configuration: None,
            ..self.clone()
        }
    }

    /// Refuses what a request says for another strategy than it gets.
    fn check_fit(&self, strategy: DeploymentStrategy) -> Result<(), OperationError> {
        let means_nothing = |field: &str, wanted: &str| {
            OperationError::invalid(format!(
                "deploymentConfiguration.{field} means nothing with the strategy {}: it is for {wanted}.",
                strategy.as_str()
            ))
        };
        if self.linear_configuration.is_some() && strategy != DeploymentStrategy::Linear {
            return Err(means_nothing("linearConfiguration", "LINEAR"));
        }
        if self.canary_configuration.is_some() && strategy != DeploymentStrategy::Canary {
            return Err(means_nothing("canaryConfiguration", "CANARY"));
        }
        let hooks = self.lifecycle_hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
        if hooks && strategy == DeploymentStrategy::Rolling {
            return Err(means_nothing("lifecycleHooks", "BLUE_GREEN, LINEAR and CANARY"));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), OperationError> {
        let minimum = self.minimum_healthy_percent.unwrap_or_default();
        let maximum = self.maximum_percent.unwrap_or_default();
        if !(0..=100).contains(&minimum) {
            return Err(OperationError::invalid(format!(
                "minimumHealthyPercent must be 0 to 100, not {minimum}."
            )));
        }
        if !(100..=MAX_MAXIMUM_PERCENT).contains(&maximum) {
            return Err(OperationError::invalid(format!(
                "maximumPercent must be 100 to {MAX_MAXIMUM_PERCENT}, not {maximum}."
            )));
        }
        if minimum == 100 && maximum == 100 {
            return Err(OperationError::invalid(
                "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
            ));
        }
        Ok(())
    }

    fn check_breaker_and_hooks(&self) -> Result<(), OperationError> {
        self.deployment_circuit_breaker.as_ref().map_or(Ok(()), DeploymentCircuitBreaker::validate)?;
        hook::validate(self.hooks())
    }

    fn check_bake_times(&self, pace: Pace) -> Result<(), OperationError> {
        let blue_green = self.strategy == Some(DeploymentStrategy::BlueGreen);
        if blue_green && self.bake_time_in_minutes.is_none() && pace.bake.is_none() {
            return Err(refuse("bakeTimeInMinutes", "given with the strategy BLUE_GREEN", "absent"));
        }
        let linear = self.linear_configuration.unwrap_or_default();
        let canary = self.canary_configuration.unwrap_or_default();
        for (field, minutes) in [
            ("bakeTimeInMinutes", self.bake_time_in_minutes),
            ("linearConfiguration.stepBakeTimeInMinutes", linear.step_bake_time_in_minutes),
            ("canaryConfiguration.canaryBakeTimeInMinutes", canary.canary_bake_time_in_minutes),
        ] {
            if let Some(minutes) = minutes.filter(|minutes| !BAKE_MINUTES.contains(minutes)) {
                return Err(refuse(field, "0 to 1440 minutes", minutes));
            }
        }
        for (field, percent, range) in [
            ("linearConfiguration.stepPercent", linear.step_percent, STEP_PERCENT),
            ("canaryConfiguration.canaryPercent", canary.canary_percent, CANARY_PERCENT),
        ] {
            let fits = |percent: &f64| range.contains(percent) && is_multiple_of_a_tenth(*percent);
            if let Some(percent) = percent.filter(|percent| !fits(percent)) {
                let allowed = format!("a multiple of 0.1 from {:.1} to {:.1}", range.start(), range.end());
                return Err(refuse(field, &allowed, percent));
            }
        }
        Ok(())
    }

    /// The limits of a checked configuration.
    pub fn limits(&self) -> DeploymentLimits {
        let defaults = DeploymentLimits::default();
        let percent = |value: Option<i64>, default| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
        };
        DeploymentLimits {
            minimum_healthy_percent: percent(self.minimum_healthy_percent, defaults.minimum_healthy_percent),
            maximum_percent: percent(self.maximum_percent, defaults.maximum_percent),
        }
    }

    /// The circuit breaker, if it is on.
    pub fn breaker(&self) -> Option<&DeploymentCircuitBreaker> {
        self.deployment_circuit_breaker.as_ref().filter(|breaker| breaker.enable)
    }

    /// Whether a task that proves itself wipes out the failures before it.
    pub(crate) fn resets_failures(&self) -> bool {
        self.deployment_circuit_breaker.as_ref().is_none_or(DeploymentCircuitBreaker::resets)
    }

    /// What a deployment waits for.
    pub fn hooks(&self) -> &[LifecycleHook] {
        self.lifecycle_hooks.as_deref().unwrap_or_default()
    }

    /// How long both revisions run after all traffic has moved.
    pub(crate) fn bake_time(&self, pace: Pace) -> Duration {
        let minutes = u64::try_from(self.bake_time_in_minutes.unwrap_or(0)).unwrap_or(0);
        pace.bake.unwrap_or_else(|| Duration::from_secs(minutes * 60))
    }
}

fn is_multiple_of_a_tenth(percent: f64) -> bool {
    (percent * 10.0 - (percent * 10.0).round()).abs() < 1e-6
}

pub(super) fn refuse(field: &str, allowed: &str, given: impl Display) -> OperationError {
    OperationError::invalid(format!("deploymentConfiguration.{field} must be {allowed}, not {given}."))
}

/// How many tasks a rolling deployment may have, in percent of the desired count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentLimits {
    /// At least so many healthy, rounded up.
    pub minimum_healthy_percent: u32,
    /// At most so many in all, rounded down.
    pub maximum_percent: u32,
}

impl Default for DeploymentLimits {
    /// ECS's for REPLICA services.
    fn default() -> Self {
        Self { minimum_healthy_percent: 100, maximum_percent: 200 }
    }
}

impl DeploymentLimits {
    /// Fewest healthy tasks.
    pub fn minimum(self, desired: u32) -> u32 {
        let exact = u64::from(desired) * u64::from(self.minimum_healthy_percent);
        u32::try_from(exact.div_ceil(100)).unwrap_or(u32::MAX)
    }

    /// Most tasks.
    pub fn maximum(self, desired: u32) -> u32 {
        let exact = u64::from(desired) * u64::from(self.maximum_percent);
        u32::try_from(exact / 100).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
