//! A supervisor over simulated tasks and a store that survives a crash as a durable one would.

use std::sync::Arc;
use std::time::Duration;

use coracle_supervisor::clock::{Clock, Timestamp};
use coracle_supervisor::hooks::{HookCaller, HttpHooks};
use coracle_supervisor::model::names::TaskId;
use coracle_supervisor::model::service::Service;
use coracle_supervisor::model::tags::Tag;
use coracle_supervisor::model::task::{DesiredStatus, LastStatus, Task};
use coracle_supervisor::operations::*;
use coracle_supervisor::secrets::{NoSecrets, SecretKey, SecretSource};
use coracle_supervisor::store::Store;
use coracle_supervisor::store::memory::MemoryStore;
use coracle_supervisor::testing::{Faults, SimulatedDriver};
use coracle_supervisor::{OperationError, Supervisor, SupervisorConfig};
use tokio::time::{Instant, timeout};

use crate::store::Troubles;

/// 2026-01-01.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);
/// Longest wait for what must come to pass.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    pub(crate) driver: SimulatedDriver,
    pub(crate) store: Arc<MemoryStore>,
    parts: Parts,
    /// Goes on through crashes.
    clock: Clock,
    seed: u64,
}

/// What a world is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) faults: Faults,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) hooks: Arc<dyn HookCaller>,
    pub(crate) secret_key: Option<Arc<SecretKey>>,
    /// Of the store, if it has any.
    pub(crate) troubles: Option<Troubles>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            secrets: Arc::new(NoSecrets),
            hooks: Arc::new(HttpHooks::default()),
            secret_key: None,
            troubles: None,
        }
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_seed(1, Faults::default()).await
    }

    pub(crate) async fn with_seed(seed: u64, faults: Faults) -> Self {
        Self::with(seed, Parts { faults, ..Parts::default() }).await
    }

    pub(crate) async fn with_secrets(seed: u64, faults: Faults, secrets: Arc<dyn SecretSource>) -> Self {
        Self::with(seed, Parts { faults, secrets, ..Parts::default() }).await
    }

    pub(crate) async fn with_hooks(hooks: Arc<dyn HookCaller>) -> Self {
        Self::with(1, Parts { hooks, ..Parts::default() }).await
    }

    pub(crate) async fn with_troubles(troubles: Troubles) -> Self {
        Self::with(1, Parts { troubles: Some(troubles), ..Parts::default() }).await
    }

    pub(crate) async fn with(seed: u64, parts: Parts) -> Self {
        let driver = SimulatedDriver::new(seed, parts.faults.clone());
        let store = Arc::new(MemoryStore::new());
        let clock = Clock::starting_at(EPOCH);
        let supervisor = start(seed, &parts, &clock, &store, &driver).await;
        let world = Self { supervisor, driver, store, parts, clock, seed };
        // Also with a store that fails.
        while world.supervisor.create_cluster(CreateClusterRequest::default()).await.is_err() {}
        world
    }

    /// kill -9, then a start over what was durable.
    pub(crate) async fn crash(&mut self) {
        self.supervisor.kill();
        self.driver = self.driver.after_crash();
        self.store = Arc::new(self.store.after_crash());
        self.seed += 1;
        self.supervisor = start(self.seed, &self.parts, &self.clock, &self.store, &self.driver).await;
    }

    /// [`crash`](Self::crash), where the clock of the next process reads `passed` after the world's beginning.
    pub(crate) async fn crash_later(&mut self, passed: Duration) {
        self.clock = Clock::starting_at(EPOCH + passed);
        self.crash().await;
    }

    /// The time that people read.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Registers the next revision of a family with one container `app`.
    pub(crate) async fn register(&self, family: &str) -> String {
        let body = format!(
            r#"{{"family": "{family}", "containerDefinitions": [{{"name": "app", "image": "hello.wasm", "memory": 64,
                "portMappings": [{{"containerPort": 8080}}]}}]}}"#
        );
        let request = parse_request(body.as_bytes()).unwrap();
        self.supervisor.register_task_definition(request).await.unwrap().task_definition.task_definition_arn
    }

    /// Registers a definition as it is, and gives its ARN.
    pub(crate) async fn define(&self, definition: serde_json::Value) -> String {
        let request = parse_request(definition.to_string().as_bytes()).unwrap();
        self.supervisor.register_task_definition(request).await.unwrap().task_definition.task_definition_arn
    }

    pub(crate) fn service_request(
        &self,
        name: &str,
        desired: i64,
        tags: &[(&str, &str)],
    ) -> CreateServiceRequest {
        CreateServiceRequest {
            service_name: name.to_owned(),
            task_definition: name.to_owned(),
            desired_count: Some(desired),
            tags: tags.iter().map(|(key, value)| Tag::new(*key, *value)).collect(),
            ..CreateServiceRequest::default()
        }
    }

    pub(crate) async fn create_service(
        &self,
        name: &str,
        desired: i64,
        tags: &[(&str, &str)],
    ) -> Result<Service, OperationError> {
        Ok(self.supervisor.create_service(self.service_request(name, desired, tags)).await?.service)
    }

    pub(crate) async fn scale(&self, name: &str, desired: i64) -> Result<Service, OperationError> {
        let request = UpdateServiceRequest {
            service: name.to_owned(),
            desired_count: Some(desired),
            ..UpdateServiceRequest::default()
        };
        Ok(self.supervisor.update_service(request).await?.service)
    }

    pub(crate) async fn force_deployment(&self, name: &str) {
        let request = UpdateServiceRequest {
            service: name.to_owned(),
            force_new_deployment: Some(true),
            ..UpdateServiceRequest::default()
        };
        self.supervisor.update_service(request).await.unwrap();
    }

    pub(crate) async fn run_task(&self, family: &str, count: i64) -> Result<Vec<String>, OperationError> {
        let request = RunTaskRequest {
            task_definition: family.to_owned(),
            count: Some(count),
            ..RunTaskRequest::default()
        };
        Ok(self.supervisor.run_task(request).await?.tasks.into_iter().map(|task| task.task_arn).collect())
    }

    pub(crate) async fn stop_task(&self, arn: &str) -> Result<Task, OperationError> {
        let request = StopTaskRequest { task: arn.to_owned(), ..StopTaskRequest::default() };
        Ok(self.supervisor.stop_task(request).await?.task)
    }

    pub(crate) async fn service(&self, name: &str) -> Service {
        let request =
            DescribeServicesRequest { services: vec![name.to_owned()], ..DescribeServicesRequest::default() };
        let mut response = self.supervisor.describe_services(request).await.unwrap();
        response.services.pop().expect("the service exists")
    }

    /// Newest first.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        self.service(name).await.events.into_iter().map(|event| event.message).collect()
    }

    pub(crate) async fn describe_tasks(&self, arns: &[String]) -> DescribeTasksResponse {
        let request = DescribeTasksRequest { tasks: arns.to_vec(), ..DescribeTasksRequest::default() };
        self.supervisor.describe_tasks(request).await.unwrap()
    }

    pub(crate) async fn task(&self, arn: &str) -> Task {
        let mut response = self.describe_tasks(&[arn.to_owned()]).await;
        response.tasks.pop().expect("the task exists")
    }

    async fn list(&self, service: &str, desired_status: DesiredStatus) -> Vec<String> {
        let mut arns = Vec::new();
        let mut next_token = None;
        loop {
            let request = ListTasksRequest {
                service_name: Some(service.to_owned()),
                desired_status: Some(desired_status),
                next_token,
                ..ListTasksRequest::default()
            };
            let page = self.supervisor.list_tasks(request).await.unwrap();
            arns.extend(page.task_arns);
            next_token = page.next_token;
            if next_token.is_none() {
                return arns;
            }
        }
    }

    /// ARNs of the tasks that run and should.
    pub(crate) async fn running(&self, service: &str) -> Vec<String> {
        let mut running = Vec::new();
        for arn in self.list(service, DesiredStatus::Running).await {
            if self.task(&arn).await.last_status == LastStatus::Running {
                running.push(arn);
            }
        }
        running
    }

    pub(crate) async fn stopped(&self, service: &str) -> Vec<String> {
        self.list(service, DesiredStatus::Stopped).await
    }

    pub(crate) fn task_id(&self, arn: &str) -> TaskId {
        arn.rsplit('/').next().and_then(TaskId::parse).expect("a task's ARN")
    }

    /// As AWS's `services-stable` waiter sees it, and with nothing on its way.
    pub(crate) async fn until_steady(&self, name: &str) {
        self.until(|| async {
            let service = self.service(name).await;
            service.deployments.len() == 1
                && service.running_count == service.desired_count
                && service.pending_count == 0
                && service.events.first().is_some_and(|event| {
                    event.message.ends_with("steady state.") || event.message.ends_with("completed.")
                })
        })
        .await;
    }

    pub(crate) async fn until_stopped(&self, arn: &str) {
        self.until(|| async { self.task(arn).await.last_status == LastStatus::Stopped }).await;
    }

    /// Waits on the paused clock. It looks whenever something was written, and now and then for what no record tells.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, condition: impl Fn() -> F) {
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.store.watch(&[""]).await.unwrap();
        while !condition().await {
            assert!(Instant::now() < deadline, "it did not come to pass");
            if let Ok(change) = timeout(LOOK_AGAIN, changes.next()).await {
                change.expect("the store stays open, and what it tells is read at once");
                while changes.try_next().is_some() {}
            }
        }
    }
}

/// Starts a supervisor. With a store that fails it is tried until it comes to be, as whoever starts a daemon would.
async fn start(
    seed: u64,
    parts: &Parts,
    clock: &Clock,
    store: &Arc<MemoryStore>,
    driver: &SimulatedDriver,
) -> Supervisor {
    let config = SupervisorConfig {
        secrets: Arc::clone(&parts.secrets),
        hooks: Arc::clone(&parts.hooks),
        secret_key: parts.secret_key.clone(),
        clock: clock.clone(),
        seed: Some(seed),
        ..SupervisorConfig::default()
    };
    let store: Arc<dyn Store> = match &parts.troubles {
        Some(troubles) => troubles.of(Arc::clone(store)),
        None => store.clone(),
    };
    loop {
        let driver = Arc::new(driver.clone());
        match Supervisor::start(config.clone(), Arc::clone(&store), driver).await {
            Ok(supervisor) => return supervisor,
            Err(error) => assert!(parts.troubles.is_some(), "{error}"),
        }
    }
}
