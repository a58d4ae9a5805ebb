//! What it costs to make guests yield and to count their fuel. Run by `metering.sh`, which judges what this prints.
//!
//! ```sh
//! cargo run --release --package coracle-runtime --example metering -- burn.wasm json.wasm python.wasm [--seconds=10]
//! ```
//!
//! The same guests run on engines that differ in nothing else: without metering, with epochs and with fuel, as `coracle_runtime::Metering` has them. They take turns of a
//! fraction of a second, so that a noisy machine is noisy for all. A command is run over and over, a handler answers requests in one instance. It prints one JSON object a
//! guest: CPU time of a run or a request, relative to that without metering.

use bytes::Bytes;
use coracle_runtime_host::files::mounts::Mounts;
use coracle_runtime_host::memory::{MemoryAccount, StoreMemory};
use coracle_runtime_host::network::Network;
use coracle_runtime_host::state::{self, ComponentState};
use http_body_util::{BodyExt, Full};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One turn of one engine.
const TURN: Duration = Duration::from_millis(250);
/// As the runtime's ticker.
const TICK: Duration = Duration::from_millis(1);
const FUEL_SLICE: u64 = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metering {
    None,
    Epochs,
    Fuel,
}

impl Metering {
    const ALL: [Self; 3] = [Self::None, Self::Epochs, Self::Fuel];

    fn engine(self) -> Result<Engine> {
        let mut config = Config::new();
        config.concurrency_support(false);
        match self {
            Self::None => {}
            Self::Epochs => {
                config.epoch_interruption(true);
            }
            Self::Fuel => {
                config.consume_fuel(true);
            }
        }
        Ok(Engine::new(&config)?)
    }

    fn prepare<T>(self, store: &mut Store<T>) -> Result<()> {
        match self {
            Self::None => {}
            Self::Epochs => {
                store.set_epoch_deadline(1);
                store.epoch_deadline_async_yield_and_update(1);
            }
            Self::Fuel => {
                store.set_fuel(u64::MAX)?;
                store.fuel_async_yield_interval(Some(FUEL_SLICE))?;
            }
        }
        Ok(())
    }

    /// Before each request.
    fn again<T>(self, store: &mut Store<T>) -> Result<()> {
        match self {
            Self::None => {}
            Self::Epochs => store.set_epoch_deadline(1),
            Self::Fuel => store.set_fuel(u64::MAX)?,
        }
        Ok(())
    }
}

/// A guest on one engine.
struct Lane {
    metering: Metering,
    guest: Guest,
    runs: u32,
    cpu: Duration,
}

enum Guest {
    Command(CommandPre<ComponentState>),
    Handler(Box<(Store<ComponentState>, Proxy)>),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut seconds = 10.0;
    let mut images = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.strip_prefix("--seconds=") {
            Some(value) => seconds = value.parse()?,
            None => images.push(argument),
        }
    }
    if images.is_empty() {
        return Err("usage: metering IMAGE... [--seconds=N]".into());
    }
    let engines = [Metering::None.engine()?, Metering::Epochs.engine()?, Metering::Fuel.engine()?];
    let done = Arc::new(AtomicBool::new(false));
    let ticker = tick(engines[1].clone(), done.clone());
    for image in images {
        compare(&image, &engines, Duration::from_secs_f64(seconds)).await?;
    }
    done.store(true, Ordering::Relaxed);
    ticker.join().map_err(|_| "the ticker panicked".into())
}

fn tick(engine: Engine, done: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    })
}

async fn compare(image: &str, engines: &[Engine; 3], time: Duration) -> Result<()> {
    let bytes = std::fs::read(image)?;
    let mut lanes = Vec::new();
    for (metering, engine) in Metering::ALL.into_iter().zip(engines) {
        let guest = load(metering, engine, &bytes).await?;
        lanes.push(Lane { metering, guest, runs: 0, cpu: Duration::ZERO });
    }
    // Once each before it counts: caches, and what a language runtime does at its first request.
    for lane in &mut lanes {
        lane.run().await?;
    }
    let end = Instant::now() + time * 3;
    while Instant::now() < end {
        for lane in &mut lanes {
            lane.turn().await?;
        }
    }
    let each = |lane: &Lane| lane.cpu.as_secs_f64() / f64::from(lane.runs);
    let plain = each(&lanes[0]);
    let name = std::path::Path::new(image).file_stem().unwrap_or_default().to_string_lossy();
    println!(
        r#"{{"guest":"{name}","runs":{},"plain_us":{:.1},"epochs":{:.3},"fuel":{:.3}}}"#,
        lanes.iter().map(|lane| lane.runs).sum::<u32>(),
        plain * 1e6,
        each(&lanes[1]) / plain,
        each(&lanes[2]) / plain,
    );
    Ok(())
}

async fn load(metering: Metering, engine: &Engine, bytes: &[u8]) -> Result<Guest> {
    let linker = state::preview2_linker(engine)?;
    let component = Component::from_binary(engine, bytes)?;
    let pre = linker.instantiate_pre(&component)?;
    if let Ok(pre) = ProxyPre::new(pre.clone()) {
        let mut store = store(metering, engine)?;
        let proxy = pre.instantiate_async(&mut store).await?;
        return Ok(Guest::Handler(Box::new((store, proxy))));
    }
    Ok(Guest::Command(CommandPre::new(pre)?))
}

fn store(metering: Metering, engine: &Engine) -> Result<Store<ComponentState>> {
    let mut wasi = WasiCtxBuilder::new();
    // What `burn` is asked for; handlers look at no arguments.
    wasi.args(&["guest", "--iterations", "20000000"]);
    let memory = StoreMemory::new(MemoryAccount::new(None, None));
    let state = ComponentState::new(wasi, &Arc::new(Mounts::default()), Network::none(), memory);
    let mut store = Store::new(engine, state);
    store.limiter(|state| state.memory());
    metering.prepare(&mut store)?;
    Ok(store)
}

impl Lane {
    /// As many runs as fit into a turn.
    async fn turn(&mut self) -> Result<()> {
        let end = Instant::now() + TURN;
        let before = cpu_time();
        while Instant::now() < end {
            self.run().await?;
            self.runs += 1;
        }
        self.cpu += cpu_time().saturating_sub(before);
        Ok(())
    }

    async fn run(&mut self) -> Result<()> {
        match &mut self.guest {
            Guest::Command(pre) => {
                let mut store = store(self.metering, pre.engine())?;
                let command = pre.instantiate_async(&mut store).await?;
                command.wasi_cli_run().call_run(&mut store).await?.map_err(|()| "the guest failed".into())
            }
            Guest::Handler(instance) => {
                let (store, proxy) = instance.as_mut();
                self.metering.again(store)?;
                ask(store, proxy).await
            }
        }
    }
}

/// One request, whose answer is read.
async fn ask(store: &mut Store<ComponentState>, proxy: &Proxy) -> Result<()> {
    let body = Full::new(Bytes::new()).boxed_unsync();
    let request = http::Request::get("http://bench/").body(body)?;
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let (sender, answer) = tokio::sync::oneshot::channel();
    let out = http.new_response_outparam_from_callback(move |response| drop(sender.send(response)))?;
    let reader = async {
        let response = answer.await?.map_err(|code| format!("{code:?}"))?;
        let status = response.status();
        let read = response.into_body().collect().await;
        read.map_err(|error| format!("{error:?}"))?;
        if status.is_success() { Ok(()) } else { Err(format!("status {status}").into()) }
    };
    let (called, read): (_, Result<()>) =
        tokio::join!(proxy.wasi_http_incoming_handler().call_handle(store, request, out), reader);
    called?;
    read
}

/// Of this thread: the ticker's is not counted.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
