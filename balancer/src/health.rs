//! Health checks: what is configured, what one probe found, and what follows from it.
//!
//! Three parts that know nothing of each other's work: [`config`](HealthCheckConfig) parses, [`Health`] is a state
//! machine without time or I/O, and [`checker`] probes and feeds it.

pub(crate) mod checker;
mod config;
mod grpc;
mod matcher;
mod probe;
mod state;

pub use config::{HealthCheckConfig, HealthCheckPort, HealthCheckProtocol};
pub use matcher::{GrpcMatcher, Matcher};
#[cfg(test)]
pub(crate) use state::Failure;
pub(crate) use state::{Health, Outcome};
