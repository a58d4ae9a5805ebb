//! Tasks of real guests in the real runtime, behind the real balancer.

#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod files;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod host;
mod services;
mod tasks;
