use super::*;
use crate::model::deployment::DeploymentStrategy;

const SCALED_UP: bool = true;

fn hook(stage: LifecycleStage, action: HookAction) -> LifecycleHook {
    let timeout = crate::model::deployment::HookTimeoutConfiguration {
        timeout_in_minutes: Some(1),
        action: Some(action),
    };
    LifecycleHook {
        target_type: Some(HookTargetType::Pause),
        lifecycle_stages: vec![stage],
        timeout_configuration: Some(timeout),
        ..LifecycleHook::default()
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(1_000_000 + seconds))
}

fn sight(seconds: u64, scaled_up: bool) -> Sight {
    Sight { reconciled: true, scaled_up, now: at(seconds) }
}

fn shifts(strategy: DeploymentStrategy) -> Vec<Shift> {
    match strategy.course(&Default::default(), Default::default()) {
        Course::SideBySide(shifts) => shifts,
        Course::InPlace => Vec::new(),
    }
}

#[test]
fn stages_follow_each_other_in_ecss_order() {
    let shifts = shifts(DeploymentStrategy::Canary);
    let mut progress = Progress::begin(at(0));
    let mut seen = vec![progress.stage];
    for second in 0..100_000 {
        match progress.next(&shifts, Duration::from_secs(60), &[], sight(second, SCALED_UP)) {
            Step::Enter(stage, step) => {
                progress = Progress { stage, since: at(second), step, hooks: Vec::new() };
                seen.push(stage);
            }
            Step::Wait(None) => break,
            Step::Wait(Some(_)) => {}
            step => panic!("{step:?}"),
        }
    }
    use LifecycleStage as Stage;
    assert_eq!(
        seen,
        [
            Stage::ReconcileService,
            Stage::PreScaleUp,
            Stage::ScaleUp,
            Stage::PostScaleUp,
            Stage::TestTrafficShift,
            Stage::PostTestTrafficShift,
            Stage::PreProductionTrafficShift,
            Stage::ProductionTrafficShift,
            Stage::PreProductionTrafficShift,
            Stage::ProductionTrafficShift,
            Stage::PostProductionTrafficShift,
            Stage::BakeTime,
            Stage::CleanUp,
        ]
    );
}

#[test]
fn nothing_moves_while_the_new_revision_is_not_whole() {
    for stage in
        [LifecycleStage::ScaleUp, LifecycleStage::PreProductionTrafficShift, LifecycleStage::BakeTime]
    {
        let progress = Progress { stage, since: at(0), step: 0, hooks: Vec::new() };
        let shifts = shifts(DeploymentStrategy::BlueGreen);
        assert_eq!(
            progress.next(&shifts, Duration::ZERO, &[], sight(1_000, false)),
            Step::Wait(None),
            "{stage:?}"
        );
        let next = progress.next(&shifts, Duration::ZERO, &[], sight(1_000, SCALED_UP));
        assert!(matches!(next, Step::Enter(..)), "{stage:?}: {next:?}");
    }
}

#[test]
fn a_hook_is_waited_for_until_its_time_is_over_and_then_does_what_it_says() {
    let run =
        |status| HookRun { id: "a".to_owned(), index: 0, status, started_at: at(0), expires_at: at(60) };
    for (action, late) in [(HookAction::Continue, Step::PassHook(0)), (HookAction::Rollback, Step::GoBack(0))]
    {
        let hooks = [hook(LifecycleStage::PostScaleUp, action)];
        let next = |status, second| {
            let stage = LifecycleStage::PostScaleUp;
            let progress = Progress { stage, since: at(0), step: 0, hooks: vec![run(status)] };
            progress.next(&shifts(DeploymentStrategy::BlueGreen), Duration::ZERO, &hooks, sight(second, true))
        };
        for open in [HookStatus::AwaitingAction, HookStatus::InProgress] {
            assert_eq!(next(open, 59), Step::Wait(Some(Duration::from_secs(1))));
            assert_eq!(next(open, 60), late);
        }
        assert_eq!(next(HookStatus::Failed, 1), Step::GoBack(0));
        for over in [HookStatus::Succeeded, HookStatus::TimedOut] {
            assert_eq!(next(over, 1), Step::Enter(LifecycleStage::TestTrafficShift, 0));
        }
    }
}
