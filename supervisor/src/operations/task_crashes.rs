//! DescribeTaskCrashes, an operation of ours: the crash reports that are kept of a task.

use serde::{Deserialize, Serialize};

use crate::error::OperationError;
use crate::model::crash::CrashReport;
use crate::supervisor::Supervisor;

/// Which task is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeTaskCrashesRequest {
    /// Name or ARN; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Id or ARN, of a task that runs or is over and still shown.
    pub task: String,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescribeTaskCrashesResponse {
    /// Oldest first, up to ten of each container.
    pub crashes: Vec<CrashReport>,
}

impl Supervisor {
    /// Reads the crash reports of a task.
    pub async fn describe_task_crashes(
        &self,
        request: DescribeTaskCrashesRequest,
    ) -> Result<DescribeTaskCrashesResponse, OperationError> {
        let cluster = self.identity().parse_cluster(request.cluster.as_deref())?;
        let id = self.identity().parse_task(&cluster, &request.task)?;
        self.records().cluster(&cluster).await?;
        let known = self.records().task(&cluster, &id).await?;
        known.ok_or_else(|| OperationError::invalid("The referenced task was not found."))?;
        Ok(DescribeTaskCrashesResponse { crashes: self.driver().crashes(&id).await })
    }
}
