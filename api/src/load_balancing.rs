//! Elastic Load Balancing, version 2: its operations' names, and what they are here.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_supervisor::Supervisor;

use crate::ecs::run;
use crate::query::QueryService;
use crate::{ApiError, Service};

/// ELBv2 over a supervisor. AWS's clients speak to it by forms ([`crate::query`]), ours in JSON.
#[derive(Debug, Clone)]
pub struct LoadBalancing(Supervisor);

impl LoadBalancing {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl Service for LoadBalancing {
    /// The name that the service has in AWS's own model, whose clients never send it.
    fn target_prefix(&self) -> &'static str {
        "ElasticLoadBalancing_v10"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let s = &self.0;
        let answer = match operation {
            "CreateListener" => run(&body, |input| s.create_listener(input)).await,
            "CreateLoadBalancer" => run(&body, |input| s.create_load_balancer(input)).await,
            "CreateRule" => run(&body, |input| s.create_rule(input)).await,
            "CreateTargetGroup" => run(&body, |input| s.create_target_group(input)).await,
            "DeleteListener" => run(&body, |input| s.delete_listener(input)).await,
            "DeleteLoadBalancer" => run(&body, |input| s.delete_load_balancer(input)).await,
            "DeleteRule" => run(&body, |input| s.delete_rule(input)).await,
            "DeleteTargetGroup" => run(&body, |input| s.delete_target_group(input)).await,
            "DeregisterTargets" => run(&body, |input| s.deregister_targets(input)).await,
            "DescribeListeners" => run(&body, |input| s.describe_listeners(input)).await,
            "DescribeLoadBalancers" => run(&body, |input| s.describe_load_balancers(input)).await,
            "DescribeRules" => run(&body, |input| s.describe_rules(input)).await,
            "DescribeTargetGroupAttributes" => {
                run(&body, |input| s.describe_target_group_attributes(input)).await
            }
            "DescribeTargetGroups" => run(&body, |input| s.describe_target_groups(input)).await,
            "DescribeTargetHealth" => run(&body, |input| s.describe_target_health(input)).await,
            "ModifyListener" => run(&body, |input| s.modify_listener(input)).await,
            "ModifyRule" => run(&body, |input| s.modify_rule(input)).await,
            "ModifyTargetGroup" => run(&body, |input| s.modify_target_group(input)).await,
            "ModifyTargetGroupAttributes" => {
                run(&body, |input| s.modify_target_group_attributes(input)).await
            }
            "RegisterTargets" => run(&body, |input| s.register_targets(input)).await,
            "SetRulePriorities" => run(&body, |input| s.set_rule_priorities(input)).await,
            _ => Err(ApiError::unknown_operation(operation)),
        };
        // What is `InvalidParameterException` with ECS.
        answer.map_err(|error| match &*error.code {
            "InvalidParameterException" => ApiError { code: Cow::Borrowed("ValidationError"), ..error },
            _ => error,
        })
    }
}

impl QueryService for LoadBalancing {
    fn version(&self) -> &'static str {
        "2015-12-01"
    }

    fn namespace(&self) -> &'static str {
        "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
    }
}
