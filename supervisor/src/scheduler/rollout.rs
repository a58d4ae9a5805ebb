//! Where deployments lead: completed, given up, or on to their next stage. All of it is durable, and written in the background.

use std::sync::Arc;

use tokio::time::Instant;

use super::idle::{Idle, Watch};
use super::intent::{Intent, Rollout};
use super::{BACKGROUND_RETRY, Done, MAX_INACTIVE, Scheduler, ending, hook};
use crate::clock::Timestamp;
use crate::error::OperationError;
use crate::model::deployment::{BreakerTrip, Ending, GivenUp, HookStatus, RolloutState, Sight, Step};
use crate::model::service::{ServiceRecord, ServiceStatus};
use crate::records::ServiceKey;
use crate::supervisor::Shared;

/// Decides what becomes of a service's deployment, of whose tasks `failures` failed in a row.
pub(super) fn decide(
    intent: &mut Intent,
    record: &ServiceRecord,
    failures: u32,
    now: Instant,
    clock: Timestamp,
) {
    let running = record.service_deployment.running();
    let in_progress = record.primary().rollout_state == RolloutState::InProgress;
    let Some(current) = running.filter(|_| in_progress && record.status == ServiceStatus::Active) else {
        return;
    };
    // A rollback goes to what was good before, and once the old tasks leave there is no way back: giving these up would leave nothing.
    let in_place = current.progress.is_none();
    let has_way_back = current.rollback.is_none() && (in_place || record.side_by_side().is_some());
    let breaker = record.deployment_configuration.breaker().filter(|_| has_way_back);
    if let Some(breaker) = breaker {
        let threshold = breaker.threshold(record.desired_count);
        if failures >= threshold {
            let trip = BreakerTrip { failures, threshold };
            intent.rollout = Some(Rollout::GiveUp(GivenUp::Breaker { trip, rollback: breaker.rollback }));
            return;
        }
    }
    match record.next_step(sight(intent, clock)) {
        Some(Step::Enter(..) | Step::PassHook(_)) => intent.rollout = Some(Rollout::GoOn),
        Some(Step::GoBack(index)) => {
            let hook = current.progress.as_ref().and_then(|progress| progress.hooks.get(index));
            if let Some(hook) = hook {
                let timed_out = hook.status != HookStatus::Failed;
                let why = GivenUp::Hook { id: hook.id.clone(), timed_out };
                intent.rollout = Some(Rollout::GiveUp(why));
            }
        }
        Some(Step::Wait(Some(time))) => intent.look_again(Some(now + time)),
        Some(Step::Wait(None)) | None => {
            intent.rollout = intent.steady.then_some(Rollout::Complete);
        }
    }
}

fn sight(intent: &Intent, now: Timestamp) -> Sight {
    Sight { reconciled: intent.reconciled, scaled_up: intent.scaled_up, now }
}

impl Scheduler {
    /// Durable changes that follow from what was seen: a deployment goes on or ends, an old one has no tasks left, a deleted service is gone.
    pub(super) fn settle(&mut self, key: &ServiceKey, intent: &Intent) {
        let Some(service) = self.services.get_mut(key) else { return };
        let Some(record) = &service.record else { return };
        if service.writing {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let notify = key.clone();
        if intent.gone {
            service.writing = true;
            // Once, also when it is tried again or a service of its name was there before.
            self.inactive.retain(|known| known != key);
            self.inactive.push_back(key.clone());
            let forget = if self.inactive.len() > MAX_INACTIVE { self.inactive.pop_front() } else { None };
            self.background.spawn(async move {
                let ended = ending::end_service(&shared, &notify, forget.as_ref()).await;
                finished(notify, ended.map(|()| None)).await
            });
            return;
        }
        if let Some(publication) = &record.publication {
            let traffic = record.traffic;
            if !shared.ingress.is_published(key) {
                // After a restart: a service that was just created is published before it is written.
                service.writing = true;
                let publication = publication.clone();
                self.background.spawn(async move {
                    let problem = match shared.ingress.publish(&notify, &publication, traffic).await {
                        Ok(_) => None,
                        Err(error) => {
                            tokio::time::sleep(BACKGROUND_RETRY).await;
                            Some(format!("was unable to listen: {error}."))
                        }
                    };
                    Done { problem, ..Done::of(notify) }
                });
                return;
            }
            route(&shared, key, record);
            if let Idle::Asleep { watch: watch @ None } = &mut service.idle {
                let demand = shared.ingress.demand(key, publication, traffic.serving);
                let key = key.clone();
                *watch = Some(Watch(self.background.spawn(async move {
                    demand.await;
                    Done { woken: true, ..Done::of(key) }
                })));
            }
        } else if shared.ingress.is_published(key) {
            // It was there for those who found the service by name, who cannot any more.
            service.writing = true;
            self.background.spawn(async move {
                shared.ingress.unpublish(&notify).await;
                finished(notify, Ok(None)).await
            });
            return;
        }
        for run in hook::due(record) {
            if service.calling.insert(run.id.clone()) {
                let (shared, key) = (Arc::clone(&shared), key.clone());
                self.background.spawn(hook::run(shared, key, run));
            }
        }
        // What serves beside a new revision is the way back, also while it has no task.
        let serves = record.side_by_side().and_then(|_| record.source()).map(|source| &source.id);
        let empty: Vec<String> = record.deployments[1..]
            .iter()
            .filter(|old| serves != Some(&old.id))
            .filter(|old| {
                service
                    .tasks
                    .values()
                    .all(|task| task.record.service.as_ref().is_none_or(|member| member.deployment != old.id))
            })
            .map(|old| old.id.clone())
            .collect();
        let rollout = intent.rollout.clone();
        if rollout.is_none() && empty.is_empty() {
            return;
        }
        if rollout == Some(Rollout::Complete) {
            service.events.completed(&record.primary().id);
        }
        let change = Change {
            service_deployment: record.service_deployment.id.clone(),
            rollout,
            empty,
            sight: sight(intent, shared.now()),
        };
        service.writing = true;
        self.background.spawn(async move {
            let changed = change.write(&shared, &notify).await;
            finished(notify, changed).await
        });
    }
}

/// What is to be written of a service's deployments.
struct Change {
    /// The service deployment that it was seen of.
    service_deployment: String,
    rollout: Option<Rollout>,
    /// Deployments without tasks.
    empty: Vec<String>,
    sight: Sight,
}

impl Change {
    async fn write(self, shared: &Shared, key: &ServiceKey) -> Result<Option<Ending>, OperationError> {
        let apply = |record: &mut ServiceRecord| {
            let primary = record.primary().id.clone();
            record.deployments.retain(|known| known.id == primary || !self.empty.contains(&known.id));
            let mut ending = None;
            if record.service_deployment.id == self.service_deployment {
                match &self.rollout {
                    Some(Rollout::Complete) => record.complete_deployment(&primary, self.sight.now),
                    Some(Rollout::GoOn) => {
                        record.go_on(self.sight);
                    }
                    Some(Rollout::GiveUp(why)) => ending = record.give_up(why, self.sight.now),
                    None => {}
                }
            }
            // Before anybody can read of it.
            route(shared, key, record);
            Ok(Some(ending))
        };
        match shared.records.update_service(key, apply).await {
            Ok((_, ending)) => Ok(ending.flatten()),
            Err(OperationError::ServiceNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Sends a service's requests where its record says, and has it found by the names that it has there.
pub(crate) fn route(shared: &Shared, key: &ServiceKey, record: &ServiceRecord) {
    if let Some(publication) = &record.publication {
        shared.ingress.route(key, publication, record.traffic);
        shared.ingress.announce(key, publication, record.offers());
    }
}

/// The end of a background write. One that failed is tried again after a pause.
async fn finished(key: ServiceKey, result: Result<Option<Ending>, OperationError>) -> Done {
    match result {
        Ok(ending) => Done { ending, ..Done::of(key) },
        Err(error) => {
            tracing::error!(%error, service = %key.name, "cannot record a service's progress");
            tokio::time::sleep(BACKGROUND_RETRY).await;
            Done::of(key)
        }
    }
}
