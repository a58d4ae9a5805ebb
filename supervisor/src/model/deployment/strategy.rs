//! Deployment strategies. Another one is a file here, a variant, and a line in `DeploymentStrategy::course`.

mod blue_green;
mod canary;
mod linear;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::slot::ALL;
use super::{DeploymentConfiguration, Pace};

/// How a service moves from one revision to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeploymentStrategy {
    /// Tasks are replaced a few at a time, within the limits.
    #[default]
    Rolling,
    /// A second set of tasks is started, and gets all traffic at once.
    BlueGreen,
    /// A second set of tasks is started, and gets traffic in equal steps.
    Linear,
    /// A second set of tasks is started, and gets a little traffic, then all.
    Canary,
}

/// What a strategy does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Old and new tasks share one target group, and new ones take the place of old ones.
    InPlace,
    /// Old and new tasks have a target group each, between which traffic moves in these steps. The last gives the new ones all.
    SideBySide(Vec<Shift>),
}

/// One step of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// What the new revision gets from now on, in thousandths of the production traffic.
    pub(crate) share: u32,
    /// How long it stays so before the next step.
    pub(crate) bake: Duration,
}

impl DeploymentStrategy {
    /// As ECS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "ROLLING",
            Self::BlueGreen => "BLUE_GREEN",
            Self::Linear => "LINEAR",
            Self::Canary => "CANARY",
        }
    }

    /// What a checked configuration makes it do.
    pub(crate) fn course(self, configuration: &DeploymentConfiguration, pace: Pace) -> Course {
        match self {
            Self::Rolling => Course::InPlace,
            Self::BlueGreen => Course::SideBySide(blue_green::shifts()),
            Self::Linear => Course::SideBySide(linear::shifts(configuration.linear_configuration, pace)),
            Self::Canary => Course::SideBySide(canary::shifts(configuration.canary_configuration, pace)),
        }
    }
}

/// Percent, which have one decimal, in thousandths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be within 0.1 to 100"
)]
fn thousandths(percent: f64) -> u32 {
    ((percent * 10.0).round() as u32).min(ALL)
}

fn minutes(configured: Option<i64>, default: i64) -> Duration {
    Duration::from_secs(u64::try_from(configured.unwrap_or(default)).unwrap_or(0) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::deployment::{CanaryConfiguration, LinearConfiguration};

    fn shares(course: Course) -> Vec<u32> {
        match course {
            Course::InPlace => Vec::new(),
            Course::SideBySide(shifts) => shifts.iter().map(|shift| shift.share).collect(),
        }
    }

    #[test]
    fn every_course_ends_with_all_of_the_traffic() {
        let configured = |step, canary| DeploymentConfiguration {
            linear_configuration: Some(LinearConfiguration {
                step_percent: step,
                ..LinearConfiguration::default()
            }),
            canary_configuration: Some(CanaryConfiguration {
                canary_percent: canary,
                ..CanaryConfiguration::default()
            }),
            ..DeploymentConfiguration::default()
        };
        let course = |strategy: DeploymentStrategy, step, canary| {
            strategy.course(&configured(step, canary), Pace::default())
        };
        assert_eq!(shares(course(DeploymentStrategy::BlueGreen, None, None)), [1000]);
        let tenths: Vec<u32> = (1..=10).map(|step| step * 100).collect();
        assert_eq!(shares(course(DeploymentStrategy::Linear, None, None)), tenths);
        assert_eq!(shares(course(DeploymentStrategy::Linear, Some(33.3), None)), [333, 666, 999, 1000]);
        assert_eq!(shares(course(DeploymentStrategy::Canary, None, None)), [50, 1000]);
        assert_eq!(shares(course(DeploymentStrategy::Canary, None, Some(40.0))), [400, 1000]);
        assert_eq!(shares(course(DeploymentStrategy::Canary, None, Some(100.0))), [1000]);
        assert_eq!(course(DeploymentStrategy::Rolling, None, None), Course::InPlace);
    }

    #[test]
    fn steps_bake_for_ecss_minutes_or_the_tags_seconds_and_the_last_does_not() {
        let bakes = |pace| match DeploymentStrategy::Canary.course(&DeploymentConfiguration::default(), pace)
        {
            Course::SideBySide(shifts) => shifts.iter().map(|shift| shift.bake.as_secs_f64()).collect(),
            Course::InPlace => Vec::new(),
        };
        assert_eq!(bakes(Pace::default()), [600.0, 0.0]);
        let pace = Pace { step_bake: Some(Duration::from_millis(500)), ..Pace::default() };
        assert_eq!(bakes(pace), [0.5, 0.0]);
    }
}
