//! What the host keeps for an instance outside of its memories: resources, header fields, bodies that nobody reads.
//!
//! wasmtime keeps a guest's resources in a table that tells neither its size nor its growth. So every host call is taken to
//! have kept a little, those that may keep more say how much, and when the sum passes what was charged, the table is looked
//! through and the truth put in its place. What is charged is thus never below the truth, and the look is paid for by as many calls
//! as the table has entries. A usual request never gets so far: it costs an addition for each host call.

use super::{MemoryAccount, MemoryExceeded};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::p3;

/// What each instance may have kept for it without charge, beside its store, which is not charged either: one body that nobody
/// reads yet, and a request's resources and header fields.
const INCLUDED: u64 = BODY + 32 * 1024;
/// What is charged at a time, so that few calls reach the account.
const STEP: u64 = 64 * 1024;
/// What a host call keeps at most that does not say: one resource, such as a pollable, a timer or a stream.
const CALL: u64 = 256;
/// What an entry of the table costs beside what is in it.
const ENTRY: u64 = 96;
/// The longest text that a request's method, scheme, authority or path may be: longer than any server takes.
pub(crate) const MAX_TEXT: usize = 64 * 1024;
/// What a guest may write to a body in one piece. wasmtime's default is 1 MiB, of which two would wait.
pub const BODY_PIECE: usize = 32 * 1024;
/// Pieces that wait in a body when nobody reads it.
pub const BODY_PIECES: usize = 2;
/// What a body keeps when nobody reads it.
pub(crate) const BODY: u64 = (BODY_PIECE * BODY_PIECES) as u64;

/// What is kept for one instance, charged to its container.
#[derive(Debug)]
pub(crate) struct KeptMemory {
    account: Arc<MemoryAccount>,
    /// Never below what is kept.
    used: u64,
    charged: u64,
    /// Looked through when `used` reaches this: a look is worth its time only after as much was added as there was.
    look_at: u64,
}

impl KeptMemory {
    pub(crate) fn new(account: Arc<MemoryAccount>) -> Self {
        Self { account, used: 0, charged: 0, look_at: INCLUDED }
    }

    /// A host call is about to be made. It cannot be refused here, so where the account has no more room the table takes
    /// nothing new: the call fails if it wanted to keep something.
    pub(crate) fn called(&mut self, table: &mut ResourceTable) {
        if self.keep(CALL, table).is_err() {
            table.set_max_capacity(0);
        }
    }

    /// So many bytes are about to be kept.
    #[inline]
    pub(crate) fn keep(&mut self, bytes: u64, table: &mut ResourceTable) -> Result<(), MemoryExceeded> {
        self.used = self.used.saturating_add(bytes);
        if self.used <= self.charged + INCLUDED { Ok(()) } else { self.charge(table) }
    }

    #[cold]
    fn charge(&mut self, table: &mut ResourceTable) -> Result<(), MemoryExceeded> {
        let wanted = |used: u64| used.saturating_sub(INCLUDED).next_multiple_of(STEP);
        if self.used >= self.look_at || !self.account.has_room(wanted(self.used) - self.charged) {
            self.used = size_of_all(table);
            self.look_at = (2 * self.used).max(INCLUDED);
        }
        let wanted = wanted(self.used);
        if wanted <= self.charged {
            self.account.give_back(self.charged - wanted);
        } else if !self.account.take(wanted - self.charged) {
            return Err(MemoryExceeded);
        }
        self.charged = wanted;
        Ok(())
    }
}

impl Drop for KeptMemory {
    fn drop(&mut self) {
        self.account.give_back(self.charged);
    }
}

fn size_of_all(table: &mut ResourceTable) -> u64 {
    let mut maps = BTreeSet::new();
    table.iter_mut().map(|entry| ENTRY + size_of_val(entry) as u64 + size_of_content(entry, &mut maps)).sum()
}

/// What an entry has outside of itself. Clones of a map of header fields share it until one changes.
fn size_of_content(entry: &dyn Any, maps: &mut BTreeSet<usize>) -> u64 {
    let mut fields = |map: &FieldMap| {
        let shared: &http::HeaderMap = map;
        if maps.insert(std::ptr::from_ref(shared).addr()) { size_of_fields(shared) } else { 0 }
    };
    let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.capacity() as u64);
    let body = |is_there: bool| if is_there { BODY } else { 0 };
    if let Some(map) = entry.downcast_ref::<FieldMap>() {
        fields(map)
    } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
        fields(&request.headers)
            + text(&request.authority)
            + text(&request.path_with_query)
            + MAX_NAMES
            + body(request.body.is_some())
    } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
        fields(&response.headers) + body(response.body.is_some())
    } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
        fields(&response.headers)
    } else if let Some(request) = entry.downcast_ref::<p3::Request>() {
        fields(&request.headers)
            + request.authority.as_ref().map_or(0, |authority| authority.as_str().len() as u64)
            + request.path_with_query.as_ref().map_or(0, |path| path.as_str().len() as u64)
            + MAX_NAMES
    } else if let Some(response) = entry.downcast_ref::<p3::Response>() {
        fields(&response.headers)
    } else {
        body(entry.is::<HostOutgoingBody>())
    }
}

/// The longest that a method and a scheme may be together.
const MAX_NAMES: u64 = 256;
/// The longest method or scheme.
pub(crate) const MAX_NAME: usize = 128;

/// What a map's entry costs beside its name and value: name and value themselves, a hash, links.
const FIELD: u64 = 128;

pub(crate) fn size_of_fields(map: &http::HeaderMap) -> u64 {
    map.iter().map(|(name, value)| FIELD + (name.as_str().len() + value.len()) as u64).sum()
}

/// What fields made of these names and values cost.
pub(crate) fn size_of_pairs(pairs: &[(String, Vec<u8>)]) -> u64 {
    pairs.iter().map(|(name, value)| size_of_pair(name, value)).sum()
}

pub(crate) fn size_of_pair(name: &str, value: &[u8]) -> u64 {
    FIELD + (name.len() + value.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(limit: u64) -> (Arc<MemoryAccount>, KeptMemory, ResourceTable) {
        let account = MemoryAccount::new(Some(limit), None);
        (account.clone(), KeptMemory::new(account), ResourceTable::new())
    }

    #[test]
    fn a_few_resources_are_included() {
        let (account, mut kept, mut table) = kept(0);
        for _ in 0..20 {
            kept.called(&mut table);
            table.push(0u64).unwrap();
        }
        assert!(!account.exceeded());
    }

    #[test]
    fn what_is_kept_is_charged_and_calls_that_keep_nothing_are_not() {
        let (account, mut kept, mut table) = kept(1 << 20);
        for _ in 0..100_000 {
            kept.called(&mut table);
        }
        assert!(account.used() <= 2 * STEP, "{}", account.used());
        for _ in 0..2000 {
            kept.called(&mut table);
            table.push([0u8; 100]).unwrap();
        }
        assert!(account.used() >= 2000 * (ENTRY + 100) - INCLUDED, "{}", account.used());
        drop(kept);
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn a_guest_past_its_limit_keeps_nothing_more() {
        let (account, mut kept, mut table) = kept(1 << 20);
        let pushed = (0..1_000_000)
            .take_while(|_| {
                kept.called(&mut table);
                table.push([0u8; 100]).is_ok()
            })
            .count() as u64;
        assert!(account.exceeded());
        assert!(pushed * (ENTRY + 100) <= (1 << 20) + INCLUDED + CALL, "{pushed} were kept");
    }

    #[test]
    fn header_fields_are_charged_by_their_content_and_shared_ones_once() {
        let (account, mut kept, mut table) = kept(4 << 20);
        let mut fields = FieldMap::new_mutable(1 << 20);
        let value = http::HeaderValue::from_bytes(&[b'x'; 50_000]).unwrap();
        fields.append_raw(http::header::COOKIE, value).unwrap();
        for _ in 0..1000 {
            kept.keep(size_of_fields(&fields), &mut table).unwrap();
            table.push(fields.clone()).unwrap();
        }
        assert!(account.used() < 1 << 20, "{}", account.used());
    }
}
