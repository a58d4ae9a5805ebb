//! Files: what guests can reach, what they cannot, and how much of it. Each rule is tried by a guest of each version of WASI.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod escapes;
mod limits;
mod mounts;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../support/mod.rs"]
mod support;
mod world;

use coracle_runtime::{
    ContainerSpec, EphemeralStorage, ExitReason, Image, Mount, MountSource, Output, RingLog, Runtime,
    RuntimeConfig, StorageLimits,
};
use std::path::PathBuf;
use std::sync::Arc;
use support::{DEADLINE, guests};

/// The guest in its versions.
const PROBES: [&str; 3] = ["fsprobe", "fsprobe-p1", "fsprobe-p3"];

struct Probe {
    runtime: Runtime,
    image: Image,
}

impl Probe {
    fn new(guest: &str) -> Self {
        let config = RuntimeConfig { guest_threads: Some(1), ..RuntimeConfig::default() };
        let runtime = Runtime::new(config).unwrap();
        let image = runtime.load_file(&guests().join(format!("{guest}.wasm"))).unwrap();
        Self { runtime, image }
    }

    /// Has the guest do these operations with these mounts, and gives what it said of each.
    async fn run<S: AsRef<str>>(&self, mounts: &[Mount], operations: &[S]) -> Vec<String> {
        let spec = ContainerSpec { mounts: mounts.to_vec(), ..ContainerSpec::named("probe") };
        self.run_with(spec, operations).await
    }

    async fn run_with<S: AsRef<str>>(&self, spec: ContainerSpec, operations: &[S]) -> Vec<String> {
        let log = Arc::new(RingLog::new(100_000, 64 << 20));
        let args = operations.iter().map(|operation| operation.as_ref().to_owned()).collect();
        let spec = ContainerSpec { args, output: Output::Log(log.clone()), ..spec };
        let container = self.runtime.start(&self.image, spec).await.unwrap();
        let exit = tokio::time::timeout(DEADLINE, container.wait()).await.expect("the guest ends");
        let lines: Vec<_> = log.since(0).into_iter().map(|(_, line)| line.message).collect();
        assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Exited), "{lines:?}");
        lines
    }
}

fn storage(limits: StorageLimits) -> (Arc<EphemeralStorage>, PathBuf) {
    let directory = tempfile::tempdir().unwrap().keep();
    (EphemeralStorage::new(directory.clone(), limits), directory)
}

fn ephemeral(storage: &Arc<EphemeralStorage>, name: &str, guest: &str) -> Mount {
    let source = MountSource::Ephemeral { storage: storage.clone(), name: name.into() };
    Mount { source, guest: guest.to_owned(), read_only: false }
}
