//! Metering: what tasks cost, by Fargate's rule, and what they really used.
//!
//! A task costs its reserved size times the time from the beginning of its pull to its end, rounded up to the second. The runner tells when a task begins
//! and ends; one loop adds up what has passed since it last looked and writes it to one record for each service, or family of standalone tasks, and month.
//!
//! What is not written yet is in memory only, and no task outlives its process, so that a crash loses what was used since the last write and
//! can never count anything twice. Nor can a store that fails: where it may have taken a write, that is found out before the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::driver::{Sandbox, Usage};
use crate::error::OperationError;
use crate::model::names::TaskId;
use crate::model::task::TaskRecord;
use crate::model::task_definition::TaskDefinition;
use crate::model::usage::{MINIMUM_SECONDS, SMALLEST_CPU, SMALLEST_MEMORY, Totals, UsageRecord, month_of};
use crate::records::{Records, encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Shared;

/// Between two writes while tasks run: the most that a crash loses.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// After a task's end: those that end together are one write.
const END_PAUSE: Duration = Duration::from_secs(1);
/// Usage records that one transaction changes.
const BATCH: usize = 200;

/// What is being metered.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    state: Mutex<State>,
    /// A task ended.
    ended: Notify,
    /// Held while what is pending is written.
    writing: tokio::sync::Mutex<Writing>,
}

/// The write that is under way, or was when the store failed.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    /// What the store may have taken although it said that it failed.
    unsure: Option<Attempt>,
}

/// A transaction of usage.
#[derive(Clone, Debug)]
struct Attempt {
    /// What it takes from what is pending.
    batch: Vec<(UsageKey, Totals)>,
    /// One of its records, as it is once the transaction has been carried out. Nobody else writes it.
    proof: (String, UsageRecord),
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<TaskId, Metered>,
    /// Not written yet.
    pending: BTreeMap<UsageKey, Totals>,
}

/// Whose usage it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UsageKey {
    /// The key of the record without its month: `<cluster>/service/<s>` or `<cluster>/family/<f>`.
    pub(crate) owner: String,
    pub(crate) capacity: String,
}

/// A running task.
#[derive(Clone, Debug)]
struct Metered {
    key: UsageKey,
    cpu: u64,
    memory: u64,
    since: Instant,
    sandbox: Option<Weak<dyn Sandbox>>,
    /// What has been added to `pending` for it.
    charged: Totals,
    used: Usage,
}

impl Meter {
    /// A task begins: its images are being loaded.
    pub(crate) fn begin(&self, record: &TaskRecord, definition: &TaskDefinition) {
        let (cpu, memory) = size(record, definition);
        let owner = match &record.service {
            Some(service) => format!("{}/service/{}", record.cluster, service.name),
            None => format!("{}/family/{}", record.cluster, record.task_definition.family),
        };
        let metered = Metered {
            key: UsageKey { owner, capacity: record.capacity().as_str().to_owned() },
            cpu,
            memory,
            since: Instant::now(),
            sandbox: None,
            charged: Totals::default(),
            used: Usage::default(),
        };
        self.lock().running.insert(record.id.clone(), metered);
    }

    /// Where it runs, once that is known.
    pub(crate) fn runs(&self, id: &TaskId, sandbox: &Arc<dyn Sandbox>) {
        if let Some(metered) = self.lock().running.get_mut(id) {
            metered.sandbox = Some(Arc::downgrade(sandbox));
        }
    }

    /// It is over. Its sandbox is still there to be asked what it used.
    pub(crate) fn end(&self, id: &TaskId) {
        let mut state = self.lock();
        if let Some(mut metered) = state.running.remove(id) {
            let more = metered.more(true);
            add(&mut state.pending, &metered.key, &more);
            self.ended.notify_one();
        }
    }

    /// What running tasks have used so far, whole seconds of it.
    pub(crate) fn running(&self) -> Vec<(TaskId, UsageKey, Totals)> {
        let running = self.lock().running.clone();
        let so_far = |(id, mut metered): (TaskId, Metered)| {
            metered.more(false);
            (id, metered.key, metered.charged)
        };
        running.into_iter().map(so_far).collect()
    }

    /// Nothing is written while the guard lives, and it is known what was.
    pub(crate) async fn pause(
        &self,
        shared: &Shared,
    ) -> Result<tokio::sync::MutexGuard<'_, Writing>, OperationError> {
        let mut writing = self.writing.lock().await;
        self.make_sure(&mut writing, &shared.records).await?;
        Ok(writing)
    }

    /// Finds out whether the store took what it said it had not: else it would be counted twice.
    async fn make_sure(&self, writing: &mut Writing, records: &Records) -> Result<(), OperationError> {
        let Some(Attempt { batch, proof: (key, value) }) = &writing.unsure else { return Ok(()) };
        if records.get::<UsageRecord>(key).await?.is_some_and(|found| found.value == *value) {
            self.written(batch);
        }
        writing.unsure = None;
        Ok(())
    }

    /// Takes off what has been written. What was added meanwhile stays.
    fn written(&self, batch: &[(UsageKey, Totals)]) {
        let mut state = self.lock();
        for (key, written) in batch {
            let left = state.pending.get_mut(key).map(|totals| subtract(totals, written));
            if left.is_some_and(|left| left) {
                state.pending.remove(key);
            }
        }
    }

    /// Adds up what running tasks used since the last time.
    fn look(&self) {
        let mut state = self.lock();
        let State { running, pending } = &mut *state;
        for metered in running.values_mut() {
            let more = metered.more(false);
            add(pending, &metered.key, &more);
        }
    }

    /// What is not written yet, after a look.
    pub(crate) fn pending(&self) -> BTreeMap<UsageKey, Totals> {
        self.look();
        self.lock().pending.clone()
    }

    /// Writes what was used until now. What cannot be written is kept for the next time.
    pub(crate) async fn write(&self, shared: &Shared) -> Result<(), OperationError> {
        let mut writing = self.pause(shared).await?;
        self.look();
        let month = month_of(shared.now());
        let mut pending: Vec<(UsageKey, Totals)> = self.lock().pending.clone().into_iter().collect();
        while !pending.is_empty() {
            // Records of one owner are in one batch.
            let mut cut = BATCH.min(pending.len());
            while cut < pending.len() && pending[cut].0.owner == pending[cut - 1].0.owner {
                cut += 1;
            }
            let batch: Vec<_> = pending.drain(..cut).collect();
            write_batch(&shared.records, &month, batch, &mut writing).await?;
            if let Some(attempt) = writing.unsure.take() {
                self.written(&attempt.batch);
            }
        }
        Ok(())
    }

    /// Writes again and again until dropped.
    pub(crate) async fn run(shared: Arc<Shared>) {
        loop {
            // One that ends is written soon, the others at their interval.
            if timeout(INTERVAL, shared.meter.ended.notified()).await.is_ok() {
                sleep(END_PAUSE).await;
            }
            if let Err(error) = shared.meter.write(&shared).await {
                tracing::error!(%error, "cannot write what was used");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A map with numbers in it: every change is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metered {
    /// What has come to it since the last time. The last second is counted in full at its end.
    fn more(&mut self, over: bool) -> Totals {
        let ran = self.since.elapsed();
        let seconds = ran.as_secs() + u64::from(over && ran.subsec_nanos() > 0);
        let used = self.sandbox.as_ref().and_then(Weak::upgrade).map_or(self.used, |sandbox| sandbox.usage());
        let seconds = seconds - self.charged.task_seconds;
        let minimum =
            if over { MINIMUM_SECONDS.saturating_sub(self.charged.task_seconds + seconds) } else { 0 };
        let nanos = |usage: &Usage| u64::try_from(usage.cpu_time.as_nanos()).unwrap_or(u64::MAX);
        let more = Totals {
            tasks: 1 - self.charged.tasks,
            task_seconds: seconds,
            cpu_unit_seconds: seconds * self.cpu,
            mib_seconds: seconds * self.memory,
            minimum_cpu_unit_seconds: minimum * self.cpu,
            minimum_mib_seconds: minimum * self.memory,
            cpu_time_nanos: nanos(&used).saturating_sub(nanos(&self.used)),
            requests: used.requests.saturating_sub(self.used.requests),
            fuel: used.fuel.saturating_sub(self.used.fuel),
        };
        self.charged += &more;
        self.used = used;
        more
    }
}

/// Reserved CPU units and MiB: the task's, else its containers' together, else Fargate's smallest.
fn size(record: &TaskRecord, definition: &TaskDefinition) -> (u64, u64) {
    let content = &definition.content;
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<u32>().ok());
    let containers = || content.container_definitions.iter().map(|of| record.overrides.container(of));
    let cpu = number(&record.overrides.cpu).or_else(|| content.cpu_units());
    let cpu = cpu.unwrap_or_else(|| containers().map(|container| container.cpu).sum());
    let memory = number(&record.overrides.memory).or_else(|| content.memory_mib()).unwrap_or_else(|| {
        containers().filter_map(|container| container.memory.or(container.memory_reservation)).sum()
    });
    let or = |size: u32, smallest: u32| u64::from(if size == 0 { smallest } else { size });
    (or(cpu, SMALLEST_CPU), or(memory, SMALLEST_MEMORY))
}

fn add(pending: &mut BTreeMap<UsageKey, Totals>, key: &UsageKey, more: &Totals) {
    if more.is_empty() {
        return;
    }
    // Thousands of tasks have few owners: a key is copied for the first of them alone.
    match pending.get_mut(key) {
        Some(totals) => *totals += more,
        None => {
            pending.insert(key.clone(), more.clone());
        }
    }
}

/// Takes `written` off again; whether nothing is left.
fn subtract(totals: &mut Totals, written: &Totals) -> bool {
    let Totals {
        tasks,
        task_seconds,
        cpu_unit_seconds,
        mib_seconds,
        minimum_cpu_unit_seconds,
        minimum_mib_seconds,
        cpu_time_nanos,
        requests,
        fuel,
    } = totals;
    *tasks -= written.tasks;
    *task_seconds -= written.task_seconds;
    *cpu_unit_seconds -= written.cpu_unit_seconds;
    *mib_seconds -= written.mib_seconds;
    *minimum_cpu_unit_seconds -= written.minimum_cpu_unit_seconds;
    *minimum_mib_seconds -= written.minimum_mib_seconds;
    *cpu_time_nanos -= written.cpu_time_nanos;
    *requests -= written.requests;
    *fuel -= written.fuel;
    totals.is_empty()
}

/// Adds to the records of one month, all or none. From the first try on the attempt is noted in `writing`, because whoever waits may be gone before the answer is
/// there; who got an answer takes it out.
async fn write_batch(
    records: &Records,
    month: &str,
    batch: Vec<(UsageKey, Totals)>,
    writing: &mut Writing,
) -> Result<(), OperationError> {
    // Only this loop writes them: a conflict is another node's, and means to read again.
    const MAX_ATTEMPTS: usize = 16;
    for _ in 0..MAX_ATTEMPTS {
        let mut changed: BTreeMap<String, (Option<u64>, UsageRecord)> = BTreeMap::new();
        for (key, more) in &batch {
            let record = keys::usage(month, &key.owner);
            let found = match changed.remove(&record) {
                Some(found) => found,
                None => match records.get::<UsageRecord>(&record).await? {
                    Some(found) => (Some(found.revision), found.value),
                    None => (None, UsageRecord { by_capacity: BTreeMap::new() }),
                },
            };
            let (revision, mut value) = found;
            *value.by_capacity.entry(key.capacity.clone()).or_default() += more;
            changed.insert(record, (revision, value));
        }
        let proof = changed.first_key_value().map(|(key, (_, value))| (key.clone(), value.clone()));
        writing.unsure = proof.map(|proof| Attempt { batch: batch.clone(), proof });
        let write = changed.into_iter().fold(Transaction::new(), |write, (key, (revision, value))| {
            let unchanged = match revision {
                Some(revision) => Compare::Revision(key.clone(), revision),
                None => Compare::Absent(key.clone()),
            };
            write.when(unchanged).put(key, encode(&value))
        });
        if let Outcome::Committed(_) = records.commit(write).await? {
            return Ok(());
        }
        writing.unsure = None;
    }
    Err(OperationError::Conflict)
}
