//! DescribeUsage, an operation of ours: what services and families of standalone tasks used in a month, and running tasks since their start.
//!
//! Fargate's rule: reserved size times the time from the beginning of a task's pull to its end, rounded up to the second. Prices are the reader's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::OperationError;
use crate::metering::UsageKey;
use crate::model::names::quoted;
use crate::model::usage::{Totals, UsageRecord, month_of};
use crate::records::{decode, keys};
use crate::supervisor::Supervisor;

/// CPU units of a vCPU.
const UNITS_PER_VCPU: f64 = 1024.0;
/// MiB of a GiB.
const MIB_PER_GIB: f64 = 1024.0;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DescribeUsageRequest {
    /// Name or ARN; all clusters when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `2026-11`, in UTC; the present one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// Whether running tasks are told one by one, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_tasks: bool,
}

/// What was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeUsageResponse {
    /// The month.
    pub month: String,
    /// Months of which there is anything.
    pub months: Vec<String>,
    /// By cluster, service or family, and capacity provider. Running tasks are in it.
    pub usage: Vec<OwnerUsage>,
    /// Running tasks since their start, where they were asked for.
    pub tasks: Vec<TaskUsage>,
}

/// What one service or family used on one kind of capacity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerUsage {
    /// The cluster's name.
    pub cluster: String,
    /// The service's name, unless it is about standalone tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The family of standalone tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// `FARGATE` or `FARGATE_SPOT`.
    pub capacity_provider: String,
    /// How much.
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// What one running task used since its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskUsage {
    /// The task.
    pub task_arn: String,
    /// `FARGATE` or `FARGATE_SPOT`.
    pub capacity_provider: String,
    /// How much.
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// How much was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Tasks that were started.
    pub tasks: u64,
    /// Seconds that they ran.
    pub task_seconds: u64,
    /// Reserved vCPUs times seconds.
    pub vcpu_seconds: f64,
    /// Reserved GiB times seconds.
    pub gib_seconds: f64,
    /// What Fargate's minimum of a minute for each task adds to `vcpuSeconds`.
    pub minimum_vcpu_seconds: f64,
    /// What Fargate's minimum of a minute for each task adds to `gibSeconds`.
    pub minimum_gib_seconds: f64,
    /// CPU time that was really used, in seconds.
    pub cpu_seconds: f64,
    /// Requests that the balancer gave to them.
    pub requests: u64,
    /// Fuel, about one unit an instruction.
    pub fuel: u64,
}

impl Supervisor {
    /// Reads what was used.
    pub async fn describe_usage(
        &self,
        request: DescribeUsageRequest,
    ) -> Result<DescribeUsageResponse, OperationError> {
        let cluster = match &request.cluster {
            Some(reference) => {
                let cluster = self.identity().parse_cluster(Some(reference))?;
                self.records().cluster(&cluster).await?;
                Some(cluster)
            }
            None => None,
        };
        let present = month_of(self.now());
        let month = request.month.unwrap_or_else(|| present.clone());
        check_month(&month)?;

        let meter = &self.shared().meter;
        // What moves from memory to the records meanwhile would be told twice.
        let _nothing_is_written = meter.pause(self.shared()).await?;
        let pending = if month == present { meter.pending() } else { BTreeMap::new() };
        let mut all: BTreeMap<UsageKey, Totals> = pending;
        let mut months = std::collections::BTreeSet::new();
        for entry in self.records().store.range(keys::USAGE).await? {
            let Some((of, owner)) = entry.key.strip_prefix(keys::USAGE).and_then(|key| key.split_once('/'))
            else {
                continue;
            };
            months.insert(of.to_owned());
            if of != month {
                continue;
            }
            for (capacity, totals) in decode::<UsageRecord>(&entry)?.by_capacity {
                *all.entry(UsageKey { owner: owner.to_owned(), capacity }).or_default() += &totals;
            }
        }
        let usage = all.iter().filter_map(|(key, totals)| shown(key, totals));
        let is_wanted =
            |usage: &OwnerUsage| cluster.as_ref().is_none_or(|cluster| usage.cluster == cluster.as_str());
        let usage = usage.filter(is_wanted).collect();
        let mut tasks = Vec::new();
        if request.include_tasks {
            for (id, key, totals) in meter.running() {
                let Some((of, _)) = key.owner.split_once('/') else { continue };
                let Ok(of) = self.identity().parse_cluster(Some(of)) else { continue };
                if cluster.as_ref().is_none_or(|cluster| *cluster == of) {
                    tasks.push(TaskUsage {
                        task_arn: self.identity().task(&of, &id),
                        capacity_provider: key.capacity,
                        amounts: Amounts::of(&totals),
                    });
                }
            }
            tasks.sort_by(|a, b| a.task_arn.cmp(&b.task_arn));
        }
        Ok(DescribeUsageResponse { month, months: months.into_iter().collect(), usage, tasks })
    }
}

fn shown(key: &UsageKey, totals: &Totals) -> Option<OwnerUsage> {
    let mut parts = key.owner.splitn(3, '/');
    let (cluster, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    let named = |wanted: &str| (kind == wanted).then(|| name.to_owned());
    Some(OwnerUsage {
        cluster: cluster.to_owned(),
        service: named("service"),
        family: named("family"),
        capacity_provider: key.capacity.clone(),
        amounts: Amounts::of(totals),
    })
}

impl Amounts {
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits of unit seconds are 28,000 years of 10,000 vCPUs"
    )]
    fn of(totals: &Totals) -> Self {
        Self {
            tasks: totals.tasks,
            task_seconds: totals.task_seconds,
            vcpu_seconds: totals.cpu_unit_seconds as f64 / UNITS_PER_VCPU,
            gib_seconds: totals.mib_seconds as f64 / MIB_PER_GIB,
            minimum_vcpu_seconds: totals.minimum_cpu_unit_seconds as f64 / UNITS_PER_VCPU,
            minimum_gib_seconds: totals.minimum_mib_seconds as f64 / MIB_PER_GIB,
            cpu_seconds: totals.cpu_time_nanos as f64 / 1e9,
            requests: totals.requests,
            fuel: totals.fuel,
        }
    }
}

fn check_month(month: &str) -> Result<(), OperationError> {
    let is_month = month.len() == 7
        && month.split_once('-').is_some_and(|(year, month)| {
            year.len() == 4
                && year.bytes().all(|byte| byte.is_ascii_digit())
                && month.len() == 2
                && month.parse::<u8>().is_ok_and(|month| (1..=12).contains(&month))
        });
    if is_month {
        return Ok(());
    }
    Err(OperationError::invalid(format!("month must be such as 2026-11, not {}.", quoted(month))))
}
