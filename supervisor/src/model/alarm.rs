//! Alarms on a service's metrics, in CloudWatch's words: what raises a step scaling policy.

use serde::{Deserialize, Serialize};

use super::names::{ClusterName, ServiceName};
use super::scaling::Metric;

/// Most alarms.
pub const MAX_ALARMS: usize = 5_000;

/// An alarm on a metric of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// Unique.
    pub name: String,
    /// Given back as it came.
    pub description: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// The cluster of the service that is measured.
    pub cluster: ClusterName,
    /// The service that is measured.
    pub service: ServiceName,
    /// Which side of the threshold is wrong.
    pub comparison: Comparison,
    /// The threshold.
    pub threshold: f64,
    /// Seconds, a multiple of 60.
    pub period: u32,
    /// Periods that are looked at.
    pub evaluation_periods: usize,
    /// How many of them must be on the wrong side.
    pub datapoints_to_alarm: usize,
    /// How the minutes of a period become one value.
    pub statistic: Statistic,
    /// ARNs of the policies that it raises.
    pub actions: Vec<String>,
    /// Whether it raises them.
    pub actions_enabled: bool,
}

/// Which side of a threshold is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Comparison {
    GreaterThanThreshold,
    GreaterThanOrEqualToThreshold,
    LessThanThreshold,
    LessThanOrEqualToThreshold,
}

/// How several values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Statistic {
    Average,
    Minimum,
    Maximum,
    Sum,
}

impl Statistic {
    /// One value of several; none of none.
    pub fn of(self, values: &[f64]) -> Option<f64> {
        let sum = || values.iter().copied().reduce(|sum, value| sum + value);
        match self {
            #[expect(clippy::cast_precision_loss, reason = "some minutes")]
            Self::Average => sum().map(|sum| sum / values.len() as f64),
            Self::Sum => sum(),
            Self::Minimum => values.iter().copied().reduce(f64::min),
            Self::Maximum => values.iter().copied().reduce(f64::max),
        }
    }
}
