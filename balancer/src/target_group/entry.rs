//! One registered target: its counters, and the hand-over between requests that arrive and a drain that begins.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::TargetGroup;
use super::latency::{LatencyHistogram, Recorder};
use super::retry::Retry;
use crate::cookies::SetCookies;
use crate::stripe::Striped;
use crate::trace::Traced;
use crate::{Body, Target, TargetCounters, TargetError, TargetId, answer};

/// A target as the group holds it, from `register` until it is drained.
pub(crate) struct Entry {
    pub(crate) core: Arc<Core>,
    stripes: Striped<Arc<Stripe>>,
}

/// What all stripes of a target share. Nothing here is written while requests flow and succeed.
pub(crate) struct Core {
    pub(crate) id: TargetId,
    /// Unique in the group: an id may be registered anew while its predecessor drains.
    pub(crate) key: u64,
    pub(crate) target: Arc<dyn Target>,
    group: Weak<TargetGroup>,
    draining: AtomicBool,
    drained: Notify,
    /// Requests in a row that it answered with 5xx or not at all.
    failures_in_row: AtomicU32,
    /// After so many of them the group is told; 0: never.
    pub(super) eject_after: AtomicU32,
    /// Cancelled when the target has left the group for good.
    pub(super) gone: CancellationToken,
}

/// Counters that one data-plane thread writes. It lies in an `Arc` of its own so that even the reference count a
/// request holds is on the thread's own cache line.
struct Stripe {
    core: Arc<Core>,
    in_flight: AtomicU64,
    requests: AtomicU64,
    /// By the first digit of the status, 1xx at index 0; anything past 5xx counts as 5xx.
    responses: [AtomicU64; 5],
    failures: AtomicU64,
    retries: AtomicU64,
    latency: Recorder,
}

impl Entry {
    pub(crate) fn new(id: TargetId, key: u64, target: Arc<dyn Target>, group: Weak<TargetGroup>) -> Self {
        let (draining, drained) = (AtomicBool::new(false), Notify::new());
        let gone = CancellationToken::new();
        let (failures_in_row, eject_after) = Default::default();
        let core =
            Arc::new(Core { id, key, target, group, draining, drained, failures_in_row, eject_after, gone });
        let stripes = Striped::new(|| {
            Arc::new(Stripe {
                core: Arc::clone(&core),
                in_flight: AtomicU64::new(0),
                requests: AtomicU64::new(0),
                responses: Default::default(),
                failures: AtomicU64::new(0),
                retries: AtomicU64::new(0),
                latency: Recorder::default(),
            })
        });
        Self { core, stripes }
    }

    /// Claims the target for one request, unless it drains.
    pub(crate) fn enter(&self) -> Option<InFlight> {
        let stripe = Arc::clone(self.stripes.here());
        // Announce first, look second; `begin_drain` stores first and sums second. All four are SeqCst, so either
        // this request sees the flag, or the drain sees this request: none slips in after "nothing in flight".
        stripe.in_flight.fetch_add(1, Ordering::SeqCst);
        let claim = InFlight { stripe, extras: None };
        if claim.stripe.core.draining.load(Ordering::SeqCst) {
            return None; // dropping the claim takes the announcement back
        }
        claim.stripe.requests.fetch_add(1, Ordering::Relaxed);
        Some(claim)
    }

    /// From here on `enter` refuses. The caller has taken the entry out of the snapshot before.
    pub(crate) fn begin_drain(&self) {
        self.core.draining.store(true, Ordering::SeqCst);
    }

    /// Resolves when no request is in flight. Only meaningful after [`Entry::begin_drain`].
    pub(crate) async fn drained(&self) {
        loop {
            let notified = self.core.drained.notified();
            tokio::pin!(notified);
            // Listen before looking: a request that ends in between notifies us.
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.sum(|stripe| stripe.in_flight.load(Ordering::SeqCst))
    }

    pub(crate) fn counters(&self) -> TargetCounters {
        let responses = |class: usize| self.sum(|stripe| stripe.responses[class].load(Ordering::Relaxed));
        TargetCounters {
            requests: self.sum(|stripe| stripe.requests.load(Ordering::Relaxed)),
            in_flight: self.in_flight(),
            responses_2xx: responses(1),
            responses_3xx: responses(2),
            responses_4xx: responses(3),
            responses_5xx: responses(4),
            failures: self.sum(|stripe| stripe.failures.load(Ordering::Relaxed)),
            retries: self.sum(|stripe| stripe.retries.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn latency(&self) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::default();
        self.stripes.iter().for_each(|stripe| stripe.latency.add_to(&mut histogram));
        histogram
    }

    fn sum(&self, count: impl Fn(&Stripe) -> u64) -> u64 {
        self.stripes.iter().map(|stripe| count(stripe)).sum()
    }
}

/// A request's claim on a target, held until the last byte of the answer has been taken from the target.
pub(crate) struct InFlight {
    stripe: Arc<Stripe>,
    /// In a box, because a claim is moved with its answer, and most have none of this.
    extras: Option<Box<Extras>>,
}

/// What a group may have configured for its claims.
#[derive(Default)]
struct Extras {
    target_cookies: Option<Arc<SetCookies>>,
    group_cookies: Option<Arc<SetCookies>>,
    retry: Option<Arc<Retry>>,
    /// Where latencies are counted.
    begun: Option<Instant>,
}

impl InFlight {
    pub(crate) fn id(&self) -> &TargetId {
        &self.stripe.core.id
    }

    pub(crate) fn key(&self) -> u64 {
        self.stripe.core.key
    }

    pub(crate) fn target(&self) -> &dyn Target {
        &*self.stripe.core.target
    }

    /// The group the target is in, unless it ended.
    pub(crate) fn group(&self) -> Option<Arc<TargetGroup>> {
        self.stripe.core.group.upgrade()
    }

    /// Resolves when the target has left the group, its time to drain included.
    pub(crate) async fn gone(&self) {
        self.stripe.core.gone.cancelled().await;
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// The answer is to bind the client to the target.
    pub(super) fn with_target_cookies(mut self, cookies: Arc<SetCookies>) -> Self {
        self.extras().target_cookies = Some(cookies);
        self
    }

    /// The answer is to bind the client to the group.
    pub(crate) fn with_group_cookies(mut self, cookies: Arc<SetCookies>) -> Self {
        self.extras().group_cookies = Some(cookies);
        self
    }

    /// Requests to the group may be sent more than once.
    pub(super) fn with_retry(mut self, retry: Arc<Retry>) -> Self {
        self.extras().retry = Some(retry);
        self
    }

    /// The time to its answer is to be counted.
    pub(super) fn timed(mut self) -> Self {
        self.extras().begun = Some(Instant::now());
        self
    }

    /// How this request may be sent more than once, if at all.
    pub(crate) fn retry(&self) -> Option<&Arc<Retry>> {
        self.extras.as_ref()?.retry.as_ref()
    }

    /// Gives the target back and claims another one that was not tried yet.
    pub(crate) fn give_up(mut self, tried: &[u64]) -> Option<Self> {
        let group = self.group()?;
        let cookies = self.extras.as_mut().and_then(|extras| extras.group_cookies.take());
        // Given back before the next is claimed: it may be waiting to drain.
        drop(self);
        let next = group.pick_other(tried)?;
        Some(match cookies {
            Some(cookies) => next.with_group_cookies(cookies),
            None => next,
        })
    }

    /// Binds the client as far as stickiness is on.
    pub(crate) fn set_cookies(&self, headers: &mut HeaderMap) {
        let Some(extras) = &self.extras else { return };
        for cookies in [&extras.target_cookies, &extras.group_cookies].into_iter().flatten() {
            cookies.add_to(headers);
        }
    }

    pub(crate) fn call(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        match request.extensions().get::<Traced>() {
            None => self.stripe.core.target.call(request),
            Some(traced) => traced.clone().call(self, request),
        }
    }

    pub(crate) fn count_response(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.stripe.responses[class].fetch_add(1, Ordering::Relaxed);
        if let Some(begun) = self.extras.as_ref().and_then(|extras| extras.begun) {
            self.stripe.latency.record(begun.elapsed());
        }
        if status.is_server_error() {
            self.note_failure();
        } else if self.stripe.core.failures_in_row.load(Ordering::Relaxed) != 0 {
            // Looked at first: it is a cache line that all threads read.
            self.stripe.core.failures_in_row.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a request without an answer.
    pub(crate) fn count_error(&self, error: &TargetError) {
        // Else a client could have targets set aside.
        if answer::fault_of_client(error).is_some() {
            return;
        }
        self.stripe.failures.fetch_add(1, Ordering::Relaxed);
        // A target that says it is full has not failed.
        if !matches!(error, TargetError::Overloaded { .. }) {
            self.note_failure();
        }
    }

    /// Counts an answer that makes no sense.
    pub(crate) fn count_failure(&self) {
        self.stripe.failures.fetch_add(1, Ordering::Relaxed);
        self.note_failure();
    }

    /// The request had reached another target before.
    pub(crate) fn count_retry(&self) {
        self.stripe.retries.fetch_add(1, Ordering::Relaxed);
    }

    fn note_failure(&self) {
        let core = &self.stripe.core;
        let row = core.failures_in_row.fetch_add(1, Ordering::Relaxed) + 1;
        // Told once in a row of so many, whichever thread counted the last.
        let after = core.eject_after.load(Ordering::Relaxed);
        if after != 0
            && row.is_multiple_of(after)
            && let Some(group) = self.group()
        {
            group.eject(core.key);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.stripe.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.stripe.core.draining.load(Ordering::SeqCst) {
            self.stripe.core.drained.notify_waiters();
        }
    }
}
