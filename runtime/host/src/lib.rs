//! What guests are linked against: WASI's host functions, over a store that knows its task's limits and addresses.
//!
//! A crate of its own because compiling some thousand generated host functions takes a minute: what changes often, how
//! guests are run, lives in `coracle-runtime` and compiles without them.
//!
//! - [`state`]: what a store holds, and the linkers for it.
//! - [`files`]: mounted directories, and a limit on what a task keeps in its own.
//! - [`limits`]: how much of the host one instance, and one call, may use.
//! - [`memory`]: one limit over everything a task allocates or has the host keep.
//! - [`network`]: where a guest lives, and what it may reach.
//! - [`sockets`]: sockets at a task's own address.
//! - [`outgoing`]: requests that guests send.

pub mod files;
mod http;
pub mod limits;
pub mod memory;
pub mod network;
pub mod outgoing;
pub mod sockets;
pub mod state;
