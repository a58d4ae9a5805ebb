//! Services that scale to zero: without requests for a while they have no tasks, and the next request brings them back.
//!
//! Whether a service sleeps is known here alone and nowhere durable: after a restart one that was whole sleeps until somebody asks for it. One that sleeps
//! costs a future that waits, and no look at all.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::driver::Usage;
use crate::model::service::{RolloutState, ServiceRecord, ServiceStatus};

/// Looks during an idle time: a service goes to sleep at most a quarter of it late.
const LOOKS: u32 = 4;
/// And no more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Whether a service that scales to zero has tasks now.
#[derive(Debug, Default)]
pub(super) enum Idle {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// It has its tasks.
    Awake(Awake),
    /// It has none.
    Asleep {
        /// What waits for a request.
        watch: Option<Watch>,
    },
}

/// Since when a service with tasks has had no request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awake {
    /// Those its tasks have been given until the last look.
    requests: u64,
    /// No later than the last of them.
    since: Instant,
    /// The next look. One at a time: everything else that happens to a service must not make more of them.
    next: Instant,
}

/// Waits for a request to a service that sleeps, until it is dropped.
#[derive(Debug)]
pub(super) struct Watch(pub(super) AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What there is to see of a service's requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activity {
    /// That its tasks have been given.
    requests: u64,
    /// That they have now.
    in_flight: u64,
}

impl Activity {
    pub(super) fn of(tasks: impl Iterator<Item = Usage>) -> Self {
        tasks.fold(Self::default(), |sum, usage| Self {
            requests: sum.requests + usage.requests,
            in_flight: sum.in_flight + usage.in_flight,
        })
    }
}

impl Idle {
    pub(super) fn is_asleep(&self) -> bool {
        matches!(self, Self::Asleep { .. })
    }

    /// A request waits.
    pub(super) fn wake(&mut self, now: Instant) {
        *self = Self::Awake(Awake::new(now));
    }

    /// Looks whether it goes to sleep or has to wake; when to look again, if it must be looked at.
    pub(super) fn look(
        &mut self,
        record: &ServiceRecord,
        activity: impl FnOnce() -> Activity,
        now: Instant,
    ) -> Option<Instant> {
        let scales = record.publication.as_ref().and_then(|publication| publication.scale_to_zero);
        let whole = record.status == ServiceStatus::Active
            && record.desired_count > 0
            && record.primary().rollout_state == RolloutState::Completed;
        let Some(after) = scales.filter(|_| whole) else {
            // A deployment has to prove itself, and a service without this tag never sleeps.
            *self = Self::Awake(Awake::new(now));
            return None;
        };
        let next = match self {
            Self::Asleep { .. } => return None,
            Self::Unknown => None,
            Self::Awake(awake) => awake.look(after, activity, now),
        };
        if next.is_none() {
            *self = Self::Asleep { watch: None };
        }
        next
    }
}

impl Awake {
    fn new(now: Instant) -> Self {
        Self { requests: 0, since: now, next: now }
    }

    /// The next look, or none after so long without a request.
    fn look(
        &mut self,
        after: Duration,
        activity: impl FnOnce() -> Activity,
        now: Instant,
    ) -> Option<Instant> {
        if now < self.next {
            return Some(self.next);
        }
        let activity = activity();
        if activity.in_flight > 0 || activity.requests != self.requests {
            (self.requests, self.since) = (activity.requests, now);
        }
        let ends = self.since + after;
        if ends <= now {
            return None;
        }
        self.next = (now + (after / LOOKS).max(SHORTEST_PAUSE)).min(ends);
        Some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn usage(requests: u64, in_flight: u64) -> Activity {
        Activity::of(std::iter::once(Usage { requests, in_flight, ..Usage::default() }))
    }

    #[test]
    fn between_two_looks_nothing_is_read_and_no_further_look_is_asked_for() {
        let start = Instant::now();
        let mut awake = Awake::new(start);
        let next = awake.look(AFTER, || usage(0, 0), start).expect("it is awake");
        assert_eq!(next, start + AFTER / 4);
        for seconds in 1..15 {
            let at = start + Duration::from_secs(seconds);
            assert_eq!(awake.look(AFTER, || panic!("read at {seconds} s"), at), Some(next));
        }
    }

    #[test]
    fn requests_in_flight_and_new_ones_keep_a_service_awake() {
        let start = Instant::now();
        let mut awake = Awake::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, seen) in [(0, usage(0, 0)), (50, usage(1, 1)), (105, usage(1, 1)), (160, usage(2, 0))] {
            assert!(awake.look(AFTER, || seen, at(seconds)).is_some(), "{seconds} s");
        }
        assert_eq!(awake.look(AFTER, || usage(2, 0), at(219)), Some(at(220)));
        assert_eq!(awake.look(AFTER, || usage(2, 0), at(220)), None);
    }
}
