//! Coracle.

pub mod compose;

/// The most tasks a service can be asked for: ECS's quota "Tasks per service".
pub const MAX_REPLICAS: u32 = 5000;
