//! A report from a crash, within its bounds.

use std::time::{SystemTime, UNIX_EPOCH};

use coracle_runtime::{Crash, ExitReason, LogSink, Stream};

use crate::clock::Timestamp;
use crate::model::crash::{CrashKind, CrashLogLine, CrashReport};
use crate::model::names::TaskId;

/// Lines of a backtrace; wasmtime itself keeps twenty frames, each of one or two lines.
const MAX_BACKTRACE: usize = 100;
/// Lines of the log.
const MAX_LOG: usize = 50;
/// Characters of a line of either: a report stays below a MiB, whatever the guest says.
const MAX_LINE: usize = 512;

/// Whose crashes they are.
#[derive(Clone, Debug)]
pub(in crate::driver::local) struct Subject {
    pub(in crate::driver::local) task: TaskId,
    pub(in crate::driver::local) task_arn: String,
    pub(in crate::driver::local) task_definition: String,
    pub(in crate::driver::local) container: String,
    pub(in crate::driver::local) image: String,
    pub(in crate::driver::local) image_digest: String,
}

impl Subject {
    pub(super) fn report(&self, crash: &Crash, log: &dyn LogSink, unreported: u64) -> CrashReport {
        let usage = &crash.usage;
        CrashReport {
            task_arn: self.task_arn.clone(),
            task_definition: self.task_definition.clone(),
            container_name: self.container.clone(),
            image: self.image.clone(),
            image_digest: self.image_digest.clone(),
            at: timestamp(crash.time),
            kind: match crash.reason {
                ExitReason::OutOfMemory => CrashKind::OutOfMemory,
                ExitReason::OutOfFuel => CrashKind::OutOfFuel,
                _ => CrashKind::Trap,
            },
            reason: cut(&crash.message),
            backtrace: crash.backtrace.lines().take(MAX_BACKTRACE).map(cut).collect(),
            log: log
                .tail(MAX_LOG)
                .into_iter()
                .map(|line| CrashLogLine {
                    at: timestamp(line.time),
                    stream: if line.stream == Stream::Stdout { "stdout" } else { "stderr" }.to_owned(),
                    message: cut(&line.message),
                })
                .collect(),
            memory: usage.memory,
            memory_peak: usage.memory_peak,
            memory_limit: crash.memory_limit,
            fuel: usage.fuel,
            cpu_time_nanos: u64::try_from(usage.cpu_time.as_nanos()).unwrap_or(u64::MAX),
            requests: usage.requests,
            unreported,
            core_dump: None,
        }
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
