//! The whole supervisor under random operations, failures and crashes, each run from a seed: what was acknowledged stays true, at no moment is anything so
//! that must never be, and when the failures cease everything comes back to order and then to rest.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `operations` | what people do |
//! | `reference` | what was acknowledged of it |
//! | `witness` | every change of the store, and what must hold after each |
//! | `metered` | how long tasks really ran |
//! | `recovery` | what must come true once nothing fails any more |
//!
//! A failing run names its seed: `CORACLE_SEED=7` repeats it alone. `CORACLE_RUNS=50000` makes more runs, and `CORACLE_FIRST_SEED` others.

mod metered;
mod operations;
mod recovery;
mod reference;
mod witness;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use coracle_supervisor::OperationError;
use coracle_supervisor::clock::Timestamp;
use coracle_supervisor::hooks::{HookAnswer, HookCaller};
use coracle_supervisor::model::service::ServiceRecord;
use coracle_supervisor::operations::*;
use coracle_supervisor::secrets::SecretKey;
use coracle_supervisor::store::Store;
use coracle_supervisor::testing::Faults;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::store::{StoreFaults, Troubles};
use crate::world::{Parts, World};
use operations::parsed;
use reference::Reference;
use witness::Witness;

/// Steps of one run.
const STEPS: usize = 40;
/// Runs, unless `CORACLE_RUNS` says otherwise.
const RUNS: u64 = 1000;
const NAMES: [&str; 3] = ["red", "green", "blue"];
/// ECS: "A maximum of 100 of the latest events are displayed."
const MOST_EVENTS: usize = 100;
/// Service deployments that are kept of a service, and the one on its way.
const MOST_DEPLOYMENTS: usize = 101;
/// Tasks that are over which are kept, and those that go together.
const MOST_STOPPED: usize = 1051;

struct Run {
    seed: u64,
    world: World,
    rng: StdRng,
    /// Nothing fails.
    calm: bool,
    /// Containers have health checks of their own, and restart policies.
    cared_for: bool,
    troubles: Troubles,
    hooks: Hooks,
    reference: Reference,
    witness: Witness,
    began: Instant,
}

#[test]
fn whatever_happens_what_was_acknowledged_comes_true() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = number("CORACLE_FIRST_SEED").unwrap_or(0);
    let seeds = match number("CORACLE_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("CORACLE_RUNS").unwrap_or(RUNS),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut run = Run::new(seed).await;
            for step in 0..STEPS {
                run.act().await;
                run.pass_time().await;
                run.check(&format!("step {step}")).await;
            }
            run.recover().await;
        });
    }
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let calm = rng.random_bool(0.25);
        let chance = |rng: &mut StdRng, most: f64| {
            if calm || rng.random_bool(0.3) { 0.0 } else { rng.random_range(0.0..most) }
        };
        let faults = Faults {
            prepare_fails: chance(&mut rng, 0.3),
            start_fails: chance(&mut rng, 0.3),
            register_fails: chance(&mut rng, 0.1),
            never_healthy: chance(&mut rng, 0.3),
            publish_fails: chance(&mut rng, 0.3),
            hangs: chance(&mut rng, 0.03),
            latency: Duration::from_millis(rng.random_range(0..3000)),
            missing_images: ["missing.wasm".to_owned()].into(),
            lifetimes: [
                ("dies.wasm".to_owned(), (Duration::from_secs(1), 1)),
                ("job.wasm".to_owned(), (Duration::from_secs(20), 0)),
            ]
            .into(),
            sick_images: ["sick.wasm".to_owned()].into(),
        };
        let store_fails = !calm && rng.random_bool(0.5);
        let store = StoreFaults {
            read_fails: if store_fails { chance(&mut rng, 0.02) } else { 0.0 },
            write_fails: if store_fails { chance(&mut rng, 0.03) } else { 0.0 },
            answer_lost: if store_fails { chance(&mut rng, 0.03) } else { 0.0 },
            watch_ends: chance(&mut rng, 0.5),
            latency: Duration::from_millis(if rng.random_bool(0.5) { 0 } else { rng.random_range(0..40) }),
        };
        let troubles = Troubles::new(seed, store);
        let hooks = Hooks::new(seed);
        let parts = Parts {
            faults,
            hooks: Arc::new(hooks.clone()),
            secret_key: Some(Arc::new(SecretKey::random().unwrap())),
            troubles: Some(troubles.clone()),
            ..Parts::default()
        };
        let world = World::with(seed, parts).await;
        let mut witness = Witness::new(&world.store, calm, world.now()).await;
        witness.look(world.now());
        let run = Self {
            seed,
            cared_for: rng.random_bool(0.5),
            calm,
            world,
            rng,
            troubles,
            hooks,
            reference: Reference::default(),
            witness,
            began: Instant::now(),
        };
        for family in ["job", NAMES[0], NAMES[1], NAMES[2]] {
            let image = if family == "job" { "job.wasm" } else { "good.wasm" };
            let definition =
                json!({"family": family, "containerDefinitions": [{"name": "app", "image": image}]});
            while run.world.supervisor.register_task_definition(parsed(definition.clone())).await.is_err() {}
        }
        run
    }

    async fn pass_time(&mut self) {
        let most = match self.rng.random_range(0..10) {
            0 => 60_000,
            1..=2 => 10_000,
            _ => 1500,
        };
        sleep(Duration::from_millis(self.rng.random_range(1..most))).await;
    }

    async fn crash(&mut self) {
        let metered_at = self.metered_at();
        let old = Arc::clone(&self.world.store);
        self.world.supervisor.kill();
        self.world.crash().await;
        // What the old process had done until then.
        let wrong = self.witness.look(self.world.now());
        self.require(wrong.is_empty(), || format!("{wrong:#?}"));
        drop(old);
        self.witness.crashed(&self.world.store, self.world.now(), metered_at).await;
    }

    fn metered_at(&self) -> Timestamp {
        let now = self.world.now();
        self.troubles
            .metered_at()
            .map_or_else(|| Timestamp::from_epoch(Duration::ZERO), |at| now.earlier(at.elapsed()))
    }

    fn require(&self, holds: bool, what: impl FnOnce() -> String) {
        assert!(holds, "CORACLE_SEED={}: {}", self.seed, what());
    }

    async fn record(&self, name: &str) -> Option<ServiceRecord> {
        let entry = self.world.store.get(&format!("service/default/{name}")).await.unwrap()?;
        Some(serde_json::from_slice(&entry.value).unwrap())
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let entries = self.world.store.range(prefix).await.unwrap();
        entries.into_iter().map(|entry| entry.key.to_string()).collect()
    }

    async fn check(&mut self, when: &str) {
        let wrong = self.witness.look(self.world.now());
        self.require(wrong.is_empty(), || format!("{when}: {wrong:#?}"));
        self.check_acknowledged(when).await;
        self.check_bounds(when).await;
        for task in self.world.driver.tasks() {
            self.require(self.witness.ordered(&task), || format!("{when}: nobody wants task {task}"));
        }
        for (task, slot) in self.witness.targets() {
            let group = self.world.driver.registered(task);
            let fits = group.is_some();
            self.require(fits, || format!("{when}: task {task} is in {group:?} and not in {slot:?}"));
        }
        let breaches = self.world.driver.breaches();
        self.require(breaches.is_empty(), || format!("{when}: {breaches:#?}"));
        if let Ok(used) = self.world.supervisor.describe_usage(DescribeUsageRequest::default()).await {
            let told: u64 = used.usage.iter().map(|used| used.amounts.task_seconds).sum();
            let (least, most) = self.witness.metered.bounds(self.world.now());
            self.require((least..=most).contains(&told), || {
                format!("{when}: {told} s were metered, and not {least} to {most}")
            });
        }
    }

    async fn check_acknowledged(&mut self, when: &str) {
        for name in NAMES {
            let record = self.record(name).await;
            let Some(known) = self.reference.services.get_mut(name) else { continue };
            let settled = known.settle(record.as_ref());
            self.require(settled.is_ok(), || format!("{when}: service {name}: {settled:?} {record:#?}"));
        }
        for (name, known) in &mut self.reference.schedules {
            let seen = self.world.store.get(&format!("schedule/{name}")).await.unwrap().is_some();
            let settled = known.settle(seen, |there| *there == seen);
            assert!(settled.is_ok(), "CORACLE_SEED={}: {when}: schedule {name}: {settled:?}", self.seed);
        }
        for (name, known) in &mut self.reference.secrets {
            let request = parsed(json!({"SecretId": name}));
            let seen = match self.world.supervisor.get_secret_value(request).await {
                Ok(answer) => Some(answer.secret_string.expose().to_owned()),
                Err(OperationError::Store(_)) => continue,
                Err(_) => None,
            };
            let settled = known.settle(seen.clone(), |value| *value == seen);
            assert!(settled.is_ok(), "CORACLE_SEED={}: {when}: secret {name}: {settled:?}", self.seed);
        }
        for definition in &self.reference.definitions {
            let (family, revision) = definition.split_once(':').unwrap();
            let key = format!("task-definition/{family}/{:010}", revision.parse::<u32>().unwrap());
            let found = self.world.store.get(&key).await.unwrap();
            self.require(found.is_some(), || format!("{when}: {definition} is lost"));
        }
        if self.began.elapsed() < Duration::from_secs(3600) {
            let mut known = self.keys("task/").await;
            known.extend(self.keys("stopped-task/").await);
            for arn in self.reference.tasks.keys() {
                let id = operations::last(arn);
                let is_known = known.iter().any(|key| key.ends_with(&id));
                self.require(is_known, || format!("{when}: standalone task {id} is lost"));
            }
        }
    }

    async fn check_bounds(&self, when: &str) {
        let mut stopped = self.keys("stopped-task/").await.len();
        stopped += self.keys("session/stopped-task/").await.len();
        self.require(stopped <= MOST_STOPPED, || format!("{when}: {stopped} stopped tasks are kept"));
        for name in NAMES {
            let events = self.keys(&format!("session/event/default/{name}/")).await.len();
            self.require(events <= MOST_EVENTS, || format!("{when}: {events} events of {name}"));
            let deployments = self.keys(&format!("service-deployment/default/{name}/")).await.len();
            self.require(deployments <= MOST_DEPLOYMENTS, || {
                format!("{when}: {deployments} deployments of {name}")
            });
        }
    }
}

/// What answers hooks, at random.
#[derive(Clone, Debug)]
struct Hooks(Arc<Mutex<HooksState>>);

#[derive(Debug)]
struct HooksState {
    rng: StdRng,
    /// They agree to everything.
    obliging: bool,
}

impl Hooks {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(HooksState { rng: StdRng::seed_from_u64(seed), obliging: false })))
    }

    fn oblige(&self) {
        self.0.lock().unwrap().obliging = true;
    }
}

#[async_trait]
impl HookCaller for Hooks {
    async fn call(&self, _url: &str, _payload: &Value) -> Result<HookAnswer, String> {
        let luck = {
            let mut state = self.0.lock().unwrap();
            if state.obliging { 0 } else { state.rng.random_range(0..10) }
        };
        match luck {
            0..=5 => Ok(HookAnswer::Succeeded),
            6 => Ok(HookAnswer::Failed),
            7 => Ok(HookAnswer::InProgress { again_in: Duration::from_secs(5) }),
            8 => Err("no luck".to_owned()),
            _ => {
                sleep(Duration::from_secs(900)).await;
                Err("it took too long".to_owned())
            }
        }
    }
}
