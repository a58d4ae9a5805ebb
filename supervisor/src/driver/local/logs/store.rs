//! The built-in store: files in the data directory, or a bounded piece of memory without one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_runtime::{FileLog, LogFormat, LogSink, RingLog, Rotation};
use serde::{Deserialize, Serialize};

use crate::driver::local::leftovers;
use crate::model::names::TaskId;

/// Lines and bytes of one container that are kept in memory where there is no data directory.
const MAX_RING_LINES: usize = 10_000;
const MAX_RING_BYTES: usize = 1 << 20;

/// Where a container's output is.
#[derive(Clone, Debug)]
pub enum ContainerLog {
    /// In this file, and in older ones that [`FileLog::files`] names.
    File(PathBuf),
    /// In memory.
    Memory(Arc<RingLog>),
}

/// What CloudWatch Logs calls a container's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    /// The log group; `/ecs/<cluster>` without one.
    pub(super) group: Option<String>,
    /// What stands before `<container>/<task>` in the name of the log stream.
    pub(super) prefix: Option<String>,
}

#[derive(Debug)]
pub(super) enum Store {
    Files(PathBuf),
    Memory(Mutex<BTreeMap<TaskId, BTreeMap<String, InMemory>>>),
}

#[derive(Debug, Default)]
pub(super) struct InMemory {
    ring: Option<Arc<RingLog>>,
    names: Option<Names>,
}

impl Store {
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let Some(data_dir) = data_dir else { return Ok(Self::Memory(Mutex::default())) };
        let directory = data_dir.join("logs");
        fs::create_dir_all(&directory)?;
        leftovers::remove(&directory)?;
        Ok(Self::Files(directory))
    }

    /// Where a container's lines go.
    pub(super) fn sink(
        &self,
        task: &TaskId,
        container: &str,
        rotation: Rotation,
        format: LogFormat,
    ) -> io::Result<Arc<dyn LogSink>> {
        match self {
            Self::Files(directory) => {
                Ok(Arc::new(FileLog::create(&log_file(directory, task, container), rotation, format)?))
            }
            Self::Memory(tasks) => {
                let ring = Arc::new(RingLog::new(MAX_RING_LINES, MAX_RING_BYTES));
                let mut tasks = lock(tasks);
                let container = tasks.entry(task.clone()).or_default().entry(container.to_owned());
                container.or_default().ring = Some(Arc::clone(&ring));
                Ok(ring)
            }
        }
    }

    /// Notes what CloudWatch Logs calls a container's lines, for as long as they are kept.
    pub(super) fn name(&self, task: &TaskId, container: &str, names: Names) -> io::Result<()> {
        match self {
            Self::Files(directory) => {
                let path = names_file(directory, task, container);
                fs::create_dir_all(directory.join(task.as_str()))?;
                fs::write(path, serde_json::to_vec(&names).map_err(io::Error::other)?)
            }
            Self::Memory(tasks) => {
                let mut tasks = lock(tasks);
                let container = tasks.entry(task.clone()).or_default().entry(container.to_owned());
                container.or_default().names = Some(names);
                Ok(())
            }
        }
    }

    /// The names that were noted.
    pub(super) fn names(&self, task: &TaskId, container: &str) -> Option<Names> {
        match self {
            Self::Files(directory) => {
                let text = fs::read(names_file(directory, task, container)).ok()?;
                serde_json::from_slice(&text).ok()
            }
            Self::Memory(tasks) => lock(tasks).get(task)?.get(container)?.names.clone(),
        }
    }

    pub(super) fn read(&self, task: &TaskId, container: &str) -> Option<ContainerLog> {
        match self {
            Self::Files(directory) => Some(log_file(directory, task, container))
                .filter(|path| path.exists())
                .map(ContainerLog::File),
            Self::Memory(tasks) => {
                lock(tasks).get(task)?.get(container)?.ring.clone().map(ContainerLog::Memory)
            }
        }
    }

    pub(super) fn containers(&self, task: &TaskId) -> Vec<String> {
        match self {
            Self::Files(directory) => {
                let Ok(files) = fs::read_dir(directory.join(task.as_str())) else { return Vec::new() };
                let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
                let mut names: Vec<String> =
                    names.filter_map(|name| Some(name.strip_suffix(".log")?.to_owned())).collect();
                names.sort();
                names
            }
            Self::Memory(tasks) => lock(tasks)
                .get(task)
                .map(|containers| containers.keys().cloned().collect())
                .unwrap_or_default(),
        }
    }

    /// Blocks on the file system.
    pub(super) fn forget(&self, task: &TaskId) {
        match self {
            Self::Files(directory) => {
                if let Err(error) = fs::remove_dir_all(directory.join(task.as_str()))
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%error, %task, "cannot remove a task's logs");
                }
            }
            Self::Memory(tasks) => {
                lock(tasks).remove(task);
            }
        }
    }
}

fn log_file(directory: &Path, task: &TaskId, container: &str) -> PathBuf {
    directory.join(task.as_str()).join(format!("{container}.log"))
}

fn names_file(directory: &Path, task: &TaskId, container: &str) -> PathBuf {
    directory.join(task.as_str()).join(format!("{container}.names"))
}

fn lock<T>(tasks: &Mutex<T>) -> MutexGuard<'_, T> {
    // Guards single map operations.
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}
