//! What a guest sees of the world: the filling of each new store.

use crate::container::{ContainerSpec, Meters, Output, StartError, Stdin};
use crate::logs::{GuestOutput, LogLine, Stream};
use crate::pipes::InputPipe;
use coracle_runtime_host::memory::StoreMemory;
use coracle_runtime_host::state::{ComponentState, ModuleState};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// All that is needed to make a store for one more instance of a container.
#[derive(Debug)]
pub(crate) struct Template {
    spec: ContainerSpec,
    outputs: Option<(GuestOutput, GuestOutput)>,
    meters: Arc<Meters>,
    /// Cancelled when the container is told to stop.
    stopping: CancellationToken,
}

impl Template {
    /// Checks what can fail, so that making a store only fails when the host changed since.
    pub(crate) fn new(spec: ContainerSpec, meters: Arc<Meters>) -> Result<Self, StartError> {
        for mount in &spec.mounts {
            std::fs::read_dir(&mount.host)
                .map_err(|source| StartError::Mount { path: mount.host.clone(), source })?;
        }
        let outputs = match &spec.output {
            Output::Log(sink) => Some((
                GuestOutput::new(Stream::Stdout, sink.clone()),
                GuestOutput::new(Stream::Stderr, sink.clone()),
            )),
            Output::Null | Output::Inherit | Output::Pipe(_) => None,
        };
        Ok(Self { spec, outputs, meters, stopping: CancellationToken::new() })
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
    pub(crate) fn component_state(&self) -> wasmtime::Result<ComponentState> {
        Ok(ComponentState::new(self.wasi()?, self.spec.network.clone(), self.memory()))
    }

    /// The data of a new store for a preview 1 module.
    pub(crate) fn module_state(&self) -> wasmtime::Result<ModuleState> {
        Ok(ModuleState::new(self.wasi()?.build_p1(), self.memory()))
    }

    /// What the guest sees through WASI.
    fn wasi(&self) -> wasmtime::Result<WasiCtxBuilder> {
        let spec = &self.spec;
        let mut wasi = WasiCtxBuilder::new();
        wasi.envs(&spec.env);
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
        for mount in &spec.mounts {
            let permissions = if mount.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            wasi.preopened_dir(&mount.host, &mount.guest, permissions)?;
        }
        Ok(wasi)
    }

    /// Says something about a guest where the guest's own words go.
    pub(crate) fn log(&self, message: &str) {
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
