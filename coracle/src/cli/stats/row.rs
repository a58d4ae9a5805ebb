//! From two looks at a task's accounts to what people read.

use std::time::Duration;

use coracle_supervisor::operations::{ContainerStats, TaskStats};
use serde::Serialize;

use crate::cli::output::{Table, short_id};

/// CPU units of a core.
const UNITS_PER_CORE: f64 = 1024.0;

/// A container, or a task with several over all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    task_arn: String,
    /// None: the whole task.
    container: Option<String>,
    /// Of one core, between the looks.
    cpu_percent: f64,
    /// The task's quota; 100 is a core.
    cpu_limit_percent: Option<f64>,
    /// Bytes.
    memory: u64,
    memory_peak: u64,
    memory_limit: Option<u64>,
    requests: u64,
    requests_per_second: f64,
    /// Since the start.
    throttled_seconds: f64,
    fuel: u64,
    traps: u64,
}

impl Row {
    /// The rows of a task: one for each container, and one for all where there are several.
    pub(super) fn of(now: &TaskStats, before: Option<&TaskStats>) -> Vec<Self> {
        // One that was not there before has no rates yet.
        let since = before.map_or(0.0, |before| now.read_at.since(before.read_at).as_secs_f64());
        let cpu_limit_percent = now.cpu_limit.map(|units| 100.0 * f64::from(units) / UNITS_PER_CORE);
        let earlier = |name: &str| before?.containers.iter().find(|container| container.name == name);
        let mut rows: Vec<Self> = now
            .containers
            .iter()
            .map(|container| {
                let earlier = earlier(&container.name);
                let of = |of: fn(&ContainerStats) -> u64| rate(of(container), earlier.map(of), since);
                Self {
                    task_arn: now.task_arn.clone(),
                    container: Some(container.name.clone()),
                    cpu_percent: 100.0 * of(|container| container.cpu_time_nanos) / 1e9,
                    cpu_limit_percent,
                    memory: container.memory,
                    memory_peak: container.memory_peak,
                    memory_limit: container.memory_limit,
                    requests: container.requests,
                    requests_per_second: of(|container| container.requests),
                    throttled_seconds: Duration::from_nanos(container.throttled_time_nanos).as_secs_f64(),
                    fuel: container.fuel,
                    traps: container.traps,
                }
            })
            .collect();
        if rows.len() > 1 {
            let cpu = rate(now.cpu_time_nanos, before.map(|before| before.cpu_time_nanos), since);
            rows.insert(
                0,
                Self {
                    task_arn: now.task_arn.clone(),
                    container: None,
                    cpu_percent: 100.0 * cpu / 1e9,
                    cpu_limit_percent,
                    memory: now.memory,
                    memory_peak: now.memory_peak,
                    memory_limit: now.memory_limit,
                    requests: rows.iter().map(|row| row.requests).sum(),
                    requests_per_second: rows.iter().map(|row| row.requests_per_second).sum(),
                    throttled_seconds: rows.iter().map(|row| row.throttled_seconds).sum(),
                    fuel: rows.iter().map(|row| row.fuel).sum(),
                    traps: rows.iter().map(|row| row.traps).sum(),
                },
            );
        }
        rows
    }
}

/// The order stays the same from look to look.
pub(super) fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|one, other| (&one.task_arn, &one.container).cmp(&(&other.task_arn, &other.container)));
    rows
}

pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new([
        "TASK",
        "CONTAINER",
        "CPU %",
        "CPU LIMIT",
        "MEM USAGE / LIMIT",
        "MEM %",
        "REQUESTS",
        "REQ/S",
        "THROTTLED",
        "FUEL",
    ]);
    for row in rows {
        let none = || "-".to_owned();
        let limit = row.memory_limit;
        table.row([
            short_id(&row.task_arn).to_owned(),
            row.container.clone().unwrap_or_else(|| "(all)".to_owned()),
            format!("{:.2}%", row.cpu_percent),
            row.cpu_limit_percent.map_or_else(none, |percent| format!("{percent:.2}%")),
            format!("{} / {}", bytes(row.memory), limit.map_or_else(none, bytes)),
            limit.map_or_else(none, |limit| {
                format!("{:.2}%", 100.0 * float(row.memory) / float(limit.max(1)))
            }),
            row.requests.to_string(),
            format!("{:.1}", row.requests_per_second),
            format!("{:.1}s", row.throttled_seconds),
            si(row.fuel),
        ]);
    }
    table.render()
}

/// How much a count grew in a second.
fn rate(now: u64, before: Option<u64>, since: f64) -> f64 {
    match before {
        Some(before) if since > 0.0 => float(now.saturating_sub(before)) / since,
        _ => 0.0,
    }
}

fn bytes(count: u64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

fn si(count: u64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
}

fn scaled(count: u64, step: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (float(count), 0);
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { 1 };
    format!("{value:.digits$}{}", units[unit])
}

#[expect(clippy::cast_precision_loss, reason = "for people: sixteen digits are enough")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_supervisor::clock::Timestamp;

    fn container(name: &str, cpu_ms: u64, requests: u64) -> ContainerStats {
        ContainerStats {
            name: name.to_owned(),
            cpu_time_nanos: cpu_ms * 1_000_000,
            throttled_time_nanos: 500_000_000,
            fuel: 1_234_567,
            memory: 1 << 20,
            memory_peak: 2 << 20,
            memory_limit: Some(4 << 20),
            requests,
            traps: 0,
        }
    }

    fn task(at: u64, cpu_ms: u64, containers: Vec<ContainerStats>) -> TaskStats {
        TaskStats {
            task_arn: "arn:aws:ecs:local:0:task/default/0123456789abcdef0123456789abcdef".to_owned(),
            read_at: Timestamp::from_epoch(Duration::from_secs(at)),
            cpu_limit: Some(256),
            memory_limit: None,
            cpu_time_nanos: cpu_ms * 1_000_000,
            memory: 3 << 20,
            memory_peak: 3 << 20,
            containers,
        }
    }

    #[test]
    fn rates_are_over_the_time_between_two_looks() {
        let before = task(10, 0, vec![container("web", 1000, 100)]);
        let now = task(12, 0, vec![container("web", 1500, 300)]);
        let rows = Row::of(&now, Some(&before));
        assert_eq!(rows.len(), 1, "a task with one container is that container");
        assert_eq!((rows[0].cpu_percent, rows[0].requests_per_second), (25.0, 100.0));
        assert_eq!(
            table(&rows).lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
            [
                "0123456789ab",
                "web",
                "25.00%",
                "25.00%",
                "1.0MiB",
                "/",
                "4.0MiB",
                "25.00%",
                "300",
                "100.0",
                "0.5s",
                "1.2M"
            ]
        );
    }

    #[test]
    fn a_task_with_several_containers_has_a_row_of_its_own_with_what_else_ran_in_it() {
        let before = task(10, 0, vec![container("a", 0, 0), container("b", 0, 0)]);
        let now = task(11, 800, vec![container("a", 100, 1), container("b", 200, 2)]);
        let rows = Row::of(&now, Some(&before));
        assert_eq!(
            rows.iter().map(|row| row.container.as_deref()).collect::<Vec<_>>(),
            [None, Some("a"), Some("b")]
        );
        assert_eq!((rows[0].cpu_percent, rows[0].requests, rows[0].memory), (80.0, 3, 3 << 20));
    }

    #[test]
    fn amounts_are_in_the_unit_that_makes_them_short() {
        let table =
            [(0, "0B"), (1023, "1023B"), (1024, "1.0KiB"), (1 << 30, "1.0GiB"), (u64::MAX, "16777216.0TiB")];
        for (count, text) in table {
            assert_eq!(bytes(count), text);
        }
        assert_eq!((si(999), si(1500)), ("999".to_owned(), "1.5k".to_owned()));
    }
}
