//! How a container ended: the code, the reason and one line for people.

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

/// The exit code of a guest that was killed, as a process killed by SIGKILL has it (128 + 9).
const KILLED: i32 = 137;
/// The exit code of a guest ended by a graceful stop, as by SIGTERM (128 + 15).
const TERMINATED: i32 = 143;
/// The exit code of a guest that trapped, as a process ended by SIGABRT has it (128 + 6).
const TRAPPED: i32 = 134;

/// ECS's text for a container that went over its memory.
pub(crate) const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code: the guest's own (0 to 255), or 128 + the signal a process would have died of: 134 for a trap
    /// and for spent fuel, 137 for a kill and for memory, 143 for a graceful stop. `None` when it never ran.
    pub code: Option<i32>,
    /// Why it ended.
    pub reason: ExitReason,
    /// One line that says what happened, fit for `reason` in ECS's container description.
    pub message: String,
}

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The guest ended by itself, with its exit code.
    Exited,
    /// The guest trapped; the backtrace is in its log.
    Trapped,
    /// Its memory grew past the container's or the task's limit.
    OutOfMemory,
    /// It used its fuel budget up.
    OutOfFuel,
    /// It was stopped on request, within its grace period.
    Stopped,
    /// It was killed: it did not end within its grace period.
    Killed,
    /// The host could not run it: instantiation failed.
    Failed,
}

impl Exit {
    pub(crate) fn exited(code: i32) -> Self {
        Self { code: Some(code), reason: ExitReason::Exited, message: format!("Exited with code {code}") }
    }

    pub(crate) fn out_of_memory() -> Self {
        Self { code: Some(KILLED), reason: ExitReason::OutOfMemory, message: OUT_OF_MEMORY.to_owned() }
    }

    pub(crate) fn out_of_fuel(budget: u64) -> Self {
        let message = format!("OutOfFuel: the fuel budget of {budget} units is used up");
        Self { code: Some(TRAPPED), reason: ExitReason::OutOfFuel, message }
    }

    /// `code` 0 for a guest that had finished what it was doing, else as by SIGTERM.
    pub(crate) fn stopped(finished: bool) -> Self {
        let code = Some(if finished { 0 } else { TERMINATED });
        Self { code, reason: ExitReason::Stopped, message: "Stopped on request".to_owned() }
    }

    pub(crate) fn killed() -> Self {
        let message = "Killed: did not stop within its grace period".to_owned();
        Self { code: Some(KILLED), reason: ExitReason::Killed, message }
    }

    pub(crate) fn failed(message: String) -> Self {
        Self { code: None, reason: ExitReason::Failed, message }
    }

    /// Reads an error that ended a guest. `budget` is its fuel budget, if it had one.
    pub(crate) fn from_error(error: &wasmtime::Error, budget: Option<u64>) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
            return Self::exited(*code);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Self::out_of_fuel(budget.unwrap_or(0)),
            Some(trap) => Self {
                code: Some(TRAPPED),
                reason: ExitReason::Trapped,
                message: format!("Trapped: {}", first_line(&trap.to_string())),
            },
            // A host function refused with an error of its own: a trap as far as the guest is concerned.
            None => Self {
                code: Some(TRAPPED),
                reason: ExitReason::Trapped,
                message: format!("Trapped: {}", first_line(&error.root_cause().to_string())),
            },
        }
    }
}

/// What ended a guest, for its log: the error with its causes, among them the wasm backtrace. Not the error's debug form, which has the host's frames,
/// too, where `RUST_BACKTRACE` is set: they say nothing to a guest's author, and to name them takes the host some 80 MB.
pub(crate) fn report(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(|cause| format!("{cause}\n"));
    // A core dump's own text is a list of modules and globals.
    causes.filter(|cause| !cause.starts_with("wasm coredump ")).collect()
}

/// The first line of a message of several.
pub(crate) fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}
