//! Drives the built `coracle` as a user does: processes, signals, sockets, files.
//!
//! The guests are found in `$CORACLE_GUESTS`, else beside the binary in `<target directory>/guests`; `scripts/guests.sh`
//! builds them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod balance;
mod daemon;
mod embedded;
mod refused;
mod run;
mod serve;
mod support;
