//! Commands: exit codes, traps, limits, quotas, stopping. Guests in text form, so nothing need be built first.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

use coracle_runtime::{
    CORE_DUMPS, Container, ContainerSpec, CoreDump, Crash, CrashSink, Envelope, Exit, ExitReason, InputPipe,
    Metering, Output, RingLog, Runtime, RuntimeConfig, StartError, Stdin, Stream, Usage, output_pipe,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

fn runtime() -> Runtime {
    Runtime::new(RuntimeConfig { guest_threads: Some(1), ..RuntimeConfig::default() }).unwrap()
}

async fn start(runtime: &Runtime, text: &str, spec: ContainerSpec) -> Container {
    let image = runtime.load_metered(text.as_bytes(), Metering::for_budget(spec.fuel)).unwrap();
    runtime.start(&image, spec).await.unwrap()
}

/// Runs a module to its end and gives what became of it and what its log says.
async fn run(text: &str, spec: ContainerSpec) -> (Exit, String) {
    let log = Arc::new(RingLog::new(1000, 1 << 20));
    let spec = ContainerSpec { output: Output::Log(log.clone()), ..spec };
    let container = start(&runtime(), text, spec).await;
    let exit = tokio::time::timeout(Duration::from_secs(30), container.wait()).await.expect("the guest ends");
    let lines: Vec<_> = log.since(0).into_iter().map(|(_, line)| line.message).collect();
    (exit, lines.join("\n"))
}

fn exit_with(code: i32) -> String {
    format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
    )
}

#[tokio::test]
async fn a_guests_exit_code_is_the_containers() {
    for code in [0, 1, 3, 126, 255] {
        let (exit, _) = run(&exit_with(code), ContainerSpec::named("job")).await;
        assert_eq!((exit.code, exit.reason), (Some(code), ExitReason::Exited));
    }
}

#[tokio::test]
async fn a_trap_leaves_its_backtrace_in_the_log() {
    let text = r#"(module $app (memory (export "memory") 1) (func $deep unreachable) (func (export "_start") (call $deep)))"#;
    let (exit, log) = run(text, ContainerSpec::named("job")).await;
    assert_eq!((exit.code, exit.reason), (Some(134), ExitReason::Trapped));
    assert!(exit.message.contains("unreachable"), "{}", exit.message);
    assert!(log.contains("wasm backtrace") && log.contains("app!deep"), "{log}");
}

#[tokio::test]
async fn growing_past_the_limit_ends_with_137_and_ecs_words() {
    let text = r#"(module (memory (export "memory") 1)
        (func (export "_start") (loop (drop (memory.grow (i32.const 16))) (br 0))))"#;
    let limit = 64 << 20;
    let log = Arc::new(RingLog::new(10, 1000));
    let spec = ContainerSpec { memory: Some(limit), output: Output::Log(log), ..ContainerSpec::named("hog") };
    let container = start(&runtime(), text, spec).await;
    let exit = container.wait().await;
    assert_eq!((exit.code, exit.reason), (Some(137), ExitReason::OutOfMemory));
    assert_eq!(exit.message, "OutOfMemoryError: Container killed due to memory usage");
    let peak = container.usage().memory_peak;
    assert!(
        peak <= limit && peak > limit - (1 << 20) - 65_536,
        "within one growth step of the limit: {peak}"
    );
}

#[tokio::test]
async fn several_memories_share_one_limit() {
    let text = r#"(module (memory (export "memory") 1) (memory $other 1)
        (func (export "_start") (drop (memory.grow (i32.const 100))) (drop (memory.grow $other (i32.const 100)))))"#;
    let spec = |pages: u64| ContainerSpec { memory: Some(pages * 65_536), ..ContainerSpec::named("job") };
    assert_eq!(run(text, spec(202)).await.0.reason, ExitReason::Exited);
    assert_eq!(run(text, spec(201)).await.0.reason, ExitReason::OutOfMemory);
}

#[tokio::test]
async fn a_tasks_containers_share_its_memory() {
    let text = r#"(module (memory (export "memory") 100) (func (export "_start") (loop (br 0))))"#;
    let runtime = runtime();
    let envelope = Some(Envelope::new(None, Some(150 * 65_536)));
    let first =
        start(&runtime, text, ContainerSpec { envelope: envelope.clone(), ..ContainerSpec::named("a") })
            .await;
    let second = start(&runtime, text, ContainerSpec { envelope, ..ContainerSpec::named("b") }).await;
    let exit = tokio::select! { exit = first.wait() => exit, exit = second.wait() => exit };
    assert_eq!(exit.reason, ExitReason::OutOfMemory);
    first.stop(Duration::ZERO).await;
    second.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn memory_below_the_images_minimum_is_refused() {
    let runtime = runtime();
    let image = runtime.load(br#"(module (memory (export "memory") 3) (func (export "_start")))"#).unwrap();
    let spec = ContainerSpec { memory: Some(2 * 65_536), ..ContainerSpec::named("job") };
    let error = runtime.start(&image, spec).await.unwrap_err();
    assert!(matches!(error, StartError::MemoryBelowMinimum { limit: 131_072, minimum: 196_608 }), "{error}");
}

#[tokio::test]
async fn a_spent_fuel_budget_is_a_reason_of_its_own() {
    let spec = ContainerSpec { fuel: Some(1_000_000), ..ContainerSpec::named("job") };
    let container = start(&runtime(), SPIN, spec).await;
    let exit = container.wait().await;
    assert_eq!((exit.code, exit.reason), (Some(134), ExitReason::OutOfFuel));
    assert!(exit.message.contains("1000000"), "{}", exit.message);
    assert_eq!(container.usage().fuel, 1_000_000);
}

#[tokio::test]
async fn a_spinning_guest_blocks_nobody_and_is_stopped_at_once() {
    let runtime = runtime(); // one guest thread
    let spinning = start(&runtime, SPIN, ContainerSpec::named("spin")).await;
    let quick = start(&runtime, &exit_with(7), ContainerSpec::named("quick")).await;
    assert_eq!(quick.wait().await.code, Some(7));
    let exit = spinning.stop(Duration::from_secs(30)).await;
    assert_eq!((exit.code, exit.reason), (Some(143), ExitReason::Stopped));
    assert_eq!(start(&runtime, &exit_with(8), ContainerSpec::named("next")).await.wait().await.code, Some(8));
}

#[tokio::test]
async fn a_quota_holds_and_what_it_held_back_is_metered() {
    let runtime = runtime();
    let spec = ContainerSpec { cpu: Some(256), ..ContainerSpec::named("burn") };
    let start_time = Instant::now();
    let container = start(&runtime, SPIN, spec).await;
    // Held back it is where the machine would give it more; a busy one may not at first.
    let done =
        |usage: Usage| usage.cpu_time >= Duration::from_millis(100) && usage.throttled_time > Duration::ZERO;
    while !done(container.usage()) {
        assert!(start_time.elapsed() < Duration::from_secs(60), "never held back: {:?}", container.usage());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let usage = container.usage();
    let elapsed = start_time.elapsed();
    container.stop(Duration::ZERO).await;
    // 100 ms at a quarter of a core take 400 ms, of which 50 were saved up. Machines may be slower, never faster.
    assert!(elapsed >= Duration::from_millis(340), "{elapsed:?} for {usage:?}");
}

#[tokio::test]
async fn arguments_and_environment_are_what_was_given_and_nothing_else() {
    // Prints the sizes of its arguments and environment as its exit code: 16 x arguments + variables.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $args (i32.const 0) (i32.const 4)))
            (drop (call $environ (i32.const 8) (i32.const 12)))
            (call $exit (i32.add (i32.mul (i32.const 16) (i32.load (i32.const 0))) (i32.load (i32.const 8))))))"#;
    let spec = ContainerSpec {
        args: vec!["one".to_owned(), "two".to_owned()],
        env: vec![("KEY".to_owned(), "value".to_owned())],
        ..ContainerSpec::named("job")
    };
    assert_eq!(run(text, spec).await.0.code, Some(16 * 3 + 1));
}

/// Copies standard input to standard output until its end, and exits with 5.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $more
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 1024))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.eqz (i32.load (i32.const 8))) (then (call $exit (i32.const 5))))
            (i32.store (i32.const 4) (i32.load (i32.const 8)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (br $more))))"#;

#[tokio::test]
async fn a_commands_input_and_output_can_be_somebody_elses() {
    let (mut input, reader) = tokio::io::duplex(1024);
    let (pipe, mut output) = output_pipe(false);
    let spec = ContainerSpec {
        stdin: Stdin::Pipe(InputPipe::new(reader, false)),
        output: Output::Pipe(pipe),
        ..ContainerSpec::named("cat")
    };
    let container = start(&runtime(), CAT, spec).await;
    for word in ["one", "two"] {
        input.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(output.next().await.unwrap(), (Stream::Stdout, word.into()));
    }
    drop(input);
    assert_eq!(container.wait().await.code, Some(5));
    assert_eq!(output.next().await, None);
}

#[tokio::test]
async fn the_end_of_its_input_tells_a_command_to_end() {
    let spec =
        ContainerSpec { stdin: Stdin::UntilStopped, ends_by_itself: true, ..ContainerSpec::named("cat") };
    let container = start(&runtime(), CAT, spec).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(container.exit(), None, "it waits for input");
    let exit = container.stop(Duration::from_secs(30)).await;
    assert_eq!((exit.code, exit.reason), (Some(5), ExitReason::Exited));
}

#[tokio::test]
async fn a_command_that_has_its_grace_period_and_does_not_end_is_killed() {
    let spec = ContainerSpec { ends_by_itself: true, ..ContainerSpec::named("spin") };
    let container = start(&runtime(), SPIN, spec).await;
    let exit = container.stop(Duration::from_millis(50)).await;
    assert_eq!((exit.code, exit.reason), (Some(137), ExitReason::Killed));
}

#[tokio::test]
async fn the_fuel_of_a_command_that_never_ends_is_seen_while_it_runs_and_counted_once() {
    let runtime = runtime();
    let counted = ContainerSpec { fuel: Some(u64::MAX), ..ContainerSpec::named("spin") };
    let container = start(&runtime, SPIN, counted).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while container.usage().fuel < 1_000_000 {
        assert!(Instant::now() < deadline, "{:?}", container.usage());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let spec = ContainerSpec { fuel: Some(50_000_000), ..ContainerSpec::named("spin") };
    let container = start(&runtime, SPIN, spec).await;
    assert_eq!(container.wait().await.reason, ExitReason::OutOfFuel);
    assert_eq!(container.usage().fuel, 50_000_000);
}

/// Keeps everything that it is told.
#[derive(Debug, Default)]
struct Crashes(std::sync::Mutex<Vec<Crash>>);

impl CrashSink for Crashes {
    fn wants(&self) -> bool {
        true
    }

    fn wants_core_dump(&self) -> bool {
        true
    }

    fn crashed(&self, crash: Crash) {
        self.0.lock().unwrap().push(crash);
    }
}

#[tokio::test]
async fn a_crash_is_told_with_its_backtrace_and_the_account_as_it_was() {
    let crashes = Arc::new(Crashes::default());
    let grows = r#"(module $app (memory (export "memory") 2) (func $grows (drop (memory.grow (i32.const 100))))
        (func (export "_start") (call $grows)))"#;
    let traps = r#"(module $app (memory (export "memory") 2) (func $deep unreachable) (func (export "_start") (call $deep)))"#;
    for (text, fuel) in [(traps, None), (SPIN, Some(200_000)), (grows, None), (&exit_with(3), None)] {
        let spec = ContainerSpec {
            crashes: Some(crashes.clone()),
            core_dump: Some(1 << 20),
            memory: Some(1 << 20),
            fuel,
            ..ContainerSpec::named("job")
        };
        run(text, spec).await;
    }
    let told = crashes.0.lock().unwrap();
    let reasons: Vec<ExitReason> = told.iter().map(|crash| crash.reason).collect();
    assert_eq!(
        reasons,
        [ExitReason::Trapped, ExitReason::OutOfFuel, ExitReason::OutOfMemory],
        "not for an exit code"
    );
    assert!(told[0].backtrace.contains("app!deep"), "{}", told[0].backtrace);
    assert_eq!((told[0].usage.memory, told[0].memory_limit), (2 * 65536, Some(1 << 20)));
    assert_eq!((told[0].usage.traps, told[1].usage.fuel), (1, 200_000));
    assert!(told[2].backtrace.contains("app!grows"), "{}", told[2].backtrace);
    let dumped: Vec<bool> = told.iter().map(|crash| crash.core_dump.is_some()).collect();
    let expected = if CORE_DUMPS { [true, true, false] } else { [false; 3] };
    assert_eq!(dumped, expected, "never of memory beyond the limit");
    if let Some(CoreDump(dump)) = &told[0].core_dump {
        assert!(dump.starts_with(b"\0asm") && dump.len() < 2 * 65536, "{} bytes", dump.len());
    }
}
