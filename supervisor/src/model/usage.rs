//! What services and families of standalone tasks have used, for those who pay for it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Fargate's smallest size: what a task without `cpu` or `memory` of any kind is counted as.
pub const SMALLEST_CPU: u32 = 256;
/// In MiB.
pub const SMALLEST_MEMORY: u32 = 512;
/// Seconds that Fargate counts at least for a task.
pub const MINIMUM_SECONDS: u64 = 60;

/// What was used in one month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// Tasks that were started.
    pub tasks: u64,
    /// Seconds that they ran, each task's rounded up.
    pub task_seconds: u64,
    /// Reserved CPU units (1,024 to a vCPU) times seconds.
    pub cpu_unit_seconds: u64,
    /// Reserved MiB times seconds.
    pub mib_seconds: u64,
    /// What a minimum of a minute for each task would add to `cpu_unit_seconds`.
    pub minimum_cpu_unit_seconds: u64,
    /// What a minimum of a minute for each task would add to `mib_seconds`.
    pub minimum_mib_seconds: u64,
    /// CPU time that was really used, in nanoseconds.
    pub cpu_time_nanos: u64,
    /// Requests that the balancer gave to them.
    pub requests: u64,
    /// Fuel, about one unit an instruction.
    pub fuel: u64,
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, more: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.tasks, more.tasks);
        add(&mut self.task_seconds, more.task_seconds);
        add(&mut self.cpu_unit_seconds, more.cpu_unit_seconds);
        add(&mut self.mib_seconds, more.mib_seconds);
        add(&mut self.minimum_cpu_unit_seconds, more.minimum_cpu_unit_seconds);
        add(&mut self.minimum_mib_seconds, more.minimum_mib_seconds);
        add(&mut self.cpu_time_nanos, more.cpu_time_nanos);
        add(&mut self.requests, more.requests);
        add(&mut self.fuel, more.fuel);
    }
}

impl Totals {
    /// Whether there is anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What one service, or the standalone tasks of one family, used in one month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRecord {
    /// By capacity provider: `FARGATE`, `FARGATE_SPOT`.
    pub by_capacity: BTreeMap<String, Totals>,
}

/// A month as bills have it: `2026-11`, in UTC.
pub fn month_of(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map(|time| time.strftime("%Y-%m").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_month_is_that_of_utc() {
        let at = |seconds| month_of(Timestamp::from_epoch(Duration::from_secs(seconds)));
        assert_eq!([at(0), at(1_767_225_599), at(1_767_225_600)], ["1970-01", "2025-12", "2026-01"]);
    }
}
