//! How a deployment goes that runs two revisions side by side: stage by stage, each one a fact in the service's record.
//!
//! Everything here is a pure change of a record. Whoever calls it writes the record; what the record says then comes about: tasks are started for it
//! and requests go where it sends them. So a deployment goes on after a crash where it was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::slot::ALL;
use super::strategy::{Course, Shift};
use super::{HookAction, HookTargetType, LifecycleHook};
use crate::clock::Timestamp;
use crate::model::service::{ServiceRecord, ServiceStatus};

/// Where a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LifecycleStage {
    /// The tasks of a deployment that this one took the place of are stopped.
    ReconcileService,
    /// No task of the new revision has been started.
    PreScaleUp,
    /// As many tasks of the new revision as of the old are started.
    ScaleUp,
    /// All of them are healthy.
    PostScaleUp,
    /// The test listener's requests go to them.
    TestTrafficShift,
    /// The same, once what is called at the shift has agreed.
    PostTestTrafficShift,
    /// Before each step of the production listener's requests.
    PreProductionTrafficShift,
    /// A step of the production listener's requests has moved.
    ProductionTrafficShift,
    /// All have moved.
    PostProductionTrafficShift,
    /// Both revisions run, in case that something comes to light.
    BakeTime,
    /// The old revision's tasks are stopped: there is no way back any more.
    CleanUp,
}

impl LifecycleStage {
    /// Whether hooks may run at it.
    pub(super) fn takes_hooks(self) -> bool {
        !matches!(self, Self::ScaleUp | Self::BakeTime | Self::CleanUp)
    }

    /// As ECS writes it.
    pub(super) fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// How far a side-by-side deployment is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Where it is.
    pub stage: LifecycleStage,
    /// Since when.
    pub since: Timestamp,
    /// The step of traffic that the stage is about, from 0.
    pub step: usize,
    /// What the stage waits for.
    pub hooks: Vec<HookRun>,
}

/// A hook at a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookRun {
    /// Names it among those of its service deployment.
    pub id: String,
    /// Its place in the configuration.
    pub index: usize,
    /// How far it is.
    pub status: HookStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it has taken too long.
    pub expires_at: Timestamp,
}

/// How far a hook is, in ECS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HookStatus {
    /// A person has to say how it goes on.
    AwaitingAction,
    /// It is called.
    InProgress,
    /// It agreed.
    Succeeded,
    /// It did not.
    Failed,
    /// It took too long.
    TimedOut,
}

impl HookStatus {
    /// Whether the stage still waits for it.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::AwaitingAction | Self::InProgress)
    }
}

/// What is to be seen of a deployment's tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// No task is left of deployments that this one took the place of.
    pub(crate) reconciled: bool,
    /// All tasks of the new revision are there and healthy.
    pub(crate) scaled_up: bool,
    /// The time.
    pub(crate) now: Timestamp,
}

/// What a deployment can do next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Enter a stage, for a step of traffic.
    Enter(LifecycleStage, usize),
    /// Wait for something to happen, or for a time to pass.
    Wait(Option<Duration>),
    /// A hook said no, or nothing in time: this one of the stage's.
    GoBack(usize),
    /// A hook took too long, and then it goes on.
    PassHook(usize),
}

impl ServiceRecord {
    /// What the side-by-side deployment on its way, if there is one, can do next.
    pub(crate) fn next_step(&self, sight: Sight) -> Option<Step> {
        let current = self.service_deployment.running()?;
        let progress = current.progress.as_ref()?;
        let Course::SideBySide(shifts) = self.course() else { return None };
        Some(progress.next(&shifts, self.bake_time(), current.configuration.hooks(), sight))
    }

    /// The stage of a deployment whose old and new tasks are side by side; none before, and none once the old ones go.
    pub(crate) fn side_by_side(&self) -> Option<LifecycleStage> {
        let progress = self.service_deployment.running()?.progress.as_ref()?;
        let beside = self.status == ServiceStatus::Active && progress.stage < LifecycleStage::CleanUp;
        beside.then_some(progress.stage)
    }

    /// Goes as many stages on as can be done at once. Whether it went on at all; a hook that says no is left to the caller.
    pub(crate) fn go_on(&mut self, sight: Sight) -> bool {
        let mut moved = false;
        loop {
            match self.next_step(sight) {
                Some(Step::Enter(stage, step)) => self.enter(stage, step, sight.now),
                Some(Step::PassHook(index)) => self.end_hook(index, HookStatus::TimedOut, sight.now),
                Some(Step::Wait(_) | Step::GoBack(_)) | None => return moved,
            }
            moved = true;
        }
    }

    /// Notes how a hook of the stage ended.
    pub(crate) fn end_hook(&mut self, index: usize, status: HookStatus, now: Timestamp) {
        let current = &mut self.service_deployment;
        current.updated_at = now;
        let progress = current.progress.as_mut();
        if let Some(run) = progress.and_then(|progress| progress.hooks.get_mut(index)) {
            run.status = status;
        }
    }

    /// The same of the hook of this name, where it is open. Whether it was.
    pub(crate) fn end_hook_named(&mut self, id: &str, status: HookStatus, now: Timestamp) -> bool {
        let progress = self.service_deployment.running().and_then(|current| current.progress.as_ref());
        let hooks = progress.map(|progress| progress.hooks.as_slice()).unwrap_or_default();
        let Some(index) = hooks.iter().position(|run| run.id == id && run.status.is_open()) else {
            return false;
        };
        self.end_hook(index, status, now);
        true
    }

    pub(super) fn enter(&mut self, stage: LifecycleStage, step: usize, now: Timestamp) {
        let shifts = match self.course() {
            Course::SideBySide(shifts) => shifts,
            Course::InPlace => Vec::new(),
        };
        match stage {
            LifecycleStage::TestTrafficShift => self.traffic.test_shifted = true,
            LifecycleStage::ProductionTrafficShift => {
                self.traffic.shifted = shifts.get(step).map_or(ALL, |shift| shift.share);
            }
            LifecycleStage::CleanUp => self.promote(),
            _ => {}
        }
        let current = &mut self.service_deployment;
        let hooks = current.configuration.hooks().iter().enumerate();
        let due = hooks.filter(|(_, hook)| hook.lifecycle_stages.contains(&stage));
        let hooks = due.map(|(index, hook)| HookRun {
            id: format!("{}-{}-{step}-{index}", current.id, stage.name().to_lowercase()),
            index,
            status: match hook.kind() {
                HookTargetType::Pause => HookStatus::AwaitingAction,
                HookTargetType::AwsLambda => HookStatus::InProgress,
            },
            started_at: now,
            expires_at: now.after(hook.timeout()),
        });
        current.progress = Some(Progress { stage, since: now, step, hooks: hooks.collect() });
        current.updated_at = now;
    }

    /// The new revision is the service's from now on.
    fn promote(&mut self) {
        self.traffic.serving = self.primary().slot;
        self.traffic.shifted = 0;
        self.traffic.test_shifted = false;
        self.last_completed = Some(self.primary().clone());
    }

    /// How the service's current deployment goes.
    pub(crate) fn course(&self) -> Course {
        let configuration = &self.service_deployment.configuration;
        configuration.strategy.unwrap_or_default().course(configuration, self.pace)
    }

    fn bake_time(&self) -> Duration {
        self.service_deployment.configuration.bake_time(self.pace)
    }
}

impl Progress {
    /// At the first stage, before any hook.
    pub(super) fn begin(now: Timestamp) -> Self {
        Self { stage: LifecycleStage::ReconcileService, since: now, step: 0, hooks: Vec::new() }
    }

    fn next(&self, shifts: &[Shift], bake: Duration, hooks: &[LifecycleHook], sight: Sight) -> Step {
        use LifecycleStage as Stage;
        let mut wait: Option<Duration> = None;
        for (index, run) in self.hooks.iter().enumerate() {
            if run.status == HookStatus::Failed {
                return Step::GoBack(index);
            }
            if !run.status.is_open() {
                continue;
            }
            let left = run.expires_at.since(sight.now);
            if left.is_zero() {
                let action = hooks.get(run.index).map(LifecycleHook::timeout_action);
                return match action.unwrap_or_default() {
                    HookAction::Continue => Step::PassHook(index),
                    HookAction::Rollback => Step::GoBack(index),
                };
            }
            wait = Some(wait.map_or(left, |other| other.min(left)));
        }
        if wait.is_some() {
            return Step::Wait(wait);
        }
        let after = |time: Duration, next: Step| {
            let left = time.saturating_sub(sight.now.since(self.since));
            if left.is_zero() { next } else { Step::Wait(Some(left)) }
        };
        let step = self.step;
        match self.stage {
            Stage::ReconcileService if sight.reconciled => Step::Enter(Stage::PreScaleUp, 0),
            Stage::PreScaleUp => Step::Enter(Stage::ScaleUp, 0),
            Stage::ScaleUp if sight.scaled_up => Step::Enter(Stage::PostScaleUp, 0),
            Stage::PostScaleUp => Step::Enter(Stage::TestTrafficShift, 0),
            Stage::TestTrafficShift => Step::Enter(Stage::PostTestTrafficShift, 0),
            Stage::PostTestTrafficShift => Step::Enter(Stage::PreProductionTrafficShift, 0),
            // After a crash the tasks are new ones; nor does traffic move while one of them is being replaced.
            Stage::PreProductionTrafficShift if sight.scaled_up => {
                Step::Enter(Stage::ProductionTrafficShift, step)
            }
            Stage::ProductionTrafficShift => match shifts.get(step) {
                Some(shift) if step + 1 < shifts.len() => {
                    after(shift.bake, Step::Enter(Stage::PreProductionTrafficShift, step + 1))
                }
                _ => Step::Enter(Stage::PostProductionTrafficShift, step),
            },
            Stage::PostProductionTrafficShift => Step::Enter(Stage::BakeTime, step),
            Stage::BakeTime if sight.scaled_up => after(bake, Step::Enter(Stage::CleanUp, step)),
            Stage::ReconcileService
            | Stage::ScaleUp
            | Stage::PreProductionTrafficShift
            | Stage::BakeTime
            | Stage::CleanUp => Step::Wait(None),
        }
    }
}

#[cfg(test)]
mod tests;
