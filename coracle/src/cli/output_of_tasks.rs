//! What tasks print, on the terminal that `coracle serve` was called from.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use coracle::{CLUSTER, Host};
use coracle_supervisor::{driver::local::ContainerLog, model::names::TaskId, operations::ListTasksRequest};

use super::output::{name_of, short_id};

/// Between two looks. A person reads no faster, and a machine should use a daemon.
const POLL: Duration = Duration::from_millis(200);

/// Writes the lines of all tasks to standard error, until it is dropped.
pub(super) async fn forward(host: &Host) -> Infallible {
    // The number of each task's next line.
    let mut next: HashMap<String, u64> = HashMap::new();
    loop {
        for arn in running(host).await {
            next.entry(arn).or_default();
        }
        // Also those that stopped, for as long as their lines are kept.
        next.retain(|arn, next| print(host, arn, next));
        tokio::time::sleep(POLL).await;
    }
}

async fn running(host: &Host) -> Vec<String> {
    let mut arns = Vec::new();
    let mut request = ListTasksRequest { cluster: Some(CLUSTER.to_owned()), ..ListTasksRequest::default() };
    // The store is in memory: listing does not fail.
    while let Ok(page) = host.supervisor().list_tasks(request.clone()).await {
        arns.extend(page.task_arns);
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    arns
}

/// Whether the task's log is still there.
fn print(host: &Host, arn: &str, next: &mut u64) -> bool {
    let Some(task) = TaskId::parse(name_of(arn)) else { return false };
    for container in host.driver().logged_containers(&task) {
        if let Some(ContainerLog::Memory(ring)) = host.driver().log(&task, &container) {
            for (number, line) in ring.since(*next) {
                eprintln!("{} | {}", short_id(arn), line.message);
                *next = number + 1;
            }
        }
    }
    true
}
