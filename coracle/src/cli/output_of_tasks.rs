//! What tasks print, on the terminal that `coracle serve` was called from.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use coracle::{CLUSTER, Host};
use coracle_supervisor::{
    Supervisor,
    driver::local::{ContainerLog, LocalDriver},
    model::names::TaskId,
    operations::ListTasksRequest,
};

use super::output::{name_of, short_id};

/// Between two looks. A person reads no faster, and a machine should use a daemon.
const POLL: Duration = Duration::from_millis(200);

/// Writes the lines of all tasks to standard error. It does not keep the host from shutting down, and can be asked for what was printed
/// while that happened.
pub(super) struct OutputOfTasks {
    supervisor: Supervisor,
    driver: LocalDriver,
    /// The number of each task's next line.
    next: HashMap<String, u64>,
}

impl OutputOfTasks {
    pub(super) fn of(host: &Host) -> Self {
        Self { supervisor: host.supervisor().clone(), driver: host.driver().clone(), next: HashMap::new() }
    }

    /// Goes on until it is dropped.
    pub(super) async fn forward(&mut self) -> Infallible {
        loop {
            self.forward_once().await;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Writes what is new.
    pub(super) async fn forward_once(&mut self) {
        for arn in running(&self.supervisor).await {
            self.next.entry(arn).or_default();
        }
        // Also those that stopped, for as long as their lines are kept.
        let driver = &self.driver;
        self.next.retain(|arn, next| print(driver, arn, next));
    }
}

async fn running(supervisor: &Supervisor) -> Vec<String> {
    let mut arns = Vec::new();
    let mut request = ListTasksRequest { cluster: Some(CLUSTER.to_owned()), ..ListTasksRequest::default() };
    // The store is in memory: listing does not fail.
    while let Ok(page) = supervisor.list_tasks(request.clone()).await {
        arns.extend(page.task_arns);
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    arns
}

/// Whether the task's log is still there.
fn print(driver: &LocalDriver, arn: &str, next: &mut u64) -> bool {
    let Some(task) = TaskId::parse(name_of(arn)) else { return false };
    for container in driver.logged_containers(&task) {
        if let Some(ContainerLog::Memory(ring)) = driver.log(&task, &container) {
            for (number, line) in ring.since(*next) {
                eprintln!("{} | {}", short_id(arn), line.message);
                *next = number + 1;
            }
        }
    }
    true
}
