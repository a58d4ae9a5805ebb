//! How deployments begin and end: pure changes of a service's record. Whoever calls them writes the record, with its history beside it
//! (`records::history`), in one transaction.

use super::record::{
    BreakerTrip, DeploymentRecord, RollbackRecord, RolloutState, ServiceDeploymentRecord,
    ServiceDeploymentStatus, ServiceRevision, SourceRevision,
};
use super::stage::{LifecycleStage, Progress};
use super::strategy::Course;
use super::{DeploymentConfiguration, Slot};
use crate::clock::Timestamp;
use crate::model::service::ServiceRecord;
use crate::model::service_connect::ServiceConnect;
use crate::model::task_definition::TaskDefinitionId;

/// Ids for a deployment that begins. They are made outside, so that the changes here stay pure.
#[derive(Clone, Debug)]
pub(crate) struct NewIds {
    /// `ecs-svc/` and 19 digits.
    pub(crate) deployment: String,
    /// 19 digits.
    pub(crate) revision: String,
    /// The last part of a service deployment's ARN.
    pub(crate) service_deployment: String,
}

/// Why a deployment is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// The circuit breaker fired.
    Breaker { trip: BreakerTrip, rollback: bool },
    /// A person stopped it.
    Stopped,
    /// A hook said no, or took too long.
    Hook { id: String, timed_out: bool },
}

/// What came of giving a deployment up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The deployment that was given up.
    pub(crate) failed: String,
    /// Why, for an event.
    pub(crate) reason: String,
    /// The deployment that the service goes back to.
    pub(crate) rolling_back_to: Option<String>,
}

impl GivenUp {
    fn wants_rollback(&self) -> bool {
        match self {
            Self::Breaker { rollback, .. } => *rollback,
            Self::Stopped | Self::Hook { .. } => true,
        }
    }

    /// Who gave it up, and why.
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Breaker { .. } => ("ECS deployment circuit breaker", "tasks failed to start.".to_owned()),
            Self::Stopped => ("ECS deployment stopped", "a user asked for it.".to_owned()),
            Self::Hook { id, timed_out: false } => {
                ("ECS deployment lifecycle hook", format!("hook {id} failed."))
            }
            Self::Hook { id, timed_out: true } => {
                ("ECS deployment lifecycle hook", format!("hook {id} timed out."))
            }
        }
    }
}

impl ServiceRecord {
    /// A new deployment, to a new revision made of this task definition in this place of a namespace. One that was on its way ends with it.
    pub(crate) fn begin_deployment(
        &mut self,
        ids: NewIds,
        task_definition: TaskDefinitionId,
        service_connect: Option<ServiceConnect>,
        now: Timestamp,
    ) {
        let target = ServiceRevision {
            id: ids.revision.clone(),
            created_at: now,
            task_definition,
            launch_type: self.launch_type,
            service_connect,
            stored: self.stored.clone(),
        };
        let first = ServiceDeploymentRecord::first(ids, target, self.deployment_configuration.clone());
        self.service_deployment = ServiceDeploymentRecord {
            number: self.service_deployment.number + 1,
            sources: self.deployments.iter().map(source).collect(),
            ..first
        };
        // What an unfinished deployment had moved goes back to what is known to be good.
        self.traffic.shifted = 0;
        self.traffic.test_shifted = false;
        let serving = self.traffic.serving;
        let has_source = self.deployments.iter().any(|source| source.slot == serving);
        let side_by_side = has_source && matches!(self.course(), Course::SideBySide(_));
        let slot = if side_by_side { serving.other() } else { serving };
        self.service_deployment.progress = side_by_side.then(|| Progress::begin(now));
        self.deployments.insert(0, self.service_deployment.as_deployment(slot));
        self.publish_as_offered();
        // ECS: the stage's hooks run with "more than 1 service revision in an ACTIVE state".
        if side_by_side && self.service_deployment.sources.len() > 1 {
            self.enter(LifecycleStage::ReconcileService, 0, now);
        }
    }

    /// The deployment that keeps the production traffic while another is on its way beside it.
    pub(crate) fn source(&self) -> Option<&DeploymentRecord> {
        let serving = self.deployments[1..].iter().filter(|source| source.slot == self.traffic.serving);
        let completed = self.last_completed.as_ref();
        serving
            .clone()
            .find(|source| completed.is_some_and(|completed| completed.id == source.id))
            .or_else(|| serving.clone().next())
    }

    /// The service is steady with its PRIMARY deployment.
    pub(crate) fn complete_deployment(&mut self, id: &str, now: Timestamp) {
        let Some(primary) = self.deployments.first_mut().filter(|primary| primary.id == id) else { return };
        if primary.rollout_state != RolloutState::InProgress {
            return;
        }
        primary.rollout_state = RolloutState::Completed;
        primary.reason = None;
        primary.updated_at = now;
        self.last_completed = Some(primary.clone());
        let current = &mut self.service_deployment;
        if !current.is_over() {
            current.status = match current.rollback {
                None => ServiceDeploymentStatus::Successful,
                Some(_) => ServiceDeploymentStatus::RollbackSuccessful,
            };
            current.finish(now);
        }
    }

    /// Gives up the deployment on its way, and goes back to the last completed one where that is wanted and there is one. `None`: there is nothing on
    /// its way that could be given up.
    pub(crate) fn give_up(&mut self, why: &GivenUp, now: Timestamp) -> Option<Ending> {
        let side_by_side = self.service_deployment.progress.is_some();
        let failed = self.deployments.first_mut()?;
        if failed.rollout_state != RolloutState::InProgress || self.service_deployment.is_over() {
            return None;
        }
        let (who, what) = why.words();
        let id = failed.id.clone();
        let back_to = self.last_completed.clone().filter(|last| last.id != id);
        failed.rollout_state = RolloutState::Failed;
        failed.reason = Some(format!("{who}: {what}"));
        failed.updated_at = now;
        self.traffic.shifted = 0;
        self.traffic.test_shifted = false;
        let current = &mut self.service_deployment;
        current.updated_at = now;
        current.progress = None;
        current.reason = Some(format!("{who}: {what}"));
        match why {
            GivenUp::Breaker { trip, .. } => current.breaker = Some(*trip),
            GivenUp::Stopped => current.stopped_at = Some(now),
            GivenUp::Hook { .. } => {}
        }
        // The old revision still runs beside the new one: going back to it costs nothing, and staying would leave the service without a revision.
        let wants_rollback = (why.wants_rollback() || side_by_side) && current.rollback.is_none();
        let Some(back_to) = back_to.filter(|_| wants_rollback) else {
            current.status = match wants_rollback || current.rollback.is_some() {
                true => ServiceDeploymentStatus::RollbackFailed,
                false => ServiceDeploymentStatus::Stopped,
            };
            if wants_rollback {
                let nowhere = "There is no completed deployment to roll back to.";
                current.reason = Some(format!("{who}: {what} {nowhere}"));
            }
            current.stopped_at = Some(now);
            current.finish(now);
            return Some(Ending { failed: id, reason: what, rolling_back_to: None });
        };
        current.status = ServiceDeploymentStatus::RollbackInProgress;
        current.rollback = Some(RollbackRecord {
            reason: format!("{who}: {what}"),
            started_at: now,
            revision: back_to.revision.clone(),
        });
        // ECS: "When the rollback starts, the deployment changes from a COMPLETED to IN_PROGRESS."
        self.deployments.retain(|deployment| deployment.id != back_to.id);
        let rolling_back_to = Some(back_to.id.clone());
        let reason = format!("{who}: rolling back to deploymentId {}.", back_to.id);
        self.deployments.insert(
            0,
            DeploymentRecord {
                rollout_state: RolloutState::InProgress,
                reason: Some(reason),
                updated_at: now,
                ..back_to
            },
        );
        self.publish_as_offered();
        Some(Ending { failed: id, reason: what, rolling_back_to })
    }
}

impl ServiceDeploymentRecord {
    /// A service's first one, which has no source.
    pub(crate) fn first(
        ids: NewIds,
        target: ServiceRevision,
        configuration: DeploymentConfiguration,
    ) -> Self {
        let now = target.created_at;
        Self {
            id: ids.service_deployment,
            number: 0,
            created_at: now,
            updated_at: now,
            finished_at: None,
            stopped_at: None,
            status: ServiceDeploymentStatus::InProgress,
            reason: None,
            sources: Vec::new(),
            target,
            deployment: ids.deployment,
            configuration,
            progress: None,
            rollback: None,
            breaker: None,
        }
    }

    /// As the service's own list has it.
    pub(crate) fn as_deployment(&self, slot: Slot) -> DeploymentRecord {
        DeploymentRecord {
            id: self.deployment.clone(),
            task_definition: self.target.task_definition.clone(),
            revision: self.target.id.clone(),
            slot,
            created_at: self.created_at,
            updated_at: self.updated_at,
            rollout_state: RolloutState::InProgress,
            reason: None,
            service_connect: self.target.service_connect.clone(),
        }
    }

    /// As it ended when another one took its place at that time.
    pub(crate) fn superseded(mut self, now: Timestamp) -> Self {
        if !self.is_over() {
            self.status = ServiceDeploymentStatus::Stopped;
            self.reason = Some("A newer service deployment took its place.".to_owned());
            self.stopped_at = Some(now);
            self.finish(now);
        }
        self
    }

    /// Itself, unless it is over.
    pub(crate) fn running(&self) -> Option<&Self> {
        (!self.is_over()).then_some(self)
    }

    fn finish(&mut self, now: Timestamp) {
        self.finished_at = Some(now);
        self.updated_at = now;
    }
}

fn source(deployment: &DeploymentRecord) -> SourceRevision {
    SourceRevision { revision: deployment.revision.clone(), deployment: deployment.id.clone() }
}
