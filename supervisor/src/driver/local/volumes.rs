//! Directories that containers mount.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::failure;
use crate::driver::{StartFailure, StartFailureKind};
use crate::model::names::TaskId;
use crate::model::task_definition::Volume;

/// Where the tasks' own volumes are.
#[derive(Debug)]
pub(super) struct Volumes {
    directory: PathBuf,
}

/// A task's own volumes, removed when dropped.
#[derive(Debug)]
pub(super) struct TaskVolumes {
    directory: PathBuf,
}

impl Volumes {
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let directory = match data_dir {
            Some(data_dir) => data_dir.join("tasks"),
            None => std::env::temp_dir().join(format!("coracle-{}", std::process::id())),
        };
        // Tasks do not outlive their process, so whatever is there belongs to nobody.
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { directory })
    }

    pub(super) fn task(&self, task: &TaskId) -> TaskVolumes {
        TaskVolumes { directory: self.directory.join(task.as_str()) }
    }
}

impl TaskVolumes {
    /// The host's directory behind a volume. One without a host path is an empty directory that lives as long as the task: "If the host parameter is
    /// empty, then the Docker daemon assigns a host path ... the data isn't guaranteed to persist".
    pub(super) fn source(&self, volume: &Volume) -> Result<PathBuf, StartFailure> {
        let refuse = |why: String| {
            failure(StartFailureKind::ResourceInitialization, format!("volume '{}': {why}", volume.name))
        };
        let unsupported = [
            ("dockerVolumeConfiguration", volume.docker_volume_configuration.is_some()),
            ("efsVolumeConfiguration", volume.efs_volume_configuration.is_some()),
            (
                "fsxWindowsFileServerVolumeConfiguration",
                volume.fsx_windows_file_server_volume_configuration.is_some(),
            ),
            ("configuredAtLaunch", volume.configured_at_launch == Some(true)),
        ];
        if let Some((field, _)) = unsupported.iter().find(|(_, set)| *set) {
            return Err(refuse(format!("{field} is not supported yet")));
        }
        if let Some(path) = volume.host.as_ref().and_then(|host| host.source_path.as_ref()) {
            let path = PathBuf::from(path);
            if !path.is_dir() {
                return Err(refuse(format!("{} is not a directory", path.display())));
            }
            return Ok(path);
        }
        // Its name may hold anything; a directory's may not.
        let name: String = volume.name.bytes().map(|byte| format!("{byte:02x}")).collect();
        let path = self.directory.join(name);
        fs::create_dir_all(&path).map_err(|error| refuse(error.to_string()))?;
        Ok(path)
    }
}

impl Drop for TaskVolumes {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.directory.display(), "cannot remove a task's volumes");
        }
    }
}
