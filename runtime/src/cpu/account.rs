//! What one container may use of the CPU, and what it used.

use super::{UNITS_PER_CORE, monotonic_nanos};
use coracle_stripe::Striped;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much unused quota may be saved up, as wall-clock time. Half of CFS's default period of 100 ms: enough for a
/// request to run at full speed after an idle moment, too little to show over a second.
const BURST: u64 = 50_000_000;

/// Debt that is let stand until it is worth waiting for, in wall-clock time. A wait for each slice of some microseconds costs
/// more than the slices: measured, a fifth of a core for one throttled guest.
const TOLERATED_DEBT: u64 = 10_000_000;

/// What is accrued before it is charged, in nanoseconds: less than one turn of a guest.
const WORTH_CHARGING: u64 = 20_000;

/// A container's or task's CPU quota, share and meter. All of it is lock-free: several threads may run guests of one
/// account at once.
#[derive(Debug)]
pub(crate) struct CpuAccount {
    /// ECS units; `None` is no quota.
    quota: Option<u32>,
    /// Relative share when the CPU is contended.
    weight: u32,
    parent: Option<Arc<Self>>,
    /// Whether anything here or above can ever be in debt.
    has_quota: bool,
    /// Accrued and not charged yet, by each thread.
    accrued: Striped<AtomicU64>,
    /// With a quota: the moment (monotonic ns) at which all that was used is paid for (GCRA, a token bucket of
    /// one number). Ahead of now means in debt.
    paid_at: AtomicU64,
    /// CPU time divided by weight: who has had least is run first.
    virtual_runtime: AtomicU64,
    used: AtomicU64,
    throttled: AtomicU64,
}

impl CpuAccount {
    /// An account with a `quota` in ECS units and a `weight`, inside `parent`.
    pub(crate) fn new(quota: Option<u32>, weight: u32, parent: Option<Arc<Self>>) -> Arc<Self> {
        let has_quota = quota.is_some() || parent.as_ref().is_some_and(|parent| parent.has_quota);
        Arc::new(Self {
            quota,
            weight: weight.max(1),
            parent,
            has_quota,
            accrued: Striped::new(AtomicU64::default),
            paid_at: AtomicU64::new(0),
            virtual_runtime: AtomicU64::new(0),
            used: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        })
    }

    /// [`charge`](Self::charge) for many small amounts: without a quota they are added up by thread and charged when it is
    /// worth while, because several threads that charged each request would take the account's cache line from each other.
    pub(crate) fn accrue(&self, cpu: Duration) {
        if self.has_quota {
            return self.charge(cpu);
        }
        let accrued = self.accrued.here();
        let nanos = accrued.fetch_add(as_nanos(cpu), Ordering::Relaxed);
        if nanos > WORTH_CHARGING {
            self.charge(Duration::from_nanos(accrued.swap(0, Ordering::Relaxed)));
        }
    }

    /// Records `cpu` as used, here and in the parents.
    pub(crate) fn charge(&self, cpu: Duration) {
        let nanos = as_nanos(cpu);
        self.used.fetch_add(nanos, Ordering::Relaxed);
        let weighted = nanos.saturating_mul(u64::from(UNITS_PER_CORE)) / u64::from(self.weight);
        self.virtual_runtime.fetch_add(weighted, Ordering::Relaxed);
        if let Some(quota) = self.quota {
            let now = monotonic_nanos();
            let cost = nanos.saturating_mul(u64::from(UNITS_PER_CORE)) / u64::from(quota.max(1));
            let oldest = now.saturating_sub(BURST);
            let pay = |paid_at: u64| Some(paid_at.max(oldest).saturating_add(cost));
            // The closure always gives a value, so this cannot fail.
            let _before = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        }
        if let Some(parent) = &self.parent {
            parent.charge(cpu);
        }
    }

    /// How long to wait before running again; `None` when less is owed than is worth waiting
    /// for. The whole debt is waited for, so over time the quota is exact.
    pub(crate) fn debt(&self) -> Option<Duration> {
        let own = self.quota.and_then(|_| {
            let ahead = self.paid_at.load(Ordering::Relaxed).checked_sub(monotonic_nanos())?;
            (ahead > TOLERATED_DEBT).then(|| Duration::from_nanos(ahead))
        });
        let parents = self.parent.as_ref().and_then(|parent| parent.debt());
        own.max(parents)
    }

    /// Whether [`debt`](Self::debt) can ever be anything but `None`.
    pub(crate) fn has_quota(&self) -> bool {
        self.has_quota
    }

    /// Records time that the account's guests waited for their quota.
    pub(crate) fn record_throttled(&self, time: Duration) {
        self.throttled.fetch_add(as_nanos(time), Ordering::Relaxed);
    }

    /// Raises the virtual run time to `floor`, so that one who slept cannot claim all it did not use, and gives it.
    pub(crate) fn virtual_runtime_at_least(&self, floor: u64) -> u64 {
        self.virtual_runtime.fetch_max(floor, Ordering::Relaxed).max(floor)
    }

    /// CPU time used.
    pub(crate) fn used(&self) -> Duration {
        let accrued: u64 = self.accrued.iter().map(|nanos| nanos.load(Ordering::Relaxed)).sum();
        Duration::from_nanos(self.used.load(Ordering::Relaxed).saturating_add(accrued))
    }

    /// Time spent waiting for quota, summed over guests that waited at once.
    pub(crate) fn throttled(&self) -> Duration {
        Duration::from_nanos(self.throttled.load(Ordering::Relaxed))
    }
}

fn as_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accrued_counts_as_used_and_is_charged_in_the_end() {
        let account = CpuAccount::new(None, 1024, None);
        account.accrue(Duration::from_nanos(WORTH_CHARGING));
        assert_eq!(account.used(), Duration::from_nanos(WORTH_CHARGING));
        assert_eq!(account.virtual_runtime_at_least(0), 0);
        account.accrue(Duration::from_nanos(1));
        account.accrue(Duration::from_nanos(1));
        assert_eq!(account.used(), Duration::from_nanos(WORTH_CHARGING + 2));
        assert_eq!(account.virtual_runtime_at_least(0), WORTH_CHARGING + 2);
    }

    #[test]
    fn use_beyond_the_burst_is_owed_at_the_quotas_rate() {
        let account = CpuAccount::new(Some(256), 256, None);
        assert_eq!(account.debt(), None);
        // 100 ms of CPU at a quarter of a core costs 400 ms, less the 50 ms saved up.
        account.charge(Duration::from_millis(100));
        let debt = account.debt().unwrap();
        assert!(debt > Duration::from_millis(300) && debt <= Duration::from_millis(350), "{debt:?}");
    }

    #[test]
    fn without_a_quota_nothing_is_owed() {
        let account = CpuAccount::new(None, 1024, None);
        account.charge(Duration::from_secs(10));
        assert_eq!(account.debt(), None);
        assert_eq!(account.used(), Duration::from_secs(10));
    }

    #[test]
    fn a_tasks_quota_holds_over_its_containers() {
        let task = CpuAccount::new(Some(1024), 1024, None);
        let container = CpuAccount::new(None, 512, Some(task.clone()));
        container.charge(Duration::from_secs(1));
        assert!(container.debt().is_some());
        assert_eq!(task.used(), Duration::from_secs(1));
    }

    #[test]
    fn weight_slows_virtual_time_down() {
        let heavy = CpuAccount::new(None, 2048, None);
        heavy.charge(Duration::from_nanos(1000));
        assert_eq!(heavy.virtual_runtime_at_least(0), 500);
        assert_eq!(heavy.virtual_runtime_at_least(900), 900);
    }
}
