//! The ARNs of load balancers, listeners, rules and target groups.

use super::load_balancer::{ListenerRecord, LoadBalancerRecord};
use super::target_group::TargetGroupRecord;
use crate::model::arn::Identity;

/// What an ARN of ours names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) kind: Kind<'a>,
    /// Of the load balancer or target group.
    pub(crate) name: &'a str,
    /// Of the load balancer or target group.
    pub(crate) id: &'a str,
}

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    LoadBalancer,
    Listener { id: &'a str },
    Rule { listener: &'a str, id: &'a str },
    TargetGroup,
}

impl Identity {
    fn elasticloadbalancing(&self) -> String {
        format!("arn:aws:elasticloadbalancing:{}:{}:", self.region, self.account)
    }

    /// A load balancer's ARN.
    pub fn load_balancer(&self, record: &LoadBalancerRecord) -> String {
        format!("{}loadbalancer/app/{}/{}", self.elasticloadbalancing(), record.name, record.id)
    }

    /// A listener's ARN.
    pub fn listener(&self, of: &LoadBalancerRecord, listener: &ListenerRecord) -> String {
        format!("{}listener/app/{}/{}/{}", self.elasticloadbalancing(), of.name, of.id, listener.id)
    }

    /// The ARN of one of a listener's rules, its default rule included.
    pub fn rule(&self, of: &LoadBalancerRecord, listener: &ListenerRecord, rule: &str) -> String {
        let start = self.elasticloadbalancing();
        format!("{start}listener-rule/app/{}/{}/{}/{rule}", of.name, of.id, listener.id)
    }

    /// The ARN of a target group that somebody made.
    pub fn made_target_group(&self, record: &TargetGroupRecord) -> String {
        format!("{}targetgroup/{}/{}", self.elasticloadbalancing(), record.name, record.id)
    }

    /// What an ARN names, if it is one of these.
    pub(crate) fn parse_load_balancing<'a>(&self, arn: &'a str) -> Option<Named<'a>> {
        let parts: Vec<&str> = arn.strip_prefix(&self.elasticloadbalancing())?.split('/').collect();
        Some(match *parts.as_slice() {
            ["loadbalancer", "app", name, id] => Named { kind: Kind::LoadBalancer, name, id },
            ["listener", "app", name, id, listener] => {
                Named { kind: Kind::Listener { id: listener }, name, id }
            }
            ["listener-rule", "app", name, id, listener, rule] => {
                Named { kind: Kind::Rule { listener, id: rule }, name, id }
            }
            ["targetgroup", name, id] => Named { kind: Kind::TargetGroup, name, id },
            _ => return None,
        })
    }
}
