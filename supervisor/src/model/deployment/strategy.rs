//! Deployment strategies.

use serde::{Deserialize, Serialize};

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
}
