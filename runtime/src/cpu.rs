//! CPU: how much a task may use, how much it used, and the threads that guests run on.
//!
//! Guests are compiled to count fuel and to yield each [`YIELD_INTERVAL`] units, so a guest's future returns from
//! `poll` after some tens of microseconds whatever the guest does. Each poll is measured on the thread's own CPU clock and
//! charged to a [`CpuAccount`]; a future whose account is in debt is not polled until the debt is paid. That is the
//! bandwidth control of Linux' CFS, with fuel in place of the timer interrupt.
//!
//! Short work (a request) is polled where it arrives. Everything that uses the CPU for longer runs on the
//! [`executor`]'s threads, in the order of weighted virtual run time.

mod account;
mod clock;
pub(crate) mod executor;

pub(crate) use account::CpuAccount;
pub(crate) use clock::{ThreadTimer, monotonic_nanos};

/// ECS's CPU units of one core.
pub(crate) const UNITS_PER_CORE: u32 = 1024;

/// Fuel after which a guest yields. About 30 to 100 us of guest code: long enough that the switch (about 1 us) is
/// lost in it, short enough that a neighbour's wake-up is.
pub(crate) const YIELD_INTERVAL: u64 = 100_000;
