//! Commands: guests with a beginning and an exit code. With a socket to listen on they are servers.

mod progress;

use crate::container::{ContainerSpec, Life, Meters, StartError};
use crate::crash::with_core_dump;
use crate::engine::Shared;
use crate::exit::Exit;
use crate::image::{Image, Program};
use crate::metering::{Gauge, Metering};
use crate::state::Template;
use coracle_runtime_host::limits;
use coracle_runtime_host::network::Network;
use coracle_runtime_host::state::{ComponentState, ModuleState};
use futures_util::FutureExt;
use progress::Progress;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wasmtime::Store;

/// A running command.
#[derive(Debug)]
pub(crate) struct Command {
    life: Arc<Life>,
    stopping: CancellationToken,
    network: Network,
    ends_by_itself: bool,
}

impl Command {
    pub(crate) fn start(
        runtime: &Arc<Shared>,
        image: &Image,
        spec: ContainerSpec,
        meters: Arc<Meters>,
        life: Arc<Life>,
    ) -> Result<Self, StartError> {
        let (ends_by_itself, network) = (spec.ends_by_itself, spec.network.clone());
        let template = Template::new(spec, meters.clone())?;
        let stopping = template.stopping().clone();
        let (image, ending) = (image.clone(), life.clone());
        let task = runtime.executor.spawn(meters.cpu.clone(), async move {
            let run = run(&image, &template);
            // Cancelled by dropping: between two polls a guest is always at a point where it can be dropped.
            let exit = tokio::select! {
                biased;
                () = ending.token().cancelled() => return,
                exit = run => exit,
            };
            ending.end(exit);
        });
        // Whatever ends the future without an exit (a panic of the host in a host call, the threads going away) must not
        // leave the container running for ever.
        let watched = life.clone();
        tokio::spawn(async move {
            let task = AssertUnwindSafe(task.fallible());
            let message = match task.catch_unwind().await {
                Ok(Some(())) => return,
                Ok(None) => "HostError: the runtime was shut down",
                Err(_) => "HostError: a host function panicked",
            };
            watched.end(Exit::failed(message.to_owned()));
        });
        Ok(Self { life, stopping, network, ends_by_itself })
    }

    /// Tells the guest to end, as far as WASI has a way to; kills one that has time for it and does not.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.stopping.cancel();
        // Whoever connects from now on is refused; those it has go on.
        self.network.stop_accepting();
        if !self.ends_by_itself {
            return self.life.end(Exit::stopped(false));
        }
        if tokio::time::timeout(grace, self.life.ended()).await.is_err() {
            self.life.end(Exit::killed());
        }
    }
}

async fn run(image: &Image, template: &Template) -> Exit {
    let progress = Progress::default();
    let guest = async {
        match image.program() {
            Program::CommandP1(pre) => run_module(image, pre, template, &progress).await,
            Program::CommandP2(pre) => run_p2(image, pre, template, &progress).await,
            Program::CommandP3(pre) => run_p3(image, pre, template, &progress).await,
            // `Container::start` makes commands of command images only.
            Program::HandlerP2(_) | Program::HandlerP3(_) => Ok(Exit::failed("not a command".to_owned())),
        }
    };
    let guest = pin!(guest);
    let ran = match image.metering() {
        Metering::Time => guest.await,
        Metering::Fuel => progress.metered(guest, template.meters()).await,
    };
    match ran {
        Ok(exit) => exit,
        Err(error) => template.failed(&error),
    }
}

/// Gives a store's data its limiter.
type Limiter<T> = fn(&mut T) -> &mut dyn wasmtime::ResourceLimiter;

/// A store whose use of fuel is recorded however its guest ends.
struct MeteredStore<'a, T: 'static> {
    store: Store<T>,
    fuel: Gauge,
    used: u64,
    meters: &'a Meters,
    progress: &'a Progress,
}

impl<'a, T: Send> MeteredStore<'a, T> {
    fn new(
        image: &Image,
        template: &'a Template,
        progress: &'a Progress,
        data: T,
        limiter: Limiter<T>,
    ) -> wasmtime::Result<Self> {
        let mut store = Store::new(image.program().engine(), data);
        store.limiter(limiter);
        let fuel = image.metering().prepare(&mut store, template.spec().fuel)?;
        Ok(Self { store, fuel, used: 0, meters: template.meters(), progress })
    }

    /// How its guest ended. A failure is told while the store still is as it was left.
    fn exit(mut self, template: &Template, ran: wasmtime::Result<Exit>) -> Exit {
        ran.unwrap_or_else(|error| {
            self.record_fuel();
            template.failed(&with_core_dump(error, &mut self.store, template.spec().dumps()))
        })
    }
}

impl<T: 'static> MeteredStore<'_, T> {
    fn record_fuel(&mut self) {
        self.used += self.fuel.used(&self.store);
        self.progress.ended(self.meters, self.used);
    }
}

impl<T: 'static> Drop for MeteredStore<'_, T> {
    fn drop(&mut self) {
        self.record_fuel();
    }
}

async fn run_module(
    image: &Image,
    pre: &wasmtime::InstancePre<ModuleState>,
    template: &Template,
    progress: &Progress,
) -> wasmtime::Result<Exit> {
    let mut metered =
        MeteredStore::new(image, template, progress, template.module_state(), |state| state.memory())?;
    let store = &mut metered.store;
    limits::limit_module(store);
    let run = async {
        let instance = pre.instantiate_async(&mut *store).await?;
        let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
        start.call_async(&mut *store, ()).await?;
        Ok(Exit::exited(0))
    };
    let ran = run.await;
    Ok(metered.exit(template, ran))
}

async fn run_p2(
    image: &Image,
    pre: &wasmtime_wasi::p2::bindings::CommandPre<ComponentState>,
    template: &Template,
    progress: &Progress,
) -> wasmtime::Result<Exit> {
    let mut metered =
        MeteredStore::new(image, template, progress, template.component_state(), |state| state.memory())?;
    let store = &mut metered.store;
    limits::limit_component(store);
    let run = async {
        let command = pre.instantiate_async(&mut *store).await?;
        let result = command.wasi_cli_run().call_run(&mut *store).await?;
        Ok(Exit::exited(i32::from(result.is_err())))
    };
    let ran = run.await;
    Ok(metered.exit(template, ran))
}

async fn run_p3(
    image: &Image,
    pre: &wasmtime_wasi::p3::bindings::CommandPre<ComponentState>,
    template: &Template,
    progress: &Progress,
) -> wasmtime::Result<Exit> {
    let mut metered =
        MeteredStore::new(image, template, progress, template.component_state(), |state| state.memory())?;
    let store = &mut metered.store;
    limits::limit_component(store);
    let run = async {
        let command = pre.instantiate_async(&mut *store).await?;
        let result =
            store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await).await??;
        Ok(Exit::exited(i32::from(result.is_err())))
    };
    let ran = run.await;
    Ok(metered.exit(template, ran))
}
