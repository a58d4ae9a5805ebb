//! From what tasks used to what policies look at.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::driver::Usage;
use crate::model::names::TaskId;
use crate::model::scaling::Metric;
use crate::model::size::UNITS_PER_VCPU;
use crate::model::task_definition::TaskDefinition;
use crate::records::ServiceKey;

/// Values that are kept of each service: an hour of periods.
const MAX_POINTS: usize = 60;

/// What is set aside for a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reserved {
    /// Cores.
    pub(crate) vcpus: f64,
    /// Bytes, where the definition says any.
    pub(crate) memory: Option<u64>,
}

impl Reserved {
    /// Of the task, else of its containers together. Without any, CPU is measured against one core.
    pub(crate) fn of(definition: &TaskDefinition) -> Self {
        let content = &definition.content;
        let containers = &content.container_definitions;
        let units = content.cpu_units().unwrap_or_else(|| containers.iter().map(|of| of.cpu).sum());
        let units = if units == 0 { UNITS_PER_VCPU } else { units };
        let memory = content.memory_mib().or_else(|| {
            let of = |container: &crate::model::task_definition::ContainerDefinition| {
                container.memory.or(container.memory_reservation)
            };
            containers.iter().map(of).sum()
        });
        Self {
            vcpus: f64::from(units) / f64::from(UNITS_PER_VCPU),
            memory: memory.filter(|mib| *mib > 0).map(|mib| u64::from(mib) << 20),
        }
    }
}

/// One running task at a moment.
#[derive(Clone, Debug)]
pub(crate) struct SeenTask {
    pub(crate) id: TaskId,
    pub(crate) usage: Usage,
    pub(crate) reserved: Reserved,
    /// Seconds since it runs.
    pub(crate) running_for: f64,
}

/// What a service did since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// CPU utilisation in percent of what is reserved.
    pub(super) cpu: Option<f64>,
    /// Memory in percent of what is reserved.
    pub(super) memory: Option<f64>,
    /// Requests a second, over all tasks.
    pub(super) requests_per_second: Option<f64>,
    /// Requests that the tasks have now.
    pub(super) in_flight: u64,
    /// Tasks.
    pub(super) tasks: u32,
}

/// Takes differences.
#[derive(Clone, Debug, Default)]
pub(super) struct Sampler {
    before: HashMap<TaskId, Usage>,
    at: Option<f64>,
}

impl Sampler {
    /// The sample from the last look until now (in seconds on a clock that only grows). The first look is none.
    pub(super) fn sample(&mut self, now: f64, tasks: &[SeenTask]) -> Sample {
        let since = self.at.replace(now).map(|at| now - at).filter(|since| *since > 0.0);
        let mut before = std::mem::take(&mut self.before);
        let mut sample = Sample::default();
        let (mut used, mut reserved, mut requests) = (0.0, 0.0, 0);
        let (mut memory, mut memory_reserved) = (0.0, 0.0);
        for task in tasks {
            let known = before.remove(&task.id);
            let base = known.unwrap_or_default();
            let lived = since.unwrap_or_default().min(task.running_for);
            used += task.usage.cpu_time.saturating_sub(base.cpu_time).as_secs_f64();
            reserved += task.reserved.vcpus * lived;
            requests += task.usage.requests.saturating_sub(base.requests);
            if let Some(limit) = task.reserved.memory {
                memory += float(task.usage.memory);
                memory_reserved += float(limit);
            }
            sample.in_flight += task.usage.in_flight;
            sample.tasks += 1;
            self.before.insert(task.id.clone(), task.usage);
        }
        if let Some(since) = since
            && sample.tasks > 0
        {
            sample.cpu = (reserved > 0.0).then(|| 100.0 * used / reserved);
            sample.memory = (memory_reserved > 0.0).then(|| 100.0 * memory / memory_reserved);
            sample.requests_per_second = Some(float(requests) / since);
        }
        sample
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53 bytes, or requests")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The values of one period of 60 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The end of the period.
    pub at: Timestamp,
    /// In percent.
    pub cpu: Option<f64>,
    /// In percent.
    pub memory: Option<f64>,
    /// In the period, divided by the tasks.
    pub requests_per_target: Option<f64>,
}

impl Point {
    pub(super) fn of(at: Timestamp, period: f64, sample: &Sample) -> Self {
        let each = |all: f64| all * period / f64::from(sample.tasks.max(1));
        Self {
            at,
            cpu: sample.cpu,
            memory: sample.memory,
            requests_per_target: sample.requests_per_second.map(each),
        }
    }

    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.memory,
            Metric::Requests => self.requests_per_target,
        }
    }
}

/// The newest values of every service.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<ServiceKey, VecDeque<Point>>>);

impl Metrics {
    pub(super) fn push(&self, key: &ServiceKey, point: Point) {
        let mut all = self.lock();
        let points = all.entry(key.clone()).or_default();
        if points.len() >= MAX_POINTS {
            points.pop_front();
        }
        points.push_back(point);
    }

    pub(super) fn forget(&self, key: &ServiceKey) {
        self.lock().remove(key);
    }

    /// Oldest first.
    pub(crate) fn points(&self, key: &ServiceKey) -> Vec<Point> {
        self.lock().get(key).map(|points| points.iter().copied().collect()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceKey, VecDeque<Point>>> {
        // Guards single changes of the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn task(id: u8, cpu: f64, requests: u64, running_for: f64) -> SeenTask {
        SeenTask {
            id: TaskId::parse(&format!("{id:032x}")).unwrap(),
            usage: Usage {
                cpu_time: Duration::from_secs_f64(cpu),
                requests,
                memory: 16 << 20,
                ..Usage::default()
            },
            reserved: Reserved { vcpus: 0.25, memory: Some(64 << 20) },
            running_for,
        }
    }

    #[test]
    fn utilisation_is_of_what_is_reserved_over_all_tasks() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(0.0, &[task(1, 3.0, 5, 100.0)]).cpu, None, "one look is no difference");
        let sample = sampler.sample(60.0, &[task(1, 12.0, 605, 160.0), task(2, 1.5, 300, 30.0)]);
        // (9 + 1.5) s of 0.25 x 60 s + 0.25 x 30 s
        assert!((sample.cpu.unwrap() - 100.0 * 10.5 / 22.5).abs() < 1e-9, "{sample:?}");
        assert_eq!(sample.memory, Some(25.0));
        assert_eq!(sample.requests_per_second, Some(15.0));
        let point = Point::of(Timestamp::from_epoch(Duration::ZERO), 60.0, &sample);
        assert_eq!(point.value(Metric::Requests), Some(450.0));
    }

    #[test]
    fn without_tasks_there_is_no_data() {
        let mut sampler = Sampler::default();
        sampler.sample(0.0, &[]);
        assert_eq!(sampler.sample(60.0, &[]), Sample::default());
    }
}
