//! Processes with an end, and the little that is needed to talk to them.

mod daemon;
mod http;
mod process;

pub(crate) use daemon::{Daemon, try_call};
pub(crate) use http::{get, post, request};
pub(crate) use process::{Output, Running, coracle};

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use tokio::time::Instant;

/// For anything that takes a moment: many times what it takes on a slow machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A guest program's file.
pub(crate) fn guest(name: &str) -> String {
    let directory = match std::env::var_os("CORACLE_GUESTS") {
        Some(directory) => PathBuf::from(directory),
        // <target>/<profile>/coracle
        None => PathBuf::from(env!("CARGO_BIN_EXE_coracle")).ancestors().nth(2).unwrap().join("guests"),
    };
    let path = directory.join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run scripts/guests.sh", path.display());
    path.to_str().unwrap().to_owned()
}

/// Looks at something until it is as wanted, or fails with what it was last.
pub(crate) fn eventually<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = look();
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: still {seen:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A loopback address that nobody listens on. Another process may take it before it is used; for what can be told to
/// pick a port by itself, that is better.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
