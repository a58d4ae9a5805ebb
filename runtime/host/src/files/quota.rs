//! How much a task may keep in its own directories: bytes and names, charged before they are used.
//!
//! Nothing of a file system is asked to enforce this: project quotas and loop mounts need root and particular file
//! systems, and an edge host has neither. Every way in which a guest can make a file system fuller goes through a host function,
//! so it is charged there: a name (file, directory or link) when it is made, a file's bytes when a write would make it longer. A
//! write is charged for where it would end before it starts; if it fails, or writes less, the file's true size is measured and
//! the difference given back. What is charged is therefore never less than what is used, whatever happens in between.
//!
//! *Files.* A file is known by an identity (device and inode) while anybody has it open, so that all who write to it share one
//! charged size. Closed, it needs no record: its size cannot change, and whoever removes its last name gives back as much as it
//! measures then. A file without a name keeps its charge until the last who has it open lets go, as it keeps its blocks.
//!
//! *Names.* Whether a name exists must not change between looking and acting on it, so who changes names holds
//! `Quota::names` meanwhile. Reading and writing do not wait for it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What each name costs beside its file's bytes: the block that its inode, its directory entry and the unused end of its
/// last block fill at most.
pub const NAME_BYTES: u64 = 4096;
/// One name may exist for each so many bytes of the limit: the ratio at which ext4 makes inodes.
const BYTES_PER_NAME: u64 = 16 * 1024;
/// Names that even the smallest storage has room for.
const LEAST_NAMES: u64 = 1024;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLimits {
    /// Bytes: the files' sizes, and [`NAME_BYTES`] for each name.
    pub bytes: u64,
    /// Files, directories and links.
    pub names: u64,
}

impl StorageLimits {
    /// So many bytes, and a name for each 16 KiB of them, at least 1,024.
    pub fn of_bytes(bytes: u64) -> Self {
        Self { bytes, names: (bytes / BYTES_PER_NAME).max(LEAST_NAMES) }
    }
}

/// There is no room left. Reaches the guest as `ENOSPC`, `insufficient-space`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task's storage is full")]
pub struct NoSpace;

impl From<NoSpace> for io::Error {
    fn from(_: NoSpace) -> Self {
        // The kind alone would reach guests as a plain I/O error: wasmtime looks at the system's code.
        rustix::io::Errno::NOSPC.into()
    }
}

/// What a task keeps and may keep.
#[derive(Debug)]
pub struct Quota {
    limits: StorageLimits,
    used: Mutex<Used>,
    /// Held by whoever changes names.
    names: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    names: u64,
    open: HashMap<u64, Charged>,
}

/// A file that is open, or was left with a charge that may be wrong.
#[derive(Debug, Default)]
struct Charged {
    handles: usize,
    writers: usize,
    /// Bytes it is charged for: never less than it has.
    size: u64,
    /// A write failed or was abandoned: measure when nobody writes.
    unsettled: bool,
    /// Its last name is gone.
    nameless: bool,
}

impl Quota {
    /// Nothing used yet.
    pub fn new(limits: StorageLimits) -> Arc<Self> {
        Arc::new(Self { limits, used: Mutex::default(), names: tokio::sync::Mutex::new(()) })
    }

    /// Bytes and names in use.
    pub fn used(&self) -> StorageLimits {
        let used = self.lock();
        StorageLimits { bytes: used.bytes, names: used.names }
    }

    /// What may be used.
    pub fn limits(&self) -> StorageLimits {
        self.limits
    }

    /// Keeps names as they are until the guard is dropped.
    pub(crate) async fn names(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.names.lock().await
    }

    /// Charges for a name about to be made. Give it back by dropping it if it was not.
    pub(crate) fn charge_name(self: &Arc<Self>) -> Result<NewName, NoSpace> {
        let mut used = self.lock();
        if used.names >= self.limits.names {
            return Err(NoSpace);
        }
        used.take(NAME_BYTES, self.limits.bytes)?;
        used.names += 1;
        Ok(NewName { quota: self.clone(), made: false })
    }

    /// A name was removed.
    pub(crate) fn name_removed(&self) {
        let mut used = self.lock();
        used.names = used.names.saturating_sub(1);
        used.give_back(NAME_BYTES);
    }

    /// The last name of a file of this size was removed.
    pub(crate) fn file_removed(&self, identity: u64, size: u64) {
        let mut used = self.lock();
        let Used { bytes, open, .. } = &mut *used;
        match open.get_mut(&identity) {
            Some(file) if file.handles > 0 => file.nameless = true,
            Some(file) => {
                *bytes = bytes.saturating_sub(file.size);
                open.remove(&identity);
            }
            None => *bytes = bytes.saturating_sub(size),
        }
    }

    /// Somebody opened a file that measures `size` now.
    pub(crate) fn opened(self: &Arc<Self>, identity: u64, size: u64) -> Arc<OpenFile> {
        let mut used = self.lock();
        let Used { bytes, open, .. } = &mut *used;
        let file = open.entry(identity).or_insert_with(|| Charged { size, ..Charged::default() });
        if file.handles == 0 && file.unsettled {
            file.settle(bytes, size);
        }
        file.handles += 1;
        Arc::new(OpenFile { quota: self.clone(), identity })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        // Each change is complete before anything in it can panic.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn take(&mut self, bytes: u64, limit: u64) -> Result<(), NoSpace> {
        let after = self.bytes.checked_add(bytes).filter(|after| *after <= limit).ok_or(NoSpace)?;
        self.bytes = after;
        Ok(())
    }

    fn give_back(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Charged {
    fn settle(&mut self, bytes: &mut u64, measured: u64) {
        *bytes = bytes.saturating_sub(self.size).saturating_add(measured);
        self.size = measured;
        self.unsettled = false;
    }
}

/// A name as it was found before it was removed or replaced.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) identity: u64,
    /// A regular file: nothing else has bytes that are charged.
    pub(crate) is_file: bool,
    pub(crate) size: u64,
    pub(crate) links: u64,
}

impl Found {
    /// The name is gone, and the file with it if it was its last.
    pub(crate) fn removed(&self, quota: &Quota) {
        quota.name_removed();
        if self.is_file && self.links <= 1 {
            quota.file_removed(self.identity, self.size);
        }
    }

    /// What was `moved` has the name of what was `replaced`.
    pub(crate) fn replaced(replaced: Option<Self>, moved: Option<Self>, quota: &Quota) {
        match (replaced, moved) {
            // Two names of one file: "rename() does nothing, and returns a success status", so both are still there.
            (Some(replaced), Some(moved)) if replaced.identity == moved.identity => {}
            (Some(replaced), _) => replaced.removed(quota),
            (None, _) => {}
        }
    }
}

/// A name that is charged for.
#[derive(Debug)]
pub(crate) struct NewName {
    quota: Arc<Quota>,
    made: bool,
}

impl NewName {
    /// It exists now.
    pub(crate) fn made(mut self) {
        self.made = true;
    }
}

impl Drop for NewName {
    fn drop(&mut self) {
        if !self.made {
            self.quota.name_removed();
        }
    }
}

/// A file that somebody has open.
#[derive(Debug)]
pub(crate) struct OpenFile {
    quota: Arc<Quota>,
    identity: u64,
}

impl OpenFile {
    /// Charges for a write that ends at `end`.
    pub(crate) fn write_to(self: &Arc<Self>, end: u64) -> Result<Write, NoSpace> {
        self.write(|_| end)
    }

    /// Charges for a write of `length` bytes to the end, wherever that is when it happens.
    pub(crate) fn append(self: &Arc<Self>, length: u64) -> Result<Write, NoSpace> {
        self.write(|size| size.saturating_add(length))
    }

    /// Charges for making the file longer, or lets it become shorter. The write must then be finished as incomplete.
    pub(crate) fn resize(self: &Arc<Self>, size: u64) -> Result<Write, NoSpace> {
        self.write(|_| size)
    }

    fn write(self: &Arc<Self>, end: impl FnOnce(u64) -> u64) -> Result<Write, NoSpace> {
        let mut used = self.quota.lock();
        let size = used.open.get(&self.identity).map_or(0, |file| file.size);
        let end = end(size).max(size);
        used.take(end - size, self.quota.limits.bytes)?;
        if let Some(file) = used.open.get_mut(&self.identity) {
            file.size = end;
            file.writers += 1;
        }
        Ok(Write { file: self.clone(), finished: false })
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut used = self.quota.lock();
        let Used { bytes, open, .. } = &mut *used;
        let Some(file) = open.get_mut(&self.identity) else { return };
        file.handles -= 1;
        if file.handles > 0 {
            return;
        }
        if file.nameless {
            *bytes = bytes.saturating_sub(file.size);
        }
        // What is unsettled waits here until it is opened again or removed.
        if file.nameless || !file.unsettled {
            open.remove(&self.identity);
        }
    }
}

/// A write that is charged for. Dropped before it is finished (its guest was killed), the file is measured at the next
/// occasion, for nobody knows how much of it will still be written.
#[derive(Debug)]
pub(crate) struct Write {
    file: Arc<OpenFile>,
    finished: bool,
}

impl Write {
    /// The write is over. Unless it wrote all it was charged for, the file is measured.
    pub(crate) fn finish(mut self, complete: bool, file: &File) {
        self.finished = true;
        let mut used = self.file.quota.lock();
        let Used { bytes, open, .. } = &mut *used;
        let Some(charged) = open.get_mut(&self.file.identity) else { return };
        charged.writers -= 1;
        charged.unsettled |= !complete;
        // While others write, their charges are ahead of what can be measured.
        if charged.writers == 0
            && charged.unsettled
            && let Ok(metadata) = file.metadata()
        {
            charged.settle(bytes, metadata.len());
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut used = self.file.quota.lock();
        if let Some(charged) = used.open.get_mut(&self.file.identity) {
            charged.writers -= 1;
            charged.unsettled = true;
        }
    }
}

#[cfg(test)]
mod tests;
