//! Random operations, failures and crashes, each run from a seed: what was acknowledged stays true, and everything comes back to order.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::model::deployment::DeploymentStrategy;
use coracle_supervisor::model::service::{Service, ServiceStatus};
use coracle_supervisor::model::task::{LastStatus, TargetHealth};
use coracle_supervisor::operations::*;
use coracle_supervisor::testing::Faults;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::world::World;

/// Steps of one run.
const STEPS: usize = 60;
/// Runs. A failing one is repeated alone with `CORACLE_SEED`.
const RUNS: u64 = 150;
const NAMES: [&str; 3] = ["red", "green", "blue"];
const STRATEGIES: [&str; 4] = ["ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"];
const PUBLISHED: &[(&str, &str)] = &[("coracle.listen", "127.0.0.1:0"), ("coracle.step-bake-time", "3")];

/// What was acknowledged of a service.
#[derive(Clone, Debug)]
struct Acknowledged {
    desired: u32,
    task_definition: String,
    deleted: bool,
}

struct Run {
    world: World,
    rng: StdRng,
    acknowledged: BTreeMap<&'static str, Acknowledged>,
    live_before: BTreeMap<&'static str, u32>,
    standalone: Vec<String>,
    /// Containers have health checks of their own, and restart policies.
    cared_for: bool,
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_what_was_acknowledged_comes_true() {
    let only = std::env::var("CORACLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..RUNS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let mut run = Run::new(seed).await;
        for step in 0..STEPS {
            run.act().await;
            run.pass_time().await;
            run.check(&format!("CORACLE_SEED={seed}, step {step}")).await;
        }
        run.recover(&format!("CORACLE_SEED={seed}")).await;
    }
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let faults = Faults {
            prepare_fails: rng.random_range(0.0..0.3),
            start_fails: rng.random_range(0.0..0.3),
            never_healthy: rng.random_range(0.0..0.3),
            latency: Duration::from_millis(rng.random_range(0..3000)),
            ..Faults::default()
        };
        let cared_for = rng.random_bool(0.5);
        let world = World::with_seed(seed, faults).await;
        let run = Self {
            world,
            rng,
            acknowledged: BTreeMap::new(),
            live_before: BTreeMap::new(),
            standalone: Vec::new(),
            cared_for,
        };
        for name in NAMES {
            run.register(name).await;
        }
        run
    }

    async fn register(&self, family: &str) -> String {
        if !self.cared_for {
            return self.world.register(family).await;
        }
        let check = json!({"command": ["CMD", "tcp", "localhost:8080"], "interval": 5, "retries": 1});
        let policy = json!({"enabled": true, "restartAttemptPeriod": 60});
        let app = json!({"name": "app", "image": "hello.wasm", "portMappings": [{"containerPort": 8080}],
            "healthCheck": check, "restartPolicy": policy});
        self.world.define(json!({"family": family, "containerDefinitions": [app]})).await
    }

    async fn act(&mut self) {
        let name = *NAMES.choose(&mut self.rng).expect("names");
        match self.rng.random_range(0..14) {
            0..=2 => self.create(name).await,
            3..=4 => self.scale(name).await,
            5 => self.new_revision(name).await,
            6 => self.delete(name).await,
            7 => self.run_task(name).await,
            8..=9 => self.stop_a_task(name).await,
            10..=11 => self.end_a_task(),
            12 => self.sicken_a_task(),
            _ => {
                self.world.crash().await;
                self.live_before.clear();
            }
        }
    }

    async fn create(&mut self, name: &'static str) {
        let desired = self.rng.random_range(0..6);
        let tags: &[(&str, &str)] = if self.rng.random_bool(0.5) { PUBLISHED } else { &[] };
        let exists = self.acknowledged.contains_key(name);
        let mut request = self.world.service_request(name, desired.into(), tags);
        let strategy = STRATEGIES.choose(&mut self.rng).expect("strategies");
        let configuration = json!({"strategy": strategy, "bakeTimeInMinutes": self.rng.random_range(0..2)});
        request.deployment_configuration = Some(serde_json::from_value(configuration).unwrap());
        match self.world.supervisor.create_service(request).await {
            Ok(CreateServiceResponse { service }) => {
                assert!(
                    self.acknowledged.get(name).is_none_or(|known| known.deleted),
                    "{name} was created twice"
                );
                let acknowledged =
                    Acknowledged { desired, task_definition: service.task_definition, deleted: false };
                self.acknowledged.insert(name, acknowledged);
                self.live_before.remove(name);
            }
            Err(error) => assert!(exists, "{error}"),
        }
    }

    async fn scale(&mut self, name: &'static str) {
        let desired = self.rng.random_range(0..9);
        if self.world.scale(name, desired.into()).await.is_ok() {
            self.acknowledged.get_mut(name).expect("acknowledged").desired = desired;
        }
    }

    async fn new_revision(&mut self, name: &'static str) {
        let arn = self.register(name).await;
        let request = UpdateServiceRequest {
            service: name.to_owned(),
            task_definition: Some(arn.clone()),
            ..UpdateServiceRequest::default()
        };
        if self.world.supervisor.update_service(request).await.is_ok() {
            self.acknowledged.get_mut(name).expect("acknowledged").task_definition = arn;
        }
    }

    async fn delete(&mut self, name: &'static str) {
        let request = DeleteServiceRequest { cluster: None, service: name.to_owned(), force: Some(true) };
        if self.world.supervisor.delete_service(request).await.is_ok() {
            let acknowledged = self.acknowledged.get_mut(name).expect("acknowledged");
            acknowledged.deleted = true;
            acknowledged.desired = 0;
        }
    }

    async fn run_task(&mut self, family: &str) {
        self.standalone.extend(self.world.run_task(family, 2).await.unwrap());
    }

    async fn stop_a_task(&mut self, name: &str) {
        let running = self.world.running(name).await;
        if let Some(task) = running.choose(&mut self.rng) {
            self.world.stop_task(task).await.unwrap();
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

    async fn pass_time(&mut self) {
        let most = if self.rng.random_bool(0.2) { 60_000 } else { 1500 };
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(1..most))).await;
    }

    async fn describe(&self, name: &str) -> Option<Service> {
        let request =
            DescribeServicesRequest { services: vec![name.to_owned()], ..DescribeServicesRequest::default() };
        self.world.supervisor.describe_services(request).await.unwrap().services.pop()
    }

    async fn check(&mut self, context: &str) {
        for (name, acknowledged) in self.acknowledged.clone() {
            let Some(service) = self.describe(name).await else {
                // A deleted service may be forgotten with a crash. Nothing else may.
                assert!(acknowledged.deleted, "{context}: service {name} is lost");
                continue;
            };
            if acknowledged.deleted {
                assert_ne!(service.status, ServiceStatus::Active, "{context}: {name} is back");
                continue;
            }
            assert_eq!(service.status, ServiceStatus::Active, "{context}: {name}");
            assert_eq!(service.desired_count, acknowledged.desired, "{context}: {name}");
            assert_eq!(service.task_definition, acknowledged.task_definition, "{context}: {name}");
            let live = service.running_count + service.pending_count;
            let before = self.live_before.get(name).copied().unwrap_or(0);
            // Side by side, the new revision comes on top of what a rolling replacement of the old one may have.
            let rolling = [None, Some(DeploymentStrategy::Rolling)];
            let in_place = rolling.contains(&service.deployment_configuration.strategy);
            let maximum = service.desired_count * if in_place { 2 } else { 3 };
            assert!(live <= maximum.max(before), "{context}: {name} has {live} tasks, at most {maximum}");
            self.live_before.insert(name, live);
        }
        assert_eq!(self.world.driver.breaches(), Vec::<String>::new(), "{context}");
    }

    /// Without failures, everything comes to what is wanted.
    async fn recover(&mut self, context: &str) {
        self.world.driver.set_faults(|faults| {
            *faults = Faults { latency: Duration::from_millis(10), ..Faults::default() };
        });
        // The longest wait of the throttle, and the steps of a deployment in ECS's minutes.
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        let mut expected = 0;
        for (name, acknowledged) in self.acknowledged.clone() {
            if acknowledged.deleted {
                if let Some(service) = self.describe(name).await {
                    assert_eq!(service.status, ServiceStatus::Inactive, "{context}: {name}");
                }
                continue;
            }
            let service = self.describe(name).await.expect("acknowledged");
            assert_eq!(service.deployments.len(), 1, "{context}: {service:?}");
            assert_eq!(
                (service.running_count, service.pending_count),
                (acknowledged.desired, 0),
                "{context}: {service:?}"
            );
            for arn in self.world.running(name).await {
                let task = self.world.task(&arn).await;
                assert_eq!(task.task_definition_arn, acknowledged.task_definition, "{context}");
            }
            expected += acknowledged.desired;
        }
        for arn in &self.standalone {
            let described = self.world.describe_tasks(std::slice::from_ref(arn)).await;
            // Forgotten ones stopped an hour ago or more.
            if described.tasks.iter().any(|task| task.last_status == LastStatus::Running) {
                expected += 1;
            }
        }
        assert_eq!(
            self.world.driver.tasks().len(),
            usize::try_from(expected).unwrap(),
            "{context}: tasks that nobody wants"
        );
        assert_eq!(self.world.driver.breaches(), Vec::<String>::new(), "{context}");
    }
}
