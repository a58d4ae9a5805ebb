//! A supervisor that runs the guests of `guest-examples`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{Balancer, BalancerConfig};
use coracle_runtime::{Runtime, RuntimeConfig};
use coracle_supervisor::driver::local::{LocalDriver, LocalDriverConfig};
use coracle_supervisor::model::tags::Tag;
use coracle_supervisor::model::task::{DesiredStatus, LastStatus, Task};
use coracle_supervisor::operations::*;
use coracle_supervisor::store::memory::MemoryStore;
use coracle_supervisor::{OperationError, Supervisor, SupervisorConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes on a slow machine: a test that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    pub(crate) supervisor: Supervisor,
    pub(crate) driver: LocalDriver,
    pub(crate) data: TempDir,
}

impl Host {
    pub(crate) async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let runtime =
            Runtime::new(RuntimeConfig { guest_threads: Some(1), ..RuntimeConfig::default() }).unwrap();
        let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
        let config =
            LocalDriverConfig { data_dir: Some(data.path().to_owned()), ..LocalDriverConfig::default() };
        let driver = LocalDriver::new(config, runtime, balancer).unwrap();
        let store = Arc::new(MemoryStore::new());
        let supervisor =
            Supervisor::start(SupervisorConfig::default(), store, Arc::new(driver.clone())).await.unwrap();
        supervisor.create_cluster(CreateClusterRequest::default()).await.unwrap();
        Self { supervisor, driver, data }
    }

    /// Registers a family with one container `app` of a guest, its definition amended by `container`.
    pub(crate) async fn register(&self, family: &str, image: &Path, container: Value) {
        self.register_task(family, image, container, json!({})).await;
    }

    pub(crate) async fn register_task(&self, family: &str, image: &Path, container: Value, task: Value) {
        let mut app = json!({"name": "app", "image": image});
        amend(&mut app, container);
        let mut definition = json!({"family": family, "containerDefinitions": [app]});
        amend(&mut definition, task);
        let request = parse_request(definition.to_string().as_bytes()).unwrap();
        self.supervisor.register_task_definition(request).await.unwrap();
    }

    pub(crate) async fn run(&self, family: &str) -> Result<String, OperationError> {
        let request = RunTaskRequest { task_definition: family.to_owned(), ..RunTaskRequest::default() };
        Ok(self.supervisor.run_task(request).await?.tasks.remove(0).task_arn)
    }

    /// Publishes a service on a free port and waits until its tasks are healthy.
    pub(crate) async fn serve(
        &self,
        family: &str,
        desired: i64,
        tags: &[(&str, &str)],
    ) -> Result<SocketAddr, OperationError> {
        let mut all = vec![Tag::new("coracle.listen", "127.0.0.1:0")];
        all.extend(tags.iter().map(|(key, value)| Tag::new(*key, *value)));
        let request = CreateServiceRequest {
            service_name: family.to_owned(),
            task_definition: family.to_owned(),
            desired_count: Some(desired),
            tags: all,
            ..CreateServiceRequest::default()
        };
        self.supervisor.create_service(request).await?;
        self.until_steady(family).await;
        Ok(self.supervisor.endpoint("default", family).expect("a published service"))
    }

    pub(crate) async fn until_steady(&self, service: &str) {
        self.until(|| async {
            let request = DescribeServicesRequest {
                services: vec![service.to_owned()],
                ..DescribeServicesRequest::default()
            };
            let service = self.supervisor.describe_services(request).await.unwrap().services.remove(0);
            let newest = service.events.first().map(|event| event.message.as_str()).unwrap_or_default();
            service.running_count == service.desired_count
                && (newest.ends_with("steady state.") || newest.ends_with("completed."))
        })
        .await;
    }

    pub(crate) async fn task(&self, arn: &str) -> Task {
        let request = DescribeTasksRequest { tasks: vec![arn.to_owned()], ..DescribeTasksRequest::default() };
        self.supervisor.describe_tasks(request).await.unwrap().tasks.remove(0)
    }

    pub(crate) async fn running(&self, service: &str) -> Vec<String> {
        let request =
            ListTasksRequest { service_name: Some(service.to_owned()), ..ListTasksRequest::default() };
        self.supervisor.list_tasks(request).await.unwrap().task_arns
    }

    /// Tasks of a service that are over.
    pub(crate) async fn ended(&self, service: &str) -> Vec<String> {
        let request = ListTasksRequest {
            service_name: Some(service.to_owned()),
            desired_status: Some(DesiredStatus::Stopped),
            ..ListTasksRequest::default()
        };
        self.supervisor.list_tasks(request).await.unwrap().task_arns
    }

    pub(crate) async fn until_stopped(&self, arn: &str) -> Task {
        self.until(|| async { self.task(arn).await.last_status == LastStatus::Stopped }).await;
        self.task(arn).await
    }

    pub(crate) async fn until<F: Future<Output = bool>>(&self, condition: impl Fn() -> F) {
        let deadline = Instant::now() + DEADLINE;
        while !condition().await {
            assert!(Instant::now() < deadline, "it did not come to pass");
            sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn log(&self, arn: &str) -> String {
        let task = arn.rsplit('/').next().unwrap();
        std::fs::read_to_string(self.data.path().join("logs").join(task).join("app.log")).unwrap_or_default()
    }
}

fn amend(to: &mut Value, with: Value) {
    let (Value::Object(to), Value::Object(with)) = (to, with) else { panic!("objects") };
    to.extend(with);
}

/// Where `scripts/guests.sh` puts the guests: `guests` in the target directory, or `CORACLE_GUESTS`.
pub(crate) fn guest(name: &str) -> PathBuf {
    let directory = match std::env::var_os("CORACLE_GUESTS") {
        Some(directory) => directory.into(),
        // target/<profile>/deps/<this test>
        None => std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("guests"),
    };
    assert!(directory.is_dir(), "no guests in {}: run scripts/guests.sh first", directory.display());
    directory.join(format!("{name}.wasm"))
}

/// Status and body of a GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(DEADLINE, exchange).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}
