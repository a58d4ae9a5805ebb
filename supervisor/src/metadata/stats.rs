//! What a container uses, in the form of Docker's `GET /containers/{id}/stats`, which is what AWS answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Look, time};
use crate::clock::Timestamp;
use crate::driver::{ContainerMeters, TaskMeters};

pub(super) fn document(id: &str, name: &str, now: Look, before: Option<Look>, task: &TaskMeters) -> Value {
    let never = Look { at: Timestamp::from_epoch(Duration::ZERO), meters: ContainerMeters::default() };
    let before = before.unwrap_or(never);
    let meters = &now.meters;
    json!({
        "read": time(now.at),
        "preread": time(before.at),
        "pids_stats": {},
        "blkio_stats": {},
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(now),
        "precpu_stats": cpu(before),
        "memory_stats": {
            "usage": meters.memory,
            "max_usage": meters.memory_peak,
            // Where there is none Docker has the host's memory; the task's own limit counts for its containers already.
            "limit": meters.memory_limit.or(task.memory_limit),
            "stats": {},
        },
        "name": name,
        "id": id,
        // What Docker does not have.
        "coracle": {
            "fuel": meters.fuel,
            "requests": meters.requests,
            "traps": meters.traps,
        },
    })
}

fn cpu(look: Look) -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let used = nanos(look.meters.cpu_time);
    json!({
        "cpu_usage": { "total_usage": used, "usage_in_usermode": used, "usage_in_kernelmode": 0 },
        // Docker's is the time of all cores since the host's start. What its readers take is the difference of two, for which any start will do.
        "system_cpu_usage": nanos(Duration::from_secs_f64(look.at.seconds())).saturating_mul(cores as u64),
        "online_cpus": cores,
        "throttling_data": {
            "periods": 0,
            "throttled_periods": 0,
            "throttled_time": nanos(look.meters.throttled_time),
        },
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_formula_gives_the_share_of_the_cores() {
        let look = |seconds, cpu| Look {
            at: Timestamp::from_epoch(Duration::from_secs(seconds)),
            meters: ContainerMeters { cpu_time: Duration::from_millis(cpu), ..ContainerMeters::default() },
        };
        let stats =
            document("1-app", "app", look(110, 3_500), Some(look(100, 1_000)), &TaskMeters::default());
        let number = |path: &str| stats.pointer(path).and_then(Value::as_f64).unwrap();
        let used = number("/cpu_stats/cpu_usage/total_usage") - number("/precpu_stats/cpu_usage/total_usage");
        let system = number("/cpu_stats/system_cpu_usage") - number("/precpu_stats/system_cpu_usage");
        let percent = used / system * number("/cpu_stats/online_cpus") * 100.0;
        assert!((percent - 25.0).abs() < 1e-6, "{percent}");
        assert_eq!(stats["memory_stats"]["limit"], Value::Null);
        assert_eq!(
            (&stats["read"], &stats["preread"]),
            (&json!("1970-01-01T00:01:50Z"), &json!("1970-01-01T00:01:40Z"))
        );
    }
}
