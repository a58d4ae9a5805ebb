//! What there is: clusters, task definitions, tasks and services, in ECS's words.
//!
//! For each thing there is what a person asks for (parsed once, in [`validate`] and the `parse` functions), what is kept of it (`...Record`), what is
//! observed of it (`...Status`), and how ECS shows it (the plain name).

pub mod arn;
pub mod cluster;
pub mod labels;
pub mod names;
pub mod publication;
pub mod service;
pub mod size;
pub mod tags;
pub mod task;
pub mod task_definition;
pub mod validate;
