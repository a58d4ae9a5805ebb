//! What a task used: the accounts of its containers, those that were started again included, and the balancer's counts.

use std::collections::BTreeMap;

use coracle_runtime::Container;

use super::sandbox::{LocalSandbox, State, cpu_quota};
use crate::driver::{ContainerMeters, TaskMeters, Usage};

impl LocalSandbox {
    pub(super) fn used(&self) -> Usage {
        let state = self.lock();
        let mut usage = Usage::default();
        for meters in state.meters() {
            usage.cpu_time += meters.1.cpu_time;
            usage.fuel += meters.1.fuel;
            usage.memory += meters.1.memory;
        }
        for counters in state.asked.iter().map(|(_, meter)| meter.counters()) {
            usage.requests += counters.requests;
            usage.in_flight += counters.in_flight;
        }
        usage
    }

    pub(super) fn metered(&self) -> TaskMeters {
        let state = self.lock();
        let mut containers: BTreeMap<String, ContainerMeters> =
            state.meters().map(|(name, meters)| (name.to_owned(), meters)).collect();
        // What a server is asked goes past the runtime.
        let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, meter) in &state.asked {
            *asked.entry(name).or_default() += meter.counters().requests;
        }
        for (name, requests) in asked {
            if let Some(meters) = containers.get_mut(name) {
                meters.requests = meters.requests.max(requests);
            }
        }
        TaskMeters {
            cpu_limit: cpu_quota(&self.launch),
            memory_limit: self.envelope.memory_limit(),
            cpu_time: self.envelope.cpu_time(),
            memory: self.envelope.memory(),
            memory_peak: self.envelope.memory_peak(),
            containers,
        }
    }
}

impl State {
    /// What each container used that was started, with its earlier runs.
    fn meters(&self) -> impl Iterator<Item = (&str, ContainerMeters)> {
        self.containers.iter().map(|(name, container)| {
            let ended = self.ended.get(name).copied().unwrap_or_default();
            (name.as_str(), plus(ended, &container.load()))
        })
    }
}

/// What a container used, after what its earlier runs did.
pub(super) fn plus(earlier: ContainerMeters, container: &Container) -> ContainerMeters {
    let usage = container.usage();
    ContainerMeters {
        cpu_time: earlier.cpu_time + usage.cpu_time,
        throttled_time: earlier.throttled_time + usage.throttled_time,
        fuel: earlier.fuel + usage.fuel,
        memory: if container.exit().is_some() { 0 } else { usage.memory },
        memory_peak: earlier.memory_peak.max(usage.memory_peak),
        memory_limit: container.memory_limit(),
        requests: earlier.requests + usage.requests,
        traps: earlier.traps + usage.traps,
    }
}
