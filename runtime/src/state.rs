//! What a guest sees of the world: the filling of each new store.

use crate::container::{ContainerSpec, Meters, Output, StartError, Stdin};
use crate::crash::Crash;
use crate::exit::{self, Exit, ExitReason};
use crate::logs::{GuestOutput, LogLine, Stream};
use crate::pipes::InputPipe;
use coracle_runtime_host::files::mounts::Mounts;
use coracle_runtime_host::limits;
use coracle_runtime_host::memory::StoreMemory;
use coracle_runtime_host::state::{ComponentState, ModuleState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{StdinStream, StdoutStream};

/// Where programs of preview 1, which cannot ask for it, find their working directory (those of Go do).
const WORKING_DIRECTORY: &str = "PWD";

/// All that is needed to make a store for one more instance of a container.
#[derive(Debug)]
pub(crate) struct Template {
    spec: ContainerSpec,
    mounts: Arc<Mounts>,
    outputs: Option<(GuestOutput, GuestOutput)>,
    meters: Arc<Meters>,
    /// Cancelled when the container is told to stop.
    stopping: CancellationToken,
}

impl Template {
    /// Checks what can fail, so that making a store only fails when the host changed since.
    pub(crate) fn new(spec: ContainerSpec, meters: Arc<Meters>) -> Result<Self, StartError> {
        let mounts = Mounts::open(spec.mounts.clone(), spec.open_files);
        let mounts = mounts.map_err(|(path, source)| StartError::Mount { path, source })?;
        let outputs = match &spec.output {
            Output::Log(sink) => Some((
                GuestOutput::new(Stream::Stdout, sink.clone()),
                GuestOutput::new(Stream::Stderr, sink.clone()),
            )),
            Output::Null | Output::Inherit | Output::Pipe(_) => None,
        };
        Ok(Self { spec, mounts: Arc::new(mounts), outputs, meters, stopping: CancellationToken::new() })
    }

    pub(crate) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Cancel it to tell the guest that it shall end.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// The limiter of a new store.
    fn memory(&self) -> StoreMemory {
        StoreMemory::new(self.meters.memory.clone())
    }

    /// The data of a new store for a component.
    pub(crate) fn component_state(&self) -> ComponentState {
        ComponentState::new(self.wasi(), &self.mounts, self.spec.network.clone(), self.memory())
    }

    /// The data of a new store for a preview 1 module.
    pub(crate) fn module_state(&self) -> ModuleState {
        ModuleState::new(self.wasi().build_p1(), &self.mounts, self.memory())
    }

    /// The data of a new store for a preview 1 module that answers one request.
    pub(crate) fn cgi_state(
        &self,
        variables: &[(String, String)],
        stdin: impl StdinStream + 'static,
        stdout: impl StdoutStream + 'static,
    ) -> ModuleState {
        let mut wasi = self.wasi();
        // The container's own environment goes before what a client can choose.
        let own = |name: &str| self.spec.env.iter().any(|(own, _)| own == name);
        for (name, value) in variables.iter().filter(|(name, _)| !own(name)) {
            wasi.env(name, value);
        }
        wasi.stdin(stdin).stdout(stdout);
        ModuleState::new(wasi.build_p1(), &self.mounts, self.memory())
    }

    /// What the guest sees through WASI.
    fn wasi(&self) -> WasiCtxBuilder {
        let spec = &self.spec;
        let mut wasi = WasiCtxBuilder::new();
        wasi.max_random_size(limits::MAX_RANDOM_BYTES);
        wasi.envs(&spec.env);
        if let Some(directory) = &spec.working_directory {
            wasi.initial_cwd(directory);
            if !spec.env.iter().any(|(name, _)| name == WORKING_DIRECTORY) {
                wasi.env(WORKING_DIRECTORY, directory);
            }
        }
        wasi.arg(&spec.name).args(&spec.args);
        match &spec.stdin {
            Stdin::Null => {}
            Stdin::Inherit => {
                wasi.inherit_stdin();
            }
            Stdin::UntilStopped => {
                wasi.stdin(InputPipe::until(self.stopping.clone()));
            }
            Stdin::Pipe(pipe) => {
                wasi.stdin(pipe.clone());
            }
        }
        match (&spec.output, &self.outputs) {
            (Output::Inherit, _) => {
                wasi.inherit_stdout().inherit_stderr();
            }
            (Output::Pipe(pipe), _) => {
                wasi.stdout(pipe.of(Stream::Stdout)).stderr(pipe.of(Stream::Stderr));
            }
            (_, Some((stdout, stderr))) => {
                wasi.stdout(stdout.clone()).stderr(stderr.clone());
            }
            (Output::Null | Output::Log(_), None) => {}
        }
        wasi
    }

    /// Reads the error that ended a guest, and says what it was: to the guest's log, and to whoever keeps crashes.
    pub(crate) fn failed(&self, error: &wasmtime::Error) -> Exit {
        let exit = match self.meters.memory.exceeded() {
            true => Exit::out_of_memory(),
            false => Exit::from_error(error, self.spec.fuel),
        };
        match exit.reason {
            ExitReason::Exited => return exit,
            ExitReason::OutOfMemory | ExitReason::OutOfFuel => self.log(&exit.message),
            _ => {
                self.meters.traps.fetch_add(1, Ordering::Relaxed);
                // With the wasm backtrace.
                self.log(&exit::report(error));
            }
        }
        if let Some(crashes) = &self.spec.crashes
            && crashes.wants()
        {
            let (usage, limit) = (self.meters.usage(), self.meters.memory_limit());
            crashes.crashed(Crash::new(&exit, error, usage, limit));
        }
        exit
    }

    /// Says something about a guest where the guest's own words go.
    fn log(&self, message: &str) {
        match &self.spec.output {
            Output::Log(sink) => {
                for line in message.lines() {
                    let (time, message) = (SystemTime::now(), line.to_owned());
                    sink.line(LogLine { time, stream: Stream::Stderr, message });
                }
            }
            Output::Inherit => eprintln!("{message}"),
            Output::Pipe(pipe) => pipe.say(message),
            Output::Null => {}
        }
    }
}
