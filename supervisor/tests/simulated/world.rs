//! A supervisor over simulated tasks and a store that survives a crash as a durable one would.

use std::sync::Arc;
use std::time::Duration;

use coracle_supervisor::clock::Clock;
use coracle_supervisor::hooks::{HookCaller, HttpHooks};
use coracle_supervisor::model::names::TaskId;
use coracle_supervisor::model::service::Service;
use coracle_supervisor::model::tags::Tag;
use coracle_supervisor::model::task::{DesiredStatus, LastStatus, Task};
use coracle_supervisor::operations::*;
use coracle_supervisor::secrets::{NoSecrets, SecretSource};
use coracle_supervisor::store::memory::MemoryStore;
use coracle_supervisor::testing::{Faults, SimulatedDriver};
use coracle_supervisor::{OperationError, Supervisor, SupervisorConfig};

/// 2026-01-01.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    pub(crate) driver: SimulatedDriver,
    pub(crate) store: Arc<MemoryStore>,
    secrets: Arc<dyn SecretSource>,
    hooks: Arc<dyn HookCaller>,
    /// Goes on through crashes.
    clock: Clock,
    seed: u64,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_seed(1, Faults::default()).await
    }

    pub(crate) async fn with_seed(seed: u64, faults: Faults) -> Self {
        Self::with_secrets(seed, faults, Arc::new(NoSecrets)).await
    }

    pub(crate) async fn with_secrets(seed: u64, faults: Faults, secrets: Arc<dyn SecretSource>) -> Self {
        Self::with(seed, faults, secrets, Arc::new(HttpHooks::default())).await
    }

    pub(crate) async fn with_hooks(hooks: Arc<dyn HookCaller>) -> Self {
        Self::with(1, Faults::default(), Arc::new(NoSecrets), hooks).await
    }

    async fn with(
        seed: u64,
        faults: Faults,
        secrets: Arc<dyn SecretSource>,
        hooks: Arc<dyn HookCaller>,
    ) -> Self {
        let driver = SimulatedDriver::new(seed, faults);
        let store = Arc::new(MemoryStore::new());
        let clock = Clock::starting_at(EPOCH);
        let config = config(seed, &secrets, &hooks, &clock);
        let supervisor = Supervisor::start(config, store.clone(), Arc::new(driver.clone())).await.unwrap();
        supervisor.create_cluster(CreateClusterRequest::default()).await.unwrap();
        Self { supervisor, driver, store, secrets, hooks, clock, seed }
    }

    /// kill -9, then a start over what was durable.
    pub(crate) async fn crash(&mut self) {
        self.supervisor.kill();
        self.driver.crash();
        self.store = Arc::new(self.store.after_crash());
        self.seed += 1;
        let config = config(self.seed, &self.secrets, &self.hooks, &self.clock);
        let driver = Arc::new(self.driver.clone());
        self.supervisor = Supervisor::start(config, self.store.clone(), driver).await.unwrap();
    }

    /// [`crash`](Self::crash), where the clock of the next process reads `passed` after the world's beginning.
    pub(crate) async fn crash_later(&mut self, passed: Duration) {
        self.clock = Clock::starting_at(EPOCH + passed);
        self.crash().await;
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

    /// Waits on the paused clock, which moves only when nothing else can.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, condition: impl Fn() -> F) {
        for _ in 0..100_000 {
            if condition().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it did not come to pass");
    }
}

fn config(
    seed: u64,
    secrets: &Arc<dyn SecretSource>,
    hooks: &Arc<dyn HookCaller>,
    clock: &Clock,
) -> SupervisorConfig {
    SupervisorConfig {
        secrets: Arc::clone(secrets),
        hooks: Arc::clone(hooks),
        clock: clock.clone(),
        seed: Some(seed),
        ..SupervisorConfig::default()
    }
}
