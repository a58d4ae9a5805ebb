//! For tests that measure the whole process they run in: its memory, its descriptors, what it tells.

use std::process::Command;

/// Set in processes that were made for one test.
const ALONE: &str = "CORACLE_TEST_ALONE";

/// Whether nothing but the calling test, whose full name is `test`, runs in this process. nextest gives each a process of its own; under `cargo test`,
/// where a binary's tests share one, this runs the test in another, fails if that fails, and gives false: there is nothing left to do here.
pub(crate) fn alone(test: &str) -> bool {
    let process_each = std::env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|mode| mode == "process-per-test");
    if process_each || std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args([test, "--exact", "--include-ignored"]).env(ALONE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("test result: ok. 1 passed;"), "{text}");
    false
}
