//! What a driver is told of load balancers.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use coracle_balancer::{HealthCheckConfig, TargetGroupAttributes};

use crate::model::load_balancing::action::Action;
use crate::model::load_balancing::condition::RuleCondition;

/// A target group that people made.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroupSettings {
    /// Its ARN, which identifies it.
    pub arn: String,
    /// For people.
    pub name: String,
    /// How its targets are checked.
    pub health_check: HealthCheckConfig,
    /// How it treats its targets and their clients.
    pub attributes: TargetGroupAttributes,
    /// Targets that are no service's tasks.
    pub targets: BTreeSet<SocketAddr>,
}

/// A load balancer's listener with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Its ARN, which identifies it.
    pub arn: String,
    /// For people.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its rules but the last.
    pub rules: Vec<RuleSettings>,
    /// ARN of the last, for requests that no other is for.
    pub default_arn: String,
    /// What that does.
    pub default: Action,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// Its ARN.
    pub arn: String,
    /// The lowest is asked first.
    pub priority: u32,
    /// All must hold.
    pub conditions: Vec<RuleCondition>,
    /// What it does.
    pub action: Action,
}
