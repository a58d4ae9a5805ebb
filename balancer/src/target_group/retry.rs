//! How often a request may be sent again after it has reached a target.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::attributes::number;
use crate::ConfigError;
use crate::stripe::Striped;

const ATTEMPTS: &str = "coracle.retry.attempts";
const MAX_BODY: &str = "coracle.retry.max_body_bytes";
const BUDGET: &str = "coracle.retry.budget_percent";

/// When an idempotent request (RFC 9110, 9.2.2) is sent to another target after one failed to answer it.
///
/// Off by default, and not ELB's: ELB retries nothing that has reached a target. Requests that have not are tried on
/// others in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `coracle.retry.attempts`: how often a request is sent again, 0 (never) to 5.
    pub attempts: u32,
    /// `coracle.retry.max_body_bytes`: requests with a longer body, or one of unknown length, are sent once. A body that
    /// may be sent again is read whole before it is sent. 0 to 1 MiB, 64 KiB by default.
    pub max_body: u64,
    /// `coracle.retry.budget_percent`: retries in a hundred requests, over time; 1 to 100, 20 by default. When all targets
    /// fail, retries are load on top of what they fail under.
    pub budget_percent: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 0, max_body: 64 * 1024, budget_percent: 20 }
    }
}

impl RetryPolicy {
    pub(super) const KEYS: [&str; 3] = [ATTEMPTS, MAX_BODY, BUDGET];

    /// False if the key is none of its own.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<bool, ConfigError> {
        match key {
            ATTEMPTS => self.attempts = number(key, value, 0..=5)?,
            MAX_BODY => self.max_body = number(key, value, 0..=1024 * 1024)?.into(),
            BUDGET => self.budget_percent = number(key, value, 1..=100)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn pairs(&self) -> [(&'static str, String); 3] {
        [
            (ATTEMPTS, self.attempts.to_string()),
            (MAX_BODY, self.max_body.to_string()),
            (BUDGET, self.budget_percent.to_string()),
        ]
    }
}

/// A policy that is on, with the budget of its group.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) policy: RetryPolicy,
    pub(super) budget: Arc<Budget>,
}

impl Retry {
    /// A request came that may need one.
    pub(crate) fn earn(&self) {
        self.budget.earn(self.policy.budget_percent);
    }

    /// Whether a retry is within the budget, which it then is taken from.
    pub(crate) fn spend(&self) -> bool {
        self.budget.spend()
    }
}

/// What may be spent on retries, in hundredths of one, of each data-plane thread.
#[derive(Debug)]
pub(super) struct Budget {
    balances: Striped<AtomicI64>,
}

/// What one retry costs.
const PRICE: i64 = 100;
/// What a thread begins with, so that a service with few requests has its first retries: ten.
const RESERVE: i64 = 10 * PRICE;
/// What can be saved up: a hundred.
const MOST: i64 = 100 * PRICE;

impl Default for Budget {
    fn default() -> Self {
        Self { balances: Striped::new(|| AtomicI64::new(RESERVE)) }
    }
}

impl Budget {
    fn earn(&self, percent: u32) {
        let balance = self.balances.here();
        if balance.load(Ordering::Relaxed) < MOST {
            balance.fetch_add(percent.into(), Ordering::Relaxed);
        }
    }

    fn spend(&self) -> bool {
        let enough = |balance| (balance >= PRICE).then_some(balance - PRICE);
        self.balances.here().fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_twenty_percent_pays_one_retry_in_five_requests() {
        let retry =
            Retry { policy: RetryPolicy { attempts: 1, ..RetryPolicy::default() }, budget: Arc::default() };
        assert_eq!((0..100).filter(|_| retry.spend()).count(), 10, "the reserve");
        let spent = (0..1000).filter(|_| {
            retry.earn();
            retry.spend()
        });
        assert_eq!(spent.count(), 200);
        (0..10_000).for_each(|_| retry.earn());
        assert_eq!((0..1000).filter(|_| retry.spend()).count(), 100, "no more is saved up");
    }
}
