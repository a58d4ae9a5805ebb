//! CPU: how much a task may use, how much it used, and the threads that guests run on.
//!
//! Guests are compiled to yield each millisecond, when the [`ticker`] advances what they watch, or after some fuel
//! ([`Metering`](crate::metering::Metering)): a guest's future returns from `poll` whatever the guest does. Each poll is measured on the
//! thread's own CPU clock and charged to a [`CpuAccount`]; a future whose account is in debt is not polled until the debt is paid. That is
//! the bandwidth control of Linux' CFS.
//!
//! Short work (a request) is polled where it arrives. Everything that uses the CPU for longer runs on the
//! [`executor`]'s threads, in the order of weighted virtual run time.

mod account;
mod clock;
pub(crate) mod executor;
mod ticker;

pub(crate) use account::CpuAccount;
pub(crate) use clock::{ThreadTimer, monotonic_nanos};
pub(crate) use ticker::Ticker;

/// ECS's CPU units of one core.
pub(crate) const UNITS_PER_CORE: u32 = 1024;
