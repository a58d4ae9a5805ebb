//! Preview 1: wasmtime's implementation, whose descriptors nobody else can see into, with the charges around it.

use super::ChargedFile;
use super::descriptors::{Descriptors, ListingError, Opened};
use super::mounts::Mounts;
use super::operations::resize;
use super::quota::{Found, NewName, NoSpace, Quota, Write};
use crate::limits::MAX_SUBSCRIPTIONS;
use crate::memory::{MemoryAccount, MemoryExceeded};
use std::collections::BTreeSet;
use std::sync::Arc;
use types::{Errno, Fd, Fdflags, Filesize, Lookupflags, Oflags, Rights, Size};
use wasmtime::component::Resource;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wasmtime_wasi::p1::{WasiP1Ctx, types};
use wasmtime_wasi::p2::FsError;
use wiggle::{GuestMemory, GuestPtr};

type Result<T> = std::result::Result<T, types::Error>;
type Memory<'a> = GuestMemory<'a>;

/// The number of the first mounted directory: 0 to 2 are the standard streams.
const FIRST_DIRECTORY: u32 = 3;

/// Preview 1's host functions within a task's limits.
pub struct ModuleWasi {
    wasi: WasiP1Ctx,
    descriptors: Descriptors,
    /// Those that write to the end, wherever they are.
    appending: BTreeSet<u32>,
}

impl std::fmt::Debug for ModuleWasi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ModuleWasi").field("descriptors", &self.descriptors).finish_non_exhaustive()
    }
}

impl From<NoSpace> for types::Error {
    fn from(_: NoSpace) -> Self {
        Errno::Nospc.into()
    }
}

impl From<ListingError> for types::Error {
    fn from(error: ListingError) -> Self {
        match error {
            ListingError::Io(error) => FsError::from(error).into(),
            ListingError::TooLong => Errno::Nomem.into(),
            ListingError::Memory => Self::trap(MemoryExceeded.into()),
        }
    }
}

impl ModuleWasi {
    /// `wasi`, which must have no directories of its own, with the container's.
    pub fn new(mut wasi: WasiP1Ctx, mounts: &Arc<Mounts>, memory: Arc<MemoryAccount>) -> Self {
        let mut descriptors = Descriptors::new(mounts.clone(), memory);
        let (directories, mounted) = mounts.preview1();
        *wasi.ctx().ctx.filesystem() = directories;
        for (number, mount) in (FIRST_DIRECTORY..).zip(mounted) {
            descriptors.insert(number, Opened { mount, ..Opened::default() });
        }
        Self { wasi, descriptors, appending: BTreeSet::new() }
    }

    /// What limits the directory; `None` where nothing does. Fails where it is no descriptor at all.
    fn quota(&self, fd: Fd) -> Option<Arc<Quota>> {
        self.descriptors.quota(fd.into())
    }

    fn charged(&self, fd: Fd) -> Option<ChargedFile> {
        let opened = self.descriptors.opened(fd.into())?;
        Some((opened.file.clone()?, opened.charged.clone()?))
    }

    /// Each mount is a file system of its own.
    fn same_mount(&self, one: Fd, other: Fd) -> Result<()> {
        let mount = |fd: Fd| self.descriptors.opened(fd.into()).map(|opened| opened.mount);
        match (mount(one), mount(other)) {
            (Some(one), Some(other)) if one != other => Err(Errno::Xdev.into()),
            _ => Ok(()), // descriptors that are none are found out by wasmtime
        }
    }

    async fn find(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
    ) -> Option<Found> {
        let stat = self.wasi.path_filestat_get(memory, fd, flags, path).await.ok()?;
        let is_file = stat.filetype == types::Filetype::RegularFile;
        Some(Found { identity: stat.ino, is_file, size: stat.size, links: stat.nlink })
    }

    /// The number under which the next descriptor will be in wasmtime's table: it uses the freed one first.
    fn next_in_table(&mut self) -> Result<u32> {
        let table = self.wasi.ctx().table;
        let probe = table.push(()).map_err(|error| types::Error::trap(error.into()))?;
        let number = probe.rep();
        table.delete(probe).map_err(|error| types::Error::trap(error.into()))?;
        Ok(number)
    }

    /// Remembers what was opened.
    async fn opened(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        in_table: u32,
        mut opened: Opened,
    ) -> Result<()> {
        let descriptor = self.wasi.ctx().table.get(&Resource::<Descriptor>::new_borrow(in_table)).cloned();
        let descriptor = descriptor.map_err(|error| types::Error::trap(error.into()))?;
        match descriptor {
            Descriptor::Dir(dir) => opened.file = Some(dir.dir),
            Descriptor::File(file) => {
                if let Some(quota) = self.descriptors.mounts().quota(opened.mount).cloned() {
                    let stat = self.wasi.fd_filestat_get(memory, fd).await?;
                    opened.charged = Some(quota.opened(stat.ino, stat.size));
                }
                opened.file = Some(file.file);
            }
        }
        self.descriptors.insert(fd.into(), opened);
        Ok(())
    }

    /// Charges for what one call will write: preview 1's first buffer that is not empty.
    fn charge(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        (_, charged): &ChargedFile,
        buffers: types::CiovecArray,
        offset: Option<Filesize>,
    ) -> Result<(Write, Size)> {
        let mut length = 0;
        for buffer in buffers.iter() {
            length = memory.read(buffer?)?.buf_len;
            if length > 0 {
                break;
            }
        }
        // "pwrite appends data to the end of the file, regardless of the value of offset", where it was opened to append.
        let write = if self.appending.contains(&fd.into()) {
            charged.append(u64::from(length))?
        } else {
            let offset = match offset {
                Some(offset) => offset,
                None => self.wasi.fd_tell(memory, fd)?,
            };
            charged.write_to(offset.saturating_add(u64::from(length)))?
        };
        Ok((write, length))
    }

    fn note_flags(&mut self, fd: Fd, flags: Fdflags) {
        if flags.contains(Fdflags::APPEND) {
            self.appending.insert(fd.into());
        } else {
            self.appending.remove(&fd.into());
        }
    }
}

/// Hands host functions on to wasmtime's, unchanged.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name(&mut self, memory: &mut Memory<'_>, $($argument: $type),*) -> $output {
            self.wasi.$name(memory, $($argument),*)
        })*
    };
}

/// The same for functions that wait.
macro_rules! delegate_async {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(async fn $name(&mut self, memory: &mut Memory<'_>, $($argument: $type),*) -> $output {
            self.wasi.$name(memory, $($argument),*).await
        })*
    };
}

impl WasiSnapshotPreview1 for ModuleWasi {
    fn set_hostcall_fuel(&mut self, fuel: usize) {
        self.wasi.set_hostcall_fuel(fuel);
    }

    async fn path_open(
        &mut self,
        memory: &mut Memory<'_>,
        directory: Fd,
        lookup: Lookupflags,
        path: GuestPtr<str>,
        mut oflags: Oflags,
        mut rights: Rights,
        inheriting: Rights,
        flags: Fdflags,
    ) -> Result<Fd> {
        let mount = self.descriptors.opened(directory.into()).map(|opened| opened.mount).unwrap_or_default();
        let slot = self.descriptors.open_one().ok_or(Errno::Mfile)?;
        let quota = self.quota(directory);
        let mut truncate = false;
        let mut new_name = None;
        let mut names = None;
        if let Some(quota) = &quota {
            // As in `operations::open_at`.
            names = Some(quota.names().await);
            if oflags.contains(Oflags::CREAT) && self.find(memory, directory, lookup, path).await.is_none() {
                new_name = Some(quota.charge_name()?);
            }
            if oflags.contains(Oflags::TRUNC) && !oflags.contains(Oflags::DIRECTORY) {
                truncate = true;
                oflags &= !Oflags::TRUNC;
                rights |= Rights::FD_WRITE;
            }
        }
        // Has wasmtime set up its table, so that the file is the next thing in it.
        drop(self.wasi.fd_prestat_get(memory, directory));
        let in_table = self.next_in_table()?;
        let fd =
            self.wasi.path_open(memory, directory, lookup, path, oflags, rights, inheriting, flags).await?;
        if let Some(name) = new_name {
            NewName::made(name);
        }
        self.note_flags(fd, flags);
        let opened = Opened { mount, _slot: Some(slot), ..Opened::default() };
        self.opened(memory, fd, in_table, opened).await?;
        drop(names);
        if truncate && let Some((file, charged)) = self.charged(fd) {
            resize(&charged, &file, 0).await?;
        }
        Ok(fd)
    }

    async fn fd_write(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        buffers: types::CiovecArray,
    ) -> Result<Size> {
        let Some(file) = self.charged(fd) else { return self.wasi.fd_write(memory, fd, buffers).await };
        let (write, length) = self.charge(memory, fd, &file, buffers, None)?;
        let written = self.wasi.fd_write(memory, fd, buffers).await;
        write.finish(matches!(written, Ok(written) if written == length), &file.0);
        written
    }

    async fn fd_pwrite(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        buffers: types::CiovecArray,
        offset: Filesize,
    ) -> Result<Size> {
        let Some(file) = self.charged(fd) else {
            return self.wasi.fd_pwrite(memory, fd, buffers, offset).await;
        };
        let (write, length) = self.charge(memory, fd, &file, buffers, Some(offset))?;
        let written = self.wasi.fd_pwrite(memory, fd, buffers, offset).await;
        write.finish(matches!(written, Ok(written) if written == length), &file.0);
        written
    }

    async fn fd_filestat_set_size(&mut self, memory: &mut Memory<'_>, fd: Fd, size: Filesize) -> Result<()> {
        let Some((file, charged)) = self.charged(fd) else {
            return self.wasi.fd_filestat_set_size(memory, fd, size).await;
        };
        let write = charged.resize(size)?;
        let resized = self.wasi.fd_filestat_set_size(memory, fd, size).await;
        write.finish(false, &file);
        resized
    }

    async fn fd_readdir(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        buffer: GuestPtr<u8>,
        length: Size,
        cookie: types::Dircookie,
    ) -> Result<Size> {
        let directory = self.descriptors.directory(fd.into()).ok_or(Errno::Badf)?;
        // wasmtime reads it whole for each call, and lets it go at its end.
        let _listing = self.descriptors.list(directory).await?;
        self.wasi.fd_readdir(memory, fd, buffer, length, cookie).await
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut Memory<'_>,
        subscriptions: GuestPtr<types::Subscription>,
        events: GuestPtr<types::Event>,
        count: Size,
    ) -> Result<Size> {
        if count > MAX_SUBSCRIPTIONS {
            return Err(Errno::Inval.into());
        }
        self.wasi.poll_oneoff(memory, subscriptions, events, count).await
    }

    async fn fd_close(&mut self, memory: &mut Memory<'_>, fd: Fd) -> Result<()> {
        self.wasi.fd_close(memory, fd).await?;
        self.appending.remove(&fd.into());
        self.descriptors.close(fd.into());
        Ok(())
    }

    async fn fd_renumber(&mut self, memory: &mut Memory<'_>, from: Fd, to: Fd) -> Result<()> {
        self.wasi.fd_renumber(memory, from, to).await?;
        let (from, to) = (from.into(), to.into());
        if from != to {
            self.descriptors.renumber(from, to);
            if self.appending.remove(&from) {
                self.appending.insert(to);
            } else {
                self.appending.remove(&to);
            }
        }
        Ok(())
    }

    fn fd_fdstat_set_flags(&mut self, memory: &mut Memory<'_>, fd: Fd, flags: Fdflags) -> Result<()> {
        self.wasi.fd_fdstat_set_flags(memory, fd, flags)?;
        self.note_flags(fd, flags);
        Ok(())
    }

    async fn path_create_directory(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        let Some(quota) = self.quota(fd) else {
            return self.wasi.path_create_directory(memory, fd, path).await;
        };
        let _names = quota.names().await;
        let name = quota.charge_name()?;
        self.wasi.path_create_directory(memory, fd, path).await?;
        name.made();
        Ok(())
    }

    async fn path_symlink(
        &mut self,
        memory: &mut Memory<'_>,
        target: GuestPtr<str>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        let Some(quota) = self.quota(fd) else {
            return self.wasi.path_symlink(memory, target, fd, path).await;
        };
        let _names = quota.names().await;
        let name = quota.charge_name()?;
        self.wasi.path_symlink(memory, target, fd, path).await?;
        name.made();
        Ok(())
    }

    async fn path_link(
        &mut self,
        memory: &mut Memory<'_>,
        old: Fd,
        flags: Lookupflags,
        old_path: GuestPtr<str>,
        new: Fd,
        new_path: GuestPtr<str>,
    ) -> Result<()> {
        self.same_mount(old, new)?;
        let Some(quota) = self.quota(old) else {
            return self.wasi.path_link(memory, old, flags, old_path, new, new_path).await;
        };
        let _names = quota.names().await;
        let name = quota.charge_name()?;
        self.wasi.path_link(memory, old, flags, old_path, new, new_path).await?;
        name.made();
        Ok(())
    }

    async fn path_rename(
        &mut self,
        memory: &mut Memory<'_>,
        old: Fd,
        old_path: GuestPtr<str>,
        new: Fd,
        new_path: GuestPtr<str>,
    ) -> Result<()> {
        self.same_mount(old, new)?;
        let Some(quota) = self.quota(old) else {
            return self.wasi.path_rename(memory, old, old_path, new, new_path).await;
        };
        let _names = quota.names().await;
        let replaced = self.find(memory, new, Lookupflags::empty(), new_path).await;
        let moved = self.find(memory, old, Lookupflags::empty(), old_path).await;
        self.wasi.path_rename(memory, old, old_path, new, new_path).await?;
        Found::replaced(replaced, moved, &quota);
        Ok(())
    }

    async fn path_unlink_file(&mut self, memory: &mut Memory<'_>, fd: Fd, path: GuestPtr<str>) -> Result<()> {
        let Some(quota) = self.quota(fd) else { return self.wasi.path_unlink_file(memory, fd, path).await };
        let _names = quota.names().await;
        let found = self.find(memory, fd, Lookupflags::empty(), path).await;
        self.wasi.path_unlink_file(memory, fd, path).await?;
        if let Some(found) = found {
            found.removed(&quota);
        }
        Ok(())
    }

    async fn path_remove_directory(
        &mut self,
        memory: &mut Memory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        let Some(quota) = self.quota(fd) else {
            return self.wasi.path_remove_directory(memory, fd, path).await;
        };
        let _names = quota.names().await;
        self.wasi.path_remove_directory(memory, fd, path).await?;
        quota.name_removed();
        Ok(())
    }

    /// As it is: wasmtime's own traps on codes from 126 up, which mean nothing special here.
    fn proc_exit(&mut self, _: &mut Memory<'_>, code: types::Exitcode) -> wasmtime::Error {
        // The lowest byte, as a process's parent sees it.
        wasmtime_wasi::I32Exit((code & 0xff).cast_signed()).into()
    }

    delegate! {
        args_get(argv: GuestPtr<GuestPtr<u8>>, buffer: GuestPtr<u8>) -> Result<()>;
        args_sizes_get() -> Result<(Size, Size)>;
        environ_get(environ: GuestPtr<GuestPtr<u8>>, buffer: GuestPtr<u8>) -> Result<()>;
        environ_sizes_get() -> Result<(Size, Size)>;
        clock_res_get(id: types::Clockid) -> Result<types::Timestamp>;
        clock_time_get(id: types::Clockid, precision: types::Timestamp) -> Result<types::Timestamp>;
        fd_allocate(fd: Fd, offset: Filesize, length: Filesize) -> Result<()>;
        fd_fdstat_set_rights(fd: Fd, base: Rights, inheriting: Rights) -> Result<()>;
        fd_prestat_get(fd: Fd) -> Result<types::Prestat>;
        fd_prestat_dir_name(fd: Fd, path: GuestPtr<u8>, length: Size) -> Result<()>;
        fd_tell(fd: Fd) -> Result<Filesize>;
        proc_raise(signal: types::Signal) -> Result<()>;
        sched_yield() -> Result<()>;
        random_get(buffer: GuestPtr<u8>, length: Size) -> Result<()>;
        sock_accept(fd: Fd, flags: Fdflags) -> Result<Fd>;
        sock_recv(fd: Fd, data: types::IovecArray, flags: types::Riflags) -> Result<(Size, types::Roflags)>;
        sock_send(fd: Fd, data: types::CiovecArray, flags: types::Siflags) -> Result<Size>;
        sock_shutdown(fd: Fd, how: types::Sdflags) -> Result<()>;
    }

    delegate_async! {
        fd_advise(fd: Fd, offset: Filesize, length: Filesize, advice: types::Advice) -> Result<()>;
        fd_datasync(fd: Fd) -> Result<()>;
        fd_fdstat_get(fd: Fd) -> Result<types::Fdstat>;
        fd_filestat_get(fd: Fd) -> Result<types::Filestat>;
        fd_filestat_set_times(fd: Fd, access: types::Timestamp, modification: types::Timestamp, flags: types::Fstflags) -> Result<()>;
        fd_read(fd: Fd, buffers: types::IovecArray) -> Result<Size>;
        fd_pread(fd: Fd, buffers: types::IovecArray, offset: Filesize) -> Result<Size>;
        fd_seek(fd: Fd, offset: types::Filedelta, whence: types::Whence) -> Result<Filesize>;
        fd_sync(fd: Fd) -> Result<()>;
        path_filestat_get(fd: Fd, flags: Lookupflags, path: GuestPtr<str>) -> Result<types::Filestat>;
        path_filestat_set_times(fd: Fd, flags: Lookupflags, path: GuestPtr<str>, access: types::Timestamp, modification: types::Timestamp, fst: types::Fstflags) -> Result<()>;
        path_readlink(fd: Fd, path: GuestPtr<str>, buffer: GuestPtr<u8>, length: Size) -> Result<Size>;
    }
}
