//! Images: what is one, what is not, and what is kept of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

use coracle_runtime::{Abi, ImageError, ImageKind, Runtime, RuntimeConfig};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

const JOB: &str = r#"(module (memory (export "memory") 2) (func (export "_start")))"#;

fn runtime() -> Runtime {
    Runtime::new(RuntimeConfig { guest_threads: Some(1), ..RuntimeConfig::default() }).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    runtime().load(bytes).unwrap_err().to_string()
}

#[test]
fn text_and_binary_are_images_of_the_same_program() {
    let runtime = runtime();
    let text = runtime.load(JOB.as_bytes()).unwrap();
    let binary = runtime.load(&wat::parse_str(JOB).unwrap()).unwrap();
    for image in [&text, &binary] {
        assert_eq!((image.kind(), image.abi()), (ImageKind::Command, Abi::Preview1));
        assert_eq!(image.minimum_memory(), 2 * 65_536);
    }
    assert_ne!(text.digest(), binary.digest(), "a digest names bytes, not meaning");
    assert!(text.digest().starts_with("sha256:") && text.digest().len() == 71, "{}", text.digest());
}

#[test]
fn what_is_not_webassembly_is_refused_in_one_line() {
    for bytes in [&b""[..], b"hello", b"\x7fELF\x02\x01", b"{\"image\": 1}", b"(modul", b"\xff\xfe("] {
        let message = refusal(bytes);
        assert!(message.contains("not a WebAssembly image"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_truncated_image_is_refused_wherever_it_is_cut() {
    let binary = wat::parse_str(JOB).unwrap();
    for length in 4..binary.len() {
        let cut = runtime().load(&binary[..length]).map(|_| ());
        // Cut between two sections it is a whole module, of which the program is missing.
        match cut.unwrap_err() {
            ImageError::Invalid(message) => assert!(!message.contains('\n'), "{message}"),
            ImageError::NoEntryPoint => {}
            other => panic!("cut at {length}: {other}"),
        }
    }
}

#[test]
fn a_component_that_is_concurrent_without_naming_wasi_0_3_is_understood() {
    let component = r#"(component
        (core module $m
            (func (export "run") (result i32) unreachable)
            (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
        (core instance $i (instantiate $m))
        (func (export "run") async
            (canon lift (core func $i "run") async (callback (core func $i "callback")))))"#;
    // Valid, and refused only because nothing of it is a program.
    let refused = runtime().load(component.as_bytes()).unwrap_err();
    assert!(matches!(refused, ImageError::NoEntryPoint), "{refused}");
}

#[test]
fn unknown_imports_are_all_named() {
    let module =
        r#"(module (import "env" "spam" (func)) (import "vendor" "egg" (func)) (func (export "_start")))"#;
    let message = refusal(module.as_bytes());
    assert!(message.contains("env::spam, vendor::egg"), "{message}");
    let component = r#"(component
        (import "vendor:thing/spam@1.0.0" (instance (export "f" (func))))
        (import "vendor:thing/egg" (instance (export "f" (func)))))"#;
    let message = refusal(component.as_bytes());
    assert!(message.contains("vendor:thing/spam@1.0.0, vendor:thing/egg"), "{message}");
}

#[test]
fn a_library_has_nothing_to_run() {
    assert!(refusal(b"(module (func (export \"add\")))").contains("nothing to run"));
    assert!(refusal(b"(component)").contains("nothing to run"));
}

#[test]
fn compiled_code_is_found_again_and_a_damaged_entry_is_replaced() {
    let cache = tempfile::tempdir().unwrap();
    let config = || RuntimeConfig {
        cache_dir: Some(cache.path().to_owned()),
        guest_threads: Some(1),
        ..RuntimeConfig::default()
    };
    let digest = Runtime::new(config()).unwrap().load(JOB.as_bytes()).unwrap().digest().to_owned();
    let entry = {
        let directory = std::fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
        directory.join(format!("{}.cwasm", digest.trim_start_matches("sha256:")))
    };
    let compiled = std::fs::read(&entry).unwrap();
    assert_eq!(Runtime::new(config()).unwrap().load(JOB.as_bytes()).unwrap().digest(), digest);

    for damage in [&b""[..], b"garbage", &compiled[..compiled.len() / 3]] {
        std::fs::remove_file(&entry).unwrap();
        std::fs::write(&entry, damage).unwrap();
        assert_eq!(Runtime::new(config()).unwrap().load(JOB.as_bytes()).unwrap().digest(), digest);
        assert_eq!(std::fs::read(&entry).unwrap().len(), compiled.len(), "the entry was written anew");
    }
}

/// Small programs of each kind, from which others are made that are nearly right.
const SEEDS: [&str; 4] = [
    JOB,
    r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1 9) (table 3 7 funcref) (global $g (mut i64) (i64.const 7))
        (data (i32.const 8) "hello\n") (elem (i32.const 1) $start $start)
        (func $start (export "_start") (local i32 f64)
            (loop $l (global.set $g (i64.add (global.get $g) (i64.const -1))) (br_if $l (i64.eqz (global.get $g))))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))"#,
    r#"(component
        (core module $m (memory (export "memory") 1) (func (export "run") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#,
    r#"(component
        (import "wasi:cli/environment@0.2.0" (instance $e (export "get-arguments" (func (result (list string))))))
        (core module $m (func (export "run") (result i32) unreachable)
            (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
        (core instance $i (instantiate $m))
        (func $run async (result (result)) (canon lift (core func $i "run") async (callback (core func $i "callback"))))
        (instance (export "wasi:cli/run@0.3.0") (export "run" (func $run))))"#,
];

/// A change of an image's bytes: at which of them, how many, and what comes in their place.
fn change() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    let few = prop_oneof![4 => Just(1_usize), 2 => Just(0), 1 => 0..40_usize];
    let numbers = prop::sample::select(vec![0, 1, 0x0b, 0x40, 0x60, 0x7f, 0x80, 0xff]);
    let with = prop::collection::vec(prop_oneof![any::<u8>(), numbers], 0..4);
    (any::<Index>(), few, with)
}

/// What is loaded can be asked what it is; what is not is refused in one line that says something.
fn survives(runtime: &Runtime, bytes: &[u8]) -> Result<(), TestCaseError> {
    match runtime.load(bytes) {
        Ok(image) => prop_assert!(image.digest().starts_with("sha256:") && image.minimum_memory() < 1 << 40),
        Err(error) => {
            let message = error.to_string();
            prop_assert!(message.len() > 10 && !message.contains('\n'), "{message:?}");
        }
    }
    Ok(())
}

/// `PROPTEST_CASES` for a long run.
fn fuzz<S: Strategy>(strategy: S, test: impl Fn(&Runtime, S::Value) -> Result<(), TestCaseError>) {
    let runtime = runtime();
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&strategy, |value| test(&runtime, value)).unwrap();
}

#[test]
fn the_seeds_are_images() {
    let runtime = runtime();
    for seed in SEEDS {
        runtime.load(seed.as_bytes()).unwrap_or_else(|error| panic!("{seed}: {error}"));
    }
}

#[test]
fn no_change_of_an_image_makes_the_loader_fall() {
    let seeds = SEEDS.map(|seed| wat::parse_str(seed).unwrap());
    let changes = prop::collection::vec(change(), 1..6);
    fuzz((0..seeds.len(), changes), |runtime, (seed, changes)| {
        let mut bytes = seeds[seed].clone();
        for (at, count, with) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + count).min(bytes.len());
            bytes.splice(at..end, with);
        }
        survives(runtime, &bytes)
    });
}

#[test]
fn no_bytes_after_an_image_s_header_make_the_loader_fall() {
    let headers = prop::sample::select(vec![&b"\0asm\x01\0\0\0"[..], b"\0asm\x0d\0\x01\0", b"\0asm", b""]);
    fuzz((headers, prop::collection::vec(any::<u8>(), 0..200)), |runtime, (header, rest)| {
        survives(runtime, &[header, &rest].concat())
    });
}

#[test]
fn no_change_of_an_image_s_text_makes_the_loader_fall() {
    fuzz(
        (0..SEEDS.len(), any::<Index>(), 0..20_usize, "[()$a-z0-9\" .é]{0,12}"),
        |runtime, (seed, at, count, with)| {
            let mut text: Vec<char> = SEEDS[seed].chars().collect();
            let at = at.index(text.len());
            let end = (at + count).min(text.len());
            text.splice(at..end, with.chars());
            survives(runtime, text.into_iter().collect::<String>().as_bytes())
        },
    );
}
