//! Keeps what is wanted running: clusters, task definitions, tasks and services, in ECS's words.
//!
//! An operation writes what is wanted to the store, durably, and answers. Loops make it so and keep it so: the scheduler compares each service
//! with its tasks and writes orders; the agent carries orders out through a driver and reports what it sees; the scheduler reacts to that. They
//! talk through the store's records alone, so a crash at any moment is healed by starting them again.
//!
//! The modules, in the order to read them:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`model`] | what there is, its names and ARNs, and the checks of what people ask for |
//! | [`store`] | a transactional key-value store with etcd's semantics; in memory or in one file |
//! | `records` | what is kept under which key |
//! | [`operations`] | the application layer: one small function for each of ECS's operations |
//! | [`driver`] | the seam to what runs tasks; [`driver::local`] over runtime and balancer |
//! | `scheduler` | services: `plan` decides, `deed` does; throttling, events |
//! | `schedules` | tasks that are run at their times |
//! | [`autoscaling`] | desired counts that follow metrics and schedules |
//! | `agent` | tasks: `runner` leads each through its life; `restore` after a crash; `history` of those that are over |
//! | `metering` | what tasks cost, and what they used |
//! | `ingress` | which services are published |
//! | `load_balancing` | load balancers and target groups as the driver has them |
//! | [`secrets`] | where the values of secrets come from |
//! | [`hooks`] | what asks whether a deployment may go on |
//! | [`sessions`] | people who talk to programs inside tasks |
//! | `view` | records as ECS shows them |
//! | `metadata` | what tasks are told about themselves |
//! | [`supervisor`](Supervisor) | puts it together |
//! | [`testing`] | a driver that only pretends, for tests |
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use coracle_supervisor::operations::*;
//! use coracle_supervisor::store::memory::MemoryStore;
//! use coracle_supervisor::testing::{Faults, SimulatedDriver};
//! use coracle_supervisor::{Supervisor, SupervisorConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let driver = Arc::new(SimulatedDriver::new(1, Faults::default()));
//! let supervisor = Supervisor::start(SupervisorConfig::default(), Arc::new(MemoryStore::new()), driver).await?;
//!
//! supervisor.create_cluster(CreateClusterRequest::default()).await?;
//! let definition = br#"{"family": "web", "containerDefinitions": [{"name": "app", "image": "web.wasm"}]}"#;
//! supervisor.register_task_definition(parse_request(definition)?).await?;
//! let service = br#"{"serviceName": "web", "taskDefinition": "web", "desiredCount": 3}"#;
//! supervisor.create_service(parse_request(service)?).await?;
//!
//! let describe: DescribeServicesRequest = parse_request(br#"{"services": ["web"]}"#)?;
//! while supervisor.describe_services(describe.clone()).await?.services[0].running_count < 3 {
//!     tokio::task::yield_now().await;
//! }
//! supervisor.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod agent;
pub mod autoscaling;
pub mod clock;
pub mod driver;
mod error;
pub mod hooks;
mod ingress;
mod load_balancing;
mod metadata;
mod metering;
pub mod model;
pub mod operations;
mod records;
mod scheduler;
mod schedules;
pub mod secrets;
pub mod sessions;
pub mod store;
mod supervisor;
pub mod testing;
mod view;

pub use error::OperationError;
pub use supervisor::{Supervisor, SupervisorConfig};
