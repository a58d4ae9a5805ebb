//! What people do, at random.

use std::pin::pin;
use std::task::Poll;

use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::model::deployment::HookStatus;
use coracle_supervisor::model::task::TargetHealth;
use coracle_supervisor::operations::*;
use coracle_supervisor::testing::Load;
use coracle_supervisor::{OperationError, Supervisor};
use futures_util::future::poll_fn;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::reference::{Outcome, Service, WantedService};
use super::{NAMES, Run};

const STRATEGIES: [&str; 4] = ["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"];
const STAGES: [&str; 8] = [
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
];
const SECRETS: [&str; 2] = ["db", "token"];
const SCHEDULES: [&str; 2] = ["often", "once"];
/// Awaits that an operation comes to at most before the process dies under it.
const MOST_POLLS: u32 = 8;

/// Reads a request from its JSON.
pub(crate) fn parsed<T: DeserializeOwned>(request: Value) -> T {
    parse_request(request.to_string().as_bytes()).unwrap_or_else(|error| panic!("{request}: {error}"))
}

/// What is done, and what it comes to where there is an answer.
struct Answer<T> {
    outcome: Outcome,
    value: Option<T>,
    refusal: Option<OperationError>,
}

impl Run {
    /// Something happens.
    pub(crate) async fn act(&mut self) {
        let name = *NAMES.choose(&mut self.rng).unwrap();
        match self.rng.random_range(0..self.deeds()) {
            0..=3 => self.create(name).await,
            4..=6 => self.update(name).await,
            7..=8 => self.roll_out(name).await,
            9 => self.delete(name).await,
            10 => self.stop_deployment(name).await,
            11 => self.answer_hooks(name).await,
            12 => self.run_task(name).await,
            13 => self.put_secret().await,
            14 => self.schedule().await,
            15 => self.scale_by_itself(name).await,
            16 => self.world.driver.knock(name),
            17 => self.look_around(name).await,
            18 => self.load(),
            19 => self.protect(name).await,
            // What follows is not for calm runs.
            20..=21 => self.stop_a_task().await,
            22..=24 => self.end_a_task(),
            25..=26 => self.sicken_a_task(),
            27 => self.reclaim().await,
            _ => {
                // Not only between two moments, but also anywhere within one.
                for _ in 0..self.rng.random_range(0..60) {
                    tokio::task::yield_now().await;
                }
                self.crash().await;
            }
        }
    }

    fn deeds(&self) -> u32 {
        if self.calm { 20 } else { 31 }
    }

    /// Carries out an operation. The process may die before it answers.
    async fn ask<T, F: Future<Output = Result<T, OperationError>>>(
        &mut self,
        operation: impl FnOnce(Supervisor) -> F,
    ) -> Answer<T> {
        let dies = !self.calm && self.rng.random_bool(0.06);
        let mut polls = if dies { self.rng.random_range(1..=MOST_POLLS) } else { u32::MAX };
        let answer = {
            let mut operation = pin!(operation(self.world.supervisor.clone()));
            poll_fn(|context| {
                if polls == 0 {
                    return Poll::Ready(None);
                }
                polls -= 1;
                operation.as_mut().poll(context).map(Some)
            })
            .await
        };
        if dies {
            self.crash().await;
        }
        match answer {
            Some(Ok(value)) => Answer { outcome: Outcome::Done, value: Some(value), refusal: None },
            Some(Err(OperationError::Store(_))) | None => {
                Answer { outcome: Outcome::Unknown, value: None, refusal: None }
            }
            Some(Err(error)) => Answer { outcome: Outcome::Refused, value: None, refusal: Some(error) },
        }
    }

    /// The next revision of a family. It is not always a good one.
    async fn register(&mut self, family: &str) -> Option<String> {
        let image = match self.rng.random_range(0..10) {
            0 if !self.calm => "missing.wasm",
            1 if !self.calm => "dies.wasm",
            2 if !self.calm => "sick.wasm",
            _ => "good.wasm",
        };
        let mut app = json!({"name": "app", "image": image, "portMappings": [{"containerPort": 8080}]});
        if self.cared_for {
            app["healthCheck"] =
                json!({"command": ["CMD", "tcp", "localhost:8080"], "interval": 5, "retries": 1});
            app["restartPolicy"] = json!({"enabled": true, "restartAttemptPeriod": 60});
        }
        let request =
            parsed(json!({"family": family, "cpu": "256", "memory": "64", "containerDefinitions": [app]}));
        let answer = self.ask(async |supervisor| supervisor.register_task_definition(request).await).await;
        let revision = last(&answer.value?.task_definition.task_definition_arn);
        self.reference.definitions.insert(revision.clone());
        Some(revision)
    }

    fn configuration(&mut self) -> Value {
        let strategy = *STRATEGIES.choose(&mut self.rng).unwrap();
        // Each leaves a move to one task, too.
        let (minimum, maximum) =
            *[(100, 200), (0, 100), (50, 200), (0, 150), (0, 200)].choose(&mut self.rng).unwrap();
        let mut configuration = json!({
            "strategy": strategy,
            "bakeTimeInMinutes": self.rng.random_range(0..2),
            "minimumHealthyPercent": minimum,
            "maximumPercent": maximum,
        });
        if self.rng.random_bool(0.3) {
            let rollback = self.rng.random_bool(0.7);
            configuration["deploymentCircuitBreaker"] = json!({"enable": true, "rollback": rollback});
        }
        if strategy != "ROLLING" && self.rng.random_bool(0.4) {
            let timeout = json!({
                "timeoutInMinutes": self.rng.random_range(1..4),
                "action": if self.rng.random_bool(0.5) { "CONTINUE" } else { "ROLLBACK" },
            });
            let stage = STAGES.choose(&mut self.rng).unwrap();
            configuration["lifecycleHooks"] = match self.rng.random_bool(0.5) {
                true => {
                    json!([{"targetType": "PAUSE", "lifecycleStages": [stage], "timeoutConfiguration": timeout}])
                }
                false => json!([{"hookTargetArn": "http://hook/", "lifecycleStages": [stage],
                    "timeoutConfiguration": timeout}]),
            };
        }
        configuration
    }

    async fn create(&mut self, name: &'static str) {
        let Some(revision) = self.register(name).await else { return };
        let desired: u32 = self.rng.random_range(0..5);
        let configuration = self.configuration();
        let mut tags = vec![json!({"key": "coracle.step-bake-time", "value": "3"})];
        if self.rng.random_bool(0.5) {
            tags.push(json!({"key": "coracle.listen", "value": "127.0.0.1:0"}));
            if self.rng.random_bool(0.2) {
                tags.push(json!({"key": "coracle.scale-to-zero", "value": "60"}));
            }
        }
        let may_roll_back = configuration.get("deploymentCircuitBreaker").is_some()
            || configuration.get("lifecycleHooks").is_some();
        let mut request = json!({
            "serviceName": name, "taskDefinition": revision, "desiredCount": desired, "tags": tags,
            "deploymentConfiguration": configuration,
        });
        if self.rng.random_bool(0.3) {
            request["capacityProviderStrategy"] = json!([
                {"capacityProvider": "FARGATE", "weight": 1}, {"capacityProvider": "FARGATE_SPOT", "weight": 1}
            ]);
        }
        if self.rng.random_bool(0.3) {
            request["healthCheckGracePeriodSeconds"] = json!(self.rng.random_range(0..20));
        }
        let request = parsed(request);
        let answer = self.ask(async |supervisor| supervisor.create_service(request).await).await;
        let known = self.reference.services.entry(name).or_insert_with(Service::none);
        if answer.outcome == Outcome::Refused {
            let error = answer.refusal.unwrap().to_string();
            let is_taken = known.wanted.states().iter().any(Option::is_some) || error.contains("Draining");
            assert!(is_taken || error.contains("in use"), "{name}: {error}");
            return;
        }
        if answer.outcome == Outcome::Done {
            assert!(known.may_be_absent(), "{name} was created twice");
            *known = Service::none();
        }
        known.may_roll_back |= may_roll_back;
        known.revisions.insert(revision.clone());
        known.wanted.then(answer.outcome, |before| match before {
            None => Some(WantedService { desired, revision: revision.clone() }),
            there => there.clone(),
        });
    }

    async fn update(&mut self, name: &'static str) {
        let mut request = json!({"service": name});
        let desired: Option<u32> = self.rng.random_bool(0.8).then(|| self.rng.random_range(0..8));
        if let Some(desired) = desired {
            request["desiredCount"] = json!(desired);
        }
        let mut may_roll_back = false;
        if self.rng.random_bool(0.2) {
            let configuration = self.configuration();
            may_roll_back = configuration.get("deploymentCircuitBreaker").is_some()
                || configuration.get("lifecycleHooks").is_some();
            request["deploymentConfiguration"] = configuration;
        }
        if self.rng.random_bool(0.2) {
            request["forceNewDeployment"] = json!(true);
        }
        let request = parsed(request);
        let answer = self.ask(async |supervisor| supervisor.update_service(request).await).await;
        let known = self.known(name, &answer);
        known.may_roll_back |= may_roll_back;
        known.wanted.then(answer.outcome, |before| {
            let before = before.clone();
            before.map(|wanted| WantedService { desired: desired.unwrap_or(wanted.desired), ..wanted })
        });
    }

    async fn roll_out(&mut self, name: &'static str) {
        let Some(revision) = self.register(name).await else { return };
        let request = parsed(json!({"service": name, "taskDefinition": revision}));
        let answer = self.ask(async |supervisor| supervisor.update_service(request).await).await;
        let known = self.known(name, &answer);
        known.revisions.insert(revision.clone());
        known.wanted.then(answer.outcome, |before| {
            before.clone().map(|wanted| WantedService { revision: revision.clone(), ..wanted })
        });
    }

    async fn delete(&mut self, name: &'static str) {
        let request = parsed(json!({"service": name, "force": true}));
        let answer = self.ask(async |supervisor| supervisor.delete_service(request).await).await;
        self.known(name, &answer).wanted.then(answer.outcome, |_| None);
    }

    /// What is known of a service. Where it is known to be there, nothing that is sound is refused.
    fn known<T>(&mut self, name: &'static str, answer: &Answer<T>) -> &mut Service {
        let known = self.reference.services.entry(name).or_insert_with(Service::none);
        if let Some(error) = &answer.refusal {
            let is_configuration = error.to_string().contains("deploymentConfiguration")
                || error.to_string().contains("bakeTimeInMinutes");
            let fits = known.may_be_absent() || is_configuration || matches!(error, OperationError::Conflict);
            assert!(fits, "{name}: {error}");
        }
        known
    }

    async fn deployments(&mut self, name: &str) -> Vec<ServiceDeployment> {
        let supervisor = self.world.supervisor.clone();
        let list = parsed(json!({"service": name, "status": ["IN_PROGRESS"]}));
        let Ok(listed) = supervisor.list_service_deployments(list).await else { return Vec::new() };
        let arns: Vec<String> =
            listed.service_deployments.into_iter().map(|brief| brief.service_deployment_arn).collect();
        if arns.is_empty() {
            return Vec::new();
        }
        let request = parsed(json!({"serviceDeploymentArns": arns}));
        let described = supervisor.describe_service_deployments(request).await;
        described.map(|described| described.service_deployments).unwrap_or_default()
    }

    async fn stop_deployment(&mut self, name: &'static str) {
        let Some(deployment) = self.deployments(name).await.pop() else { return };
        if let Some(known) = self.reference.services.get_mut(name) {
            known.may_roll_back = true;
        }
        let request = parsed(json!({"serviceDeploymentArn": deployment.service_deployment_arn}));
        self.ask(async |supervisor| supervisor.stop_service_deployment(request).await).await;
    }

    async fn answer_hooks(&mut self, name: &'static str) {
        for deployment in self.deployments(name).await {
            let waits = |hook: &&LifecycleHookDetail| hook.status == HookStatus::AwaitingAction;
            let Some(hook) = deployment.lifecycle_hook_details.iter().find(waits) else { continue };
            let action = if self.rng.random_bool(0.7) { "CONTINUE" } else { "ROLLBACK" };
            let request = parsed(json!({
                "serviceDeploymentArn": deployment.service_deployment_arn, "hookId": hook.hook_id, "action": action,
            }));
            self.ask(async |supervisor| supervisor.continue_service_deployment(request).await).await;
        }
    }

    async fn run_task(&mut self, family: &str) {
        let request = parsed(json!({"taskDefinition": family, "count": 2}));
        let answer = self.ask(async |supervisor| supervisor.run_task(request).await).await;
        let started = answer.value.map(|answer| answer.tasks).unwrap_or_default();
        self.reference.tasks.extend(started.into_iter().map(|task| (task.task_arn, false)));
    }

    async fn put_secret(&mut self) {
        let name = *SECRETS.choose(&mut self.rng).unwrap();
        let value = self.rng.random_bool(0.8).then(|| format!("{:x}", self.rng.random::<u32>()));
        let outcome = match value.clone() {
            Some(value) => {
                let create = parsed(json!({"Name": name, "SecretString": value}));
                let answer = self.ask(async |supervisor| supervisor.create_secret(create).await).await;
                if answer.outcome == Outcome::Refused {
                    let put = parsed(json!({"SecretId": name, "SecretString": value}));
                    self.ask(async |supervisor| supervisor.put_secret_value(put).await).await.outcome
                } else {
                    answer.outcome
                }
            }
            None => {
                let delete = parsed(json!({"SecretId": name, "ForceDeleteWithoutRecovery": true}));
                self.ask(async |supervisor| supervisor.delete_secret(delete).await).await.outcome
            }
        };
        let known = self.reference.secrets.entry(name).or_insert_with(|| super::reference::Known::new(None));
        known.then(outcome, |_| value.clone());
    }

    async fn schedule(&mut self) {
        let name = *SCHEDULES.choose(&mut self.rng).unwrap();
        let creates = self.rng.random_bool(0.6);
        let outcome = if creates {
            let request = parsed(json!({
                "Name": name,
                "ScheduleExpression": "rate(1 minutes)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/default",
                    "RoleArn": "arn:aws:iam::000000000000:role/scheduler",
                    "EcsParameters": {"TaskDefinitionArn": "job"},
                },
            }));
            self.ask(async |supervisor| supervisor.create_schedule(request).await).await.outcome
        } else {
            let request = parsed(json!({"Name": name}));
            self.ask(async |supervisor| supervisor.delete_schedule(request).await).await.outcome
        };
        let known =
            self.reference.schedules.entry(name).or_insert_with(|| super::reference::Known::new(false));
        known.then(outcome, |_| creates);
    }

    async fn scale_by_itself(&mut self, name: &'static str) {
        let resource = json!({
            "ServiceNamespace": "ecs", "ResourceId": format!("service/default/{name}"),
            "ScalableDimension": "ecs:service:DesiredCount",
        });
        let with = |more: Value| {
            let mut request = resource.clone();
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            request
        };
        if self.rng.random_bool(0.2) {
            let request = parsed(resource.clone());
            self.ask(async |supervisor| supervisor.deregister_scalable_target(request).await).await;
            return;
        }
        let (min, max) = (self.rng.random_range(0..3), self.rng.random_range(3..7));
        let request = parsed(with(json!({"MinCapacity": min, "MaxCapacity": max})));
        let answer = self.ask(async |supervisor| supervisor.register_scalable_target(request).await).await;
        if answer.outcome == Outcome::Refused {
            return;
        }
        if let Some(known) = self.reference.services.get_mut(name) {
            let (low, high) = known.scaled.unwrap_or((min, max));
            known.scaled = Some((low.min(min), high.max(max)));
        }
        let metric = json!({"PredefinedMetricType": "ECSServiceAverageCPUUtilization"});
        let policy = json!({
            "PolicyName": "cpu", "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration":
                {"TargetValue": 50.0, "PredefinedMetricSpecification": metric, "ScaleOutCooldown": 60, "ScaleInCooldown": 60},
        });
        let request = parsed(with(policy));
        self.ask(async |supervisor| supervisor.put_scaling_policy(request).await).await;
    }

    fn load(&mut self) {
        let requests_per_second = *[0.0, 0.0, 20.0, 300.0].choose(&mut self.rng).unwrap();
        let cpu_per_request = std::time::Duration::from_millis(5);
        self.world.driver.set_load(Load { requests_per_second, cpu_per_request, memory: 1 << 20 });
    }

    /// Reads may fail with the store, and in no other way.
    async fn look_around(&mut self, name: &str) {
        let supervisor = self.world.supervisor.clone();
        let sound = |error: Option<OperationError>| {
            assert!(
                error.as_ref().is_none_or(|error| matches!(error, OperationError::Store(_))),
                "{error:?}"
            );
        };
        sound(supervisor.describe_services(parsed(json!({"services": [name]}))).await.err());
        sound(supervisor.list_tasks(parsed(json!({}))).await.err());
        sound(supervisor.describe_usage(parsed(json!({"includeTasks": true}))).await.err());
        sound(supervisor.get_task_protection(parsed(json!({}))).await.err());
    }

    async fn protect(&mut self, name: &str) {
        let request = parsed(json!({"serviceName": name}));
        let Ok(listed) = self.world.supervisor.list_tasks(request).await else { return };
        let Some(task) = listed.task_arns.choose(&mut self.rng) else { return };
        let enabled = self.rng.random_bool(0.7);
        let request = parsed(
            json!({"tasks": [task], "protectionEnabled": enabled, "expiresInMinutes": self.rng.random_range(1..10)}),
        );
        self.ask(async |supervisor| supervisor.update_task_protection(request).await).await;
    }

    async fn stop_a_task(&mut self) {
        let Ok(listed) = self.world.supervisor.list_tasks(parsed(json!({}))).await else { return };
        let Some(task) = listed.task_arns.choose(&mut self.rng).cloned() else { return };
        let request = parsed(json!({"task": task}));
        let answer = self.ask(async |supervisor| supervisor.stop_task(request).await).await;
        if let (Some(stopped), Outcome::Done) = (self.reference.tasks.get_mut(&task), answer.outcome) {
            *stopped = true;
        }
    }

    fn end_a_task(&mut self) {
        if let Some(task) = self.world.driver.tasks().choose(&mut self.rng) {
            self.world.driver.exit(task, "app", ContainerExit { code: Some(1), reason: None });
        }
    }

    fn sicken_a_task(&mut self) {
        let inside = self.rng.random_bool(0.5);
        if let Some(task) = self.world.driver.tasks().choose(&mut self.rng) {
            if inside {
                self.world.driver.set_container_health(task, "app", false);
                return;
            }
            let reason = "Health checks failed with these codes: [500]".to_owned();
            self.world.driver.set_health(task, TargetHealth::Unhealthy { reason });
        }
    }

    async fn reclaim(&mut self) {
        let request = parsed(json!({"count": self.rng.random_range(1..4)}));
        self.ask(async |supervisor| supervisor.reclaim_capacity(request).await).await;
    }
}

/// `family:revision` of a task definition's ARN.
pub(crate) fn last(arn: &str) -> String {
    arn.rsplit('/').next().unwrap().to_owned()
}
