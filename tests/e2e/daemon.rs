//! `coracle up`, its API, and the commands that use it.

mod api;
mod commands;
mod compose;
mod deployments;
mod discovery;
mod exec;
mod health;
mod load_balancing;
mod logs;
mod network;
mod recovery;
mod scale_to_zero;
mod schedules;
mod secrets;
mod stats;
mod stops;
mod usage;
