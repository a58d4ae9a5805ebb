//! What a container is asked to be.

use crate::cpu::{CpuAccount, UNITS_PER_CORE};
use crate::crash::{CrashSink, Dumps};
use crate::logs::LogSink;
use crate::pipes::{InputPipe, OutputPipe};
use coracle_runtime_host::files::mounts::{MAX_OPEN_FILES, Mount};
use coracle_runtime_host::memory::MemoryAccount;
use coracle_runtime_host::network::Network;
use std::sync::Arc;
use std::time::Duration;

/// Requests a handler answers at once when nothing else is said.
pub const DEFAULT_CONCURRENCY: u32 = 128;
/// How long a guest may take to answer with its headers: an ALB's idle timeout, after which nobody waits any more.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// One container: everything it is granted. What is not granted is denied.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// For messages and logs.
    pub name: String,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Directories that the guest sees.
    pub mounts: Vec<Mount>,
    /// Files and directories that all its instances may have open at once, beside the mounted ones; 0 to [`MAX_OPEN_FILES`], the default.
    pub open_files: usize,
    /// Where relative paths begin, for guests that ask (`wasi:cli/environment.initial-cwd`, or the variable `PWD`, which is set
    /// unless `env` has it). WASI leaves it to the program; most take `/`.
    pub working_directory: Option<String>,
    /// Where the guest lives on the network, and what it may reach.
    pub network: Network,
    /// The task that the container shares its quota and memory with; `None` stands alone.
    pub envelope: Option<Envelope>,
    /// Hard CPU quota of this container in ECS units, 1024 to a core; `None` is none of its own.
    pub cpu: Option<u32>,
    /// Relative share of the CPU when it is contended, in the same units; `None` follows `cpu`, else 1024.
    pub cpu_share: Option<u32>,
    /// Hard limit over the sum of all linear memories and tables, in bytes; `None` is none of its own. Growing past it
    /// ends the container with exit code 137.
    pub memory: Option<u64>,
    /// Fuel (about one unit an instruction) for a command's whole life or for each request of a handler. Only for images that were loaded to
    /// count it ([`Metering::Fuel`](crate::Metering::Fuel)).
    pub fuel: Option<u64>,
    /// Handlers: how long until the guest must have answered with its headers. Default 60 s.
    pub request_timeout: Duration,
    /// Handlers: how many requests one instance answers, one after the other, before a fresh one takes its place.
    /// 1, the default, is an instance for each request.
    pub instance_reuse: u32,
    /// Handlers: how many requests are answered at once. As many again may wait; more are refused. Default 128, or
    /// fewer where the memory limit does not hold that many instances.
    pub max_concurrency: u32,
    /// Commands: on a stop, whether it has its grace period to end by itself before it is killed. WASI has no signals: what tells a
    /// command to end is the end of its standard input ([`Stdin::UntilStopped`]), and one that is not told may still be about to finish.
    /// Without it a command is ended at once, as SIGTERM ends a process that does not handle it.
    pub ends_by_itself: bool,
    /// Preview 1 modules: answer requests the CGI way (RFC 3875), each in an instance of its own, in place of running once.
    pub cgi: bool,
    /// Where standard input comes from.
    pub stdin: Stdin,
    /// Where standard output and standard error go.
    pub output: Output,
    /// Who is told of guests that fail.
    pub crashes: Option<Arc<dyn CrashSink>>,
    /// The largest core dump that is taken of one, in bytes of its memories; `None` is none. Only where [`CORE_DUMPS`](crate::CORE_DUMPS).
    pub core_dump: Option<u64>,
}

impl ContainerSpec {
    /// A container that is granted nothing, has no limits, and whose output is dropped.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            args: Vec::new(),
            env: Vec::new(),
            mounts: Vec::new(),
            open_files: MAX_OPEN_FILES,
            working_directory: None,
            network: Network::none(),
            envelope: None,
            cpu: None,
            cpu_share: None,
            memory: None,
            fuel: None,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            instance_reuse: 1,
            max_concurrency: DEFAULT_CONCURRENCY,
            ends_by_itself: false,
            cgi: false,
            stdin: Stdin::Null,
            output: Output::Null,
            crashes: None,
            core_dump: None,
        }
    }

    pub(crate) fn dumps(&self) -> Dumps<'_> {
        Dumps { sink: self.crashes.as_deref(), limit: self.core_dump }
    }

    pub(crate) fn cpu_account(&self) -> Arc<CpuAccount> {
        let weight = self.cpu_share.or(self.cpu).unwrap_or(UNITS_PER_CORE);
        CpuAccount::new(self.cpu, weight, self.envelope.as_ref().map(|envelope| envelope.cpu.clone()))
    }

    pub(crate) fn memory_account(&self) -> Arc<MemoryAccount> {
        MemoryAccount::new(self.memory, self.envelope.as_ref().map(|envelope| envelope.memory.clone()))
    }
}

/// Where a guest's standard input comes from.
#[derive(Clone, Debug, Default)]
pub enum Stdin {
    /// Nothing: the end at once.
    #[default]
    Null,
    /// The host process's own.
    Inherit,
    /// Nothing, and no end before the container is told to stop: a command that reads it learns so that it shall end.
    UntilStopped,
    /// What is written to the other end.
    Pipe(InputPipe),
}

/// Where a guest's output goes.
#[derive(Clone, Debug, Default)]
pub enum Output {
    /// Nowhere.
    #[default]
    Null,
    /// The host process's own standard output and standard error, byte for byte.
    Inherit,
    /// Line by line, stamped, to a sink.
    Log(Arc<dyn LogSink>),
    /// Byte for byte to whoever reads the other end.
    Pipe(OutputPipe),
}

/// A task: the CPU quota and the memory limit that its containers share.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub(crate) cpu: Arc<CpuAccount>,
    pub(crate) memory: Arc<MemoryAccount>,
}

impl Envelope {
    /// A task with a hard CPU quota in ECS units (1024 to a core) and a hard memory limit in bytes; `None` is no limit.
    pub fn new(cpu: Option<u32>, memory: Option<u64>) -> Self {
        let weight = cpu.unwrap_or(UNITS_PER_CORE);
        Self { cpu: CpuAccount::new(cpu, weight, None), memory: MemoryAccount::new(memory, None) }
    }

    /// CPU time that all its containers, and other programs inside it, were charged.
    pub fn cpu_time(&self) -> Duration {
        self.cpu.used()
    }

    /// Bytes that all of them have in use now.
    pub fn memory(&self) -> u64 {
        self.memory.used()
    }

    /// The most bytes that they had in use at once.
    pub fn memory_peak(&self) -> u64 {
        self.memory.peak()
    }

    /// Its own limit in bytes, if it has one.
    pub fn memory_limit(&self) -> Option<u64> {
        Some(self.memory.limit()).filter(|limit| *limit < u64::MAX)
    }
}
