//! Where reports are kept, up to so many of each container.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_runtime::CoreDump;

use crate::driver::local::leftovers;
use crate::model::crash::CrashReport;
use crate::model::names::TaskId;

/// Newest reports that are kept of a container.
pub(super) const MAX_REPORTS: usize = 10;

#[derive(Debug)]
pub(super) enum Store {
    Files {
        directory: PathBuf,
        /// Held while a container's reports are counted and written.
        writing: Mutex<()>,
    },
    Memory(Mutex<BTreeMap<TaskId, BTreeMap<String, VecDeque<CrashReport>>>>),
}

impl Store {
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let Some(data_dir) = data_dir else { return Ok(Self::Memory(Mutex::default())) };
        let directory = data_dir.join("crashes");
        fs::create_dir_all(&directory)?;
        leftovers::remove(&directory)?;
        Ok(Self::Files { directory, writing: Mutex::default() })
    }

    pub(super) fn is_on_disk(&self) -> bool {
        matches!(self, Self::Files { .. })
    }

    /// Keeps a report, and of its container's core dumps the newest.
    pub(super) fn write(&self, task: &TaskId, report: CrashReport, dump: Option<CoreDump>) -> io::Result<()> {
        match self {
            Self::Files { directory, writing } => {
                let _writing = lock(writing);
                write_files(&directory.join(task.as_str()), report, dump)
            }
            Self::Memory(tasks) => {
                let mut tasks = lock(tasks);
                let containers = tasks.entry(task.clone()).or_default();
                let reports = containers.entry(report.container_name.clone()).or_default();
                if reports.len() >= MAX_REPORTS {
                    reports.pop_front();
                }
                reports.push_back(report);
                Ok(())
            }
        }
    }

    /// A task's reports, oldest first.
    pub(super) fn read(&self, task: &TaskId) -> Vec<CrashReport> {
        let mut reports: Vec<CrashReport> = match self {
            Self::Files { directory, .. } => {
                let files = files(&directory.join(task.as_str()), None, "json");
                let texts = files.iter().filter_map(|(_, file)| fs::read(file).ok());
                texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect()
            }
            Self::Memory(tasks) => {
                let tasks = lock(tasks);
                let containers = tasks.get(task).into_iter().flat_map(BTreeMap::values);
                containers.flatten().cloned().collect()
            }
        };
        reports.sort_by(|one, other| one.at.seconds().total_cmp(&other.at.seconds()));
        reports
    }

    pub(super) fn forget(&self, task: &TaskId) {
        match self {
            Self::Files { directory, .. } => {
                if let Err(error) = fs::remove_dir_all(directory.join(task.as_str()))
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%error, %task, "cannot remove a task's crash reports");
                }
            }
            Self::Memory(tasks) => {
                lock(tasks).remove(task);
            }
        }
    }
}

fn write_files(directory: &Path, mut report: CrashReport, dump: Option<CoreDump>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let container = report.container_name.clone();
    let before = files(directory, Some(&container), "json");
    // Names in the order of time, also where two are of one millisecond.
    let at = Duration::from_secs_f64(report.at.seconds()).as_millis();
    let at = before.last().map_or(at, |(newest, _)| at.max(newest + 1));
    for (_, file) in before.iter().rev().skip(MAX_REPORTS - 1) {
        fs::remove_file(file)?;
    }
    if let Some(CoreDump(bytes)) = dump {
        for (_, file) in files(directory, Some(&container), "core") {
            fs::remove_file(file)?;
        }
        let path = directory.join(format!("{container}.{at}.core"));
        if let Err(error) = fs::write(&path, bytes) {
            // Half a dump is none, and the report is worth more than it.
            tracing::warn!(%error, path = %path.display(), "cannot write a core dump");
            fs::remove_file(&path).ok();
        } else {
            report.core_dump = Some(path.display().to_string());
        }
    }
    let text = serde_json::to_vec_pretty(&report).map_err(io::Error::other)?;
    // Whole or not at all.
    let unfinished = directory.join(format!("{container}.{at}.tmp"));
    if let Err(error) = fs::write(&unfinished, text) {
        fs::remove_file(&unfinished).ok();
        return Err(error);
    }
    fs::rename(unfinished, directory.join(format!("{container}.{at}.json")))
}

/// The files `<container>.<time>.<extension>` of a directory, by time.
fn files(directory: &Path, container: Option<&str>, extension: &str) -> Vec<(u128, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let mut parts = name.rsplitn(3, '.');
        let parts = (parts.next(), parts.next(), parts.next());
        if let (Some(its), Some(time), Some(of)) = parts
            && its == extension
            && container.is_none_or(|container| container == of)
            && let Ok(time) = time.parse()
        {
            files.push((time, path));
        }
    }
    files.sort();
    files
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Guards single map operations, or nothing but an order.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
