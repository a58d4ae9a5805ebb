//! `coracle run`: one task in the foreground, straight on the runtime.

use std::{process::ExitCode, sync::Arc, time::Duration};

use coracle_runtime::{
    Container, ContainerSpec, Exit, ExitReason, Image, ImageKind, Metering, Mount, Network, Output, Runtime,
    StartError, Stdin, TaskNetwork, Uplink, network::lookup::SystemResolver,
};
use coracle_supervisor::driver::local::lone_address;

use super::{
    args::{NetworkChoice, RunArgs, Workload},
    error::{Failure, chain},
    signals::Signals,
};

/// For what is still to be written when a task is told to end: ECS's `stopTimeout`.
const GRACE: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
/// There is one; a module may have several memories.
const MAX_INSTANCES: u32 = 16;

pub(crate) fn main(args: RunArgs) -> Result<ExitCode, Failure> {
    let runtime = super::control_runtime()?;
    let result = runtime.block_on(run(args));
    // A read of our standard input cannot be cancelled, and nobody wants what it would bring.
    runtime.shutdown_background();
    result
}

async fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::take_over().map_err(Failure::io)?;
    // The guest's threads are the runtime's, and end with it.
    let (_runtime, container) = tokio::select! {
        started = start(args) => started?,
        signal = signals.next() => return Ok(signal.exit_code()),
    };
    tokio::select! {
        exit = container.wait() => code_of(&exit),
        signal = signals.next() => {
            tokio::select! {
                _ = container.stop(GRACE) => {}
                // Asked twice: at once, then.
                _ = signals.next() => {}
            }
            Ok(signal.exit_code())
        }
    }
}

async fn start(args: RunArgs) -> Result<(Runtime, Container), Failure> {
    let network = network(&args.workload)?;
    let path = args.image.clone();
    let metering = Metering::for_budget(args.workload.fuel);
    let loaded = tokio::task::spawn_blocking(move || {
        let runtime =
            coracle::open_runtime(Some(MAX_INSTANCES)).map_err(|error| Failure::failed(chain(&error)))?;
        let image =
            runtime.load_file_metered(&path, metering).map_err(|error| Failure::image(&path, &error))?;
        Ok::<_, Failure>((runtime, image))
    });
    let (runtime, image) = loaded.await.map_err(Failure::failed)??;
    let shown = args.image.display();
    if image.kind() == ImageKind::Handler {
        return Err(Failure::usage(format!(
            "{shown} answers HTTP requests and has no end of its own; use `coracle serve {shown}`"
        )));
    }
    let spec = spec(shown.to_string(), network, args.workload);
    let container = runtime.start(&image, spec).await.map_err(|error| refused(&error, &image))?;
    Ok((runtime, container))
}

/// Where it lives on the network. With nothing granted it needs no place there.
fn network(workload: &Workload) -> Result<Network, Failure> {
    let egress = workload.granted().map_err(Failure::usage)?;
    let uplink = || Uplink::new(Arc::new(SystemResolver), Vec::new(), coracle::http_client());
    let task = match workload.network {
        Some(NetworkChoice::Host) => TaskNetwork::host(uplink()),
        None if !egress.is_empty() => TaskNetwork::with_address(lone_address(), uplink()),
        Some(NetworkChoice::None) | None => return Ok(Network::none()),
    };
    Ok(task.container(egress))
}

fn spec(name: String, network: Network, workload: Workload) -> ContainerSpec {
    let mounts = workload.volumes.into_iter();
    ContainerSpec {
        args: workload.arguments,
        env: workload.environment,
        mounts: mounts.map(|volume| Mount::host(volume.host, volume.guest, volume.read_only)).collect(),
        network,
        cpu: workload.cpu,
        memory: workload.memory.map(|mib| u64::from(mib) * MIB),
        fuel: workload.fuel,
        stdin: Stdin::Inherit,
        output: Output::Inherit,
        ..ContainerSpec::named(name)
    }
}

fn refused(error: &StartError, image: &Image) -> Failure {
    match error {
        StartError::MemoryBelowMinimum { .. } => {
            let needed = image.minimum_memory().div_ceil(MIB);
            Failure::usage(format!("--memory is below the image's minimum of {needed} MiB"))
        }
        other => Failure::usage(chain(other)),
    }
}

/// The guest's own code. What it did not choose itself is also said.
fn code_of(exit: &Exit) -> Result<ExitCode, Failure> {
    if exit.reason != ExitReason::Exited {
        eprintln!("error: {}", exit.message);
    }
    // A process cannot tell more than the lowest byte; what is outside of it must not look like success.
    Ok(ExitCode::from(exit.code.map_or(1, |code| u8::try_from(code).unwrap_or(u8::MAX))))
}
