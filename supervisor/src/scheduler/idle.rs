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

/// Whether a service that scales to zero has tasks now.
#[derive(Debug, Default)]
pub(super) enum Idle {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// It has its tasks.
    Awake {
        /// That they have been given until now.
        requests: u64,
        /// Since when there has been none.
        since: Instant,
    },
    /// It has none.
    Asleep {
        /// What waits for a request.
        watch: Option<Watch>,
    },
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
        *self = Self::Awake { requests: 0, since: now };
    }

    /// Looks whether it goes to sleep or has to wake; when to look again, if it must be looked at.
    pub(super) fn look(
        &mut self,
        record: &ServiceRecord,
        activity: Activity,
        now: Instant,
    ) -> Option<Instant> {
        let scales = record.publication.as_ref().and_then(|publication| publication.scale_to_zero);
        let whole = record.status == ServiceStatus::Active
            && record.desired_count > 0
            && record.primary().rollout_state == RolloutState::Completed;
        let Some(after) = scales.filter(|_| whole) else {
            // A deployment has to prove itself, and a service without this tag never sleeps.
            *self = Self::Awake { requests: activity.requests, since: now };
            return None;
        };
        match self {
            Self::Unknown => {
                *self = Self::Asleep { watch: None };
                None
            }
            Self::Asleep { .. } => None,
            Self::Awake { requests, since } => {
                if activity.in_flight > 0 || activity.requests != *requests {
                    (*requests, *since) = (activity.requests, now);
                }
                if now.duration_since(*since) >= after {
                    *self = Self::Asleep { watch: None };
                    return None;
                }
                let pause = (after / LOOKS).max(Duration::from_millis(10));
                Some((now + pause).min(*since + after))
            }
        }
    }
}
