//! How much of the host one instance, and one call of it, may use, where wasmtime can be told.

use wasmtime::Store;
use wasmtime::component::ResourceTable;

/// Resources of the host that an instance may have at once: sockets, streams, timers, pollables, descriptors, requests. A server with
/// five thousand connections has three of each. One more traps.
pub const MAX_RESOURCES: usize = 16_384;
/// Handles that an instance may have at once, its own components' resources, streams and futures included. wasmtime keeps some
/// hundred bytes for each, so it is not its default of 100,000. One more traps.
pub const MAX_HANDLES: usize = 16_384;
/// Bytes that one call may hand to the host, which copies them: as much as the largest body piece, datagram or list of header fields
/// many times over. A component that hands over more traps.
pub const MAX_CALL_BYTES: usize = 8 << 20;
/// The same for preview 1, where a call hands over whole buffers, and a larger one is answered with `ENOMEM`: wasmtime's default.
/// What a module hands over lies in its memory, so its memory limit holds for it as well.
pub const MAX_MODULE_CALL_BYTES: usize = 128 << 20;
/// Random bytes that one call may ask for. Keys and seeds are thousands of times smaller.
pub const MAX_RANDOM_BYTES: u64 = 4 << 20;
/// Events that one `poll_oneoff` of preview 1 may wait for: each is a future of some hundred bytes.
pub const MAX_SUBSCRIPTIONS: u32 = 4096;
/// Names in a directory that is listed. wasmtime reads them all before it gives the first.
pub const MAX_LISTED_NAMES: u64 = 100_000;

/// A component's table of resources.
pub(crate) fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    table
}

/// Sets what a component's store can be told.
pub fn limit_component<T: 'static>(store: &mut Store<T>) {
    store.set_max_component_handles(MAX_HANDLES);
    store.set_hostcall_fuel(MAX_CALL_BYTES);
}

/// Sets what a module's store can be told.
pub fn limit_module<T: 'static>(store: &mut Store<T>) {
    store.set_hostcall_fuel(MAX_MODULE_CALL_BYTES);
}
