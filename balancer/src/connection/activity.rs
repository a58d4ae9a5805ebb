//! What is going on on an HTTP/1 connection, told by those who do it to the one who serves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

use crate::pace::{MinimumRate, Pace};

/// In place of a time: a request is under way.
const BUSY: u64 = u64::MAX;

/// All is written and read on one thread, that of the connection; atomics are what lets the pieces be moved to it.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// How long the client may take nothing of its answer.
    patience: Duration,
    /// How slowly it may take it.
    rate: Option<MinimumRate>,
    /// When the last answer ended, in nanoseconds since it began.
    idle_since: AtomicU64,
    /// The last request had a body, of which some may be yet to come.
    body: AtomicBool,
    /// The client has not taken all that was written.
    unsent: AtomicBool,
    shut_down: AtomicBool,
}

impl Activity {
    pub(super) fn new(patience: Duration, rate: Option<MinimumRate>) -> Self {
        let (idle_since, body, unsent, shut_down) = Default::default();
        Self { begun: Instant::now(), patience, rate, idle_since, body, unsent, shut_down }
    }

    /// For a client that takes its answer from now on.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.rate, self.patience)
    }

    /// Since when there is no request. `None`: there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let since = self.idle_since.load(Ordering::Relaxed);
        (since != BUSY).then(|| self.begun + Duration::from_nanos(since))
    }

    /// Whether nothing is left of the last exchange, so that a connection without a request is between two of them.
    pub(super) fn is_settled(&self) -> bool {
        ![&self.body, &self.unsent, &self.shut_down].iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    pub(super) fn sends(&self, unsent: bool) {
        // Looked at first: it is nearly always the same.
        if self.unsent.load(Ordering::Relaxed) != unsent {
            self.unsent.store(unsent, Ordering::Relaxed);
        }
    }

    pub(super) fn shut_down(&self) {
        self.shut_down.store(true, Ordering::Relaxed);
    }
}

/// A request under way and its answer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Exchange(Arc<Activity>);

impl Exchange {
    pub(super) fn begin(activity: &Arc<Activity>, body: bool) -> Self {
        activity.idle_since.store(BUSY, Ordering::Relaxed);
        activity.body.store(body, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let since = u64::try_from(self.0.begun.elapsed().as_nanos()).unwrap_or(BUSY - 1);
        self.0.idle_since.store(since, Ordering::Relaxed);
    }
}
