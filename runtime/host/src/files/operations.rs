//! What changes names and sizes in a mounted directory, for preview 2 and preview 3 alike: wasmtime's own operations, charged.
//!
//! wasmtime resolves every path below the directory it starts at, one component at a time or with `openat2`, so that neither
//! links nor `..` nor a rename meanwhile lead out of it. Nothing here looks at a path by itself; even whether a name exists is asked
//! through the same functions.

use super::quota::{Found, NoSpace, OpenFile, Quota};
use std::fs::File;
use std::io;
use std::sync::Arc;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult};

impl From<NoSpace> for FsError {
    fn from(full: NoSpace) -> Self {
        io::Error::from(full).into()
    }
}

/// An open directory and what limits what is in it.
pub(super) struct Directory {
    pub(super) dir: Dir,
    pub(super) mount: usize,
    pub(super) quota: Option<Arc<Quota>>,
}

/// wasmtime's operations work on tables; this is one for a single operation.
struct Scratch {
    table: ResourceTable,
    ctx: WasiFilesystemCtx,
    directory: u32,
}

impl Scratch {
    fn new(dir: &Dir) -> FsResult<Self> {
        let mut table = ResourceTable::new();
        let directory = table.push(Descriptor::Dir(dir.clone()))?.rep();
        Ok(Self { table, ctx: WasiFilesystemCtx::default(), directory })
    }

    fn fd(&self) -> Resource<Descriptor> {
        Resource::new_borrow(self.directory)
    }

    fn push(&mut self, descriptor: Descriptor) -> FsResult<Resource<Descriptor>> {
        Ok(Resource::new_borrow(self.table.push(descriptor)?.rep()))
    }

    fn view(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    /// What a path leads to; `None` where there is nothing, or nothing that may be seen.
    async fn find(&mut self, flags: PathFlags, path: &str) -> Option<Found> {
        let fd = self.fd();
        let stat = self.view().stat_at(fd, flags, path.to_owned()).await.ok()?;
        let fd = self.fd();
        let hash = self.view().metadata_hash_at(fd, flags, path.to_owned()).await.ok()?;
        let is_file = stat.type_ == DescriptorType::RegularFile;
        Some(Found { identity: hash.lower, is_file, size: stat.size, links: stat.link_count })
    }
}

impl Directory {
    pub(super) async fn open_at(
        &self,
        path_flags: PathFlags,
        path: String,
        mut open_flags: OpenFlags,
        mut flags: DescriptorFlags,
    ) -> FsResult<(Descriptor, Option<Arc<OpenFile>>)> {
        let mut scratch = Scratch::new(&self.dir)?;
        let mut truncate = false;
        let mut new_name = None;
        let mut names = None;
        if let Some(quota) = &self.quota {
            // Until the file is known to be open: else it could be removed, and its charge given back, in between.
            names = Some(quota.names().await);
            if open_flags.contains(OpenFlags::CREATE) && scratch.find(path_flags, &path).await.is_none() {
                new_name = Some(quota.charge_name()?);
            }
            // Truncating is a change of size, which is for the file's charge to follow: so open first, and then truncate.
            if open_flags.contains(OpenFlags::TRUNCATE) && !open_flags.contains(OpenFlags::DIRECTORY) {
                truncate = true;
                open_flags &= !OpenFlags::TRUNCATE;
                flags |= DescriptorFlags::WRITE;
            }
        }
        let fd = scratch.fd();
        let opened = scratch.view().open_at(fd, path_flags, path, open_flags, flags).await?;
        if let Some(name) = new_name {
            name.made();
        }
        let charged = match &self.quota {
            Some(quota) => charged(quota, &mut scratch, &opened).await?,
            None => None,
        };
        drop(names);
        let descriptor = scratch.table.delete(opened)?;
        if let (true, Some(charged), Descriptor::File(file)) = (truncate, &charged, &descriptor) {
            resize(charged, &file.file, 0).await?;
        }
        Ok((descriptor, charged))
    }

    pub(super) async fn create_directory_at(&self, path: String) -> FsResult<()> {
        let mut scratch = Scratch::new(&self.dir)?;
        let fd = scratch.fd();
        self.making(scratch.view().create_directory_at(fd, path)).await
    }

    pub(super) async fn symlink_at(&self, target: String, path: String) -> FsResult<()> {
        let mut scratch = Scratch::new(&self.dir)?;
        let fd = scratch.fd();
        self.making(scratch.view().symlink_at(fd, target, path)).await
    }

    pub(super) async fn link_at(
        &self,
        flags: PathFlags,
        old_path: String,
        new: &Self,
        new_path: String,
    ) -> FsResult<()> {
        self.same_mount(new)?;
        let mut scratch = Scratch::new(&self.dir)?;
        let fd = scratch.fd();
        let new_fd = scratch.push(Descriptor::Dir(new.dir.clone()))?;
        self.making(scratch.view().link_at(fd, flags, old_path, new_fd, new_path)).await
    }

    pub(super) async fn rename_at(&self, old_path: String, new: &Self, new_path: String) -> FsResult<()> {
        self.same_mount(new)?;
        let mut scratch = Scratch::new(&self.dir)?;
        let new_fd = scratch.push(Descriptor::Dir(new.dir.clone()))?;
        let fd = scratch.fd();
        let Some(quota) = &self.quota else {
            return scratch.view().rename_at(fd, old_path, new_fd, new_path).await;
        };
        let _names = quota.names().await;
        let replaced = Scratch::new(&new.dir)?.find(PathFlags::empty(), &new_path).await;
        let moved = scratch.find(PathFlags::empty(), &old_path).await;
        scratch.view().rename_at(fd, old_path, new_fd, new_path).await?;
        Found::replaced(replaced, moved, quota);
        Ok(())
    }

    pub(super) async fn unlink_file_at(&self, path: String) -> FsResult<()> {
        let mut scratch = Scratch::new(&self.dir)?;
        let fd = scratch.fd();
        let Some(quota) = &self.quota else { return scratch.view().unlink_file_at(fd, path).await };
        let _names = quota.names().await;
        let found = scratch.find(PathFlags::empty(), &path).await;
        scratch.view().unlink_file_at(fd, path).await?;
        if let Some(found) = found {
            found.removed(quota);
        }
        Ok(())
    }

    pub(super) async fn remove_directory_at(&self, path: String) -> FsResult<()> {
        let mut scratch = Scratch::new(&self.dir)?;
        let fd = scratch.fd();
        let Some(quota) = &self.quota else { return scratch.view().remove_directory_at(fd, path).await };
        let _names = quota.names().await;
        scratch.view().remove_directory_at(fd, path).await?;
        quota.name_removed();
        Ok(())
    }

    /// Makes one more name.
    async fn making(&self, operation: impl Future<Output = FsResult<()>>) -> FsResult<()> {
        let Some(quota) = &self.quota else { return operation.await };
        let _names = quota.names().await;
        let name = quota.charge_name()?;
        operation.await?;
        name.made();
        Ok(())
    }

    /// Each mount is a file system of its own, as bind mounts are, even where two lie in the same one of the host: a name that
    /// moved from one to the other would leave the limit of the first.
    fn same_mount(&self, other: &Self) -> Result<(), ErrorCode> {
        if self.mount == other.mount { Ok(()) } else { Err(ErrorCode::CrossDevice) }
    }
}

/// The charge that whoever has the opened file open shares, if it is one.
async fn charged(
    quota: &Arc<Quota>,
    scratch: &mut Scratch,
    opened: &Resource<Descriptor>,
) -> FsResult<Option<Arc<OpenFile>>> {
    let Descriptor::File(file) = scratch.table.get(opened)? else { return Ok(None) };
    let file = file.file.clone();
    let fd = Resource::new_borrow(opened.rep());
    let identity = scratch.view().metadata_hash(fd).await?.lower;
    Ok(Some(quota.opened(identity, file.metadata()?.len())))
}

/// Makes a file longer or shorter.
pub(super) async fn resize(charged: &Arc<OpenFile>, file: &Arc<File>, size: u64) -> FsResult<()> {
    let write = charged.resize(size)?;
    let resized = file.clone();
    let result = tokio::task::spawn_blocking(move || resized.set_len(size)).await;
    write.finish(false, file);
    // It cannot be cancelled, and has nothing that panics.
    result.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(FsError::from)
}
