//! The loop: looks at every service once a period, at those with fast policies once a tick, and runs scheduled actions when they are due.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::apply::{Reason, clamped, commit_change};
use super::decision::{Bounds, Capacity, Proposal, Verdict, combine};
use super::fast::{TICK, Windows};
use super::sample::{Point, Sample, Sampler};
use super::{alarm, step, target_tracking};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::alarm::Alarm;
use crate::model::scaling::{FastMetric, PolicyKind, ScalableTarget, ScalingPolicy, ScalingState};
use crate::model::service::{RolloutState, ServiceRecord, ServiceStatus};
use crate::records::{ServiceKey, decode, encode, keys};
use crate::store::{Change, Compare, Entry, Transaction};
use crate::supervisor::Shared;

/// The period of metrics: ECS's and ELB's are one minute.
const PERIOD: Duration = Duration::from_secs(60);
/// Pause before looking at a store again that failed.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Longest sleep for a scheduled action: the host's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Scales services.
#[derive(Debug)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    started: Instant,
    services: BTreeMap<ServiceKey, Watched>,
}

/// What follows from the scalable targets that there are. It takes a look at each of them, and is made anew only when one has changed or an action is due.
#[derive(Debug)]
struct Agenda {
    has_fast: bool,
    /// When to look for actions that are due.
    action: Option<Instant>,
}

/// What one policy would do, and the alarm that says so; `None` is the policy's own.
#[derive(Clone, Debug)]
struct Opinion {
    verdict: Verdict,
    alarm: Option<String>,
}

impl Opinion {
    fn of(verdict: Verdict) -> Self {
        Self { verdict, alarm: None }
    }
}

/// A service, and what is remembered of it.
#[derive(Debug, Default)]
struct Watched {
    is_there: bool,
    target: Option<ScalableTarget>,
    minutes: Sampler,
    ticks: Sampler,
    /// By policy.
    windows: HashMap<String, Windows>,
}

impl Watched {
    fn is_fast(&self) -> bool {
        self.policies().iter().any(|policy| matches!(policy.kind, PolicyKind::Fast(_)))
    }

    fn policies(&self) -> &[ScalingPolicy] {
        self.target.as_ref().map_or(&[], |target| &target.policies)
    }
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, started: Instant::now(), services: BTreeMap::new() }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(error) = self.keep().await {
                tracing::error!(%error, "auto scaling cannot use the store");
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }

    async fn keep(&mut self) -> Result<(), OperationError> {
        let store = Arc::clone(&self.shared.records.store);
        let mut watch = store.watch(&[keys::SERVICES, keys::SCALABLE_TARGETS]).await?;
        for watched in self.services.values_mut() {
            (watched.is_there, watched.target) = (false, None);
        }
        for entry in &watch.snapshot {
            self.see(entry);
        }
        self.services.retain(|_, watched| watched.is_there || watched.target.is_some());
        let orphans: Vec<ServiceKey> = self
            .services
            .iter()
            .filter(|(_, watched)| !watched.is_there)
            .map(|(key, _)| key.clone())
            .collect();
        for key in orphans {
            self.gone(&key).await?;
        }
        let mut minute = Instant::now() + PERIOD;
        let mut tick = Instant::now();
        let mut agenda = self.agenda().await?;
        loop {
            let next = [Some(minute), agenda.has_fast.then_some(tick), agenda.action];
            let targets_changed = tokio::select! {
                biased;
                change = watch.next() => match change {
                    Ok(Change::Put(entry)) => {
                        self.see(&entry);
                        entry.key.starts_with(keys::SCALABLE_TARGETS)
                    }
                    Ok(Change::Delete(key, _)) => {
                        self.deleted(&key).await?;
                        key.starts_with(keys::SCALABLE_TARGETS)
                    }
                    Err(_) => return Ok(()),
                },
                () = sleep_until(next.into_iter().flatten().min().unwrap_or(minute)) => {
                    let now = Instant::now();
                    if now >= minute {
                        minute = after(minute, PERIOD, now);
                        self.each_minute().await?;
                    }
                    if agenda.has_fast && now >= tick {
                        tick = after(tick, Duration::from_secs_f64(TICK), now);
                        self.each_tick().await?;
                    }
                    false
                }
            };
            if targets_changed || agenda.action.is_some_and(|at| at <= Instant::now()) {
                agenda = self.agenda().await?;
            }
        }
    }

    /// Runs the scheduled actions that are due, and says what comes next.
    async fn agenda(&mut self) -> Result<Agenda, OperationError> {
        let action = self.run_due_actions().await?;
        Ok(Agenda { has_fast: self.services.values().any(Watched::is_fast), action })
    }

    fn see(&mut self, entry: &Entry) {
        if let Some(key) = keys::parse_service(&entry.key, keys::SERVICES) {
            self.services.entry(key).or_default().is_there = true;
        } else if let Some(key) = keys::parse_service(&entry.key, keys::SCALABLE_TARGETS) {
            match decode::<ScalableTarget>(entry) {
                Ok(target) => {
                    let watched = self.services.entry(key).or_default();
                    watched.windows.retain(|id, _| target.policies.iter().any(|policy| policy.id == *id));
                    watched.target = Some(target);
                }
                Err(error) => tracing::error!(%error, "auto scaling skips a record"),
            }
        }
    }

    async fn deleted(&mut self, key: &str) -> Result<(), OperationError> {
        if let Some(key) = keys::parse_service(key, keys::SERVICES) {
            self.gone(&key).await?;
        } else if let Some(key) = keys::parse_service(key, keys::SCALABLE_TARGETS)
            && let Some(watched) = self.services.get_mut(&key)
        {
            watched.target = None;
            watched.windows.clear();
        }
        Ok(())
    }

    /// A service is gone: so is its scalable target.
    async fn gone(&mut self, key: &ServiceKey) -> Result<(), OperationError> {
        self.services.remove(key);
        self.shared.metrics.forget(key);
        let forget = Transaction::new()
            .when(Compare::Absent(keys::service(key)))
            .when(Compare::Exists(keys::scalable_target(key)))
            .delete(keys::scalable_target(key))
            .delete(keys::scaling_state(key));
        // Without a target there is nothing to forget.
        self.shared.records.commit(forget).await?;
        Ok(())
    }

    /// The time on a clock that only grows.
    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    async fn each_minute(&mut self) -> Result<(), OperationError> {
        let alarms: Vec<Alarm> = self.shared.records.list(keys::ALARMS).await?;
        let keys: Vec<ServiceKey> = self.services.keys().cloned().collect();
        // All are measured before anything is decided: an alarm may look at one service and raise the policy of another.
        for key in &keys {
            let tasks = self.shared.running.look(key);
            let now = self.seconds();
            let Some(watched) = self.services.get_mut(key) else { continue };
            let sample = watched.minutes.sample(now, &tasks);
            self.shared.metrics.push(key, Point::of(self.shared.now(), PERIOD.as_secs_f64(), &sample));
        }
        let shared = Arc::clone(&self.shared);
        let series = |key: &ServiceKey, metric| -> Vec<Option<f64>> {
            shared.metrics.points(key).iter().map(|point| point.value(metric)).collect()
        };
        for key in &keys {
            self.decide(key, |policy, capacity| match &policy.kind {
                PolicyKind::TargetTracking(tracking) => {
                    let values = series(key, tracking.metric);
                    Some(Opinion::of(target_tracking::decide(tracking, &values, capacity)))
                }
                PolicyKind::Step(stepped) => {
                    let raises = |alarm: &&Alarm| alarm.actions_enabled && names(alarm, policy);
                    let breach = alarms.iter().filter(raises).find_map(|alarm| {
                        let measured =
                            ServiceKey { cluster: alarm.cluster.clone(), name: alarm.service.clone() };
                        alarm::breach(alarm, &series(&measured, alarm.metric))
                    });
                    let verdict = step::decide(stepped, breach.as_ref(), capacity);
                    Some(Opinion { verdict, alarm: breach.map(|breach| breach.alarm) })
                }
                PolicyKind::Fast(_) => None,
            })
            .await?;
        }
        Ok(())
    }

    async fn each_tick(&mut self) -> Result<(), OperationError> {
        let fast: Vec<ServiceKey> = self
            .services
            .iter()
            .filter(|(_, watched)| watched.is_fast())
            .map(|(key, _)| key.clone())
            .collect();
        for key in fast {
            let tasks = self.shared.running.look(&key);
            let now = self.seconds();
            let Some(watched) = self.services.get_mut(&key) else { continue };
            let sample = watched.ticks.sample(now, &tasks);
            let mut windows = std::mem::take(&mut watched.windows);
            self.decide(&key, |policy, capacity| match &policy.kind {
                PolicyKind::Fast(tracking) => {
                    let windows = windows.entry(policy.id.clone()).or_default();
                    if let Some(load) = load(tracking.metric, &sample) {
                        windows.observe(now, load);
                    }
                    Some(Opinion::of(windows.decide(tracking, now, capacity.current)))
                }
                PolicyKind::TargetTracking(_) | PolicyKind::Step(_) => None,
            })
            .await?;
            if let Some(watched) = self.services.get_mut(&key) {
                watched.windows = windows;
            }
        }
        Ok(())
    }

    /// Asks the policies that `opinion` answers for, and does what they come to. A policy of the other pace has no say: a service is to have policies of one.
    async fn decide(
        &mut self,
        key: &ServiceKey,
        mut opinion: impl FnMut(&ScalingPolicy, &Capacity) -> Option<Opinion>,
    ) -> Result<(), OperationError> {
        let Some(target) = self.services.get(key).and_then(|watched| watched.target.as_ref()) else {
            return Ok(());
        };
        let Some(found) = self.shared.records.service(key).await? else { return Ok(()) };
        if found.value.status != ServiceStatus::Active {
            return Ok(());
        }
        let state = self.shared.records.get::<ScalingState>(&keys::scaling_state(key)).await?;
        let state = state.map(|found| found.value).unwrap_or_default();
        let now = self.shared.now();
        let seconds = |at: Timestamp| now.since(at).as_secs_f64();
        let current = found.value.desired_count;
        if current == 0 {
            // AWS: a count of 0 stays until somebody changes it by hand or by schedule: nothing can be measured.
            return Ok(());
        }
        let capacity = Capacity {
            current,
            since_out: state.last_out.map(|change| (seconds(change.at), change.from)),
            since_in: state.last_in.map(|change| seconds(change.at)),
        };
        let asked: Vec<(&ScalingPolicy, Opinion)> =
            target.policies.iter().filter_map(|policy| Some((policy, opinion(policy, &capacity)?))).collect();
        let verdicts: Vec<Verdict> = asked.iter().map(|(_, opinion)| opinion.verdict.clone()).collect();
        let bounds = Bounds {
            min: target.min_capacity,
            max: target.max_capacity,
            suspended: target.suspended,
            deploying: is_deploying(&found.value),
        };
        let Some((count, decided)) = combine(&verdicts, current, bounds) else { return Ok(()) };
        let (policy, opinion) = &asked[decided];
        let alarm = opinion.alarm.clone().unwrap_or_else(|| {
            let side = if matches!(opinion.verdict.proposal, Proposal::In(_)) { "Low" } else { "High" };
            format!("TargetTracking-service/{}/{}-Alarm{side}-{}", key.cluster, key.name, policy.id)
        });
        let reason = Reason {
            cause: format!("monitor alarm {alarm} in state ALARM triggered policy {}", policy.name),
            details: asked
                .iter()
                .map(|(policy, opinion)| format!("{}: {}", policy.name, opinion.verdict.trace))
                .collect::<Vec<_>>()
                .join("; "),
        };
        tracing::info!(service = %key.name, from = current, to = count, details = reason.details, "scaling");
        commit_change(&self.shared, key, found, count, reason, Transaction::new()).await?;
        Ok(())
    }

    /// Runs the scheduled actions that are due, and says when to look again. What was missed while nobody ran is made up for once.
    async fn run_due_actions(&mut self) -> Result<Option<Instant>, OperationError> {
        let now = self.shared.now();
        let mut next: Option<f64> = None;
        let mut due = Vec::new();
        for (key, watched) in &self.services {
            for (name, action) in watched.target.iter().flat_map(|target| &target.actions) {
                let begin = action.start_at.filter(|at| *at > action.done_until).unwrap_or(action.done_until);
                let origin = action.start_at.unwrap_or(action.created_at);
                let Some(at) = action.schedule.next(begin, origin) else { continue };
                if action.end_at.is_some_and(|end| at > end) {
                    continue;
                }
                if at <= now {
                    due.push((key.clone(), name.clone()));
                } else {
                    let wait = at.since(now).as_secs_f64();
                    next = Some(next.map_or(wait, |next| next.min(wait)));
                }
            }
        }
        for (key, name) in due {
            self.run_action(&key, &name, now).await?;
            next = Some(0.0);
        }
        Ok(next.map(|wait| {
            // A millisecond is the clock's resolution: never look before it has passed.
            Instant::now() + Duration::from_secs_f64(wait + 0.001).min(LONGEST_SLEEP)
        }))
    }

    async fn run_action(
        &mut self,
        key: &ServiceKey,
        name: &str,
        now: Timestamp,
    ) -> Result<(), OperationError> {
        let target_key = keys::scalable_target(key);
        let Some(found) = self.shared.records.get::<ScalableTarget>(&target_key).await? else {
            return Ok(());
        };
        let mut target = found.value;
        let Some(action) = target.actions.get_mut(name) else { return Ok(()) };
        action.done_until = now;
        let (min, max) = (action.min_capacity, action.max_capacity);
        let expression = action.schedule.expression().to_owned();
        let suspended = target.suspended.scheduled_scaling_suspended;
        if !suspended {
            // The bound that is given wins; the other one makes room.
            target.min_capacity = min.unwrap_or_else(|| target.min_capacity.min(max.unwrap_or(u32::MAX)));
            target.max_capacity = max.unwrap_or(target.max_capacity).max(target.min_capacity);
        }
        let transaction = Transaction::new()
            .when(Compare::Revision(target_key.clone(), found.revision))
            .put(target_key, encode(&target));
        let reason = Reason {
            cause: format!(
                "scheduled action {name} ({expression}) set minimum capacity to {} and maximum capacity to {}",
                target.min_capacity, target.max_capacity
            ),
            details: String::new(),
        };
        let service = self.shared.records.service(key).await?;
        let done = match service {
            Some(service) if !suspended => {
                let to = clamped(&target, service.value.desired_count);
                commit_change(&self.shared, key, service, to, reason, transaction).await?
            }
            _ => {
                let outcome = self.shared.records.commit(transaction).await?;
                matches!(outcome, crate::store::Outcome::Committed(_))
            }
        };
        if done && let Some(watched) = self.services.get_mut(key) {
            watched.target = Some(target);
        }
        Ok(())
    }
}

/// The next beat after `beat`: those that were missed are not made up for.
fn after(beat: Instant, every: Duration, now: Instant) -> Instant {
    let next = beat + every;
    if next > now { next } else { now + every }
}

fn load(metric: FastMetric, sample: &Sample) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "requests at a time")]
    match metric {
        FastMetric::RequestsPerSecond => sample.requests_per_second,
        FastMetric::Concurrency => (sample.tasks > 0).then_some(sample.in_flight as f64),
        FastMetric::Cpu => sample.cpu.map(|cpu| cpu * f64::from(sample.tasks)),
    }
}

fn names(alarm: &Alarm, policy: &ScalingPolicy) -> bool {
    alarm.actions.iter().any(|arn| arn.contains(&policy.id))
}

fn is_deploying(service: &ServiceRecord) -> bool {
    service.deployments.len() > 1 || service.primary().rollout_state == RolloutState::InProgress
}
