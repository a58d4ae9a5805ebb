//! The supervisor as a whole, over simulated tasks on a paused clock.

mod operations;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod properties;
mod services;
#[expect(clippy::unwrap_used, reason = "what fails here fails the test")]
mod world;
