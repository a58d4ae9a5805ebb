//! The command line: arguments as typed ([`args`]), what they mean (each command's own file), what comes out.

pub(crate) mod args;
mod autoscale;
mod balance;
mod capacity;
mod client;
mod cluster;
pub(crate) mod error;
mod events;
mod exec;
mod load_balancer;
mod logs;
mod output;
mod output_of_tasks;
mod parameter;
mod ps;
mod rollout;
mod run;
mod schedule;
mod secret;
mod serve;
mod service;
mod signals;
mod stats;
mod target_group;
mod task;
mod task_definition;
mod up;
mod usage;
mod version;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use args::{Arguments, Command};
use error::Failure;

/// Does what the process was called for. What goes wrong is one line on standard error and an exit code: 2 where the
/// input is at fault, 1 where it is not, and the guest's own for `coracle run`.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return error::usage(&error),
    };
    match execute(arguments.command) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn execute(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::main(args),
        Command::Serve(args) => serve::main(args),
        Command::Up(args) => up::main(args),
        Command::Balance(args) => balance::main(args),
        Command::Version(args) => version::main(args),
        Command::Ps(args) => client(ps::main(args)),
        Command::Logs(args) => client(logs::main(args)),
        Command::Stats(args) => client(stats::main(args)),
        Command::Events(args) => client(events::main(args)),
        Command::Rollback(args) => client(rollout::roll_back(args)),
        Command::Usage(args) => client(usage::main(args)),
        Command::Exec(args) => exec::main(args),
        Command::Service(command) => client(service::main(command)),
        Command::Schedule(command) => client(schedule::main(command)),
        Command::Task(command) => client(task::main(command)),
        Command::TaskDefinition(command) => client(task_definition::main(command)),
        Command::LoadBalancer(command) => client(load_balancer::main(command)),
        Command::Listener(command) => client(load_balancer::listener(command)),
        Command::Rule(command) => client(load_balancer::rule(command)),
        Command::TargetGroup(command) => client(target_group::main(command)),
        Command::Parameter(command) => client(parameter::main(command)),
        Command::Secret(command) => client(secret::main(command)),
        Command::Capacity(command) => client(capacity::main(command)),
        Command::Cluster(command) => client(cluster::main(command)),
    }
}

/// Messages of a long-running command go to standard error; `CORACLE_LOG` says which, e.g. `info` or
/// `coracle_balancer=debug`. Warnings and errors of whatever it does not name.
fn log_to_stderr() -> Result<(), Failure> {
    let wanted = std::env::var("CORACLE_LOG").unwrap_or_else(|_| "warn".to_owned());
    // Levels by target and no more: filters by fields would bring an engine of regular expressions into the binary.
    let mut filter: Targets =
        wanted.parse().map_err(|error| Failure::usage(format!("CORACLE_LOG={wanted}: {error}")))?;
    if filter.default_level().is_none() {
        filter = filter.with_default(LevelFilter::WARN);
    }
    let ansi = std::io::stderr().is_terminal();
    let messages = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    tracing_subscriber::registry().with(filter).with(messages).init();
    Ok(())
}

/// What the control side of a host runs on. Guests and the balancer have threads of their own.
fn control_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().map_err(Failure::io)
}

/// A command that asks the daemon: one connection at a time, so that one thread is enough.
fn client(command: impl Future<Output = Result<(), Failure>>) -> Result<ExitCode, Failure> {
    client_runtime()?.block_on(command)?;
    Ok(ExitCode::SUCCESS)
}

fn client_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::io)
}
