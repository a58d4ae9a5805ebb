//! Keeps what is wanted running.
pub mod clock;
pub mod driver;
mod error;
mod ingress;
pub mod model;
pub mod operations;
mod records;
pub mod store;
mod supervisor;
mod view;

pub use error::OperationError;
pub use supervisor::{Supervisor, SupervisorConfig};
