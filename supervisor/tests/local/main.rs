//! Tasks of real guests in the real runtime, behind the real balancer.

#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
#[path = "../../../tests/support/alone.rs"]
mod alone;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod chaos;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod crashes;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod discovery;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod execute;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod files;
mod health;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod host;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod load_balancing;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod logs;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod metadata;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod network;
mod services;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod stats;
mod tasks;
