//! What containers print: files in the data directory, or a bounded piece of memory without one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use coracle_runtime::{FileLog, LogSink, RingLog};

use crate::model::names::TaskId;

/// Largest log file of a container; with the one before it, twice that is kept.
const MAX_FILE_BYTES: u64 = 10 << 20;
/// Lines and bytes of one container that are kept in memory where there is no data directory.
const MAX_RING_LINES: usize = 10_000;
const MAX_RING_BYTES: usize = 1 << 20;
/// Logs of tasks that an earlier process ran are removed once nobody wrote to them for so long.
const KEEP_LEFTOVERS: Duration = Duration::from_secs(24 * 3600);

/// Where a container's output is.
#[derive(Clone, Debug)]
pub enum ContainerLog {
    /// In this file, and in the one that [`FileLog::previous`] names.
    File(PathBuf),
    /// In memory.
    Memory(Arc<RingLog>),
}

/// The logs of this process's containers.
#[derive(Debug)]
pub(super) enum Logs {
    Files(PathBuf),
    Memory(Mutex<BTreeMap<TaskId, BTreeMap<String, Arc<RingLog>>>>),
}

impl Logs {
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let Some(data_dir) = data_dir else { return Ok(Self::Memory(Mutex::default())) };
        let directory = data_dir.join("logs");
        fs::create_dir_all(&directory)?;
        remove_leftovers(&directory)?;
        Ok(Self::Files(directory))
    }

    /// Where a container's lines go.
    pub(super) fn sink(&self, task: &TaskId, container: &str) -> io::Result<Arc<dyn LogSink>> {
        match self {
            Self::Files(_) => {
                let path = self.path(task, container).unwrap_or_default();
                Ok(Arc::new(FileLog::create(&path, MAX_FILE_BYTES)?))
            }
            Self::Memory(rings) => {
                let ring = Arc::new(RingLog::new(MAX_RING_LINES, MAX_RING_BYTES));
                let mut rings = rings.lock().unwrap_or_else(PoisonError::into_inner);
                rings.entry(task.clone()).or_default().insert(container.to_owned(), Arc::clone(&ring));
                Ok(ring)
            }
        }
    }

    pub(super) fn read(&self, task: &TaskId, container: &str) -> Option<ContainerLog> {
        match self {
            Self::Files(_) => self.path(task, container).filter(|path| path.exists()).map(ContainerLog::File),
            Self::Memory(rings) => {
                let rings = rings.lock().unwrap_or_else(PoisonError::into_inner);
                rings.get(task)?.get(container).cloned().map(ContainerLog::Memory)
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
            Self::Memory(rings) => {
                let rings = rings.lock().unwrap_or_else(PoisonError::into_inner);
                rings.get(task).map(|rings| rings.keys().cloned().collect()).unwrap_or_default()
            }
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
            Self::Memory(rings) => {
                rings.lock().unwrap_or_else(PoisonError::into_inner).remove(task);
            }
        }
    }

    fn path(&self, task: &TaskId, container: &str) -> Option<PathBuf> {
        match self {
            Self::Files(directory) => Some(directory.join(task.as_str()).join(format!("{container}.log"))),
            Self::Memory(_) => None,
        }
    }
}

fn remove_leftovers(directory: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for task in fs::read_dir(directory)?.flatten() {
        let ours = task.file_name().to_str().is_some_and(|name| TaskId::parse(name).is_some());
        let age = task.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = age.and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default();
        if ours
            && age > KEEP_LEFTOVERS
            && let Err(error) = fs::remove_dir_all(task.path())
        {
            tracing::warn!(%error, path = %task.path().display(), "cannot remove old logs");
        }
    }
    Ok(())
}
