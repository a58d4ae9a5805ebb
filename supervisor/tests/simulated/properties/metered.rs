//! How long tasks really ran, to compare what was metered with.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_supervisor::clock::Timestamp;
use coracle_supervisor::model::names::TaskId;
use coracle_supervisor::model::task::TaskStatus;

/// What a task's seconds may be off by: its last second is counted in full, and its beginning and end are written a moment later.
const SLACK: Duration = Duration::from_secs(2);

/// The time that tasks ran.
#[derive(Debug, Default)]
pub(crate) struct Metered {
    /// Begin, and end if there was one.
    tasks: BTreeMap<TaskId, (Timestamp, Option<Timestamp>)>,
    /// Of tasks that ended before a crash, with those that ended with it.
    before: Duration,
    count_before: u32,
    /// The most that crashes may have lost.
    lost: Duration,
}

impl Metered {
    pub(crate) fn seen(&mut self, id: &TaskId, status: &TaskStatus) {
        let Some(began) = status.pull_started_at else { return };
        let ended = status.execution_stopped_at.or(status.stopped_at);
        self.tasks.insert(id.clone(), (began, ended));
    }

    /// What had not been written since `metered_at` is lost.
    pub(crate) fn crashed(&mut self, now: Timestamp, metered_at: Timestamp) {
        for (began, ended) in std::mem::take(&mut self.tasks).into_values() {
            let end = ended.unwrap_or(now);
            self.before += end.since(began);
            self.count_before += 1;
            let unwritten = if metered_at > began { metered_at } else { began };
            self.lost += end.since(unwritten) + SLACK;
        }
    }

    /// The least and the most seconds that may be told now.
    pub(crate) fn bounds(&self, now: Timestamp) -> (u64, u64) {
        let ran: Duration =
            self.tasks.values().map(|(began, ended)| ended.unwrap_or(now).since(*began)).sum();
        let count = self.count_before + u32::try_from(self.tasks.len()).unwrap();
        let slack = SLACK * count;
        let all = self.before + ran;
        (all.saturating_sub(self.lost + slack).as_secs(), (all + slack).as_secs() + 1)
    }
}
