//! Keeps what is wanted running.
mod agent;
pub mod clock;
pub mod driver;
mod error;
mod ingress;
pub mod model;
pub mod operations;
mod records;
mod scheduler;
pub mod store;
mod supervisor;
pub mod testing;
mod view;

pub use error::OperationError;
pub use supervisor::{Supervisor, SupervisorConfig};
