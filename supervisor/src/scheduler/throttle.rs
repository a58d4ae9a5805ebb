//! How fast a service may start tasks that fail.
//!
//! Two kinds of failure wait differently. A task that never came to run makes the service wait from one second up to ECS's 15 minutes: trying again
//! seldom helps. One that ran and died young is replaced at once the first times, as it would be in ECS, where a start takes seconds anyway;
//! here it takes a millisecond, and a task that dies at once would take a whole core for its replacements.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

/// Wait after the first round of tasks that never ran; doubles with each round.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// ECS: "service task start throttling" grows to 15 minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(900);
/// Rounds after which the service is told to be unable to start tasks.
const ROUNDS_UNTIL_EVENT: u32 = 3;

/// A task that lived shorter died young.
const YOUNG: Duration = Duration::from_secs(10);
/// Young deaths that are replaced at once; more for services with more tasks, which may all die of the same cause.
const FREE_DEATHS: u32 = 3;
/// Wait after the first death that is not free; doubles with each.
const FIRST_DEATH_WAIT: Duration = Duration::from_millis(100);
/// Longest wait for the replacement of a task that died young.
const LONGEST_DEATH_WAIT: Duration = Duration::from_secs(10);
/// Without a young death for so long, the next one is the first again.
const DEATHS_FORGOTTEN: Duration = Duration::from_secs(60);

/// A service's failures to start tasks that live.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle {
    rounds: u32,
    deaths: u32,
    last_death: Option<Instant>,
    not_before: Option<Instant>,
    told: bool,
}

impl Throttle {
    /// When the next task may be started, if not now.
    pub(super) fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }

    /// A task ended before it ran.
    pub(super) fn never_ran(&mut self, now: Instant, rng: &mut impl Rng) {
        // Tasks that were started together and fail together are one round.
        if self.wait_until(now).is_none() {
            self.rounds = self.rounds.saturating_add(1);
            self.not_before = Some(now + doubled(FIRST_WAIT, self.rounds, LONGEST_WAIT, rng));
        }
    }

    /// A task ended by itself after it had run for `lived`.
    pub(super) fn died(&mut self, now: Instant, lived: Duration, desired: u32, rng: &mut impl Rng) {
        let forgotten = self.last_death.is_none_or(|last| now.duration_since(last) >= DEATHS_FORGOTTEN);
        if lived >= YOUNG || forgotten {
            self.deaths = 0;
        }
        if lived >= YOUNG {
            return;
        }
        self.last_death = Some(now);
        if self.wait_until(now).is_none() {
            self.deaths = self.deaths.saturating_add(1);
            let beyond = self.deaths.saturating_sub(FREE_DEATHS.max(desired));
            if beyond > 0 {
                self.not_before = Some(now + doubled(FIRST_DEATH_WAIT, beyond, LONGEST_DEATH_WAIT, rng));
            }
        }
    }

    /// A task came to run: whatever was wrong with starting is over.
    pub(super) fn ran(&mut self) {
        if self.rounds > 0 {
            *self = Self { deaths: self.deaths, last_death: self.last_death, ..Self::default() };
        }
    }

    /// Once per run of failures: whether to say that the service cannot start tasks.
    pub(super) fn tell(&mut self) -> bool {
        let tell = self.rounds >= ROUNDS_UNTIL_EVENT && !self.told;
        self.told |= tell;
        tell
    }
}

/// `first`, doubled for each further round up to `most`, less up to a fifth at random so that services that failed together do not try together.
fn doubled(first: Duration, round: u32, most: Duration, rng: &mut impl Rng) -> Duration {
    let factor = 1_u32.checked_shl(round.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most).mul_f64(rng.random_range(0.8..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_quarter_of_an_hour_and_end_when_a_task_runs() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut throttle = Throttle::default();
        let mut waits = Vec::new();
        for _ in 0..15 {
            let now = Instant::now();
            throttle.never_ran(now, &mut rng);
            // The others of the same round change nothing.
            throttle.never_ran(now, &mut rng);
            let until = throttle.wait_until(now).expect("a wait");
            waits.push(until - now);
            tokio::time::advance(until - now).await;
        }
        assert!(waits[0] <= FIRST_WAIT && waits[0] >= FIRST_WAIT.mul_f64(0.8), "{waits:?}");
        assert!(waits[14] <= LONGEST_WAIT && waits[14] >= LONGEST_WAIT.mul_f64(0.8), "{waits:?}");
        assert!(throttle.tell());
        assert!(!throttle.tell(), "told once");
        throttle.never_ran(Instant::now(), &mut rng);
        throttle.ran();
        assert_eq!(throttle.wait_until(Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_tasks_that_die_young_are_replaced_at_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..FREE_DEATHS {
            throttle.died(now, Duration::from_millis(5), 1, &mut rng);
            assert_eq!(throttle.wait_until(now), None);
        }
        throttle.died(now, Duration::from_millis(5), 1, &mut rng);
        let wait = throttle.wait_until(now).expect("a wait") - now;
        assert!(wait <= FIRST_DEATH_WAIT, "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_dies_after_a_long_life_is_always_replaced_at_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut throttle = Throttle::default();
        for _ in 0..100 {
            throttle.died(Instant::now(), YOUNG, 1, &mut rng);
            assert_eq!(throttle.wait_until(Instant::now()), None);
        }
    }
}
