//! What ECS has no operation for: ours, beside ECS's and in the same protocol.

use async_trait::async_trait;
use bytes::Bytes;
use coracle_supervisor::Supervisor;

use crate::ecs::run;
use crate::{ApiError, Service};

/// Our own operations over a supervisor.
#[derive(Debug, Clone)]
pub struct Coracle(Supervisor);

impl Coracle {
    /// The service for one supervisor.
    #[must_use]
    pub fn new(supervisor: Supervisor) -> Self {
        Self(supervisor)
    }
}

#[async_trait]
impl Service for Coracle {
    fn target_prefix(&self) -> &'static str {
        "Coracle_20261124"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let s = &self.0;
        match operation {
            "DescribeScheduleInvocations" => run(&body, |input| s.describe_schedule_invocations(input)).await,
            "DescribeTaskCrashes" => run(&body, |input| s.describe_task_crashes(input)).await,
            "DescribeTaskStats" => run(&body, |input| s.describe_task_stats(input)).await,
            "DescribeUsage" => run(&body, |input| s.describe_usage(input)).await,
            "ReclaimCapacity" => run(&body, |input| s.reclaim_capacity(input)).await,
            _ => Err(ApiError::unknown_operation(operation)),
        }
    }
}
