//! What guests see of file systems: the mounted directories and nothing else, each limited as its task is.
//!
//! wasmtime keeps a guest below the directories it is given. This adds what a container needs beyond that:
//!
//! - [`quota`]: a limit on the bytes and the names a task keeps in its own directories, charged before they are used.
//! - [`mounts`]: directories opened once for a container, its own ones made when they are first asked for.
//! - `descriptors`: what an instance has open, and how much that may be.
//! - `operations`, `stream`: wasmtime's own operations, charged.
//! - `p1`, `p2`, `p3`: the three versions of WASI in front of them.

mod descriptors;
pub mod mounts;
mod operations;
mod p1;
mod p2;
mod p3;
pub mod quota;
mod stream;

pub use p1::ModuleWasi;

use crate::memory::MemoryAccount;
use crate::state::ComponentState;
use descriptors::{Descriptors, Opened};
use mounts::{Mounts, OpenSlot};
use operations::Directory;
use quota::OpenFile;
use std::fs::File;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem as filesystem_p2;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p3::bindings::filesystem as filesystem_p3;

/// A file, and the charge that follows its size.
type ChargedFile = (Arc<File>, Arc<OpenFile>);

/// The files that one instance of a component has open.
#[derive(Debug)]
pub struct InstanceFiles(Descriptors);

impl InstanceFiles {
    /// None yet, of a container with these mounts and this account.
    pub fn new(mounts: Arc<Mounts>, memory: Arc<MemoryAccount>) -> Self {
        Self(Descriptors::new(mounts, memory))
    }
}

/// wasmtime's file system functions within a task's limits.
pub struct TaskFiles<'a> {
    inner: WasiFilesystemCtxView<'a>,
    descriptors: &'a mut Descriptors,
}

impl std::fmt::Debug for TaskFiles<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TaskFiles").field("descriptors", &self.descriptors).finish_non_exhaustive()
    }
}

/// Marks [`TaskFiles`] as what the host functions work on.
struct HasTaskFiles;

impl HasData for HasTaskFiles {
    type Data<'a> = TaskFiles<'a>;
}

/// Adds the interfaces of both versions. The linker must allow shadowing where it has wasmtime's already.
pub(crate) fn add_preview2_to_linker(linker: &mut Linker<ComponentState>) -> Result<()> {
    let files = ComponentState::files;
    filesystem_p2::types::add_to_linker::<_, HasTaskFiles>(linker, files)?;
    filesystem_p2::preopens::add_to_linker::<_, HasTaskFiles>(linker, files)
}

/// The same for WASI 0.3.
pub(crate) fn add_preview3_to_linker(linker: &mut Linker<ComponentState>) -> Result<()> {
    let files = ComponentState::files;
    filesystem_p3::types::add_to_linker::<_, HasTaskFiles>(linker, files)?;
    filesystem_p3::preopens::add_to_linker::<_, HasTaskFiles>(linker, files)
}

impl<'a> TaskFiles<'a> {
    /// `inner`, within the limits of the mounts that `files` was made for.
    pub fn new(inner: WasiFilesystemCtxView<'a>, files: &'a mut InstanceFiles) -> Self {
        Self { inner, descriptors: &mut files.0 }
    }

    /// A handle to each mounted directory, and where the guest sees it.
    fn directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let mounts = self.descriptors.mounts().clone();
        let mut directories = Vec::new();
        for (mount, directory, guest) in mounts.directories() {
            let fd = self.inner.table.push(Descriptor::Dir(directory))?;
            self.descriptors.insert(fd.rep(), Opened { mount, ..Opened::default() });
            directories.push((fd, guest.to_owned()));
        }
        Ok(directories)
    }

    fn directory(&self, fd: &Resource<Descriptor>) -> FsResult<Directory> {
        let Descriptor::Dir(dir) = self.inner.table.get(fd)? else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let Some(opened) = self.descriptors.opened(fd.rep()) else {
            return Err(ErrorCode::BadDescriptor.into());
        };
        Ok(Directory { dir: dir.clone(), mount: opened.mount, quota: self.descriptors.quota(fd.rep()) })
    }

    /// A place for one more open file. Preview 2 and 3 have no code for "too many open files"; this is the nearest.
    fn open_one(&mut self) -> FsResult<OpenSlot> {
        self.descriptors.open_one().ok_or_else(|| ErrorCode::InsufficientMemory.into())
    }

    /// Hands a new descriptor to the guest.
    fn opened(
        &mut self,
        mount: usize,
        slot: OpenSlot,
        descriptor: Descriptor,
        charged: Option<Arc<OpenFile>>,
    ) -> FsResult<Resource<Descriptor>> {
        let file = match &descriptor {
            Descriptor::File(file) => file.file.clone(),
            Descriptor::Dir(dir) => dir.dir.clone(),
        };
        let fd = self.inner.table.push(descriptor)?;
        let opened = Opened { mount, file: Some(file), charged, _slot: Some(slot) };
        self.descriptors.insert(fd.rep(), opened);
        Ok(fd)
    }

    /// The file behind a descriptor, if its growth is charged.
    fn charged(&self, number: u32) -> Option<ChargedFile> {
        let opened = self.descriptors.opened(number)?;
        Some((opened.file.clone()?, opened.charged.clone()?))
    }

    /// Whether the mount lets the guest write.
    fn is_writable(&self, fd: &Resource<Descriptor>) -> FsResult<bool> {
        Ok(match self.inner.table.get(fd)? {
            Descriptor::File(file) => !file.perms.write_not_permitted(),
            Descriptor::Dir(_) => false,
        })
    }
}
