//! What can be told about a target, in ELB's words.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::latency::LatencyHistogram;
use crate::TargetId;

/// ELB's target states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Registered, and no health check has told anything yet: no traffic.
    #[default]
    Initial,
    /// Gets its share of the traffic.
    Healthy,
    /// Gets traffic only while no target of the group is healthy.
    Unhealthy,
    /// Its group is behind no listener. (Not set by the group itself, which does not know its listeners.)
    Unused,
    /// Deregistered; finishes the requests it has.
    Draining,
    /// Health checks are disabled: gets traffic as a healthy one does.
    Unavailable,
}

impl TargetState {
    /// Whether a target in this state gets its share of the traffic.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Healthy | Self::Unavailable)
    }

    /// ELB's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unused => "unused",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What whoever registered a target knows of its health by other means than the group's checks, as AWS Cloud Map's custom health is.
///
/// As its `HEALTHY_OR_ELSE_ALL` has it, requests go to those of the usable targets that are best off: while one is healthy, to none that is not. It changes
/// nothing about a target's [`TargetState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CustomHealth {
    /// Well; also where nobody looks.
    #[default]
    Healthy,
    /// It has not been found out yet.
    Unknown,
    /// Ill.
    Unhealthy,
}

/// A target of a group at one moment, as ELB's `DescribeTargetHealth` tells it.
#[derive(Clone, Debug)]
pub struct TargetDescription {
    /// The id it was registered under.
    pub id: TargetId,
    /// Its socket address, `None` if it is in this process.
    pub address: Option<SocketAddr>,
    /// Its state.
    pub state: TargetState,
    /// ELB's reason code for any state but healthy, for example `Target.ResponseCodeMismatch`.
    pub reason: Option<&'static str>,
    /// The reason in words, for example `Health checks failed with these codes: [500]`.
    pub description: Option<String>,
    /// Whether it is set aside for failing requests ([`OutlierDetection`](crate::OutlierDetection)).
    pub ejected: bool,
    /// How often it was.
    pub ejections: u32,
    /// What it has done so far.
    pub counters: TargetCounters,
    /// How long its answers took; of groups with `coracle.metrics.latency.enabled`.
    pub latency: LatencyHistogram,
}

/// What went to a target and came back, since it was registered. Health checks do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetCounters {
    /// Requests given to it, retries of a request on it included.
    pub requests: u64,
    /// Requests it has now: begun, and the last byte of the answer not yet taken.
    pub in_flight: u64,
    /// Answers with a 2xx status.
    pub responses_2xx: u64,
    /// Answers with a 3xx status.
    pub responses_3xx: u64,
    /// Answers with a 4xx status.
    pub responses_4xx: u64,
    /// Answers with a 5xx status that the target itself gave.
    pub responses_5xx: u64,
    /// Requests it did not answer: not reached, overloaded, timed out or malformed.
    pub failures: u64,
    /// Of the requests those that had reached another target before.
    pub retries: u64,
}
