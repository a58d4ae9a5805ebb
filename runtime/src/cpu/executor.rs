//! The threads that guests with more than a moment's work run on, and the order they run in.
//!
//! An ordinary async executor is no fair scheduler: ten equal spinning guests on two tokio workers got between 0.14 and
//! 0.33 of a core each. Here the next guest is always the one whose account has the least weighted virtual run time, and one
//! that wakes after sleeping is let in just ahead of the busy ones. Guests in debt wait aside until it is paid.
//!
//! The threads run at a lower priority than the rest of the process, so that the data plane and short requests go first.

mod priority;

use super::{CpuAccount, ThreadTimer, Ticker, monotonic_nanos};
use async_task::{Builder, Runnable, ScheduleInfo, Task, WithInfo};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;

/// How far behind the least virtual run time one who slept may start: it is run soon, and cannot hold the CPU for
/// longer than this before the others have their turn.
const SLEEPER_CREDIT: u64 = 3_000_000;

/// A handle to the threads, which end when the last handle is gone.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    threads: Arc<Threads>,
    ticker: Ticker,
}

/// Ends the threads when dropped.
#[derive(Debug)]
struct Threads {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    ready: BinaryHeap<Entry>,
    /// Those in debt, by the moment it is paid.
    throttled: BinaryHeap<Entry>,
    /// The least virtual run time that was run last: where newcomers start.
    virtual_time: u64,
    sequence: u64,
    idle_threads: usize,
    closed: bool,
}

/// What travels with a guest's future.
#[derive(Debug)]
pub(crate) struct Meta {
    account: Arc<CpuAccount>,
    /// Where its timers and sockets live.
    tokio: Handle,
}

/// A future that waits to be polled. Ordered so that the heap's greatest is the least key, first come first.
#[derive(Debug)]
struct Entry {
    key: u64,
    sequence: u64,
    runnable: Runnable<Meta>,
}

thread_local! {
    /// Who pays for what this thread is doing, so that a future which wakes itself is queued with its slice already charged.
    static SLICE: RefCell<Option<Slice>> = const { RefCell::new(None) };
}

/// A guest's turn on a thread.
///
/// It begins where the turn before it was charged, not where its future is polled: finding the next guest, waking up for it
/// and entering its context are done for its sake. Measured, that is a twentieth of a throttled guest's use, which would
/// otherwise come on top of its quota.
struct Slice {
    account: Arc<CpuAccount>,
    timer: ThreadTimer,
    charged: bool,
}

impl Executor {
    /// Starts `threads` threads.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ticker = Ticker::start()?;
        for index in 0..threads.max(1) {
            let (shared, ticker) = (shared.clone(), ticker.clone());
            std::thread::Builder::new().name(format!("guest-{index}")).spawn(move || {
                priority::lower();
                shared.run(&ticker);
            })?;
        }
        Ok(Self { threads: Arc::new(Threads { shared }), ticker })
    }

    /// What cuts guests' slices, for who polls one elsewhere.
    pub(crate) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// Runs `future`, charging `account`. Dropping the task cancels it. Must be called inside a tokio runtime, whose
    /// timers and sockets the future will use.
    pub(crate) fn spawn<F>(&self, account: Arc<CpuAccount>, future: F) -> Task<F::Output, Meta>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // Weak: a future that waits forever must not keep the threads alive.
        let shared = Arc::downgrade(&self.threads.shared);
        let schedule =
            WithInfo(move |runnable: Runnable<Meta>, info: ScheduleInfo| schedule(&shared, runnable, info));
        let meta = Meta { account, tokio: Handle::current() };
        let (runnable, task) =
            Builder::new().metadata(meta).propagate_panic(true).spawn(|_| future, schedule);
        runnable.schedule();
        task
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        // Dropped outside the lock: a guest's end may wake or drop others of the queue.
        let (ready, throttled) = (std::mem::take(&mut queue.ready), std::mem::take(&mut queue.throttled));
        drop(queue);
        self.shared.work.notify_all();
        drop((ready, throttled));
    }
}

fn schedule(shared: &Weak<Shared>, runnable: Runnable<Meta>, info: ScheduleInfo) {
    if info.woken_while_running {
        charge_slice();
    }
    if let Some(shared) = shared.upgrade() {
        shared.push(runnable, info.woken_while_running);
    }
}

/// Charges what this thread used since it last charged, once a slice. What it does after that is the next slice's.
fn charge_slice() {
    SLICE.with_borrow_mut(|slice| {
        if let Some(slice) = slice
            && !slice.charged
        {
            slice.account.charge(slice.timer.lap());
            slice.charged = true;
        }
    });
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that can panic is done under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, runnable: Runnable<Meta>, by_running_thread: bool) {
        let account = runnable.metadata().account.clone();
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            return;
        }
        let key = account.virtual_runtime_at_least(queue.virtual_time.saturating_sub(SLEEPER_CREDIT));
        let entry = queue.entry(key, runnable);
        queue.ready.push(entry);
        // The thread that runs it now comes back to the queue by itself.
        let wake = queue.idle_threads > 0 && !(by_running_thread && queue.ready.len() == 1);
        drop(queue);
        if wake {
            self.work.notify_one();
        }
    }

    /// One thread's life.
    fn run(&self, ticker: &Ticker) {
        let mut timer = ThreadTimer::start();
        while let Some(runnable) = self.next() {
            let account = runnable.metadata().account.clone();
            let tokio = runnable.metadata().tokio.clone();
            let _context = tokio.enter();
            SLICE.set(Some(Slice { account, timer, charged: false }));
            ticker.guest_runs();
            runnable.run();
            charge_slice();
            if let Some(slice) = SLICE.take() {
                timer = slice.timer;
            }
        }
    }

    /// Waits for the next future to poll; `None` when the threads are to end.
    fn next(&self) -> Option<Runnable<Meta>> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            queue.release_paid();
            if let Some(entry) = queue.ready.pop() {
                if let Some(debt) = entry.runnable.metadata().account.debt() {
                    queue.throttle(entry, debt);
                    continue;
                }
                queue.virtual_time = queue.virtual_time.max(entry.key);
                return Some(entry.runnable);
            }
            queue = self.wait(queue);
        }
    }

    fn wait<'q>(&'q self, mut queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        queue.idle_threads += 1;
        let mut queue = match queue.throttled.peek().map(|entry| entry.key) {
            Some(paid_at) => {
                let time = Duration::from_nanos(paid_at.saturating_sub(monotonic_nanos()).max(1));
                self.work.wait_timeout(queue, time).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
        queue.idle_threads -= 1;
        queue
    }
}

impl Queue {
    fn entry(&mut self, key: u64, runnable: Runnable<Meta>) -> Entry {
        self.sequence += 1;
        Entry { key, sequence: self.sequence, runnable }
    }

    fn throttle(&mut self, entry: Entry, debt: Duration) {
        entry.runnable.metadata().account.record_throttled(debt);
        let paid_at = monotonic_nanos().saturating_add(u64::try_from(debt.as_nanos()).unwrap_or(u64::MAX));
        self.throttled.push(Entry { key: paid_at, ..entry });
    }

    /// Moves those whose debt is paid back among the ready.
    fn release_paid(&mut self) {
        if self.throttled.is_empty() {
            return;
        }
        let now = monotonic_nanos();
        while let Some(entry) = self.throttled.pop() {
            if entry.key > now {
                self.throttled.push(entry);
                return;
            }
            let floor = self.virtual_time.saturating_sub(SLEEPER_CREDIT);
            let key = entry.runnable.metadata().account.virtual_runtime_at_least(floor);
            self.ready.push(Entry { key, ..entry });
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.key, self.sequence) == (other.key, other.sequence)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.key, other.sequence).cmp(&(self.key, self.sequence))
    }
}

#[cfg(test)]
mod tests;
