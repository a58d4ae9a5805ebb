//! What is kept of a container's guest that failed.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// One crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrashReport {
    /// The task.
    pub task_arn: String,
    /// `family:revision`.
    pub task_definition: String,
    /// Name of the container.
    pub container_name: String,
    /// Its image, as the definition has it.
    pub image: String,
    /// Digest of the image.
    pub image_digest: String,
    /// When it was.
    pub at: Timestamp,
    /// What it was.
    pub kind: CrashKind,
    /// The same in one line.
    pub reason: String,
    /// The error with its causes, among them the wasm backtrace; cut off where it is very long.
    pub backtrace: Vec<String>,
    /// What the container printed last.
    pub log: Vec<CrashLogLine>,
    /// Bytes of memory that the container had in use.
    pub memory: u64,
    /// The most that it had in use at once.
    pub memory_peak: u64,
    /// Its limit, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Fuel that the container had used.
    pub fuel: u64,
    /// CPU time that it had used, in nanoseconds.
    pub cpu_time_nanos: u64,
    /// Requests that had reached it.
    pub requests: u64,
    /// Crashes since the report before that have none of their own.
    pub unreported: u64,
    /// The file with the core dump, on the host that ran the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_dump: Option<String>,
}

/// The kinds of crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CrashKind {
    /// The guest trapped.
    Trap,
    /// Its memory grew past the limit.
    OutOfMemory,
    /// It used its fuel budget up.
    OutOfFuel,
}

/// A line of a crashed container's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrashLogLine {
    /// When it was printed.
    pub at: Timestamp,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text; cut off where it is very long.
    pub message: String,
}
