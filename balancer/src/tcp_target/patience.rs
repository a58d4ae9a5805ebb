//! How long is waited for a target in which nothing moves.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{self, Instant, Sleep};

/// One timer for one exchange after the other. It is set anew only when it has gone off: to set and to cancel one for
/// each exchange costs many times what it costs to note when the exchange began.
#[derive(Debug)]
pub(super) struct Patience {
    timer: Pin<Box<Sleep>>,
    timeout: Duration,
    begun: Instant,
}

impl Patience {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timer: Box::pin(time::sleep(timeout)), timeout, begun: Instant::now() }
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Something moves at this moment.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun = now;
    }

    /// Ready when nothing has moved for too long.
    pub(super) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Each exchange may be of another task, which this registers to be woken.
            ready!(self.timer.as_mut().poll(cx));
            let deadline = self.begun + self.timeout;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}
