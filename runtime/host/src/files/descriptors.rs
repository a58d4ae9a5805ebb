//! What an instance has open.

use super::mounts::{Mounts, OpenSlot};
use super::quota::{OpenFile, Quota};
use crate::limits::MAX_LISTED_NAMES;
use crate::memory::{Held, MemoryAccount};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// The open descriptors of one instance, by the number that its host functions know them by. Costs nothing until one is opened.
#[derive(Debug)]
pub(super) struct Descriptors {
    mounts: Arc<Mounts>,
    memory: Arc<MemoryAccount>,
    /// The listings that wasmtime has read and the guest has not.
    listings: BTreeMap<u32, Held>,
    open: BTreeMap<u32, Opened>,
    /// Closed, while a stream or an operation still has the file.
    lingering: Vec<Opened>,
}

/// A descriptor: where it came from, and what must be let go when it closes.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The mount's index.
    pub(super) mount: usize,
    /// The file or directory as the system has it, unless it is a mounted directory, which stays open anyway.
    pub(super) file: Option<Arc<File>>,
    /// The file as its task's storage has it, where that is limited.
    pub(super) charged: Option<Arc<OpenFile>>,
    /// Its place among the container's open files; mounted directories have none.
    pub(super) _slot: Option<OpenSlot>,
}

impl Descriptors {
    pub(super) fn new(mounts: Arc<Mounts>, memory: Arc<MemoryAccount>) -> Self {
        Self { mounts, memory, listings: BTreeMap::new(), open: BTreeMap::new(), lingering: Vec::new() }
    }

    /// Charges for a listing of a directory, which is read whole.
    pub(super) async fn list(&self, directory: Arc<File>) -> Result<Listing, ListingError> {
        let counted = tokio::task::spawn_blocking(move || size_of_listing(&directory)).await;
        let size = counted.map_err(io::Error::other)??.ok_or(ListingError::TooLong)?;
        self.memory.hold(size).map(Listing).ok_or(ListingError::Memory)
    }

    /// The listing is in the table under this number.
    pub(super) fn listed(&mut self, number: u32, listing: Listing) {
        self.listings.insert(number, listing.0);
    }

    pub(super) fn close_listing(&mut self, number: u32) {
        self.listings.remove(&number);
    }

    pub(super) fn mounts(&self) -> &Arc<Mounts> {
        &self.mounts
    }

    pub(super) fn insert(&mut self, number: u32, opened: Opened) {
        // A number is used again once its descriptor is closed; what it still had open is counted until it is not.
        if let Some(before) = self.open.insert(number, opened) {
            self.linger(before);
        }
    }

    pub(super) fn opened(&self, number: u32) -> Option<&Opened> {
        self.open.get(&number)
    }

    /// An open directory: a mounted one, or one in it. A file passes too; whoever reads it as a directory finds out.
    pub(super) fn directory(&self, number: u32) -> Option<Arc<File>> {
        let opened = self.open.get(&number)?;
        opened.file.clone().or_else(|| self.mounts.directory(opened.mount))
    }

    /// What limits the storage that a descriptor is in.
    pub(super) fn quota(&self, number: u32) -> Option<Arc<Quota>> {
        self.mounts.quota(self.open.get(&number)?.mount).cloned()
    }

    /// Call when the descriptor has been dropped from its table.
    pub(super) fn close(&mut self, number: u32) {
        if let Some(opened) = self.open.remove(&number) {
            self.linger(opened);
        }
    }

    pub(super) fn renumber(&mut self, from: u32, to: u32) {
        if let Some(opened) = self.open.remove(&from) {
            self.close(to);
            self.open.insert(to, opened);
        }
    }

    /// One more open file; `None` when there are too many.
    pub(super) fn open_one(&mut self) -> Option<OpenSlot> {
        // As many as may be open at most, and opening another costs more than to look through them.
        self.lingering.retain(Opened::is_in_use);
        self.mounts.open_one()
    }

    fn linger(&mut self, opened: Opened) {
        if opened.is_in_use() {
            self.lingering.push(opened);
        }
    }
}

/// A directory's names, charged for.
pub(super) struct Listing(Held);

/// A directory cannot be listed.
pub(super) enum ListingError {
    Io(io::Error),
    TooLong,
    /// The guest has no memory left for it.
    Memory,
}

impl From<io::Error> for ListingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a name costs beside its text while it waits to be read.
const LISTED_NAME: u64 = 64;

/// What wasmtime's list of a directory's names takes; `None` for too many.
fn size_of_listing(directory: &File) -> io::Result<Option<u64>> {
    let (mut names, mut size) = (0, 0);
    for entry in rustix::fs::Dir::read_from(directory)? {
        names += 1;
        size += LISTED_NAME + entry?.file_name().to_bytes().len() as u64;
        if names > MAX_LISTED_NAMES {
            return Ok(None);
        }
    }
    Ok(Some(size))
}

impl Opened {
    /// Whether anybody else (a stream, a read under way) still has the file.
    fn is_in_use(&self) -> bool {
        self.file.as_ref().is_some_and(|file| Arc::strong_count(file) > 1)
    }
}
