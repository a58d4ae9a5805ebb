//! What a guest sees of the world: the filling of each new store.

use crate::container::{ContainerSpec, Meters, Output, StartError, Stdin};
use crate::logs::{GuestOutput, LogLine, Stream};
use coracle_runtime_host::files::mounts::Mounts;
use coracle_runtime_host::limits;
use coracle_runtime_host::memory::StoreMemory;
use coracle_runtime_host::network::Network;
use coracle_runtime_host::state::{ComponentState, ModuleState};
use std::sync::Arc;
use std::time::SystemTime;
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
}

impl Template {
    /// Checks what can fail, so that making a store only fails when the host changed since.
    pub(crate) fn new(spec: ContainerSpec, meters: Arc<Meters>) -> Result<Self, StartError> {
        let mounts = Mounts::open(spec.mounts.clone());
        let mounts = mounts.map_err(|(path, source)| StartError::Mount { path, source })?;
        let outputs = match &spec.output {
            Output::Log(sink) => Some((
                GuestOutput::new(Stream::Stdout, sink.clone()),
                GuestOutput::new(Stream::Stderr, sink.clone()),
            )),
            Output::Null | Output::Inherit => None,
        };
        Ok(Self { spec, mounts: Arc::new(mounts), outputs, meters })
    }

    pub(crate) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// The limiter of a new store.
    fn memory(&self) -> StoreMemory {
        StoreMemory::new(self.meters.memory.clone())
    }

    /// The data of a new store for a component.
    pub(crate) fn component_state(&self) -> ComponentState {
        ComponentState::new(self.wasi().build(), &self.mounts, self.spec.network, self.memory())
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
        if spec.stdin == Stdin::Inherit {
            wasi.inherit_stdin();
        }
        match (&spec.output, &self.outputs) {
            (Output::Inherit, _) => {
                wasi.inherit_stdout().inherit_stderr();
            }
            (_, Some((stdout, stderr))) => {
                wasi.stdout(stdout.clone()).stderr(stderr.clone());
            }
            (Output::Null | Output::Log(_), None) => {}
        }
        let network = spec.network;
        match network {
            Network::None => {
                wasi.allow_tcp(false).allow_udp(false);
            }
            Network::Host => {
                wasi.inherit_network().allow_ip_name_lookup(true).allow_tcp(true).allow_udp(true);
            }
            Network::Address(_) => {
                wasi.allow_tcp(true).allow_udp(true);
                wasi.socket_addr_check(move |address, purpose| {
                    Box::pin(std::future::ready(network.permits(address, purpose)))
                });
            }
        }
        wasi
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
            Output::Null => {}
        }
    }
}
