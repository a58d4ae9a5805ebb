//! What there is: clusters, task definitions, tasks and services, in ECS's words.
//!
//! For each thing there is what a person asks for (parsed once, in [`validate`] and the `parse` functions), what is kept of it (`...Record`), what is
//! observed of it (`...Status`), and how ECS shows it (the plain name).

pub mod alarm;
pub mod arn;
pub mod capacity;
pub mod cluster;
pub mod crash;
pub mod deployment;
pub mod environment_file;
pub mod health_check;
pub mod labels;
pub mod load_balancing;
pub mod log_configuration;
pub mod names;
pub mod overrides;
pub mod publication;
pub mod restart_policy;
pub mod scaling;
pub mod schedule;
pub mod scheduled_run;
pub mod scheduling_strategy;
pub mod secret;
pub mod service;
pub mod service_connect;
pub(crate) mod shape;
pub mod size;
pub mod tags;
pub mod task;
pub mod task_definition;
pub mod task_protection;
pub mod usage;
pub mod validate;
