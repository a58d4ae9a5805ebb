//! Application Auto Scaling and the alarms of CloudWatch: their operations' names, and what they are here.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_supervisor::Supervisor;

use crate::ecs::run;
use crate::{ApiError, Service};

/// Application Auto Scaling over a supervisor.
#[derive(Debug, Clone)]
pub struct AutoScaling(Supervisor);

impl AutoScaling {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl Service for AutoScaling {
    fn target_prefix(&self) -> &'static str {
        "AnyScaleFrontendService"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let s = &self.0;
        let answer = match operation {
            "DeleteScalingPolicy" => run(&body, |input| s.delete_scaling_policy(input)).await,
            "DeleteScheduledAction" => run(&body, |input| s.delete_scheduled_action(input)).await,
            "DeregisterScalableTarget" => run(&body, |input| s.deregister_scalable_target(input)).await,
            "DescribeScalableTargets" => run(&body, |input| s.describe_scalable_targets(input)).await,
            "DescribeScalingActivities" => run(&body, |input| s.describe_scaling_activities(input)).await,
            "DescribeScalingPolicies" => run(&body, |input| s.describe_scaling_policies(input)).await,
            "DescribeScheduledActions" => run(&body, |input| s.describe_scheduled_actions(input)).await,
            "PutScalingPolicy" => run(&body, |input| s.put_scaling_policy(input)).await,
            "PutScheduledAction" => run(&body, |input| s.put_scheduled_action(input)).await,
            "RegisterScalableTarget" => run(&body, |input| s.register_scalable_target(input)).await,
            _ => Err(ApiError::unknown_operation(operation)),
        };
        answer.map_err(in_its_words)
    }
}

/// Application Auto Scaling calls `ValidationException` what is `InvalidParameterException` with ECS.
fn in_its_words(error: ApiError) -> ApiError {
    match &*error.code {
        "InvalidParameterException" | "ClientException" => {
            ApiError { code: Cow::Borrowed("ValidationException"), ..error }
        }
        _ => error,
    }
}

/// The alarms of CloudWatch that raise scaling policies.
#[derive(Debug, Clone)]
pub struct CloudWatch(Supervisor);

impl CloudWatch {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl Service for CloudWatch {
    fn target_prefix(&self) -> &'static str {
        "GraniteServiceVersion20100801"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let s = &self.0;
        match operation {
            "DeleteAlarms" => run(&body, |input| s.delete_alarms(input)).await,
            "DescribeAlarms" => run(&body, |input| s.describe_alarms(input)).await,
            "PutMetricAlarm" => run(&body, |input| s.put_metric_alarm(input)).await,
            _ => Err(ApiError::unknown_operation(operation)),
        }
    }
}
