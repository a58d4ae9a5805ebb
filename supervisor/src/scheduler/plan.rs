//! What to do for one service: a function of what is wanted and what is there.

use std::cmp::Reverse;

use tokio::time::Instant;

use crate::model::names::TaskId;
use crate::model::service::DeploymentLimits;

/// What is wanted of a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) desired: u32,
    pub(super) limits: DeploymentLimits,
    /// Being deleted: once no task is left, neither is the service.
    pub(super) draining: bool,
    /// The deployment was given up and nothing came in its place: no task is started, and those that do their work, up to what is wanted, go on doing it.
    pub(super) frozen: bool,
}

/// One task of the service.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: TaskId,
    /// Of the deployment that new tasks are started for.
    pub(super) current: bool,
    pub(super) state: MemberState,
    /// It was healthy once, for as long as is asked for.
    pub(super) proved: bool,
    /// When it was started; by it the oldest are told from the newest.
    pub(super) age: u64,
    /// From scale-in and deployments: not to be stopped for being too many or of an old deployment.
    pub(super) protected: bool,
}

impl Member {
    /// On its way out.
    pub(super) fn is_leaving(&self) -> bool {
        self.state == MemberState::Leaving
    }

    /// It is there, and nothing keeps it: what is sick has no work to protect.
    pub(super) fn may_be_stopped(&self) -> bool {
        self.state == MemberState::Sick || !self.is_leaving() && !self.protected
    }
}

/// What a task is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MemberState {
    /// On its way out, by order or by itself.
    Leaving,
    /// Failed its health checks, and had time to pass them.
    Sick,
    /// Running or not, not yet known to be healthy.
    Pending,
    /// Does its work.
    Healthy,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Tasks to start.
    pub(super) start: u32,
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
    /// Look again then, though nothing may have happened.
    pub(super) look_again: Option<Instant>,
}

/// Plans the next step towards what is wanted.
///
/// A rolling replacement within the limits: never more than the maximum live at a time, and no healthy task is retired while fewer than the
/// minimum would be left. A protected task goes only when it is sick. `may_start` is when the throttle allows starts again, if it does not now.
pub(super) fn plan(wanted: Wanted, members: &[Member], may_start: Option<Instant>) -> Plan {
    let minimum = count(wanted.limits.minimum(wanted.desired));
    let maximum = count(wanted.limits.maximum(wanted.desired).max(wanted.desired));
    let desired = count(wanted.desired);
    let of = |current: bool, state: MemberState| {
        let mut of: Vec<&Member> =
            members.iter().filter(|member| member.current == current && member.state == state).collect();
        of.sort_by_key(|member| member.age);
        of
    };
    let (healthy, pending, sick) =
        (of(true, MemberState::Healthy), of(true, MemberState::Pending), of(true, MemberState::Sick));
    let (old_healthy, old_pending, old_sick) =
        (of(false, MemberState::Healthy), of(false, MemberState::Pending), of(false, MemberState::Sick));
    let old = old_healthy.len() + old_pending.len() + old_sick.len();
    let live = healthy.len() + pending.len() + sick.len() + old;

    let may_go = |member: &&Member| !member.protected;

    let mut plan = Plan { gone: wanted.draining && members.is_empty(), ..Plan::default() };
    let good = healthy.len() + pending.len();
    let missing = desired.saturating_sub(good);
    let room = maximum.saturating_sub(live);
    let startable = missing.min(room);
    match may_start {
        _ if wanted.frozen => {
            let useless = sick.iter().copied().chain(pending.iter().copied().filter(may_go));
            plan.retire.extend(useless.map(|member| member.id.clone()));
            // Those of the revision that failed go first.
            let surplus = (healthy.len() + old_healthy.len()).saturating_sub(desired);
            let spare = newest_first(&healthy).into_iter().chain(newest_first(&old_healthy)).filter(may_go);
            plan.retire.extend(spare.take(surplus).map(|member| member.id.clone()));
            return plan;
        }
        Some(at) if startable > 0 => plan.look_again = Some(at),
        _ => plan.start = u32::try_from(startable).unwrap_or(u32::MAX),
    }

    // Too many of the current deployment: those that are of no use yet first, then the newest. The oldest have proved themselves.
    let surplus = good.saturating_sub(desired);
    // A pending one that is protected stays beside the healthy ones, and not in the place of one.
    let spare_healthy = newest_first(&healthy).into_iter().filter(may_go);
    let spare_healthy = spare_healthy.take(healthy.len().saturating_sub(desired));
    let spare = newest_first(&pending).into_iter().filter(may_go).chain(spare_healthy);
    plan.retire.extend(spare.take(surplus).map(|member| member.id.clone()));

    // A sick task goes once a healthy one has taken its place. Where the maximum leaves no room for that one, it goes before, one at a time.
    let stand_ins = healthy.len().saturating_sub(desired.saturating_sub(sick.len()));
    let stuck = missing > 0 && room == 0 && pending.is_empty() && !sick.is_empty();
    let sick_to_go = if desired == 0 { sick.len() } else { stand_ins.max(usize::from(stuck)) };
    plan.replace_sick.extend(sick.iter().take(sick_to_go).map(|member| member.id.clone()));
    // Those that never were any good go at once where the old ones carry the service: nobody misses them, and a bad revision is known sooner.
    if old_healthy.len() >= minimum {
        let hopeless = sick.iter().skip(sick_to_go).filter(|member| !member.proved);
        plan.replace_sick.extend(hopeless.map(|member| member.id.clone()));
    }

    // Old ones that are not healthy hold nothing up. The healthy ones go as the minimum allows, the oldest first.
    let useless = old_sick.iter().chain(old_pending.iter().filter(|member| may_go(member)));
    plan.retire.extend(useless.map(|member| member.id.clone()));
    let healthy_left = healthy.len().min(desired) + old_healthy.len();
    let dispensable = healthy_left.saturating_sub(minimum).min(old_healthy.len());
    let old_healthy = old_healthy.iter().filter(|member| may_go(member));
    plan.retire.extend(old_healthy.take(dispensable).map(|member| member.id.clone()));

    let idle = plan.start == 0 && plan.retire.is_empty() && plan.replace_sick.is_empty();
    let leaving = members.iter().any(|member| member.state == MemberState::Leaving);
    plan.blocked = idle && missing > 0 && room == 0 && pending.is_empty() && !leaving;
    plan.steady = !wanted.draining && live == members.len() && live == desired && healthy.len() == desired;
    plan
}

fn newest_first<'a>(members: &[&'a Member]) -> Vec<&'a Member> {
    let mut members = members.to_vec();
    members.sort_by_key(|member| Reverse(member.age));
    members
}

fn count(tasks: u32) -> usize {
    usize::try_from(tasks).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
