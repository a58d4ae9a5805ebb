//! `wasi:filesystem` 0.2.

use super::TaskFiles;
use super::descriptors::ListingError;
use super::operations::resize;
use super::stream::{ChargedStream, Place};
use crate::memory::MemoryExceeded;
use std::mem;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream,
    ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp,
    OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, StreamError};

/// Stands in for a stream while it is being wrapped.
struct NoStream;

#[wasmtime_wasi::async_trait]
impl wasmtime_wasi::p2::Pollable for NoStream {
    async fn ready(&mut self) {}
}

impl OutputStream for NoStream {
    fn write(&mut self, _: bytes::Bytes) -> Result<(), StreamError> {
        Err(StreamError::Closed)
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Err(StreamError::Closed)
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Err(StreamError::Closed)
    }
}

impl TaskFiles<'_> {
    /// Puts the charge of the file between the guest and a stream into it.
    fn charge_stream(
        &mut self,
        fd: u32,
        stream: Resource<DynOutputStream>,
        place: Place,
    ) -> FsResult<Resource<DynOutputStream>> {
        if let Some((file, charged)) = self.charged(fd) {
            let slot = self.inner.table.get_mut(&stream)?;
            let inner = mem::replace(slot, Box::new(NoStream));
            *slot = Box::new(ChargedStream::new(inner, file, charged, place));
        }
        Ok(stream)
    }
}

impl From<ListingError> for FsError {
    fn from(error: ListingError) -> Self {
        match error {
            ListingError::Io(error) => error.into(),
            ListingError::TooLong => ErrorCode::InsufficientMemory.into(),
            ListingError::Memory => Self::trap(MemoryExceeded),
        }
    }
}

impl preopens::Host for TaskFiles<'_> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        self.directories()
    }
}

impl types::Host for TaskFiles<'_> {
    fn convert_error_code(&mut self, error: FsError) -> Result<ErrorCode> {
        types::Host::convert_error_code(&mut self.inner, error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        self.inner.filesystem_error_code(error)
    }
}

/// Hands host functions on to wasmtime's, unchanged.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(async fn $name(&mut self, fd: Resource<Descriptor>, $($argument: $type),*) -> $output {
            HostDescriptor::$name(&mut self.inner, fd, $($argument),*).await
        })*
    };
}

impl HostDescriptor for TaskFiles<'_> {
    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let directory = self.directory(&fd)?;
        let slot = self.open_one()?;
        let (descriptor, charged) = directory.open_at(path_flags, path, open_flags, flags).await?;
        self.opened(directory.mount, slot, descriptor, charged)
    }

    async fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.directory(&fd)?.create_directory_at(path).await
    }

    async fn symlink_at(&mut self, fd: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        self.directory(&fd)?.symlink_at(target, path).await
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let new = self.directory(&new_fd)?;
        self.directory(&fd)?.link_at(flags, old_path, &new, new_path).await
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let new = self.directory(&new_fd)?;
        self.directory(&fd)?.rename_at(old_path, &new, new_path).await
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.directory(&fd)?.unlink_file_at(path).await
    }

    async fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.directory(&fd)?.remove_directory_at(path).await
    }

    async fn write(
        &mut self,
        fd: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let Some((file, charged)) = self.charged(fd.rep()) else {
            return HostDescriptor::write(&mut self.inner, fd, bytes, offset).await;
        };
        let length = bytes.len() as u64;
        let write = charged.write_to(offset.saturating_add(length))?;
        let written = HostDescriptor::write(&mut self.inner, fd, bytes, offset).await;
        write.finish(matches!(&written, Ok(written) if *written == length), &file);
        written
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        match self.charged(fd.rep()) {
            Some((file, charged)) if self.is_writable(&fd)? => resize(&charged, &file, size).await,
            _ => self.inner.set_size(fd, size).await,
        }
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let number = fd.rep();
        let stream = self.inner.write_via_stream(fd, offset)?;
        self.charge_stream(number, stream, Place::At(offset))
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let number = fd.rep();
        let stream = self.inner.append_via_stream(fd)?;
        self.charge_stream(number, stream, Place::End)
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        self.inner.read_via_stream(fd, offset)
    }

    async fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let directory = self.directory(&fd)?.dir.dir;
        let listing = self.descriptors.list(directory).await?;
        let stream = self.inner.read_directory(fd).await?;
        self.descriptors.listed(stream.rep(), listing);
        Ok(stream)
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> Result<bool> {
        self.inner.is_same_object(one, other).await
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> Result<()> {
        let number = fd.rep();
        HostDescriptor::drop(&mut self.inner, fd)?;
        self.descriptors.close(number);
        Ok(())
    }

    delegate! {
        advise(offset: Filesize, length: Filesize, advice: Advice) -> FsResult<()>;
        sync_data() -> FsResult<()>;
        get_flags() -> FsResult<DescriptorFlags>;
        get_type() -> FsResult<DescriptorType>;
        set_times(access: NewTimestamp, modification: NewTimestamp) -> FsResult<()>;
        read(length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)>;
        sync() -> FsResult<()>;
        stat() -> FsResult<DescriptorStat>;
        stat_at(flags: PathFlags, path: String) -> FsResult<DescriptorStat>;
        set_times_at(flags: PathFlags, path: String, access: NewTimestamp, modification: NewTimestamp) -> FsResult<()>;
        readlink_at(path: String) -> FsResult<String>;
        metadata_hash() -> FsResult<MetadataHashValue>;
        metadata_hash_at(flags: PathFlags, path: String) -> FsResult<MetadataHashValue>;
    }
}

impl HostDirectoryEntryStream for TaskFiles<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.inner.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> Result<()> {
        let number = stream.rep();
        HostDirectoryEntryStream::drop(&mut self.inner, stream)?;
        self.descriptors.close_listing(number);
        Ok(())
    }
}
