//! Requests that only pretend to come.

use std::time::Duration;

use tokio::time::Instant;

use super::{State, lock};

/// Requests that come to the tasks behind the balancer, spread evenly over those that are registered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Requests a second, over all tasks.
    pub requests_per_second: f64,
    /// CPU time that each of them takes.
    pub cpu_per_request: Duration,
    /// Bytes of memory that each task has in use.
    pub memory: u64,
}

impl State {
    /// Lets the load work until now on those that are registered, who have not changed since the last time.
    pub(super) fn bear(&mut self) {
        let now = Instant::now();
        let since = self.loaded_until.replace(now).map_or(Duration::ZERO, |before| now - before);
        let registered: Vec<_> = self
            .tasks
            .values()
            .filter(|sandbox| {
                let inner = lock(&sandbox.inner);
                inner.target.is_some() && !inner.deregistered
            })
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a few tasks")]
        let requests = self.load.requests_per_second * since.as_secs_f64() / registered.len().max(1) as f64;
        for sandbox in registered {
            let mut inner = lock(&sandbox.inner);
            inner.requests += requests;
            inner.cpu_time += self.load.cpu_per_request.mul_f64(requests);
        }
    }
}
