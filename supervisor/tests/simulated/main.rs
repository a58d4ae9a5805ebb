//! The supervisor as a whole, over simulated tasks on a paused clock.

#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
#[path = "../../../tests/support/alone.rs"]
mod alone;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod autoscaling;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod daemon;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod definitions;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod deployments;
mod environment;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod events;

mod health;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod host_ports;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod load_balancing;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod metadata;
mod operations;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod properties;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod protection;
mod restarts;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod scale;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod scale_to_zero;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod schedules;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod secrets;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod service_connect;
mod services;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod sessions;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod spot;
mod stops;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod store;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod usage;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod world;
