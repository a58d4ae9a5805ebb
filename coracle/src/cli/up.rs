//! `coracle up`: the daemon in the foreground.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use coracle::{
    Host,
    compose::{self, Applied, ApplyError, Outcome, Project},
};
use coracle_balancer::TracingConfig;
use coracle_supervisor::{OperationError, operations::CreateClusterRequest};

use super::{
    args::UpArgs,
    error::{Failure, chain},
    signals::Signals,
};

/// For requests under way and tasks that write what they have, once it is asked to end.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) fn main(args: UpArgs) -> Result<ExitCode, Failure> {
    super::log_to_stderr()?;
    // Read before anything starts: a wrong file changes nothing.
    let project = project(args.file.as_deref())?;
    let runtime = super::control_runtime()?;
    let result = runtime.block_on(up(args, project));
    runtime.shutdown_background();
    result
}

async fn up(args: UpArgs, project: Option<(PathBuf, Project)>) -> Result<ExitCode, Failure> {
    let mut signals = Signals::take_over().map_err(Failure::io)?;
    let data_dir = args.data_dir.or_else(coracle::data_dir).ok_or_else(|| {
        Failure::usage("there is no home directory to keep data in; name a directory with --data-dir")
    })?;
    let mut host = Host::builder().data_dir(data_dir).api(args.api).host_ports(args.host_ports);
    if let Some(file) = args.secret_key {
        host = host.secret_key(file);
    }
    let tracing = TracingConfig::from_env(|name| env::var(name).ok()).map_err(Failure::usage)?;
    if let Some(tracing) = tracing {
        host = host.tracing(tracing);
    }
    let start = host.start();
    let host = tokio::select! {
        host = start => host.map_err(|error| Failure::host(&error))?,
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    // What a command means that names no cluster is there from the start.
    let cluster = host.supervisor().create_cluster(CreateClusterRequest::default()).await;
    cluster.map_err(|error| Failure::failed(chain(&error)))?;
    if let Some(address) = host.api_address() {
        eprintln!("API on http://{address}");
    }
    let applied = tokio::select! {
        applied = apply(&host, project.as_ref()) => applied,
        _ = signals.next() => {
            host.shutdown(DRAIN).await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Err(failure) = applied {
        host.shutdown(DRAIN).await;
        return Err(failure);
    }
    eprintln!("Ready");
    signals.next().await;
    tokio::select! {
        () = host.shutdown(DRAIN) => Ok(ExitCode::SUCCESS),
        // Asked twice: at once, then.
        again = signals.next() => Ok(again.exit_code()),
    }
}

/// The file named, or the one found in this directory.
fn project(file: Option<&Path>) -> Result<Option<(PathBuf, Project)>, Failure> {
    let here = env::current_dir().map_err(Failure::io)?;
    let Some(file) = file.map(Path::to_owned).or_else(|| compose::find(&here)) else { return Ok(None) };
    let shown = file.strip_prefix(&here).unwrap_or(&file).display().to_string();
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::usage(format!("cannot read the Compose file {shown}: {error}")))?;
    let file = std::path::absolute(&file).map_err(Failure::io)?;
    let directory = file.parent().unwrap_or(&here);
    let variables = |name: &str| env::var(name).ok();
    match Project::parse(&text, directory, &variables) {
        Ok(project) => Ok(Some((PathBuf::from(shown), project))),
        Err(error) => Err(Failure::usage(format!("{shown}: {error}"))),
    }
}

async fn apply(host: &Host, project: Option<&(PathBuf, Project)>) -> Result<(), Failure> {
    let Some((file, project)) = project else { return Ok(()) };
    let applied = project.apply(host).await.map_err(|error| {
        let message = format!("{}: {}", file.display(), chain(&error));
        if is_input_error(&error) { Failure::usage(message) } else { Failure::failed(message) }
    })?;
    report(host, project, &applied);
    Ok(())
}

fn report(host: &Host, project: &Project, applied: &Applied) {
    for (service, outcome) in &applied.services {
        let address = host.supervisor().endpoint(&project.name, service);
        let at = address.map(|address| format!(" on http://{address}")).unwrap_or_default();
        eprintln!("{}/{service}: {outcome}{at}", project.name);
    }
    for other in &applied.others {
        eprintln!(
            "{0}/{other}: left alone, it is not in the file; delete it with `coracle service delete {other} --force --cluster {0}`",
            project.name
        );
    }
    let changed = applied.services.iter().filter(|(_, outcome)| *outcome != Outcome::Unchanged).count();
    tracing::info!(project = project.name, changed, "the Compose file is applied");
}

fn is_input_error(error: &ApplyError) -> bool {
    match error {
        ApplyError::Refused { source, .. } | ApplyError::Cluster(source) => {
            !matches!(source, OperationError::Store(_))
        }
        ApplyError::Invalid { .. } => true,
        ApplyError::Timeout { .. } => false,
    }
}
