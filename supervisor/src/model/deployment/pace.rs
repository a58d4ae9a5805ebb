//! Times of a deployment in seconds. ECS counts bake times in whole minutes and cannot be told what proves a task, which is long for a lesson or a
//! test; a service's tags say both more finely:
//!
//! | tag | value | default |
//! | --- | --- | --- |
//! | `coracle.bake-time` | seconds, 0 to 86400 | `bakeTimeInMinutes` |
//! | `coracle.step-bake-time` | seconds, 0 to 86400 | `stepBakeTimeInMinutes`, `canaryBakeTimeInMinutes` |
//! | `coracle.proving-time` | seconds, 0 to 86400 | 5 with a circuit breaker, else 0 |

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::OperationError;
use crate::model::tags::Tag;

/// Seconds in which both revisions run after all traffic has moved.
pub const BAKE_TIME: &str = "coracle.bake-time";
/// Seconds between two steps of traffic.
pub const STEP_BAKE_TIME: &str = "coracle.step-bake-time";
/// Seconds that a task must be healthy before a deployment relies on it.
pub const PROVING_TIME: &str = "coracle.proving-time";
/// ECS's 1440 minutes.
const MOST: f64 = 86_400.0;
/// A task that dies within it was never any good, and the circuit breaker counts it. ECS takes 40 seconds where nothing checks a task; here one
/// starts a thousand times faster.
const DEFAULT_PROVING_TIME: Duration = Duration::from_secs(5);

/// What a service's tags say of its deployments' times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// In place of `bakeTimeInMinutes`.
    pub bake: Option<Duration>,
    /// In place of the minutes between steps.
    pub step_bake: Option<Duration>,
    /// How long a task must be healthy.
    pub proving: Option<Duration>,
}

impl Pace {
    /// Reads a service's tags. Errors name the tag.
    pub fn parse(tags: &[Tag]) -> Result<Self, OperationError> {
        let seconds = |key: &str| {
            let Some(tag) = tags.iter().find(|tag| tag.key == key) else { return Ok(None) };
            let value = tag.value.parse::<f64>().ok().filter(|value| (0.0..=MOST).contains(value));
            value.map(|value| Some(Duration::from_secs_f64(value))).ok_or_else(|| {
                OperationError::invalid(format!(
                    "Tag {key} must be seconds from 0 to {MOST}, not {:?}.",
                    tag.value
                ))
            })
        };
        Ok(Self {
            bake: seconds(BAKE_TIME)?,
            step_bake: seconds(STEP_BAKE_TIME)?,
            proving: seconds(PROVING_TIME)?,
        })
    }

    /// Whether a tag is one of these.
    pub fn is_its(key: &str) -> bool {
        [BAKE_TIME, STEP_BAKE_TIME, PROVING_TIME].contains(&key)
    }

    /// How long a task must be healthy before a deployment relies on it.
    pub fn proving_time(self, with_breaker: bool) -> Duration {
        self.proving.unwrap_or(if with_breaker { DEFAULT_PROVING_TIME } else { Duration::ZERO })
    }
}
