//! The directories that a container's guests see, opened once and shared by all of its instances.

use super::quota::{Quota, StorageLimits};
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use wasmtime_wasi::filesystem::{Dir, WasiFilesystemCtx};
use wasmtime_wasi::{FsPerms, OpenMode, WasiCtxBuilder};

/// Files, directories and streams over them that the instances of one container may have open at once, at the most: Linux's own default for
/// a process (`ulimit -n`). Every one costs the host process a descriptor.
pub const MAX_OPEN_FILES: usize = 1024;

/// A task's own directories under one limit. They come to be when a guest first asks for its directories, and are removed with
/// the last handle to this.
#[derive(Debug)]
pub struct EphemeralStorage {
    directory: PathBuf,
    quota: Arc<Quota>,
}

impl EphemeralStorage {
    /// Storage below `directory`, which must belong to nobody else and need not exist.
    pub fn new(directory: PathBuf, limits: StorageLimits) -> Arc<Self> {
        Arc::new(Self { directory, quota: Quota::new(limits) })
    }

    /// What is used and may be used of it.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }
}

impl Drop for EphemeralStorage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.directory.display(), "cannot remove a task's files");
        }
    }
}

/// Where a mounted directory is.
#[derive(Clone, Debug)]
pub enum MountSource {
    /// A directory of the host, without a limit of its own.
    Host(PathBuf),
    /// The directory of this name in a task's own storage, empty at first.
    Ephemeral {
        /// The storage.
        storage: Arc<EphemeralStorage>,
        /// A relative path of plain names.
        name: PathBuf,
    },
}

impl MountSource {
    /// Where it is on the host. One of a task's own may not exist yet.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Host(path) => path.clone(),
            Self::Ephemeral { storage, name } => storage.directory.join(name),
        }
    }
}

/// A directory that a guest sees.
#[derive(Clone, Debug)]
pub struct Mount {
    /// What it sees.
    pub source: MountSource,
    /// Where it sees it: an absolute path. `/` is where relative paths begin.
    pub guest: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

impl Mount {
    /// A directory of the host.
    pub fn host(path: impl Into<PathBuf>, guest: impl Into<String>, read_only: bool) -> Self {
        Self { source: MountSource::Host(path.into()), guest: guest.into(), read_only }
    }
}

/// All that the instances of one container share of their files.
#[derive(Debug, Default)]
pub struct Mounts {
    mounts: Vec<Mounted>,
    most_open: usize,
    open: Arc<AtomicUsize>,
}

struct Mounted {
    mount: Mount,
    /// `None` inside: it could not be had when it was first asked for.
    directory: OnceLock<Option<Dir>>,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.mount.fmt(formatter)
    }
}

impl Mounts {
    /// Opens the host's directories; a task's own are made when they are first asked for, which for most handlers is never. All
    /// instances together may have `most_open` files open, and no more than [`MAX_OPEN_FILES`].
    ///
    /// # Errors
    /// The directory that cannot be opened, and why.
    pub fn open(mounts: Vec<Mount>, most_open: usize) -> Result<Self, (PathBuf, io::Error)> {
        let mut opened = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let directory = OnceLock::new();
            if let MountSource::Host(path) = &mount.source {
                let file = open_directory(path).map_err(|error| (path.clone(), error))?;
                directory.get_or_init(|| Some(as_dir(file, mount.read_only)));
            }
            opened.push(Mounted { mount, directory });
        }
        Ok(Self { mounts: opened, most_open: most_open.min(MAX_OPEN_FILES), open: Arc::default() })
    }

    /// The mounted directories, each with its index and the guest's path. One that cannot be had (the host's disk is full) is left
    /// out: the guest then finds nothing at that path.
    pub(super) fn directories(&self) -> impl Iterator<Item = (usize, Dir, &str)> {
        self.mounts.iter().enumerate().filter_map(|(index, mounted)| {
            let directory = mounted.directory.get_or_init(|| self.make(&mounted.mount));
            Some((index, directory.clone()?, mounted.mount.guest.as_str()))
        })
    }

    /// A mounted directory that has been opened.
    pub(super) fn directory(&self, index: usize) -> Option<Arc<File>> {
        Some(self.mounts.get(index)?.directory.get()?.as_ref()?.dir.clone())
    }

    /// The limit that what lies in a mount counts against.
    pub(super) fn quota(&self, index: usize) -> Option<&Arc<Quota>> {
        match &self.mounts.get(index)?.mount.source {
            MountSource::Ephemeral { storage, .. } => Some(&storage.quota),
            MountSource::Host(_) => None,
        }
    }

    /// One more open file, unless there are too many.
    pub(super) fn open_one(&self) -> Option<OpenSlot> {
        let slot = OpenSlot(self.open.clone());
        (self.open.fetch_add(1, Ordering::Relaxed) < self.most_open).then_some(slot)
    }

    /// The same directories in the form that preview 1's implementation takes: it opens them by their paths.
    pub(super) fn preview1(&self) -> (WasiFilesystemCtx, Vec<usize>) {
        let mut builder = WasiCtxBuilder::new();
        let mut indices = Vec::new();
        for (index, directory, guest) in self.directories() {
            let path = match &self.mounts[index].mount.source {
                MountSource::Host(path) => path.clone(),
                MountSource::Ephemeral { storage, name } => storage.directory.join(name),
            };
            match builder.preopened_dir(&path, guest, directory.perms) {
                Ok(_) => indices.push(index),
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "cannot open a mounted directory")
                }
            }
        }
        (builder.build().filesystem().clone(), indices)
    }

    fn make(&self, mount: &Mount) -> Option<Dir> {
        let MountSource::Ephemeral { storage, name } = &mount.source else { return None };
        let path = storage.directory.join(name);
        let made = fs::create_dir_all(&path).and_then(|()| {
            if mount.guest == "/" {
                self.make_mount_points(&path, &storage.quota);
            }
            open_directory(&path)
        });
        match made {
            Ok(file) => Some(as_dir(file, mount.read_only)),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot make a task's directory");
                None
            }
        }
    }

    /// Empty directories where other mounts are, so that a listing of `/` shows them.
    fn make_mount_points(&self, root: &Path, quota: &Arc<Quota>) {
        for mounted in &self.mounts {
            let mut path = root.to_owned();
            for component in Path::new(&mounted.mount.guest).components() {
                let Component::Normal(name) = component else { continue };
                path.push(name);
                let Ok(charged) = quota.charge_name() else { return };
                if fs::create_dir(&path).is_ok() {
                    charged.made();
                }
            }
        }
    }
}

/// A place among the files that may be open.
#[derive(Debug)]
pub(super) struct OpenSlot(Arc<AtomicUsize>);

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if !file.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(file)
}

fn as_dir(file: File, read_only: bool) -> Dir {
    let (perms, mode) = if read_only {
        (FsPerms::ReadOnly, OpenMode::READ)
    } else {
        (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
    };
    Dir::new(file, perms, mode, false)
}
