//! What the last process left undone, before anything runs.

use crate::model::names::NodeId;
use crate::model::task::{LastStatus, StopCode, StopOrder, StoppedTask, TaskRecord, TaskStatus};
use crate::records::{Records, encode, keys};
use crate::store::{Compare, StoreError, Transaction};
use crate::supervisor::Shared;

/// Tasks that one transaction brings in order.
const BATCH: usize = 100;
/// Where this node's id is kept, so that it has the same ARN after a restart.
const NODE: &str = "node/local";

/// This node's id; `fresh` becomes it if it has none yet.
pub(crate) async fn node(records: &Records, fresh: NodeId) -> Result<NodeId, StoreError> {
    records
        .commit(Transaction::new().when(Compare::Absent(NODE.to_owned())).put(NODE, encode(&fresh)))
        .await?;
    Ok(records.get(NODE).await?.map_or(fresh, |found| found.value))
}

/// Standalone tasks that were not over when the last process ended are: nothing brings a standalone task back, and whether it had done its work
/// nobody can know, so that running it again could do it twice.
pub(crate) async fn standalone_tasks(shared: &Shared) -> Result<(), StoreError> {
    let left: Vec<TaskRecord> = shared.records.list(keys::STANDALONE_TASKS).await?;
    for batch in left.chunks(BATCH) {
        let mut over = Transaction::new();
        for task in batch {
            let (cluster, id) = (&task.cluster, &task.id);
            let stopped = StoppedTask { task: task.clone(), status: stopped_status(shared, task) };
            over = over
                .put(keys::stopped_task(cluster, id), encode(&stopped))
                .delete(keys::standalone_task(cluster, id));
        }
        shared.records.commit(over).await?;
    }
    if !left.is_empty() {
        tracing::info!(tasks = left.len(), "standalone tasks of the last run are stopped");
    }
    Ok(())
}

fn stopped_status(shared: &Shared, task: &TaskRecord) -> TaskStatus {
    let now = shared.now();
    let lost = || StopOrder {
        code: StopCode::InfrastructureHealth,
        reason: "Coracle was restarted while the task was active; standalone tasks are not started again"
            .to_owned(),
    };
    TaskStatus {
        last_status: LastStatus::Stopped,
        version: 1,
        stopping_at: Some(now),
        execution_stopped_at: Some(now),
        stopped_at: Some(now),
        stop: Some(task.stop.clone().unwrap_or_else(lost)),
        ..TaskStatus::default()
    }
}
