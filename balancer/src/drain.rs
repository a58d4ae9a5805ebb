//! Telling many tasks on many threads to finish, at the cost of one relaxed load each time they are polled.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

const OPEN: u8 = 0;
const DRAINING: u8 = 1;
const ABORTED: u8 = 2;

/// The signal: open, then draining, then aborted, never back.
#[derive(Clone)]
pub(crate) struct Drain {
    phase: Arc<AtomicU8>,
    changed: Arc<Notify>,
}

/// How far a [`Drain`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// Finish what has begun, begin nothing.
    Draining,
    /// Stop now.
    Aborted,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self { phase: Arc::new(AtomicU8::new(OPEN)), changed: Arc::new(Notify::new()) }
    }

    pub(crate) fn begin(&self) {
        self.advance(DRAINING);
    }

    pub(crate) fn abort(&self) {
        self.advance(ABORTED);
    }

    fn advance(&self, phase: u8) {
        self.phase.fetch_max(phase, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            OPEN => Phase::Open,
            DRAINING => Phase::Draining,
            _ => Phase::Aborted,
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        let changed = Arc::clone(&self.changed).notified_owned();
        Watch { drain: self.clone(), seen: None, changed }
    }

    /// Resolves when it is not open any more.
    pub(crate) async fn begun(&self) {
        let watch = self.watch();
        tokio::pin!(watch);
        while std::future::poll_fn(|cx| watch.as_mut().poll_phase(cx)).await == Phase::Open {}
    }

    /// Resolves when the time to finish is over.
    pub(crate) async fn aborted(&self) {
        let watch = self.watch();
        tokio::pin!(watch);
        while std::future::poll_fn(|cx| watch.as_mut().poll_phase(cx)).await != Phase::Aborted {}
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.phase()).finish()
    }
}

pin_project! {
    /// One task's view of a [`Drain`]. Must be polled in one task only: it registers the waker of its first poll.
    pub(crate) struct Watch {
        drain: Drain,
        seen: Option<Phase>,
        #[pin]
        changed: OwnedNotified,
    }
}

impl Watch {
    /// The phase, when it is another than at the last poll; the first poll is always ready.
    ///
    /// `Notify` has a lock, so it is touched only when the phase has changed; at all other times a poll is one load of
    /// a value that nobody writes.
    pub(crate) fn poll_phase(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Phase> {
        let mut this = self.project();
        if *this.seen == Some(this.drain.phase()) {
            return Poll::Pending;
        }
        // Register first and read the phase after: a change in between is then either read here or wakes this task.
        loop {
            this.changed.set(Arc::clone(&this.drain.changed).notified_owned());
            if this.changed.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        let phase = this.drain.phase();
        *this.seen = Some(phase);
        Poll::Ready(phase)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn each_phase_wakes_once_and_is_seen_once() {
        let drain = Drain::new();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut watch = std::pin::pin!(drain.watch());
        for (index, phase) in [Phase::Open, Phase::Draining, Phase::Aborted].into_iter().enumerate() {
            match phase {
                Phase::Open => {}
                Phase::Draining => drain.begin(),
                Phase::Aborted => drain.abort(),
            }
            assert_eq!(wakes.0.load(Ordering::SeqCst), index);
            assert_eq!(watch.as_mut().poll_phase(&mut cx), Poll::Ready(phase));
            assert_eq!(watch.as_mut().poll_phase(&mut cx), Poll::Pending);
        }
        drain.begin();
        assert_eq!(drain.phase(), Phase::Aborted, "never back");
    }
}
