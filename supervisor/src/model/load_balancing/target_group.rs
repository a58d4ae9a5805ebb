//! Target groups that people make.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use coracle_balancer::{HealthCheckConfig, TargetGroupAttributes};
use serde::{Deserialize, Serialize};

use super::{ResourceTag, refused};
use crate::clock::Timestamp;
use crate::error::OperationError;

/// AWS: "Targets per target group per Region (instances or IP addresses): 1,000". It raises that on request.
pub const MAX_TARGETS: usize = 10_000;
/// AWS: "Target groups per Region: 3,000".
pub const MAX_TARGET_GROUPS: usize = 3_000;

/// What is kept of a target group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroupRecord {
    /// Unique.
    pub name: String,
    /// Sixteen hexadecimal digits: the last part of its ARN.
    pub id: String,
    /// Where targets are reached that do not say it themselves.
    pub port: u16,
    /// What its targets are.
    pub target_type: TargetType,
    /// How they are checked.
    pub health_check: HealthCheckConfig,
    /// As they were given; the others have their defaults.
    pub attributes: BTreeMap<String, String>,
    /// Those that were registered by themselves. Services' tasks come and go without a record.
    pub targets: BTreeSet<SocketAddr>,
    /// When it was created.
    pub created_at: Timestamp,
    /// On it.
    pub tags: Vec<ResourceTag>,
}

/// What targets are. Services' tasks may be in groups of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// Tasks at a port of their node: ELB's default.
    #[default]
    Instance,
    /// Tasks and others by their addresses.
    Ip,
}

impl TargetType {
    /// ELB's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
        }
    }
}

impl TargetGroupRecord {
    /// Its attributes, all of them.
    pub fn parsed_attributes(&self) -> Result<TargetGroupAttributes, OperationError> {
        parse_attributes(&self.attributes)
    }
}

/// Reads attributes; the error names the first that is unknown or out of its range.
pub(crate) fn parse_attributes(
    attributes: &BTreeMap<String, String>,
) -> Result<TargetGroupAttributes, OperationError> {
    let pairs = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    TargetGroupAttributes::from_pairs(pairs).map_err(|error| refused(error.to_string()))
}
