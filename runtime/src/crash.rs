//! What is known of a guest that failed, for whoever keeps it.
//!
//! A container without a [`CrashSink`] pays nothing for this, and one with it nothing until a guest fails.

use crate::container::Usage;
use crate::exit::{Exit, ExitReason};
use coracle_runtime_host::memory::MemoryExceeded;
use std::fmt::{self, Debug};
use std::time::SystemTime;
use wasmtime::{AsContextMut, Error};
use wasmtime_wasi::I32Exit;

/// Whether this build can take core dumps: the feature `core-dump` of this crate.
pub const CORE_DUMPS: bool = cfg!(feature = "core-dump");

/// A guest's end that was not its own wish: a trap, spent fuel, or memory beyond the limit.
#[derive(Clone, Debug)]
pub struct Crash {
    /// When it ended.
    pub time: SystemTime,
    /// How.
    pub reason: ExitReason,
    /// The same in one line.
    pub message: String,
    /// The error with its causes, among them the wasm backtrace.
    pub backtrace: String,
    /// What the container had used until then. The guest's own memory is among it.
    pub usage: Usage,
    /// The tightest limit on the container's memory, in bytes.
    pub memory_limit: Option<u64>,
    /// Memories, globals and stack of the instance, in WebAssembly's core dump format, where they were asked for and are not too large.
    pub core_dump: Option<CoreDump>,
}

/// A core dump: a WebAssembly module by its form.
#[derive(Clone)]
pub struct CoreDump(pub Vec<u8>);

impl Debug for CoreDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreDump({} bytes)", self.0.len())
    }
}

impl fmt::Display for CoreDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a core dump of {} bytes was taken", self.0.len())
    }
}

/// Takes a container's crashes.
///
/// Called on the thread that runs the guest: an implementation must not block.
pub trait CrashSink: Debug + Send + Sync {
    /// Whether it takes one more now. Asked first, because a crash costs something to describe.
    fn wants(&self) -> bool;

    /// Whether it takes a core dump of it as well.
    fn wants_core_dump(&self) -> bool;

    /// Takes one.
    fn crashed(&self, crash: Crash);
}

/// Which core dumps a container wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dumps<'a> {
    pub(crate) sink: Option<&'a dyn CrashSink>,
    /// Largest sum of an instance's memories, in bytes.
    pub(crate) limit: Option<u64>,
}

/// Adds a core dump to the error that ended a store's guest, if there shall be one: memory beyond the limit and a guest's own exit have none.
pub(crate) fn with_core_dump(error: Error, store: impl AsContextMut, dumps: Dumps<'_>) -> Error {
    let (Some(sink), Some(limit)) = (dumps.sink, dumps.limit) else { return error };
    if error.is::<I32Exit>() || error.is::<MemoryExceeded>() || !sink.wants_core_dump() {
        return error;
    }
    match taken(&error, store, limit) {
        Some(dump) => error.context(dump),
        None => error,
    }
}

#[cfg(feature = "core-dump")]
fn taken(error: &Error, mut store: impl AsContextMut, limit: u64) -> Option<CoreDump> {
    use std::sync::{Mutex, TryLockError};
    /// One at a time: each is a copy of an instance's memory.
    static TAKING: Mutex<()> = Mutex::new(());

    let dump = error.downcast_ref::<wasmtime::WasmCoreDump>()?;
    let memory: u64 = dump.memories().iter().map(|memory| memory.data_size(&store) as u64).sum();
    if memory > limit {
        return None;
    }
    let _taking = match TAKING.try_lock() {
        Ok(taking) => taking,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    Some(CoreDump(dump.serialize(store.as_context_mut(), "guest")))
}

#[cfg(not(feature = "core-dump"))]
fn taken(_error: &Error, _store: impl AsContextMut, _limit: u64) -> Option<CoreDump> {
    None
}

impl Crash {
    pub(crate) fn new(exit: &Exit, error: &Error, usage: Usage, memory_limit: Option<u64>) -> Self {
        Self {
            time: SystemTime::now(),
            reason: exit.reason,
            message: exit.message.clone(),
            backtrace: crate::exit::report(error),
            usage,
            memory_limit,
            core_dump: error.downcast_ref::<CoreDump>().cloned(),
        }
    }
}
