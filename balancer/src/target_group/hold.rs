//! Requests that wait while a group has no usable target: one that scales from zero, or restarts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{self, Instant};

use super::attributes::number;
use super::{Asking, InFlight, TargetGroup};
use crate::ConfigError;

const TIMEOUT: &str = "coracle.hold.timeout_seconds";
const MAX_REQUESTS: &str = "coracle.hold.max_requests";

/// How long and how many requests wait for a target. Off by default, and not ELB's, which answers 503 at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldPolicy {
    /// `coracle.hold.timeout_seconds`: then the answer is 503. 0 (off) to 300 s.
    pub timeout: Duration,
    /// `coracle.hold.max_requests`: what comes beyond them is a 503 at once. 1 to 100,000; 1,000 by default.
    pub max_requests: usize,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self { timeout: Duration::ZERO, max_requests: 1_000 }
    }
}

impl HoldPolicy {
    pub(super) const KEYS: [&str; 2] = [TIMEOUT, MAX_REQUESTS];

    /// False if the key is none of its own.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<bool, ConfigError> {
        match key {
            TIMEOUT => self.timeout = Duration::from_secs(number(key, value, 0..=300)?.into()),
            MAX_REQUESTS => self.max_requests = number(key, value, 1..=100_000)? as usize,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn pairs(&self) -> [(&'static str, String); 2] {
        [(TIMEOUT, self.timeout.as_secs().to_string()), (MAX_REQUESTS, self.max_requests.to_string())]
    }
}

/// A request's place among those that wait.
struct Held<'a>(&'a AtomicUsize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TargetGroup {
    /// Whether requests wait for a target.
    pub(crate) fn holds(&self) -> bool {
        !self.members().attributes.hold.timeout.is_zero()
    }

    /// Resolves as soon as a request waits for a target, at once if one does. Without [`HoldPolicy`] none ever does.
    pub async fn demand(&self) {
        loop {
            let mut waits = std::pin::pin!(self.demand.notified());
            // Listening before looking: a request that comes in between is heard.
            waits.as_mut().enable();
            if self.held.load(Ordering::SeqCst) > 0 {
                return;
            }
            waits.await;
        }
    }

    /// A target as soon as there is one. `None`: too many wait already, or there was none in time.
    pub(crate) async fn wait(&self, asking: &Asking<'_>) -> Option<InFlight> {
        let policy = self.members().attributes.hold;
        let held = Held(&self.held);
        // Sequentially consistent, as is the look of `demand`: one of the two sees the other.
        if held.0.fetch_add(1, Ordering::SeqCst) >= policy.max_requests {
            return None;
        }
        self.demand.notify_waiters();
        let deadline = Instant::now() + policy.timeout;
        // Listening before looking: a target that comes in between is a change.
        let mut changes = self.changes();
        loop {
            if let Some(claim) = self.pick(asking) {
                return Some(claim);
            }
            time::timeout_at(deadline, changes.changed()).await.ok()?.ok()?;
        }
    }
}
