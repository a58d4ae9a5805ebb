//! A job that allocates memory step by step and touches all of it: `hog --mib 100 [--step-mib 1] [--hold-seconds 10]`.
//!
//! Says after each step how much it holds. Exits with 1 where the host refuses it more memory, if the host lets it live.

use std::hint::black_box;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use lexopt::prelude::*;

const USAGE: &str = "usage: hog --mib N [--step-mib N] [--hold-seconds N]";
const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

struct Options {
    mib: usize,
    step_mib: usize,
    hold: Duration,
}

fn main() -> ExitCode {
    match parse() {
        Ok(options) => hog(&options),
        Err(error) => {
            eprintln!("hog: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Options, lexopt::Error> {
    let (mut mib, mut step_mib, mut hold) = (None, 1, Duration::ZERO);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("mib") => mib = Some(arguments.value()?.parse()?),
            Long("step-mib") => step_mib = arguments.value()?.parse()?,
            Long("hold-seconds") => {
                let seconds = Duration::try_from_secs_f64(arguments.value()?.parse()?);
                hold = seconds.map_err(|error| error.to_string())?;
            }
            _ => return Err(argument.unexpected()),
        }
    }
    if step_mib == 0 {
        return Err("--step-mib must be at least 1".into());
    }
    Ok(Options { mib: mib.ok_or("--mib is needed")?, step_mib, hold })
}

fn hog(options: &Options) -> ExitCode {
    let mut held = Vec::new();
    let mut held_mib = 0;
    while held_mib < options.mib {
        let step = options.step_mib.min(options.mib - held_mib);
        let Some(memory) = allocate(step) else {
            eprintln!("hog: refused {step} MiB more after {held_mib} MiB");
            return ExitCode::FAILURE;
        };
        held.push(memory);
        held_mib += step;
        println!("holding {held_mib} MiB");
    }
    sleep(options.hold);
    black_box(held);
    ExitCode::SUCCESS
}

/// Memory that is really there: one byte of each page is written.
fn allocate(mib: usize) -> Option<Vec<u8>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(mib.checked_mul(MIB)?).ok()?;
    memory.resize(mib * MIB, 0_u8);
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    Some(black_box(memory))
}
