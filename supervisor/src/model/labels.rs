//! What ECS has no field for: a container's `dockerLabels` that begin with `coracle.`.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_runtime::network::egress::{self, Egress};

use super::task_definition::ContainerDefinition;
use crate::error::OperationError;

/// Prefix of the labels that mean something to us.
pub const PREFIX: &str = "coracle.";
/// The label that asks for core dumps.
pub const CORE_DUMP: &str = "coracle.core-dump";
/// A request to a handler that takes longer is ended: the balancer's own idle time-out is the same 60 s.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest core dump in MiB: a copy of it is made in memory.
const MAX_CORE_DUMP_MIB: u32 = 1024;

/// The budget of fuel that counts without end.
pub const UNLIMITED_FUEL: &str = "unlimited";

/// Reads a budget of fuel: a whole number above 0, or [`UNLIMITED_FUEL`].
pub fn fuel_budget(text: &str) -> Option<u64> {
    if text == UNLIMITED_FUEL {
        return Some(u64::MAX);
    }
    text.parse().ok().filter(|fuel| *fuel > 0)
}

/// Settings of one container, from its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSettings {
    /// `coracle.fuel`: budget of one request or one job in wasm instructions, roughly. `None`, when absent: they are not even counted.
    pub fuel: Option<u64>,
    /// `coracle.instance-reuse`: requests that one instance of a handler answers before it is thrown away; the runtime's default when absent.
    pub instance_reuse: Option<u32>,
    /// `coracle.max-concurrency`: requests that a handler's task answers at the same time; the runtime's default when absent.
    pub max_concurrency: Option<u32>,
    /// `coracle.core-dump`: the largest core dump that is taken of a guest that fails, in MiB of its memory; none when absent.
    pub core_dump_mib: Option<u32>,
    /// `coracle.request-timeout`: seconds, may be fractional, above zero.
    pub request_timeout: Duration,
    /// `coracle.egress`: what the container may reach outside of its task; nothing when absent.
    pub egress: Egress,
    /// `coracle.ephemeral-storage-mib`: what the task may keep in its own directories, in MiB, where less than a GiB matters; the smallest of its
    /// containers' counts, and goes before the task's `ephemeralStorage`.
    pub ephemeral_storage_mib: Option<u32>,
}

impl ContainerSettings {
    /// Those of a container.
    pub fn of(container: &ContainerDefinition) -> Result<Self, OperationError> {
        Self::parse(&container.name, &container.docker_labels)
    }

    /// Reads the labels, refusing unknown ones under our prefix and values out of range.
    pub fn parse(container: &str, labels: &BTreeMap<String, String>) -> Result<Self, OperationError> {
        let mut settings = Self {
            fuel: None,
            instance_reuse: None,
            max_concurrency: None,
            core_dump_mib: None,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            egress: Egress::default(),
            ephemeral_storage_mib: None,
        };
        for (label, value) in labels {
            let Some(name) = label.strip_prefix(PREFIX) else { continue };
            let refuse = |allowed: &str| {
                OperationError::client(format!(
                    "Invalid label for container '{container}': {label} must be {allowed}, not {value:?}."
                ))
            };
            match name {
                "fuel" => {
                    let fuel = fuel_budget(value);
                    settings.fuel = Some(fuel.ok_or_else(|| refuse("a whole number above 0, or unlimited"))?);
                }
                "instance-reuse" => {
                    settings.instance_reuse = Some(value.parse().map_err(|_| refuse("a whole number"))?);
                }
                "max-concurrency" => {
                    let most = value.parse().ok().filter(|most| *most > 0);
                    settings.max_concurrency = Some(most.ok_or_else(|| refuse("a whole number above 0"))?);
                }
                "core-dump" => {
                    let mib = value.parse().ok().filter(|mib| (1..=MAX_CORE_DUMP_MIB).contains(mib));
                    settings.core_dump_mib =
                        Some(mib.ok_or_else(|| refuse("1 to 1024, the most MiB of memory to write"))?);
                }
                "request-timeout" => {
                    let seconds =
                        value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                    let seconds = seconds.filter(|seconds| !seconds.is_zero());
                    settings.request_timeout = seconds.ok_or_else(|| refuse("seconds above 0"))?;
                }
                "ephemeral-storage-mib" => {
                    let mib = value.parse().ok().filter(|mib| *mib > 0);
                    settings.ephemeral_storage_mib =
                        Some(mib.ok_or_else(|| refuse("a whole number of MiB above 0"))?);
                }
                "egress" => {
                    settings.egress = value.parse().map_err(|error| {
                        OperationError::client(format!(
                            "Invalid label for container '{container}': in {label}, {error}. Allowed are, separated by \
                             commas, {}.",
                            egress::FORMS
                        ))
                    })?;
                }
                _ => {
                    return Err(OperationError::client(format!(
                        "Unknown label for container '{container}': {label}. Known are coracle.core-dump, coracle.egress, coracle.ephemeral-storage-mib, \
                         coracle.fuel, coracle.instance-reuse, coracle.max-concurrency and coracle.request-timeout."
                    )));
                }
            }
        }
        Ok(settings)
    }
}
