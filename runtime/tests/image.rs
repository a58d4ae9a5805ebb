//! Images: what is one, what is not, and what is kept of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

use coracle_runtime::{Abi, ImageError, ImageKind, Runtime, RuntimeConfig};

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
