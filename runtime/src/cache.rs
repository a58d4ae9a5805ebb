//! Compiled code on disk, named by the image's digest and by all that decides what the compiler makes of it.
//!
//! What is found here is mapped and run without further checks: the directory belongs to this user alone, and
//! nothing but our own compiler's output is ever written to it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use wasmtime::Engine;

/// The cache of one engine configuration.
#[derive(Debug)]
pub(crate) struct CodeCache {
    directory: PathBuf,
}

impl CodeCache {
    /// Opens, or makes, the part of `root` that belongs to `engine`'s version and settings.
    pub(crate) fn open(root: &Path, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let directory = root.join(format!("{}-{:016x}", crate::WASMTIME_VERSION, hasher.finish()));
        make_private(&directory)?;
        Ok(Self { directory })
    }

    /// Where the code of the image with this hexadecimal digest lies, whether or not it is there yet.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}.cwasm"))
    }

    /// Stores `code`, whole or not at all: a crash, a full disk or another process at the same work leaves no half file.
    pub(crate) fn store(&self, digest: &str, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(code)?;
        file.as_file().sync_data()?;
        file.persist(self.path(digest)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Forgets an entry that turned out to be unusable.
    pub(crate) fn remove(&self, digest: &str) {
        if let Err(error) = fs::remove_file(self.path(digest)) {
            tracing::debug!(%error, digest, "an unusable cache entry stays");
        }
    }
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let metadata = fs::metadata(directory)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let message = "belongs to another user, who could put code into it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}
