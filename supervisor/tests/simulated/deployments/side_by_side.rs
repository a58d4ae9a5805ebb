//! BLUE_GREEN, LINEAR and CANARY: two revisions side by side, and traffic that moves between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::hooks::{HookAnswer, HookCaller};
use coracle_supervisor::model::deployment::{
    HookAction, HookStatus, LifecycleStage, ServiceDeploymentStatus,
};
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use super::revision_of;
use crate::world::World;

const TAGS: &[(&str, &str)] = &[
    ("coracle.listen", "127.0.0.1:0"),
    ("coracle.test-listen", "127.0.0.1:0"),
    ("coracle.bake-time", "60"),
    ("coracle.step-bake-time", "10"),
];

fn pause_at(strategy: &str, stages: &[&str]) -> Value {
    json!({"strategy": strategy, "lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": stages}]})
}

impl World {
    fn shares(&self) -> BTreeMap<String, u32> {
        self.driver.traffic().0
    }

    async fn until_stage(&self, arn: &str, stage: LifecycleStage) {
        self.until(|| async { self.service_deployment(arn).await.lifecycle_stage == Some(stage) }).await;
    }

    /// Waits for a hook that waits for a person.
    async fn until_paused(&self, arn: &str) -> LifecycleHookDetail {
        let waiting = |deployment: ServiceDeployment| {
            let mut hooks = deployment.lifecycle_hook_details.into_iter();
            hooks.find(|hook| hook.status == HookStatus::AwaitingAction)
        };
        self.until(|| async { waiting(self.service_deployment(arn).await).is_some() }).await;
        waiting(self.service_deployment(arn).await).expect("a hook that waits")
    }

    async fn go_on(&self, arn: &str, hook: &LifecycleHookDetail, action: HookAction) {
        let request = ContinueServiceDeploymentRequest {
            service_deployment_arn: arn.to_owned(),
            hook_id: hook.hook_id.clone(),
            action: Some(action),
        };
        self.supervisor.continue_service_deployment(request).await.unwrap();
    }
}

fn all_to(group: &str) -> BTreeMap<String, u32> {
    BTreeMap::from([(group.to_owned(), 1000)])
}

#[tokio::test(start_paused = true)]
async fn blue_green_moves_all_traffic_at_once_and_keeps_blue_until_green_has_baked() {
    let world = World::new().await;
    world.deployed(json!({"strategy": "BLUE_GREEN"}), TAGS).await;
    let blue = world.running("web").await;
    let arn = world.roll_out("better.wasm").await;
    world.until_stage(&arn, LifecycleStage::BakeTime).await;
    assert_eq!(world.driver.traffic(), (all_to("web-green"), "web-green".to_owned()));
    let running = world.running("web").await;
    assert_eq!(running.len(), 8, "both revisions run");
    assert!(blue.iter().all(|task| running.contains(task)));
    let deployment = world.service_deployment(&arn).await;
    let weight = |summary: &ServiceRevisionSummary| summary.requested_production_traffic_weight;
    assert_eq!(weight(&deployment.target_service_revision), Some(100.0));
    assert_eq!(weight(&deployment.source_service_revisions[0]), Some(0.0));
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(world.running("web").await.len(), 8, "the bake time is not over");
    world.until_steady("web").await;
    let service = world.service("web").await;
    assert_eq!((revision_of(&service), service.running_count), ("2", 4));
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::Successful);

    // The next one goes back to the first target group.
    world.roll_out("best.wasm").await;
    world.until_steady("web").await;
    assert_eq!((revision_of(&world.service("web").await), world.shares()), ("3", all_to("web")));
    assert_eq!(world.driver.breaches(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn linear_and_canary_move_traffic_in_their_steps() {
    for (configuration, expected) in [
        (
            json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 25.0}}),
            vec![250, 500, 750, 1000],
        ),
        (json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 40.0}}), vec![400, 1000]),
    ] {
        let world = World::new().await;
        world.deployed(configuration, TAGS).await;
        let arn = world.roll_out("better.wasm").await;
        let mut seen: Vec<(u32, tokio::time::Instant)> = Vec::new();
        while world.service_deployment(&arn).await.status == ServiceDeploymentStatus::InProgress {
            let share = world.shares().get("web-green").copied().unwrap_or(0);
            if share > 0 && seen.last().is_none_or(|(last, _)| *last != share) {
                seen.push((share, tokio::time::Instant::now()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let shares: Vec<u32> = seen.iter().map(|(share, _)| *share).collect();
        assert_eq!(shares, expected);
        for pair in seen.windows(2) {
            let step = pair[1].1 - pair[0].1;
            assert!(step >= Duration::from_millis(9_900) && step < Duration::from_secs(11), "{step:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_waits_for_a_person_who_may_send_it_back() {
    let world = World::new().await;
    let stages = ["POST_TEST_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT"];
    world.deployed(pause_at("BLUE_GREEN", &stages), TAGS).await;
    let arn = world.roll_out("better.wasm").await;
    let hook = world.until_paused(&arn).await;
    assert_eq!(world.driver.traffic(), (all_to("web"), "web-green".to_owned()), "only the test listener's");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        world.service_deployment(&arn).await.lifecycle_stage,
        Some(LifecycleStage::PostTestTrafficShift)
    );
    world.go_on(&arn, &hook, HookAction::Continue).await;
    let hook = world.until_paused(&arn).await;
    assert_eq!(world.shares(), all_to("web-green"));
    world.go_on(&arn, &hook, HookAction::Rollback).await;
    world.until_steady("web").await;
    assert_eq!(world.driver.traffic(), (all_to("web"), "web".to_owned()));
    assert_eq!(revision_of(&world.service("web").await), "1");
    let deployment = world.service_deployment(&arn).await;
    assert_eq!(deployment.status, ServiceDeploymentStatus::RollbackSuccessful);
    let error = world.supervisor.continue_service_deployment(ContinueServiceDeploymentRequest {
        service_deployment_arn: arn.clone(),
        hook_id: hook.hook_id.clone(),
        action: None,
    });
    assert_eq!(error.await.unwrap_err().to_string(), "The service deployment is not in progress.");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_nobody_answers_goes_back_after_its_time() {
    let world = World::new().await;
    let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"],
        "timeoutConfiguration": {"timeoutInMinutes": 5}});
    world.deployed(json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]}), TAGS).await;
    let arn = world.roll_out("better.wasm").await;
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(world.running("web").await.len(), 4, "nothing was started");
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::InProgress);
    world.until_steady("web").await;
    let deployment = world.service_deployment(&arn).await;
    assert_eq!(deployment.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert!(deployment.status_reason.unwrap().ends_with("timed out."));
}

#[tokio::test(start_paused = true)]
async fn stopping_a_deployment_gives_blue_all_traffic_before_it_is_acknowledged() {
    let world = World::new().await;
    world.deployed(json!({"strategy": "CANARY"}), TAGS).await;
    let blue = world.running("web").await;
    let arn = world.roll_out("better.wasm").await;
    world.until(|| async { world.shares().contains_key("web-green") }).await;
    world.stop_deployment(&arn).await.unwrap();
    assert_eq!(world.shares(), all_to("web"));
    world.until_steady("web").await;
    assert_eq!(world.running("web").await, blue, "blue was never touched");
}

#[tokio::test(start_paused = true)]
async fn both_revisions_are_healed_while_they_run_side_by_side() {
    let world = World::new().await;
    world.deployed(json!({"strategy": "BLUE_GREEN"}), TAGS).await;
    let arn = world.roll_out("better.wasm").await;
    world.until_stage(&arn, LifecycleStage::BakeTime).await;
    for task in world.driver.tasks() {
        world.driver.exit(&task, "app", ContainerExit { code: Some(1), reason: None });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let deployment = world.service_deployment(&arn).await;
    assert_eq!(deployment.target_service_revision.running_task_count, 4);
    assert_eq!(deployment.source_service_revisions[0].running_task_count, 4);
    assert_eq!(deployment.lifecycle_stage, Some(LifecycleStage::BakeTime));
}

#[tokio::test(start_paused = true)]
async fn a_bad_green_never_gets_a_request() {
    let world = World::new().await;
    let breaker = json!({"enable": true, "rollback": false});
    world.deployed(json!({"strategy": "BLUE_GREEN", "deploymentCircuitBreaker": breaker}), TAGS).await;
    world.driver.set_faults(|faults| {
        faults.lifetimes.insert("bad.wasm".to_owned(), (Duration::from_secs(2), 1));
    });
    let blue = world.running("web").await;
    let arn = world.roll_out("bad.wasm").await;
    while world.service_deployment(&arn).await.status == ServiceDeploymentStatus::InProgress {
        assert_eq!(world.shares(), all_to("web"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.until_steady("web").await;
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert_eq!(world.running("web").await, blue);
}

#[tokio::test(start_paused = true)]
async fn a_newer_deployment_takes_the_place_of_one_that_is_half_way() {
    let world = World::new().await;
    world.deployed(json!({"strategy": "CANARY"}), TAGS).await;
    let first = world.roll_out("better.wasm").await;
    world.until(|| async { world.shares().contains_key("web-green") }).await;
    let second = world.roll_out("best.wasm").await;
    assert_eq!(world.shares(), all_to("web"), "what had moved goes back");
    world.until_steady("web").await;
    assert_eq!(world.service_deployment(&first).await.status, ServiceDeploymentStatus::Stopped);
    assert_eq!(world.service_deployment(&second).await.status, ServiceDeploymentStatus::Successful);
    assert_eq!((revision_of(&world.service("web").await), world.shares()), ("3", all_to("web-green")));
}

#[tokio::test(start_paused = true)]
async fn hooks_of_reconciling_run_when_there_is_more_than_one_revision_to_reconcile() {
    let world = World::new().await;
    world.deployed(pause_at("BLUE_GREEN", &["RECONCILE_SERVICE"]), TAGS).await;
    let first = world.roll_out("better.wasm").await;
    world.until_stage(&first, LifecycleStage::BakeTime).await;
    let second = world.roll_out("best.wasm").await;
    let hook = world.until_paused(&second).await;
    assert_eq!(
        world.service_deployment(&second).await.lifecycle_stage,
        Some(LifecycleStage::ReconcileService)
    );
    world.go_on(&second, &hook, HookAction::Continue).await;
    world.until_steady("web").await;
    assert_eq!(world.service_deployment(&second).await.status, ServiceDeploymentStatus::Successful);
}

#[tokio::test(start_paused = true)]
async fn once_the_old_tasks_leave_a_deployment_is_not_given_up() {
    let world = World::new().await;
    let breaker = json!({"enable": true, "rollback": true});
    world.deployed(json!({"strategy": "BLUE_GREEN", "deploymentCircuitBreaker": breaker}), TAGS).await;
    let arn = world.roll_out("better.wasm").await;
    world.until_stage(&arn, LifecycleStage::BakeTime).await;
    // What stops, stops slowly, so that the clean-up lasts.
    world.driver.set_faults(|faults| faults.latency = Duration::from_secs(200));
    world.until_stage(&arn, LifecycleStage::CleanUp).await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("better.wasm".to_owned());
    });
    let green = world.running("web").await;
    for task in green {
        world.driver.exit(&world.task_id(&task), "app", ContainerExit { code: Some(1), reason: None });
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.service("web").await.deployments[0].failed_tasks >= 3);
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::InProgress);
    world.driver.set_faults(|faults| *faults = coracle_supervisor::testing::Faults::default());
    tokio::time::sleep(Duration::from_secs(1000)).await;
    world.until_steady("web").await;
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::Successful);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_a_deployment_goes_on_where_it_was() {
    let stages = [
        ("PRE_SCALE_UP", all_to("web")),
        ("POST_SCALE_UP", all_to("web")),
        ("TEST_TRAFFIC_SHIFT", all_to("web")),
        ("PRE_PRODUCTION_TRAFFIC_SHIFT", all_to("web")),
        ("PRODUCTION_TRAFFIC_SHIFT", all_to("web-green")),
        ("POST_PRODUCTION_TRAFFIC_SHIFT", all_to("web-green")),
    ];
    for (stage, shares) in stages {
        let mut world = World::new().await;
        world.deployed(pause_at("BLUE_GREEN", &[stage]), TAGS).await;
        let arn = world.roll_out("better.wasm").await;
        let hook = world.until_paused(&arn).await;
        assert_eq!(world.shares(), shares, "{stage}");
        let stage_before = world.service_deployment(&arn).await.lifecycle_stage;
        world.crash().await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(world.shares(), shares, "{stage}, after the crash");
        let deployment = world.service_deployment(&arn).await;
        assert_eq!(deployment.lifecycle_stage, stage_before);
        assert_eq!(deployment.source_service_revisions[0].running_task_count, 4, "{stage}");
        world.go_on(&arn, &hook, HookAction::Continue).await;
        world.until_steady("web").await;
        assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::Successful);
        assert_eq!((revision_of(&world.service("web").await), world.shares()), ("2", all_to("web-green")));
        world.crash().await;
        world.until_steady("web").await;
        assert_eq!(world.shares(), all_to("web-green"), "the second target group stays the service's");
    }
}

/// Says what a test tells it to, in turn, and writes down what it was asked.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<Vec<Result<HookAnswer, String>>>,
    asked: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl HookCaller for Script {
    async fn call(&self, url: &str, payload: &Value) -> Result<HookAnswer, String> {
        self.asked.lock().unwrap().push((url.to_owned(), payload.clone()));
        let mut answers = self.answers.lock().unwrap();
        if answers.is_empty() { Ok(HookAnswer::Succeeded) } else { answers.remove(0) }
    }
}

fn called_at(stages: &[&str]) -> Value {
    let hook = json!({"hookTargetArn": "http://127.0.0.1:9/hook", "lifecycleStages": stages, "hookDetails": {"a": 1}});
    json!({"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]})
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_called_at_its_stages_with_what_ecs_tells_a_function() {
    let script = Arc::new(Script::default());
    let world = World::with_hooks(script.clone()).await;
    world.deployed(called_at(&["PRE_SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT"]), TAGS).await;
    let again_in = Duration::from_secs(20);
    script.answers.lock().unwrap().extend([
        Err("refused".to_owned()),
        Ok(HookAnswer::InProgress { again_in }),
        Ok(HookAnswer::Succeeded),
    ]);
    let arn = world.roll_out("better.wasm").await;
    world.until_steady("web").await;
    assert_eq!(world.service_deployment(&arn).await.status, ServiceDeploymentStatus::Successful);
    let asked = script.asked.lock().unwrap();
    let stages: Vec<&str> =
        asked.iter().map(|(_, payload)| payload["lifecycleStage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["PRE_SCALE_UP", "PRE_SCALE_UP", "PRE_SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT"]);
    let (url, payload) = &asked[3];
    assert_eq!((url.as_str(), &payload["hookDetails"]), ("http://127.0.0.1:9/hook", &json!({"a": 1})));
    assert_eq!(payload["resourceArn"], json!(arn));
    let details = &payload["executionDetails"];
    let target = details["targetServiceRevisionArn"].as_str().unwrap();
    assert_eq!(details["productionTrafficWeights"][target], json!(100));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_says_no_or_never_answers_sends_the_deployment_back() {
    let refused = || Err("refused".to_owned());
    for answers in [vec![Ok(HookAnswer::Failed)], vec![refused(), refused(), refused()]] {
        let script = Arc::new(Script::default());
        let world = World::with_hooks(script.clone()).await;
        world.deployed(called_at(&["POST_SCALE_UP"]), TAGS).await;
        script.answers.lock().unwrap().extend(answers);
        let arn = world.roll_out("better.wasm").await;
        world.until_steady("web").await;
        let deployment = world.service_deployment(&arn).await;
        assert_eq!(deployment.status, ServiceDeploymentStatus::RollbackSuccessful);
        assert!(deployment.status_reason.unwrap().ends_with("failed."));
        assert_eq!(world.running("web").await.len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn what_serves_beside_a_new_revision_was_forgotten_while_it_had_no_task() {
    let world = World::new().await;
    world.deployed(pause_at("BLUE_GREEN", &["POST_SCALE_UP"]), TAGS).await;
    let blue = world.running("web").await;
    let arn = world.roll_out("better.wasm").await;
    let hook = world.until_paused(&arn).await;
    world.driver.set_faults(|faults| faults.prepare_fails = 1.0);
    for task in &blue {
        let exit = ContainerExit { code: Some(1), reason: None };
        assert!(world.driver.exit(&world.task_id(task), "app", exit));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.service("web").await.deployments.len(), 2);
    world.driver.set_faults(|faults| faults.prepare_fails = 0.0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.running("web").await.len(), 8, "both revisions");
    world.go_on(&arn, &hook, HookAction::Rollback).await;
    world.until_steady("web").await;
    assert_eq!(revision_of(&world.service("web").await), "1");
}
