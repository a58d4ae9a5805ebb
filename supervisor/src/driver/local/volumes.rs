//! Directories that containers see: their own root, the task's volumes, the named volumes that outlive it, and the host's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_runtime::{EphemeralStorage, Mount, MountSource, StorageLimits};
use serde::Deserialize;

use super::{MIB, failure};
use crate::driver::{StartFailure, StartFailureKind};
use crate::model::labels::ContainerSettings;
use crate::model::names::TaskId;
use crate::model::task_definition::{ContainerDefinition, TaskDefinitionContent, Volume};

/// What a task may keep when nothing is said: Fargate's 20 GiB.
const DEFAULT_STORAGE_MIB: u64 = 20 * 1024;
/// Longest name of a named volume, as ECS has it.
const MAX_VOLUME_NAME: usize = 255;

/// Where volumes are.
#[derive(Debug)]
pub(super) struct Volumes {
    tasks: PathBuf,
    /// Named volumes need a place that outlives this process.
    named: Option<PathBuf>,
}

/// A task's directories: what is its own is removed with the last handle to its storage.
#[derive(Debug)]
pub(super) struct TaskVolumes {
    storage: Arc<EphemeralStorage>,
    named: Option<PathBuf>,
}

/// ECS's `dockerVolumeConfiguration`, of which the driver's options have no meaning here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerVolume {
    scope: Scope,
    autoprovision: bool,
    driver: Option<String>,
}

/// "Docker volumes that are scoped to a task are automatically provisioned when the task starts and destroyed when the task stops. Docker volumes
/// that are scoped as shared persist after the task stops."
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    #[default]
    Task,
    Shared,
}

impl Volumes {
    pub(super) fn open(data_dir: Option<&Path>) -> io::Result<Self> {
        let tasks = match data_dir {
            Some(data_dir) => data_dir.join("tasks"),
            None => std::env::temp_dir().join(format!("coracle-{}", std::process::id())),
        };
        // Tasks do not outlive their process, so whatever is there belongs to nobody.
        match fs::remove_dir_all(&tasks) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { tasks, named: data_dir.map(|data_dir| data_dir.join("volumes")) })
    }

    /// The directories of a task, none of which exists before a guest asks for its files.
    pub(super) fn task(&self, task: &TaskId, content: &TaskDefinitionContent) -> TaskVolumes {
        let limits = StorageLimits::of_bytes(storage_mib(content) * MIB);
        TaskVolumes {
            storage: EphemeralStorage::new(self.tasks.join(task.as_str()), limits),
            named: self.named.clone(),
        }
    }
}

impl Drop for Volumes {
    /// What lies in the host's temporary directory is this process's alone.
    fn drop(&mut self) {
        if self.named.is_none() {
            // It may not exist, and is left where a task still has files in it.
            drop(fs::remove_dir(&self.tasks));
        }
    }
}

/// What a task may keep, in MiB: the smallest that one of its containers' labels says, else its `ephemeralStorage`.
fn storage_mib(content: &TaskDefinitionContent) -> u64 {
    let containers = content.container_definitions.iter();
    // Checked when it was registered.
    let settings = containers.filter_map(|container| ContainerSettings::of(container).ok());
    let label = settings.filter_map(|settings| settings.ephemeral_storage_mib).min().map(u64::from);
    label.or_else(|| content.ephemeral_storage_gib().map(|gib| gib * 1024)).unwrap_or(DEFAULT_STORAGE_MIB)
}

impl TaskVolumes {
    /// All that a container sees, its root first.
    pub(super) fn mounts(
        &self,
        content: &TaskDefinitionContent,
        container: &ContainerDefinition,
    ) -> Result<Vec<Mount>, StartFailure> {
        let points = content.mount_points(container);
        let mut mounts = Vec::with_capacity(points.len() + 1);
        // A volume may be mounted there instead.
        if points.iter().all(|point| point.container_path != "/") {
            mounts.push(Mount {
                source: self.ephemeral(Path::new("root").join(&container.name)),
                guest: "/".to_owned(),
                read_only: container.has_read_only_root(),
            });
        }
        for point in points {
            let volume = content.volumes.iter().find(|volume| volume.name == point.source_volume);
            let volume = volume.ok_or_else(|| {
                failure(
                    StartFailureKind::ResourceInitialization,
                    format!("there is no volume '{}'", point.source_volume),
                )
            })?;
            mounts.push(Mount {
                source: self.source(volume)?,
                guest: point.container_path,
                read_only: point.read_only,
            });
        }
        Ok(mounts)
    }

    /// The directory behind a volume. One without a host path lives as long as the task: "If the host parameter is empty, then the Docker daemon
    /// assigns a host path ... the data isn't guaranteed to persist".
    fn source(&self, volume: &Volume) -> Result<MountSource, StartFailure> {
        let refuse = |why: String| {
            failure(StartFailureKind::ResourceInitialization, format!("volume '{}': {why}", volume.name))
        };
        if let Some(path) = volume.host.as_ref().and_then(|host| host.source_path.as_ref()) {
            let path = PathBuf::from(path);
            return if path.is_dir() {
                Ok(MountSource::Host(path))
            } else {
                Err(refuse(format!("{} is not a directory", path.display())))
            };
        }
        if let Some(docker) = docker_volume(volume).map_err(refuse)?
            && docker.scope == Scope::Shared
        {
            return self.named(volume, &docker).map(MountSource::Host).map_err(refuse);
        }
        // Its name may hold anything; a directory's may not.
        let name: String = volume.name.bytes().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.ephemeral(Path::new("volumes").join(name)))
    }

    fn named(&self, volume: &Volume, docker: &DockerVolume) -> Result<PathBuf, String> {
        let Some(named) = &self.named else {
            return Err(
                "a volume that outlives its task needs a data directory, and there is none".to_owned()
            );
        };
        let path = named.join(&volume.name);
        if docker.autoprovision {
            fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        } else if !path.is_dir() {
            return Err("it does not exist, and autoprovision is not set".to_owned());
        }
        Ok(path)
    }

    fn ephemeral(&self, name: PathBuf) -> MountSource {
        MountSource::Ephemeral { storage: Arc::clone(&self.storage), name }
    }
}

/// Whether a volume is one that can be had here.
pub(super) fn check(volume: &Volume) -> Result<(), String> {
    let unsupported = [
        ("efsVolumeConfiguration", volume.efs_volume_configuration.is_some()),
        (
            "fsxWindowsFileServerVolumeConfiguration",
            volume.fsx_windows_file_server_volume_configuration.is_some(),
        ),
        ("configuredAtLaunch", volume.configured_at_launch == Some(true)),
    ];
    if let Some((field, _)) = unsupported.iter().find(|(_, set)| *set) {
        return Err(format!("{field} is not supported"));
    }
    docker_volume(volume).map(drop)
}

fn docker_volume(volume: &Volume) -> Result<Option<DockerVolume>, String> {
    let Some(value) = &volume.docker_volume_configuration else { return Ok(None) };
    if volume.host.as_ref().is_some_and(|host| host.source_path.is_some()) {
        return Err("host and dockerVolumeConfiguration exclude each other".to_owned());
    }
    let docker: DockerVolume = serde_path_to_error::deserialize(value)
        .map_err(|error| format!("dockerVolumeConfiguration.{}: {}", error.path(), error.inner()))?;
    if let Some(driver) = docker.driver.as_deref().filter(|driver| *driver != "local") {
        return Err(format!("dockerVolumeConfiguration.driver must be local, not {driver:?}"));
    }
    // It becomes a directory's name.
    let plain = |name: &str| {
        !name.is_empty()
            && name.len() <= MAX_VOLUME_NAME
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if docker.scope == Scope::Shared && !plain(&volume.name) {
        return Err(
            "the name of a shared volume has letters, numbers, hyphens and underscores, up to 255".to_owned()
        );
    }
    Ok(Some(docker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume(fields: serde_json::Value) -> Volume {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn volumes_that_cannot_be_had_are_refused_by_field() {
        for (fields, part) in [
            (json!({"name": "a", "efsVolumeConfiguration": {}}), "efsVolumeConfiguration"),
            (json!({"name": "a", "configuredAtLaunch": true}), "configuredAtLaunch"),
            (json!({"name": "a", "dockerVolumeConfiguration": {"driver": "nfs"}}), "driver must be local"),
            (json!({"name": "a", "dockerVolumeConfiguration": {"scope": "world"}}), "scope"),
            (json!({"name": "../a", "dockerVolumeConfiguration": {"scope": "shared"}}), "letters"),
            (json!({"name": "a", "host": {"sourcePath": "/a"}, "dockerVolumeConfiguration": {}}), "exclude"),
        ] {
            let refused = check(&volume(fields.clone())).unwrap_err();
            assert!(refused.contains(part), "{fields}: {refused}");
        }
        for fields in [
            json!({"name": "a"}),
            json!({"name": "a", "host": {}}),
            json!({"name": "../a", "host": {"sourcePath": "/a"}}),
            json!({"name": "a", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local", "labels": {}}}),
        ] {
            assert_eq!(check(&volume(fields.clone())), Ok(()), "{fields}");
        }
    }
}
