//! Scale-in protection: a task that asks not to be stopped while it works.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// ECS: "If you don't specify the time, then the task is automatically protected for 120 minutes (2 hours)."
pub const DEFAULT_MINUTES: u32 = 120;
/// ECS: "from 1 minute to up to 2,880 minutes (48 hours)".
pub const MAX_MINUTES: u32 = 2_880;

/// A service's task is not stopped by scale-in or a deployment until then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskProtection {
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl TaskProtection {
    /// Whether it still holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}
