//! How many requests of a handler run at once, and how many may wait for their turn.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A semaphore with a bounded queue. Entering and leaving are one atomic operation each as long as nobody waits.
#[derive(Debug)]
pub(super) struct Gate {
    limit: usize,
    /// Written by each request on each core: on a cache line of its own.
    running: CachePadded<AtomicUsize>,
    waiting: CachePadded<AtomicUsize>,
    turn: Notify,
}

impl Gate {
    /// Lets `limit` run at once and as many again wait.
    pub(super) fn new(limit: usize) -> Self {
        let (running, waiting) = (CachePadded::default(), CachePadded::default());
        Self { limit, running, waiting, turn: Notify::new() }
    }

    /// Enters if there is room and nobody waits: who comes later must not pass who came before.
    pub(super) fn try_enter(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.take()
    }

    /// Waits for its turn. False, at once, where as many wait as may. Dropping the future gives the place up.
    pub(super) async fn enter(&self) -> bool {
        let Some(place) = Place::take(self) else { return false };
        loop {
            let turn = self.turn.notified();
            // After asking to be told, so that a leave between the look and the wait is not missed.
            if self.take() {
                drop(place);
                return true;
            }
            turn.await;
        }
    }

    /// Ends what a successful enter began.
    pub(super) fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        // Who began to wait before the line above is seen here; who begins after it sees the room.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.turn.notify_one();
        }
    }

    /// Whether none runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    fn take(&self) -> bool {
        let more = |running: usize| (running < self.limit).then_some(running + 1);
        self.running.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }
}

/// A place in the queue.
struct Place<'a>(&'a Gate);

impl<'a> Place<'a> {
    fn take(gate: &'a Gate) -> Option<Self> {
        let place = Self(gate);
        (gate.waiting.fetch_add(1, Ordering::SeqCst) < gate.limit).then_some(place)
    }
}

impl Drop for Place<'_> {
    /// Whoever leaves the queue hands on the word that there is room: it may have been told and gone away, or there may be
    /// room for more than one.
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) > 1
            && self.0.running.load(Ordering::SeqCst) < self.0.limit
        {
            self.0.turn.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;

    #[test]
    fn as_many_as_may_run_enter_and_as_many_again_wait() {
        let gate = Gate::new(2);
        assert!(gate.try_enter() && gate.try_enter() && !gate.try_enter());
        let (mut third, mut fourth) = (pin!(gate.enter()), pin!(gate.enter()));
        assert_eq!(third.as_mut().now_or_never(), None);
        assert_eq!(fourth.as_mut().now_or_never(), None);
        assert_eq!(gate.enter().now_or_never(), Some(false));
        gate.leave();
        assert!(!gate.try_enter(), "who comes later must wait for who came before");
        assert_eq!(third.now_or_never(), Some(true));
        assert_eq!(fourth.as_mut().now_or_never(), None);
        gate.leave();
        assert_eq!(fourth.now_or_never(), Some(true));
        gate.leave();
        gate.leave();
        assert!(gate.try_enter() && gate.try_enter() && !gate.try_enter());
    }

    #[test]
    fn one_who_was_told_and_went_away_hands_its_turn_on() {
        let gate = Gate::new(1);
        assert!(gate.try_enter());
        let gate = std::sync::Arc::new(gate);
        let enter = |gate: std::sync::Arc<Gate>| async move { gate.enter().await }.boxed();
        let mut first = enter(gate.clone());
        let second = gate.clone();
        assert_eq!((&mut first).now_or_never(), None);
        assert_eq!(gate.enter().now_or_never(), Some(false));
        // A queue of one: the second comes when the first has gone, told or not.
        gate.leave();
        drop(first);
        assert_eq!(enter(second).now_or_never(), Some(true));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_is_forgotten_or_let_in_twice() {
        let gate = std::sync::Arc::new(Gate::new(3));
        let inside = std::sync::Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let (gate, inside) = (gate.clone(), inside.clone());
            tasks.spawn(async move {
                for round in 0..2000 {
                    if gate.try_enter() || gate.enter().await {
                        let now = inside.fetch_add(1, Ordering::SeqCst);
                        assert!(now < 3, "{now} others are inside");
                        if round % 7 == 0 {
                            tokio::task::yield_now().await;
                        }
                        inside.fetch_sub(1, Ordering::SeqCst);
                        gate.leave();
                    }
                }
            });
        }
        let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(std::time::Duration::from_secs(60), all).await.expect("somebody waits for ever");
    }
}
