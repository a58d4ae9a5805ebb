//! Asking one container how it is, again and again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, sleep, timeout};

use crate::driver::Sandbox;
use crate::model::health_check::HealthPlan;
use crate::model::task::HealthStatus;

/// The first pause before a container that has just started is asked once more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Tells each change of a running container's health, until the container ends.
pub(super) fn changes(
    sandbox: &Arc<dyn Sandbox>,
    container: &str,
    plan: HealthPlan,
) -> BoxStream<'static, (String, HealthStatus)> {
    let ended = sandbox.wait(container);
    let monitor = Monitor {
        sandbox: Arc::clone(sandbox),
        container: container.to_owned(),
        judge: Judge { plan, started: Instant::now(), status: HealthStatus::Unknown, failures: 0 },
        pause: FIRST_PAUSE,
    };
    let changes = stream::unfold(monitor, |mut monitor| async move {
        let status = monitor.next_change().await;
        Some(((monitor.container.clone(), status), monitor))
    });
    changes.take_until(ended).boxed()
}

struct Monitor {
    sandbox: Arc<dyn Sandbox>,
    container: String,
    judge: Judge,
    pause: Duration,
}

impl Monitor {
    async fn next_change(&mut self) -> HealthStatus {
        loop {
            let pause = self.judge.until_next(&mut self.pause);
            sleep(pause).await;
            let plan = &self.judge.plan;
            let asked = timeout(plan.timeout, self.sandbox.probe(&self.container, &plan.probe)).await;
            let answer =
                asked.unwrap_or_else(|_| Err(format!("no answer within {} s", plan.timeout.as_secs())));
            if let Err(why) = &answer {
                tracing::info!(container = self.container, why, "a health check failed");
            }
            if let Some(status) = self.judge.hear(answer.is_ok()) {
                return status;
            }
        }
    }
}

/// What the answers say of a container's health: Docker's rules, which are ECS's.
struct Judge {
    plan: HealthPlan,
    started: Instant,
    status: HealthStatus,
    failures: u32,
}

impl Judge {
    /// Docker asks for the first time when one interval has passed, and so does this. But until then it asks now and then as well, and believes a good
    /// answer: a container that is up after a moment need not wait half a minute to be of use.
    fn until_next(&self, pause: &mut Duration) -> Duration {
        let left = self.plan.interval.saturating_sub(self.started.elapsed());
        if self.status != HealthStatus::Unknown || left.is_zero() {
            return self.plan.interval;
        }
        let now = (*pause).min(left);
        *pause *= 2;
        now
    }

    /// The new status, if the answer changed it.
    fn hear(&mut self, good: bool) -> Option<HealthStatus> {
        let before = self.status;
        if good {
            self.failures = 0;
            self.status = HealthStatus::Healthy;
        } else if !self.is_starting() {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= self.plan.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        (self.status != before).then_some(self.status)
    }

    /// "Probe failure during that period will not be counted towards the maximum number of retries. However, if a health check succeeds during the
    /// start period, the container is considered started and all consecutive failures will be counted."
    fn is_starting(&self) -> bool {
        let period = self.plan.start_period.max(self.plan.interval);
        // Not counted are also the questions before Docker would have asked its first one.
        self.status == HealthStatus::Unknown && self.started.elapsed() < period
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health_check::Probe;

    fn judge(start_period: u64) -> Judge {
        let seconds = Duration::from_secs;
        let plan = HealthPlan {
            probe: Probe::Tcp { port: 1 },
            interval: seconds(10),
            timeout: seconds(2),
            retries: 3,
            start_period: seconds(start_period),
        };
        Judge { plan, started: Instant::now(), status: HealthStatus::Unknown, failures: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let mut judge = judge(0);
        tokio::time::advance(Duration::from_secs(10)).await;
        let heard: Vec<_> =
            [false, false, true, false, false, false, false, true].map(|good| judge.hear(good)).into();
        let (healthy, unhealthy) = (Some(HealthStatus::Healthy), Some(HealthStatus::Unhealthy));
        assert_eq!(heard, [None, None, healthy, None, None, unhealthy, None, healthy]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_the_start_period_do_not_count_unless_it_was_healthy_once() {
        let mut slow = judge(60);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!((0..9).all(|_| slow.hear(false).is_none()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([slow.hear(false), slow.hear(false)], [None, None]);
        assert_eq!(slow.hear(false), Some(HealthStatus::Unhealthy));

        let mut quick = judge(60);
        assert_eq!(quick.hear(true), Some(HealthStatus::Healthy));
        assert_eq!([quick.hear(false), quick.hear(false)], [None, None]);
        assert_eq!(quick.hear(false), Some(HealthStatus::Unhealthy));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_that_counts_is_asked_for_after_one_interval() {
        let judge = judge(0);
        let mut pause = FIRST_PAUSE;
        let begun = Instant::now();
        while judge.is_starting() {
            let wait = judge.until_next(&mut pause);
            tokio::time::advance(wait).await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert_eq!(judge.until_next(&mut pause), Duration::from_secs(10));
    }
}
