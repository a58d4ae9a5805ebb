//! The fuel of a command while it runs.
//!
//! Only the guest's future can ask its store for fuel, and it does so at its end. But a guest that has used its slice up yields, and to yield is
//! to wake oneself and wait: that can be seen from outside, and a server that never ends is not shown as one that does nothing.

use crate::container::Meters;
use crate::metering::FUEL_SLICE;
use futures_util::task::AtomicWaker;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

/// Fuel that was metered before the guest's end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    metered: AtomicU64,
}

#[derive(Debug, Default)]
struct Yields {
    task: AtomicWaker,
    woken: AtomicBool,
}

impl Wake for Yields {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.task.wake();
    }
}

impl Progress {
    /// Runs a guest, metering a slice each time that it yields. Another thread's wake-up during a slice that was not used up counts as one,
    /// which is put right at the end.
    pub(super) async fn metered<F: Future>(&self, guest: F, meters: &Meters) -> F::Output {
        let yields = Arc::new(Yields::default());
        let waker = Waker::from(yields.clone());
        let mut guest = pin!(guest);
        std::future::poll_fn(|context| {
            yields.task.register(context.waker());
            yields.woken.store(false, Ordering::Relaxed);
            let poll = guest.as_mut().poll(&mut Context::from_waker(&waker));
            if poll.is_pending() && yields.woken.load(Ordering::Relaxed) {
                self.metered.fetch_add(FUEL_SLICE, Ordering::Relaxed);
                meters.fuel.add(FUEL_SLICE);
            }
            poll
        })
        .await
    }

    /// Meters what of the `used` fuel has not been metered yet.
    pub(super) fn ended(&self, meters: &Meters, used: u64) {
        let before = self.metered.fetch_max(used, Ordering::Relaxed);
        meters.fuel.add(used.saturating_sub(before));
    }
}
