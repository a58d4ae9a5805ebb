//! The agent: makes this node's tasks so, and reports what it sees.
//!
//! It watches the orders for this node ([`TaskRecord`]s) and keeps one [`runner`] for each, which leads the task through its life. It never
//! decides whether a task should exist; it only ends those that end by themselves or that are ordered to stop.

mod containers;
mod environment;
mod health;
pub(crate) mod history;
mod life;
mod report;
pub(crate) mod restore;
mod runner;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::model::names::TaskId;
use crate::model::task::{StopCode, StopOrder, TaskRecord};
use crate::records::{decode, keys};
use crate::store::{Change, Entry, StoreError, Watch};
use crate::supervisor::Shared;
use runner::Runner;

/// Pause before looking at a store again that failed.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// The orders this node looks at.
const WATCHED: [&str; 2] = [keys::STANDALONE_TASKS, keys::SERVICE_TASKS];

/// Ends the agent.
#[derive(Debug)]
pub(crate) struct Shutdown {
    /// By when every task must have ended.
    pub(crate) deadline: Instant,
    /// Told when all have, or at the deadline.
    pub(crate) done: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(crate) struct Agent {
    shared: Arc<Shared>,
    /// By the key of their order: until the order is deleted, even when the task is over, so that a change of the order that is still on its way
    /// does not start the task again.
    tasks: HashMap<Arc<str>, watch::Sender<Option<StopOrder>>>,
    runners: JoinSet<TaskId>,
}

impl Agent {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tasks: HashMap::new(), runners: JoinSet::new() }
    }

    /// Runs until told to shut down. Dropping the future ends every task at once, as a crash would.
    pub(crate) async fn run(mut self, mut shutdown: oneshot::Receiver<Shutdown>) {
        let mut watch = None;
        loop {
            let watching = match &mut watch {
                Some(watching) => watching,
                none => match self.begin_watch().await {
                    Ok(begun) => none.insert(begun),
                    Err(error) => {
                        tracing::error!(%error, "cannot watch for tasks");
                        tokio::time::sleep(STORE_RETRY).await;
                        continue;
                    }
                },
            };
            tokio::select! {
                biased;
                asked = &mut shutdown => {
                    // The sender went away without asking: the supervisor is gone, and so are its tasks.
                    let Ok(asked) = asked else { return };
                    return self.shut_down(asked).await;
                }
                change = watching.next() => match change {
                    Ok(Change::Put(entry)) => self.ordered(&entry),
                    Ok(Change::Delete(key, _)) => { self.tasks.remove(&key); }
                    Err(_) => watch = None,
                },
                Some(ended) = self.runners.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a task's runner failed");
                    }
                }
            }
        }
    }

    async fn begin_watch(&mut self) -> Result<Watch, StoreError> {
        let watch = self.shared.records.store.watch(&WATCHED).await?;
        self.tasks.retain(|key, _| watch.snapshot.iter().any(|entry| entry.key == *key));
        for entry in &watch.snapshot {
            self.ordered(entry);
        }
        Ok(watch)
    }

    fn ordered(&mut self, entry: &Entry) {
        let record: TaskRecord = match decode(entry) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, "cannot read a task's order");
                return;
            }
        };
        if record.node != self.shared.node {
            return;
        }
        if let Some(stop) = self.tasks.get(&entry.key) {
            stop.send_if_modified(|known| {
                let news = known.is_none() && record.stop.is_some();
                if news {
                    known.clone_from(&record.stop);
                }
                news
            });
            return;
        }
        let (stop, stopped) = watch::channel(record.stop.clone());
        self.tasks.insert(Arc::clone(&entry.key), stop);
        let runner = Runner::new(Arc::clone(&self.shared), entry.key.to_string(), record, stopped);
        self.runners.spawn(runner.run());
    }

    async fn shut_down(mut self, shutdown: Shutdown) {
        let order =
            StopOrder { code: StopCode::TerminationNotice, reason: "Coracle is shutting down".to_owned() };
        for stop in self.tasks.values() {
            stop.send_if_modified(|known| {
                let news = known.is_none();
                known.get_or_insert_with(|| order.clone());
                news
            });
        }
        let all_ended = async { while self.runners.join_next().await.is_some() {} };
        if timeout_at(shutdown.deadline, all_ended).await.is_err() {
            tracing::warn!(tasks = self.runners.len(), "tasks did not stop in time");
        }
        // Nobody may be waiting any more.
        shutdown.done.send(()).ok();
    }
}
