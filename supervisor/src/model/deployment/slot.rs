//! A service's two target groups, and how its traffic is split between them.

use serde::{Deserialize, Serialize};

/// All of the traffic, in thousandths.
pub const ALL: u32 = 1000;

/// One of a service's two target groups. Only strategies that run two revisions side by side ever use the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The one that a service begins with.
    #[default]
    Blue,
    /// The other.
    Green,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

/// Which target group a service's requests go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// The one whose tasks are the service's.
    pub serving: Slot,
    /// What the other gets of the production listener's requests, in thousandths.
    pub shifted: u32,
    /// Whether the test listener's go to the other.
    pub test_shifted: bool,
}

impl Traffic {
    /// What a target group gets of the production listener's requests, in thousandths.
    pub fn production(self, slot: Slot) -> u32 {
        if slot == self.serving { ALL.saturating_sub(self.shifted) } else { self.shifted.min(ALL) }
    }

    /// The target group that the test listener's requests go to.
    pub fn test(self) -> Slot {
        if self.test_shifted { self.serving.other() } else { self.serving }
    }
}
