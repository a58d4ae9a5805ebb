//! `wasi:filesystem` 0.3.

mod write;

use super::operations::resize;
use super::{Directory, HasTaskFiles, TaskFiles};
use crate::state::ComponentState;
use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};
use wasmtime::{AsContextMut, Result};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize,
    HostDescriptor, HostDescriptorWithStore, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};
use write::ChargedConsumer;

type Store = Accessor<ComponentState, HasTaskFiles>;

/// How a stream or an operation that gives one ends.
type Ending = FutureReader<Result<(), ErrorCode>>;

impl preopens::Host for TaskFiles<'_> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        self.directories()
    }
}

impl types::Host for TaskFiles<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> Result<ErrorCode> {
        types::Host::convert_error_code(&mut self.inner, error)
    }
}

impl HostDescriptor for TaskFiles<'_> {
    fn drop(&mut self, fd: Resource<Descriptor>) -> Result<()> {
        let number = fd.rep();
        HostDescriptor::drop(&mut self.inner, fd)?;
        self.descriptors.close(number);
        Ok(())
    }
}

/// Runs something on this store's files.
fn with<R>(store: &Store, run: impl FnOnce(&mut TaskFiles<'_>) -> R) -> R {
    store.with(|mut access| run(&mut access.get()))
}

fn directory(store: &Store, fd: &Resource<Descriptor>) -> FilesystemResult<Directory> {
    with(store, |files| files.directory(fd)).map_err(to_p3)
}

/// wasmtime's own view of a store.
fn inner<'a>(
    access: &'a mut Access<'_, ComponentState, HasTaskFiles>,
) -> Access<'a, ComponentState, WasiFilesystem> {
    Access::<'a, ComponentState, WasiFilesystem>::new(access.as_context_mut(), wasmtime_files)
}

fn wasmtime_files(state: &mut ComponentState) -> WasiFilesystemCtxView<'_> {
    state.filesystem()
}

/// Hands host functions on to wasmtime's, unchanged.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(async fn $name(store: &Store, fd: Resource<Descriptor>, $($argument: $type),*) -> $output {
            let store = store.with_getter::<WasiFilesystem>(wasmtime_files);
            <WasiFilesystem as HostDescriptorWithStore<ComponentState>>::$name(&store, fd, $($argument),*).await
        })*
    };
}

impl HostDescriptorWithStore<ComponentState> for HasTaskFiles {
    async fn open_at(
        store: &Store,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FilesystemResult<Resource<Descriptor>> {
        let (directory, slot) =
            with(store, |files| Ok((files.directory(&fd)?, files.open_one()?))).map_err(to_p3)?;
        let opened = directory
            .open_at(path_flags_to_p2(path_flags), path, open_flags_to_p2(open_flags), flags_to_p2(flags))
            .await;
        let (descriptor, charged) = opened.map_err(to_p3)?;
        with(store, |files| files.opened(directory.mount, slot, descriptor, charged)).map_err(to_p3)
    }

    async fn create_directory_at(
        store: &Store,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        directory(store, &fd)?.create_directory_at(path).await.map_err(to_p3)
    }

    async fn symlink_at(
        store: &Store,
        fd: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FilesystemResult<()> {
        directory(store, &fd)?.symlink_at(target, path).await.map_err(to_p3)
    }

    async fn link_at(
        store: &Store,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FilesystemResult<()> {
        let new = directory(store, &new_fd)?;
        directory(store, &fd)?.link_at(path_flags_to_p2(flags), old_path, &new, new_path).await.map_err(to_p3)
    }

    async fn rename_at(
        store: &Store,
        fd: Resource<Descriptor>,
        old_path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FilesystemResult<()> {
        let new = directory(store, &new_fd)?;
        directory(store, &fd)?.rename_at(old_path, &new, new_path).await.map_err(to_p3)
    }

    async fn unlink_file_at(store: &Store, fd: Resource<Descriptor>, path: String) -> FilesystemResult<()> {
        directory(store, &fd)?.unlink_file_at(path).await.map_err(to_p3)
    }

    async fn remove_directory_at(
        store: &Store,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        directory(store, &fd)?.remove_directory_at(path).await.map_err(to_p3)
    }

    async fn set_size(store: &Store, fd: Resource<Descriptor>, size: Filesize) -> FilesystemResult<()> {
        let charged = with(store, |files| {
            FsResult::Ok(files.charged(fd.rep()).filter(|_| files.is_writable(&fd).unwrap_or(false)))
        });
        match charged.map_err(to_p3)? {
            Some((file, charged)) => resize(&charged, &file, size).await.map_err(to_p3),
            None => {
                let store = store.with_getter::<WasiFilesystem>(wasmtime_files);
                <WasiFilesystem as HostDescriptorWithStore<ComponentState>>::set_size(&store, fd, size).await
            }
        }
    }

    fn write_via_stream(
        mut store: Access<'_, ComponentState, Self>,
        fd: Resource<Descriptor>,
        data: StreamReader<u8>,
        offset: Filesize,
    ) -> Result<Ending> {
        match writable(&mut store, &fd) {
            Some((file, charged)) => ChargedConsumer::pipe(store, data, file, charged, Some(offset)),
            None => WasiFilesystem::write_via_stream(inner(&mut store), fd, data, offset),
        }
    }

    fn append_via_stream(
        mut store: Access<'_, ComponentState, Self>,
        fd: Resource<Descriptor>,
        data: StreamReader<u8>,
    ) -> Result<Ending> {
        match writable(&mut store, &fd) {
            Some((file, charged)) => ChargedConsumer::pipe(store, data, file, charged, None),
            None => WasiFilesystem::append_via_stream(inner(&mut store), fd, data),
        }
    }

    fn read_via_stream(
        mut store: Access<'_, ComponentState, Self>,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> Result<(StreamReader<u8>, Ending)> {
        WasiFilesystem::read_via_stream(inner(&mut store), fd, offset)
    }

    fn read_directory(
        mut store: Access<'_, ComponentState, Self>,
        fd: Resource<Descriptor>,
    ) -> Result<(StreamReader<DirectoryEntry>, Ending)> {
        WasiFilesystem::read_directory(inner(&mut store), fd)
    }

    delegate! {
        advise(offset: Filesize, length: Filesize, advice: Advice) -> FilesystemResult<()>;
        sync_data() -> FilesystemResult<()>;
        get_flags() -> FilesystemResult<DescriptorFlags>;
        get_type() -> FilesystemResult<DescriptorType>;
        set_times(access: NewTimestamp, modification: NewTimestamp) -> FilesystemResult<()>;
        sync() -> FilesystemResult<()>;
        stat() -> FilesystemResult<DescriptorStat>;
        stat_at(flags: PathFlags, path: String) -> FilesystemResult<DescriptorStat>;
        set_times_at(flags: PathFlags, path: String, access: NewTimestamp, modification: NewTimestamp) -> FilesystemResult<()>;
        readlink_at(path: String) -> FilesystemResult<String>;
        is_same_object(other: Resource<Descriptor>) -> Result<bool>;
        metadata_hash() -> FilesystemResult<MetadataHashValue>;
        metadata_hash_at(flags: PathFlags, path: String) -> FilesystemResult<MetadataHashValue>;
    }
}

/// The file and its charge, where there is one and the guest may write.
fn writable(
    store: &mut Access<'_, ComponentState, HasTaskFiles>,
    fd: &Resource<Descriptor>,
) -> Option<super::ChargedFile> {
    let files = store.get();
    files.charged(fd.rep()).filter(|_| files.is_writable(fd).unwrap_or(false))
}

fn path_flags_to_p2(flags: PathFlags) -> p2::PathFlags {
    if flags.contains(PathFlags::SYMLINK_FOLLOW) {
        p2::PathFlags::SYMLINK_FOLLOW
    } else {
        p2::PathFlags::empty()
    }
}

/// Carries over the flags that both versions have, which are all.
macro_rules! same_flags {
    ($flags:ident: $from:ident { $($flag:ident),* }) => {{
        let mut flags = p2::$from::empty();
        $(if $flags.contains($from::$flag) {
            flags |= p2::$from::$flag;
        })*
        flags
    }};
}

fn open_flags_to_p2(flags: OpenFlags) -> p2::OpenFlags {
    same_flags!(flags: OpenFlags { CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE })
}

fn flags_to_p2(flags: DescriptorFlags) -> p2::DescriptorFlags {
    same_flags!(flags: DescriptorFlags {
        READ, WRITE, FILE_INTEGRITY_SYNC, DATA_INTEGRITY_SYNC, REQUESTED_WRITE_SYNC, MUTATE_DIRECTORY
    })
}

/// Carries an error over by its name.
macro_rules! same_code {
    ($code:ident { $($name:ident),* }) => {
        match $code {
            $(p2::ErrorCode::$name => ErrorCode::$name,)*
            other => ErrorCode::Other(Some(other.message().to_owned())),
        }
    };
}

fn to_p3(error: FsError) -> FilesystemError {
    match error.downcast() {
        Ok(code) => same_code!(code {
            Access,
            Already,
            BadDescriptor,
            Busy,
            Deadlock,
            Quota,
            Exist,
            FileTooLarge,
            IllegalByteSequence,
            InProgress,
            Interrupted,
            Invalid,
            Io,
            IsDirectory,
            Loop,
            TooManyLinks,
            MessageSize,
            NameTooLong,
            NoDevice,
            NoEntry,
            NoLock,
            InsufficientMemory,
            InsufficientSpace,
            NotDirectory,
            NotEmpty,
            NotRecoverable,
            Unsupported,
            NoTty,
            NoSuchDevice,
            Overflow,
            NotPermitted,
            Pipe,
            ReadOnly,
            InvalidSeek,
            TextFileBusy,
            CrossDevice
        })
        .into(),
        Err(trap) => FilesystemError::trap(trap),
    }
}
