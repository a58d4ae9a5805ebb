//! Memory: the limit holds however a guest grows, over what it allocates and what it has the host keep.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

#[path = "../../tests/support/alone.rs"]
mod alone;
#[allow(dead_code, reason = "each test uses its part")]
mod support;

use alone::alone;
use coracle_runtime::{
    ContainerSpec, EphemeralStorage, Exit, ExitReason, Mount, MountSource, Network, Output, RingLog, Runtime,
    RuntimeConfig, StorageLimits, Usage,
};
use std::sync::Arc;
use support::{DEADLINE, Host};

const MIB: u64 = 1 << 20;
/// What one step of growth is in the modules below: a page.
const STEP: u64 = 64 * 1024;

/// Runs a module in text form with this limit.
async fn grow(text: &str, limit: u64) -> (Exit, Usage) {
    let config = RuntimeConfig { guest_threads: Some(1), ..RuntimeConfig::default() };
    let runtime = Runtime::new(config).unwrap();
    let image = runtime.load(text.as_bytes()).unwrap();
    let spec = ContainerSpec { memory: Some(limit), ..ContainerSpec::named("grow") };
    let container = runtime.start(&image, spec).await.unwrap();
    let exit = tokio::time::timeout(DEADLINE, container.wait()).await.expect("the guest ends");
    (exit, container.usage())
}

fn assert_out_of_memory(exit: &Exit) {
    assert_eq!((exit.code, exit.reason), (Some(137), ExitReason::OutOfMemory), "{exit:?}");
    assert_eq!(exit.message, "OutOfMemoryError: Container killed due to memory usage");
}

/// Grows as `body` says for ever.
fn growing(memories: &str, body: &str) -> String {
    format!(r#"(module {memories} (func (export "_start") (loop {body} (br 0))))"#)
}

#[tokio::test]
async fn the_limit_holds_within_one_step_however_a_guest_grows() {
    let one = r#"(memory (export "memory") 1)"#;
    let several = r#"(memory (export "memory") 1) (memory $b 1) (memory $c 1)"#;
    let many_small = growing(one, "(drop (memory.grow (i32.const 1)))");
    let in_turn = growing(
        several,
        "(drop (memory.grow (i32.const 1))) (drop (memory.grow $b (i32.const 1))) (drop (memory.grow $c (i32.const 1)))",
    );
    for limit in [16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB] {
        for text in [&many_small, &in_turn] {
            let (exit, usage) = grow(text, limit).await;
            assert_out_of_memory(&exit);
            assert!(usage.memory_peak <= limit && usage.memory_peak > limit - 2 * STEP, "{limit}: {usage:?}");
        }
        let pages = limit / STEP;
        let (exit, usage) =
            grow(&growing(one, &format!("(drop (memory.grow (i32.const {pages})))")), limit).await;
        assert_out_of_memory(&exit);
        assert!(usage.memory_peak <= limit, "{limit}: {usage:?}");
    }
}

#[tokio::test]
async fn tables_count_as_memory() {
    // 160,000 elements of 8 bytes are more than is left beside a page.
    let text = growing(
        r#"(memory (export "memory") 1) (table $a 0 funcref)"#,
        "(drop (table.grow $a (ref.null func) (i32.const 10000)))",
    );
    let (exit, usage) = grow(&text, MIB).await;
    assert_out_of_memory(&exit);
    assert!(usage.memory_peak <= MIB && usage.memory_peak > MIB - 2 * 80_000, "{usage:?}");
}

/// Runs `hoard` with this limit and gives what became of it, what it said and by how much this process grew, in bytes.
async fn hoard(kind: &str, count: u32, limit: u64) -> (Exit, String, u64) {
    let host = Host::new();
    let image = host.image("hoard");
    let spec = ContainerSpec {
        args: vec![kind.to_owned(), count.to_string()],
        memory: Some(limit),
        network: Network::host(),
        ..ContainerSpec::named("hoard")
    };
    // Once before, so that what the first run leaves for good is not counted.
    let before = ContainerSpec { args: vec![kind.to_owned(), "1".to_owned()], ..spec.clone() };
    let first = host.runtime.start(&image, before).await.unwrap().wait().await;
    assert_eq!(first.code, Some(0), "{first:?}");
    let resident = resident();
    let log = Arc::new(RingLog::new(1000, 1 << 20));
    let spec = ContainerSpec { output: Output::Log(log.clone()), ..spec };
    let container = host.runtime.start(&image, spec).await.unwrap();
    let mut peak = resident;
    let exit = loop {
        peak = peak.max(self::resident());
        if let Ok(exit) = tokio::time::timeout(std::time::Duration::from_millis(2), container.wait()).await {
            break exit;
        }
    };
    let said = log.since(0).into_iter().map(|(_, line)| line.message + "\n").collect();
    (exit, said, peak - resident)
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Whatever a guest has the host keep, the process stays within the guest's limit and a tenth, and the guest is told why it ended.
#[tokio::test]
async fn what_the_host_keeps_for_a_guest_counts_as_the_guests_memory() {
    if !alone("what_the_host_keeps_for_a_guest_counts_as_the_guests_memory") {
        return;
    }
    for (kind, limit) in [
        ("fields", 16 * MIB),
        ("fields", 256 * MIB),
        ("growing-fields", 16 * MIB),
        ("growing-fields", 64 * MIB),
        ("clones", 64 * MIB),
        ("requests", 64 * MIB),
        ("bodies", 64 * MIB),
    ] {
        let (exit, said, grown) = hoard(kind, 1_000_000, limit).await;
        assert_out_of_memory(&exit);
        assert!(said.contains("OutOfMemoryError"), "{kind}: {said}");
        assert!(grown <= limit + limit / 10 + 4 * MIB, "{kind} with {limit}: the host grew by {grown}");
    }
}

#[tokio::test]
async fn a_guest_that_opens_a_hundred_thousand_handles_traps() {
    if !alone("a_guest_that_opens_a_hundred_thousand_handles_traps") {
        return;
    }
    let (exit, said, grown) = hoard("pollables", 100_000, 64 * MIB).await;
    assert_eq!((exit.code, exit.reason), (Some(134), ExitReason::Trapped), "{exit:?}");
    let why = ["resource table has no free keys", "store handle limit exceeded"];
    assert!(why.iter().any(|why| exit.message.contains(why)), "{exit:?}");
    assert!(!said.contains("got "), "{said}");
    assert!(grown <= 16 * MIB, "the host grew by {grown}");
}

#[tokio::test]
async fn calls_that_keep_nothing_and_lines_cost_no_memory() {
    if !alone("calls_that_keep_nothing_and_lines_cost_no_memory") {
        return;
    }
    for kind in ["calls", "lines"] {
        let (exit, said, grown) = hoard(kind, 300_000, 16 * MIB).await;
        assert_eq!(exit.code, Some(0), "{kind}: {exit:?}");
        assert!(said.ends_with("got 300000\n"), "{kind}");
        assert!(grown <= 4 * MIB, "{kind}: the host grew by {grown}");
    }
}

#[tokio::test]
async fn a_listing_is_charged_while_it_is_kept() {
    let directory = tempfile::tempdir().unwrap().keep();
    let storage = EphemeralStorage::new(directory.clone(), StorageLimits { bytes: 1 << 30, names: 100_000 });
    std::fs::create_dir_all(directory.join("root")).unwrap();
    for index in 0..5000 {
        std::fs::write(directory.join(format!("root/{index:0>200}")), "").unwrap();
    }
    let host = Host::new();
    let source = MountSource::Ephemeral { storage, name: "root".into() };
    let spec = ContainerSpec {
        args: vec!["listings".to_owned(), "100".to_owned()],
        memory: Some(16 * MIB),
        mounts: vec![Mount { source, guest: "/".to_owned(), read_only: false }],
        ..ContainerSpec::named("hoard")
    };
    // Each takes more than a MiB.
    let exit = host.start("hoard", spec).await.wait().await;
    assert_out_of_memory(&exit);
}
