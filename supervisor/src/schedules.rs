//! Scheduled tasks: runs them at their times, as EventBridge Scheduler does.
//!
//! One loop looks at the schedules' records. A pure function ([`due::next`]) says what is next for one; a run is a RunTask whose client token is made from
//! the schedule and the run's time, so that a crash between the run and the note of it starts no task twice. Each schedule has at most one run
//! under way, and none waits for another's.

mod due;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::arn::fnv1a;
use crate::model::scheduled_run::{
    AfterCompletion, Invocation, InvocationStatus, MAX_INVOCATIONS, Retry, ScheduleRecord,
};
use crate::operations::{RunTaskRequest, parse_request};
use crate::records::{Records, decode, keys};
use crate::store::{Change, Compare, Entry, StoreError, Transaction};
use crate::supervisor::{Supervisor, WeakSupervisor};
use due::Next;

/// Pause before looking at a store again that failed.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Longest sleep: the host's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Runs what is scheduled.
#[derive(Debug)]
pub(crate) struct Schedules {
    supervisor: WeakSupervisor,
    known: HashMap<String, Known>,
    /// By the millisecond of their time.
    timers: BTreeSet<(i64, String)>,
    jobs: JoinSet<String>,
}

#[derive(Debug)]
struct Known {
    record: ScheduleRecord,
    timer: Option<i64>,
    /// A job for it is under way.
    busy: bool,
}

impl Schedules {
    pub(crate) fn new(supervisor: WeakSupervisor) -> Self {
        Self { supervisor, known: HashMap::new(), timers: BTreeSet::new(), jobs: JoinSet::new() }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(error) = self.keep().await {
                tracing::error!(%error, "scheduled tasks cannot use the store");
            }
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        let mut watch = self.supervisor.shared.records.store.watch(&[keys::SCHEDULES]).await?;
        // Jobs under way are waited for no more: what they do is done once, however often it is begun.
        self.jobs.abort_all();
        while self.jobs.join_next().await.is_some() {}
        self.known.clear();
        self.timers.clear();
        for entry in &watch.snapshot {
            self.see(entry);
        }
        loop {
            let sleep = self.until_next();
            tokio::select! {
                biased;
                change = watch.next() => match change {
                    Ok(Change::Put(entry)) => self.see(&entry),
                    Ok(Change::Delete(key, _)) => self.forget(&key),
                    Err(_) => return Ok(()),
                },
                // What a job wrote was published, and seen here, before it ended: the watch is read first.
                Some(done) = self.jobs.join_next() => match done {
                    Ok(name) => self.done(&name),
                    Err(error) => {
                        // Which one it was is not known: everything is looked at anew.
                        tracing::error!(%error, "a scheduled run ended abnormally");
                        return Ok(());
                    }
                },
                () = sleep_until(sleep) => self.wake(),
            }
        }
    }

    fn until_next(&self) -> Instant {
        let now = self.supervisor.shared.now().millis();
        let wait = self.timers.first().map_or(LONGEST_SLEEP, |(at, _)| {
            // A millisecond is the clock's resolution: never look before it has passed.
            Duration::from_millis(u64::try_from(at - now).unwrap_or(0) + 1).min(LONGEST_SLEEP)
        });
        Instant::now() + wait
    }

    fn see(&mut self, entry: &Entry) {
        let record = match decode::<ScheduleRecord>(entry) {
            Ok(record) => record,
            Err(error) => return tracing::error!(%error, "a schedule is skipped"),
        };
        let name = record.name.clone();
        match self.known.get_mut(&name) {
            Some(known) => known.record = record,
            None => {
                self.known.insert(name.clone(), Known { record, timer: None, busy: false });
            }
        }
        self.consider(&name);
    }

    fn forget(&mut self, key: &str) {
        let name = key.strip_prefix(keys::SCHEDULES).unwrap_or(key);
        if let Some(timer) = self.known.remove(name).and_then(|known| known.timer) {
            self.timers.remove(&(timer, name.to_owned()));
        }
    }

    fn done(&mut self, name: &str) {
        if let Some(known) = self.known.get_mut(name) {
            known.busy = false;
            self.consider(name);
        }
    }

    fn wake(&mut self) {
        let now = self.supervisor.shared.now().millis();
        while let Some((at, name)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, name));
                return;
            }
            if let Some(known) = self.known.get_mut(&name) {
                known.timer = None;
            }
            self.consider(&name);
        }
    }

    /// Does what is next for one schedule, or sets its timer.
    fn consider(&mut self, name: &str) {
        let Some(known) = self.known.get_mut(name) else { return };
        if let Some(timer) = known.timer.take() {
            self.timers.remove(&(timer, name.to_owned()));
        }
        if known.busy {
            return;
        }
        let job = match due::next(&known.record, self.supervisor.shared.now()) {
            Next::Wait(at) => {
                known.timer = Some(at.millis());
                self.timers.insert((at.millis(), name.to_owned()));
                return;
            }
            Next::Never => return,
            Next::Over if known.record.after_completion == AfterCompletion::None => return,
            Next::Over => Job::Delete,
            Next::Missed { scheduled_at } => Job::Miss { scheduled_at },
            Next::Run { scheduled_at, attempts } => Job::Run { scheduled_at, attempts },
        };
        known.busy = true;
        let (supervisor, record) = (self.supervisor.clone(), known.record.clone());
        self.jobs.spawn(async move {
            if let Some(supervisor) = supervisor.upgrade()
                && let Err(error) = job.carry_out(&supervisor, &record).await
            {
                tracing::error!(%error, schedule = record.name, "cannot record a scheduled run");
                tokio::time::sleep(STORE_RETRY).await;
            }
            record.name
        });
    }
}

/// What is done for one schedule.
#[derive(Clone, Copy, Debug)]
enum Job {
    Run { scheduled_at: Timestamp, attempts: u32 },
    Miss { scheduled_at: Timestamp },
    Delete,
}

impl Job {
    async fn carry_out(self, supervisor: &Supervisor, record: &ScheduleRecord) -> Result<(), OperationError> {
        match self {
            Self::Run { scheduled_at, attempts } => run(supervisor, record, scheduled_at, attempts + 1).await,
            Self::Miss { scheduled_at } => {
                let age = record.target.retry.event_age;
                tracing::warn!(schedule = record.name, "a scheduled run was missed");
                let missed = Invocation {
                    scheduled_at,
                    invoked_at: supervisor.now(),
                    attempts: 0,
                    status: InvocationStatus::Missed,
                    task_arns: Vec::new(),
                    reason: Some(format!(
                        "It is later than the {age} s that MaximumEventAgeInSeconds allows."
                    )),
                };
                note(supervisor, record, missed, None).await
            }
            Self::Delete => delete(supervisor.records(), record).await,
        }
    }
}

/// Tries one run, for the `attempts`th time.
async fn run(
    supervisor: &Supervisor,
    record: &ScheduleRecord,
    scheduled_at: Timestamp,
    attempts: u32,
) -> Result<(), OperationError> {
    let started = match request(record, scheduled_at) {
        Ok(request) => supervisor.run_task(request).await,
        Err(error) => Err(error),
    };
    let now = supervisor.now();
    let (task_arns, reason) = match started {
        Ok(started) => (started.tasks.into_iter().map(|task| task.task_arn).collect(), None),
        Err(error) => (Vec::new(), Some(format!("{}: {error}", error.code()))),
    };
    let again = reason.as_ref().and_then(|_| due::retry_at(record, scheduled_at, attempts, now));
    let status = match (&reason, again) {
        (None, _) => InvocationStatus::Started,
        (Some(_), Some(_)) => InvocationStatus::Retrying,
        (Some(_), None) => InvocationStatus::Failed,
    };
    if let Some(reason) = &reason {
        tracing::warn!(schedule = record.name, reason, attempts, "a scheduled run was refused");
    }
    let retry = again.map(|at| Retry { scheduled_at, attempts, at });
    let invocation = Invocation { scheduled_at, invoked_at: now, attempts, status, task_arns, reason };
    note(supervisor, record, invocation, retry).await
}

fn request(record: &ScheduleRecord, scheduled_at: Timestamp) -> Result<RunTaskRequest, OperationError> {
    let target = &record.target;
    let overrides = target.input.as_ref().map(|input| parse_request(input.as_bytes())).transpose()?;
    let made = format!("{}/{}", record.name, record.created_at.millis());
    Ok(RunTaskRequest {
        task_definition: target.task_definition.clone(),
        cluster: Some(target.cluster.to_string()),
        count: Some(target.count.into()),
        overrides,
        // As EventBridge Scheduler's own tasks have it.
        started_by: Some(format!("chronos-schedule/{}", record.name)),
        group: target.group.clone(),
        launch_type: target.launch_type,
        tags: target.tags.clone(),
        propagate_tags: target.propagate_tags,
        client_token: Some(format!("schedule-{:016x}-{}", fnv1a(made.as_bytes()), scheduled_at.millis())),
        enable_execute_command: target.enable_execute_command,
        capacity_provider_strategy: target.capacity_provider_strategy.clone(),
        ..RunTaskRequest::default()
    })
}

/// Writes what became of a run. A schedule that was changed meanwhile goes on from its change; one that was deleted is none.
async fn note(
    supervisor: &Supervisor,
    seen: &ScheduleRecord,
    invocation: Invocation,
    retry: Option<Retry>,
) -> Result<(), OperationError> {
    let change = |record: &mut ScheduleRecord| {
        if record.created_at != seen.created_at {
            return Ok(None);
        }
        let progress = &mut record.progress;
        if record.modified_at == seen.modified_at {
            progress.retry = retry;
            if progress.done_until < invocation.scheduled_at {
                progress.done_until = invocation.scheduled_at;
            }
            if invocation.status == InvocationStatus::Missed {
                // The others that were missed are no better.
                progress.done_until = invocation.invoked_at;
            }
        }
        // Tries of one run are one line.
        progress.invocations.retain(|known| known.scheduled_at != invocation.scheduled_at);
        for older in &mut progress.invocations {
            if older.status == InvocationStatus::Retrying {
                older.status = InvocationStatus::Failed;
            }
        }
        progress.invocations.push_front(invocation.clone());
        progress.invocations.truncate(MAX_INVOCATIONS);
        Ok(Some(()))
    };
    let gone = || OperationError::ResourceNotFound;
    match supervisor.records().update(&keys::schedule(&seen.name), gone, change).await {
        Ok(_) | Err(OperationError::ResourceNotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes a schedule that is over, unless it was changed meanwhile.
async fn delete(records: &Records, seen: &ScheduleRecord) -> Result<(), OperationError> {
    let key = keys::schedule(&seen.name);
    let Some(found) = records.get::<ScheduleRecord>(&key).await? else { return Ok(()) };
    if found.value == *seen {
        let delete = Transaction::new().when(Compare::Revision(key.clone(), found.revision)).delete(key);
        records.commit(delete).await?;
    }
    Ok(())
}

/// When a schedule runs next, as people are told it.
pub(crate) fn next_run(record: &ScheduleRecord, now: Timestamp) -> Option<Timestamp> {
    match due::next(record, now) {
        Next::Run { .. } => Some(now),
        Next::Wait(at) => Some(at),
        Next::Missed { .. } => {
            let mut record = record.clone();
            record.progress.done_until = now;
            next_run(&record, now)
        }
        Next::Over | Next::Never => None,
    }
}
