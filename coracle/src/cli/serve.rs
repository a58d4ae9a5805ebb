//! `coracle serve`: replicas of one image behind the balancer, without a daemon.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use coracle::{Host, ServeError, Serving};
use coracle_runtime::{DEFAULT_CONCURRENCY, DEFAULT_MAX_INSTANCES};
use coracle_supervisor::{OperationError, model::task_definition::NetworkMode};

use super::{
    args::{LEAST_TASK_CPU, NetworkChoice, ServeArgs},
    error::{Failure, chain},
    output_of_tasks::OutputOfTasks,
    signals::Signals,
};

/// For requests under way, once it is asked to end.
const DRAIN: Duration = Duration::from_secs(30);
/// Room for instances that costs nothing to speak of.
const FEW_INSTANCES: u32 = 64;

pub(crate) fn main(args: ServeArgs) -> Result<ExitCode, Failure> {
    super::log_to_stderr()?;
    let runtime = super::control_runtime()?;
    let result = runtime.block_on(serve(args));
    runtime.shutdown_background();
    result
}

async fn serve(args: ServeArgs) -> Result<ExitCode, Failure> {
    if let Some(cpu) = args.workload.cpu.filter(|cpu| *cpu < LEAST_TASK_CPU) {
        return Err(Failure::usage(format!(
            "--cpu of a service's tasks is at least {LEAST_TASK_CPU}, as in ECS, not {cpu}"
        )));
    }
    args.workload.granted().map_err(Failure::usage)?;
    let mut signals = Signals::take_over().map_err(Failure::io)?;
    let start = async {
        let host = Host::builder().max_instances(instances(&args));
        let host = host.start().await.map_err(|error| Failure::host(&error))?;
        let address = host.serve(&meant(args)).await.map_err(|error| refused(&error))?;
        Ok::<_, Failure>((host, address))
    };
    let (host, address) = tokio::select! {
        started = start => started?,
        // Nothing is served yet: there is nothing to drain.
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    eprintln!("Serving on http://{address}");
    let mut output = OutputOfTasks::of(&host);
    tokio::select! {
        _ = signals.next() => {}
        never = output.forward() => match never {},
    }
    let code = tokio::select! {
        () = host.shutdown(DRAIN) => ExitCode::SUCCESS,
        // Asked twice: at once, then.
        again = signals.next() => again.exit_code(),
        never = output.forward() => match never {},
    };
    // What they printed last.
    output.forward_once().await;
    Ok(code)
}

/// What all replicas may have at once, twice, because a replaced one still finishes its requests. Making room for more would
/// only delay the first answer.
fn instances(args: &ServeArgs) -> u32 {
    let of_one = args.handler.max_concurrency.unwrap_or(DEFAULT_CONCURRENCY);
    args.replicas.saturating_mul(of_one).saturating_mul(2).clamp(FEW_INSTANCES, DEFAULT_MAX_INSTANCES)
}

fn meant(args: ServeArgs) -> Serving {
    let labels = [
        ("coracle.egress", (!args.workload.egress.is_empty()).then(|| args.workload.egress.join(","))),
        ("coracle.fuel", args.workload.fuel.map(|fuel| fuel.to_string())),
        ("coracle.instance-reuse", args.handler.instance_reuse.map(|reuse| reuse.to_string())),
        ("coracle.max-concurrency", args.handler.max_concurrency.map(|most| most.to_string())),
        ("coracle.request-timeout", args.handler.request_timeout.map(|time| time.as_secs_f64().to_string())),
    ];
    let labels: BTreeMap<_, _> =
        labels.into_iter().filter_map(|(label, value)| Some((label.to_owned(), value?))).collect();
    let mut serving = Serving::new(args.image);
    serving.replicas = args.replicas;
    serving.listen = args.listen;
    serving.arguments = args.workload.arguments;
    serving.environment = args.workload.environment;
    serving.volumes = args
        .workload
        .volumes
        .into_iter()
        .map(|volume| (volume.host, volume.guest, volume.read_only))
        .collect();
    serving.network = match args.workload.network {
        None => NetworkMode::Awsvpc,
        Some(NetworkChoice::Host) => NetworkMode::Host,
        Some(NetworkChoice::None) => NetworkMode::None,
    };
    serving.container_port = args.container_port;
    serving.cpu = args.workload.cpu;
    serving.memory = args.workload.memory;
    serving.health_path = args.health_path;
    serving.labels = labels;
    serving
}

fn refused(error: &ServeError) -> Failure {
    let message = chain(error);
    match error {
        ServeError::Refused(OperationError::Store(_)) | ServeError::Timeout { .. } => {
            Failure::failed(message)
        }
        ServeError::Failed { .. } => {
            Failure::failed(format!("{message}; `coracle run` shows what it does by itself"))
        }
        // The supervisor knows the address as the tag it came in.
        _ => Failure::usage(message.replacen("Tag coracle.listen:", "--listen:", 1)),
    }
}
