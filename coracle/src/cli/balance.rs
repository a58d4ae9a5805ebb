//! `coracle balance`: the balancer by itself, from a file.

use std::path::{self, Path};
use std::process::ExitCode;
use std::time::Duration;

use coracle::balance::{Balance, Config};
use tokio::signal::unix::{SignalKind, signal};

use super::args::BalanceArgs;
use super::error::{Failure, chain};
use super::signals::Signals;

/// For requests under way, once it is asked to end.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) fn main(args: BalanceArgs) -> Result<ExitCode, Failure> {
    super::log_to_stderr()?;
    let runtime = super::control_runtime()?;
    let result = runtime.block_on(balance(&args.config));
    runtime.shutdown_background();
    result
}

async fn balance(file: &Path) -> Result<ExitCode, Failure> {
    let mut signals = Signals::take_over().map_err(Failure::io)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(Failure::io)?;
    let config = read(file)?;
    let mut balance = Balance::start().map_err(|error| Failure::failed(chain(&error)))?;
    take_in(&mut balance, file, &config)?;
    loop {
        tokio::select! {
            _ = signals.next() => break,
            hangup = hangups.recv() => {
                if hangup.is_none() {
                    break;
                }
                // First, and whatever becomes of the file: who rotates logs has renamed them already.
                if let Err(error) = balance.reopen_access_logs() {
                    Failure::failed(chain(&error)).report();
                }
                // What serves goes on serving, whatever the file says.
                if let Err(failure) = read(file).and_then(|config| take_in(&mut balance, file, &config)) {
                    failure.report();
                }
            }
        }
    }
    tokio::select! {
        () = balance.shutdown(DRAIN) => Ok(ExitCode::SUCCESS),
        // Asked twice: at once, then.
        again = signals.next() => Ok(again.exit_code()),
    }
}

fn read(file: &Path) -> Result<Config, Failure> {
    let at_fault = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| at_fault(&error))?;
    let absolute = path::absolute(file).map_err(|error| at_fault(&error))?;
    let directory = absolute.parent().unwrap_or(&absolute);
    Config::parse(&text, directory).map_err(|error| at_fault(&error))
}

fn take_in(balance: &mut Balance, file: &Path, config: &Config) -> Result<(), Failure> {
    balance.apply(config).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    for (name, address) in balance.addresses() {
        eprintln!("{name}: listening on {address}");
    }
    Ok(())
}
