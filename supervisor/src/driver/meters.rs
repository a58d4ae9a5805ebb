//! What a task uses, told apart by container.

use std::collections::BTreeMap;
use std::time::Duration;

/// A task's account, and that of each container that was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskMeters {
    /// Its hard CPU quota in ECS units, 1024 to a core.
    pub cpu_limit: Option<u32>,
    /// Its hard memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// CPU time of its containers, and of the commands that were run inside it.
    pub cpu_time: Duration,
    /// Bytes that they have in use now.
    pub memory: u64,
    /// The most bytes that they had in use at once.
    pub memory_peak: u64,
    /// By container.
    pub containers: BTreeMap<String, ContainerMeters>,
}

/// What a container used, its restarts included. All but `memory` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerMeters {
    /// CPU time.
    pub cpu_time: Duration,
    /// Time that its guests waited for CPU quota, summed over those that waited at once.
    pub throttled_time: Duration,
    /// Fuel, about one unit an instruction.
    pub fuel: u64,
    /// Bytes in use now.
    pub memory: u64,
    /// The most bytes that were in use at once.
    pub memory_peak: u64,
    /// The tightest limit on its memory in bytes, its own or its task's.
    pub memory_limit: Option<u64>,
    /// Requests that reached it: calls of a handler, or what the balancer sent to a server.
    pub requests: u64,
    /// Guests that trapped.
    pub traps: u64,
}
