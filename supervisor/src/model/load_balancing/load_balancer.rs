//! Load balancers with their listeners and rules.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::condition::RuleCondition;
use super::{ResourceTag, refused};
use crate::clock::Timestamp;
use crate::error::OperationError;

/// AWS: "Application Load Balancers per Region: 50". It raises that on request.
pub const MAX_LOAD_BALANCERS: usize = 500;
/// AWS: "Listeners per Application Load Balancer: 50".
pub const MAX_LISTENERS: usize = 50;
/// AWS: "Rules per Application Load Balancer, not counting default rules: 100".
pub const MAX_RULES: usize = 100;

/// The tag that says at which of the host's addresses a load balancer listens.
pub const ADDRESS: &str = "coracle.address";
/// Where a load balancer listens that does not say it: where nobody else gets in.
const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is kept of a load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerRecord {
    /// Unique.
    pub name: String,
    /// Sixteen hexadecimal digits: the last part of its ARN.
    pub id: String,
    /// Given back as it came: who gets in is decided by the address.
    pub scheme: Scheme,
    /// Where its listeners listen.
    pub address: IpAddr,
    /// When it was created.
    pub created_at: Timestamp,
    /// On it.
    pub tags: Vec<ResourceTag>,
    /// Its listeners, in the order they were created in.
    pub listeners: Vec<ListenerRecord>,
}

/// ELB's schemes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Scheme {
    #[default]
    InternetFacing,
    Internal,
}

/// What is kept of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerRecord {
    /// Sixteen hexadecimal digits.
    pub id: String,
    /// 1 to 65,535, and no other listener's of the load balancer.
    pub port: u16,
    /// What is done with requests that no rule is for.
    pub default: DefaultRule,
    /// By priority.
    pub rules: Vec<RuleRecord>,
}

/// A listener's last rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultRule {
    /// Sixteen hexadecimal digits.
    pub id: String,
    /// What it does.
    pub action: Action,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleRecord {
    /// Sixteen hexadecimal digits.
    pub id: String,
    /// 1 to 50,000: the lowest is asked first.
    pub priority: u32,
    /// All must hold.
    pub conditions: Vec<RuleCondition>,
    /// What it does.
    pub action: Action,
}

impl LoadBalancerRecord {
    /// Where it listens, by its tags.
    pub(crate) fn address_in(tags: &[ResourceTag]) -> Result<IpAddr, OperationError> {
        let Some(tag) = tags.iter().find(|tag| tag.key == ADDRESS) else { return Ok(DEFAULT_ADDRESS) };
        tag.value.parse().map_err(|_| {
            refused(format!(
                "Tag {ADDRESS} must be an address of this host, such as 127.0.0.2, or 0.0.0.0 for all of them, not {:?}",
                tag.value
            ))
        })
    }

    /// What people connect to.
    pub fn dns_name(&self) -> String {
        match self.address {
            address if address.is_unspecified() => "localhost".to_owned(),
            address => address.to_string(),
        }
    }

    /// Where one of its listeners listens.
    pub fn socket_address(&self, listener: &ListenerRecord) -> SocketAddr {
        SocketAddr::new(self.address, listener.port)
    }

    /// The target groups that its rules send requests to.
    pub fn target_groups(&self) -> BTreeSet<&str> {
        self.listeners
            .iter()
            .flat_map(ListenerRecord::actions)
            .flat_map(Action::target_groups)
            .map(|(arn, _)| arn)
            .collect()
    }

    /// Rules of all its listeners.
    pub(crate) fn rules(&self) -> usize {
        self.listeners.iter().map(|listener| listener.rules.len()).sum()
    }
}

impl ListenerRecord {
    /// The actions of all its rules.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.rules.iter().map(|rule| &rule.action).chain([&self.default.action])
    }
}
