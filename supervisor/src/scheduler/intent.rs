//! What to do for one service: the plans for its sets of tasks, as its deployment wants them.
//!
//! In place there is one set, in which new tasks take the place of old ones. Side by side there are two that know nothing of each other: the tasks that
//! serve, and those of the new revision in the other target group.

use tokio::time::Instant;

use super::plan::{Member, MemberState, Plan, Wanted, plan};
use crate::model::deployment::{DeploymentLimits, GivenUp, LifecycleStage, RolloutState, Slot};
use crate::model::names::TaskId;
use crate::model::service::{ServiceRecord, ServiceStatus};

/// Limits of tasks that serve nobody yet: none has to stay, and none comes on top.
const BESIDE: DeploymentLimits = DeploymentLimits { minimum_healthy_percent: 0, maximum_percent: 100 };

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Intent {
    /// Tasks to start, by deployment.
    pub(super) start: Vec<(String, u32)>,
    /// Tasks that are too many, or of an old deployment.
    pub(super) retire: Vec<TaskId>,
    /// Tasks that failed their health checks.
    pub(super) replace_sick: Vec<TaskId>,
    /// The limits leave no move.
    pub(super) blocked: bool,
    /// Exactly the tasks that are wanted are there, and all are healthy.
    pub(super) steady: bool,
    /// Nothing is left of a service that is being deleted.
    pub(super) gone: bool,
    /// What becomes of the deployment.
    pub(super) rollout: Option<Rollout>,
    /// Look again then, though nothing may have happened.
    pub(super) look_again: Option<Instant>,
    /// No task is left in the way of a new revision.
    pub(super) reconciled: bool,
    /// All tasks of a new revision are there and healthy.
    pub(super) scaled_up: bool,
}

/// A durable change of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rollout {
    /// The service is steady with it.
    Complete,
    /// It goes on to its next stage.
    GoOn,
    /// It is given up.
    GiveUp(GivenUp),
}

impl Intent {
    pub(super) fn look_again(&mut self, at: Option<Instant>) {
        self.look_again = [self.look_again, at].into_iter().flatten().min();
    }

    fn add(&mut self, deployment: &str, plan: Plan) {
        if plan.start > 0 {
            self.start.push((deployment.to_owned(), plan.start));
        }
        self.retire.extend(plan.retire);
        self.replace_sick.extend(plan.replace_sick);
        self.blocked |= plan.blocked;
        self.look_again(plan.look_again);
    }
}

/// A task with its target group and its deployment.
type Seen = (Member, Slot, String);

pub(super) fn in_place(
    record: &ServiceRecord,
    desired: u32,
    seen: &[Seen],
    throttled: impl Fn(&str) -> Option<Instant>,
) -> Intent {
    let primary = record.primary();
    // Left by a deployment that went on beside those that serve, and was replaced: they take room, and stand in for nobody.
    let is_left_over = |member: &Member, slot: Slot| !member.current && slot != record.traffic.serving;
    let members: Vec<Member> = seen
        .iter()
        .map(|(member, slot, _)| match member.state {
            MemberState::Healthy if is_left_over(member, *slot) => {
                Member { state: MemberState::Pending, ..member.clone() }
            }
            _ => member.clone(),
        })
        .collect();
    let mut plan = plan(Wanted { desired, ..wanted(record) }, &members, throttled(&primary.id));
    for (member, slot, _) in seen {
        if is_left_over(member, *slot) && member.may_be_stopped() && !plan.retire.contains(&member.id) {
            plan.retire.push(member.id.clone());
        }
    }
    let mut intent = Intent { steady: plan.steady, gone: plan.gone, ..Intent::default() };
    intent.add(&primary.id, plan);
    intent
}

pub(super) fn side_by_side(
    record: &ServiceRecord,
    stage: LifecycleStage,
    seen: &[Seen],
    throttled: impl Fn(&str) -> Option<Instant>,
) -> Intent {
    let primary = record.primary();
    let serving = record.traffic.serving;
    let mut intent = Intent::default();

    let source = record.source().map(|source| source.id.as_str());
    let serves = seen.iter().filter(|(_, slot, _)| *slot == serving);
    let old: Vec<Member> = serves
        .map(|(member, _, deployment)| Member {
            current: Some(deployment.as_str()) == source,
            ..member.clone()
        })
        .collect();
    if let Some(source) = source {
        intent.add(source, plan(Wanted { frozen: false, ..wanted(record) }, &old, throttled(source)));
    }

    let beside: Vec<&Seen> = seen.iter().filter(|(_, slot, _)| *slot != serving).collect();
    let (new, left_over): (Vec<&Seen>, Vec<&Seen>) =
        beside.into_iter().partition(|(_, _, deployment)| *deployment == primary.id);
    let new: Vec<Member> = new.into_iter().map(|(member, _, _)| member.clone()).collect();
    let scales_up = stage >= LifecycleStage::ScaleUp;
    let desired = if scales_up { record.desired_count } else { 0 };
    let planned = plan(Wanted { desired, limits: BESIDE, ..wanted(record) }, &new, throttled(&primary.id));
    intent.scaled_up = scales_up && planned.steady;
    intent.add(&primary.id, planned);

    intent.reconciled = left_over.is_empty();
    // One that is protected keeps its place until its work is done: the new revision waits.
    let useless = left_over.into_iter().filter(|(member, _, _)| member.may_be_stopped());
    intent.retire.extend(useless.map(|(member, _, _)| member.id.clone()));
    intent
}

fn wanted(record: &ServiceRecord) -> Wanted {
    Wanted {
        desired: record.desired_count,
        limits: record.deployment_configuration.limits(),
        draining: record.status == ServiceStatus::Draining,
        // What a person stops is stopped also where a deployment was given up.
        frozen: record.primary().rollout_state == RolloutState::Failed && record.desired_count > 0,
    }
}
