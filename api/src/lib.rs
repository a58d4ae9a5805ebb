//! The wire: AWS's own protocols in front of the supervisor's operations.
//!
//! A request is `POST /` with `X-Amz-Target: <service prefix>.<Operation>` and a JSON body ("JSON 1.1", what the AWS
//! CLI and SDKs send to ECS). It passes, in this order:
//!
//! 1. [`server`]: one TCP listener; bounds on connections, header and body sizes, and time;
//! 2. [`guard`]: is it a browser that was lured here by another site? then it goes no further;
//! 3. [`service`]: the service whose prefix the target names;
//! 4. [`ecs`], [`autoscaling`], [`logs`] or [`coracle`] (operations of our own): a table with one line for each operation;
//! 5. [`json`]: bytes to the operation's input, and its output or [`error`] back to bytes.
//!
//! Services whose clients speak REST JSON ([`rest`]: method and path name the operation) have their paths on the same port: [`schedules`]. Those whose clients
//! send forms and read XML ([`query`]) are told by the form's content type: [`load_balancing`].
//!
//! A session of ExecuteCommand ([`session`]) is attached to with `GET /session/<id>`, behind the same guard.
//!
//! Nothing here decides anything: the operations are the supervisor's. Services still to come have their place as
//! one more implementation of [`service::Service`]; the registry's `/v2/`, `/metrics` and the
//! console as one more arm of the server's routing; SigV4 as one more step after the guard.

pub mod autoscaling;
pub mod coracle;
pub mod ecs;
pub mod error;
pub mod guard;
pub mod json;
pub mod load_balancing;
pub mod logs;
pub mod query;
pub mod rest;
pub mod schedules;
pub mod secrets;
pub mod server;
pub mod service;
pub mod session;

pub use autoscaling::{AutoScaling, CloudWatch};
pub use coracle::Coracle;
pub use ecs::Ecs;
pub use error::ApiError;
pub use load_balancing::LoadBalancing;
pub use logs::Logs;
pub use query::QueryService;
pub use rest::{RestRequest, RestService};
pub use schedules::Scheduler;
pub use secrets::{ParameterStore, SecretsManager};
pub use server::{Limits, Server};
pub use service::{Service, Services};
