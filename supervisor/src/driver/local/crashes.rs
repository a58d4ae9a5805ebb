//! Crash reports: what is kept of guests that failed.
//!
//! With a data directory a report is a file `crashes/<task>/<container>.<time>.json`, and a core dump is `.core` beside it; without one the reports are
//! kept in memory, and there are no core dumps. A container that fails with each request costs a bounded number of reports, written one a second
//! at most: the others are counted in the next one.

mod report;
mod store;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use coracle_runtime::{Crash, CrashSink, LogSink};
use tokio::time::Instant;

use crate::model::crash::CrashReport;
use crate::model::names::TaskId;
pub(super) use report::Subject;
use store::Store;

/// Between two reports of one container.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// Between two core dumps of one container.
const DUMP_PAUSE: Duration = Duration::from_secs(60);
/// Reports that wait to be written, of all containers. More are counted, not kept.
const MAX_WAITING: usize = 32;

/// The crash reports of this host.
#[derive(Debug)]
pub(super) struct Crashes {
    store: Arc<Store>,
    waiting: Arc<AtomicUsize>,
    /// The clock of the pauses.
    origin: Instant,
}

impl Crashes {
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let store = Arc::new(Store::open(data_dir)?);
        Ok(Self { store, waiting: Arc::default(), origin: Instant::now() })
    }

    /// Where the runtime tells a container's crashes.
    pub(super) fn sink(&self, subject: Subject, log: Arc<dyn LogSink>) -> Arc<dyn CrashSink> {
        Arc::new(Sink {
            store: Arc::clone(&self.store),
            waiting: Arc::clone(&self.waiting),
            origin: self.origin,
            subject: Arc::new(subject),
            log,
            next_report: AtomicU64::new(0),
            next_dump: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
        })
    }

    /// The reports of a task, oldest first. Blocks on the file system.
    pub(super) fn of(&self, task: &TaskId) -> Vec<CrashReport> {
        self.store.read(task)
    }

    /// Blocks on the file system.
    pub(super) fn forget(&self, task: &TaskId) {
        self.store.forget(task);
    }
}

/// One container's.
#[derive(Debug)]
struct Sink {
    store: Arc<Store>,
    waiting: Arc<AtomicUsize>,
    origin: Instant,
    subject: Arc<Subject>,
    log: Arc<dyn LogSink>,
    /// Milliseconds after the origin.
    next_report: AtomicU64,
    next_dump: AtomicU64,
    unreported: AtomicU64,
}

impl Sink {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether `next` has come; if so it is put off by `pause`. Of several at once, one.
    fn is_due(&self, next: &AtomicU64, pause: Duration) -> bool {
        let (now, pause) = (self.now(), u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let put_off = |next: u64| (next <= now).then_some(now.saturating_add(pause));
        next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, put_off).is_ok()
    }
}

impl CrashSink for Sink {
    fn wants(&self) -> bool {
        let takes = self.waiting.load(Ordering::Relaxed) < MAX_WAITING
            && self.is_due(&self.next_report, REPORT_PAUSE);
        if !takes {
            self.unreported.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }

    /// Only when a report is due, too: the dump goes with it.
    fn wants_core_dump(&self) -> bool {
        self.store.is_on_disk()
            && self.waiting.load(Ordering::Relaxed) < MAX_WAITING
            && self.next_report.load(Ordering::Relaxed) <= self.now()
            && self.is_due(&self.next_dump, DUMP_PAUSE)
    }

    fn crashed(&self, crash: Crash) {
        let unreported = self.unreported.swap(0, Ordering::Relaxed);
        let (store, subject, log) =
            (Arc::clone(&self.store), Arc::clone(&self.subject), Arc::clone(&self.log));
        let waiting = Waiting::enter(&self.waiting);
        // Guests run inside a tokio runtime; without one the process is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn_blocking(move || {
            let _waiting = waiting;
            let report = subject.report(&crash, &*log, unreported);
            if let Err(error) = store.write(&subject.task, report, crash.core_dump) {
                tracing::warn!(%error, task = %subject.task, container = subject.container, "cannot write a crash report");
            }
        });
    }
}

/// A report that waits to be written.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn enter(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
