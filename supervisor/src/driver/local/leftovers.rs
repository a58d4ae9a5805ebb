//! What tasks of an earlier process left in the data directory.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::model::names::TaskId;

/// Removed once nothing was written there for so long.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// Removes old directories `<task id>` of `directory`.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for task in fs::read_dir(directory)?.flatten() {
        let ours = task.file_name().to_str().is_some_and(|name| TaskId::parse(name).is_some());
        let age = task.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = age.and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default();
        if ours
            && age > KEEP
            && let Err(error) = fs::remove_dir_all(task.path())
        {
            tracing::warn!(%error, path = %task.path().display(), "cannot remove what an earlier task left");
        }
    }
    Ok(())
}
