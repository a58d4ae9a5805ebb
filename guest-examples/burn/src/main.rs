//! A job that keeps one processor busy: `burn --seconds 10`, `burn --iterations 1000000000` or `burn --forever`.
//!
//! A guest has no clock of its own processor time, so `--seconds` are seconds on the wall: under a quota fewer
//! iterations fit into them. What it prints, the iterations done, is in proportion to the processor time it got.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

const USAGE: &str = "usage: burn --seconds N | --iterations N | --forever";

/// Iterations between two looks at the clock: well under a millisecond of work.
const SLICE: u64 = 100_000;

enum Until {
    Elapsed(Duration),
    Iterations(u64),
    Forever,
}

fn main() -> ExitCode {
    match parse() {
        Ok(until) => {
            burn(&until);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("burn: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Until, lexopt::Error> {
    let mut until = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        until = Some(match argument {
            Long("seconds") => {
                let seconds = Duration::try_from_secs_f64(arguments.value()?.parse()?);
                Until::Elapsed(seconds.map_err(|error| error.to_string())?)
            }
            Long("iterations") => Until::Iterations(arguments.value()?.parse()?),
            Long("forever") => Until::Forever,
            _ => return Err(argument.unexpected()),
        });
    }
    until.ok_or_else(|| "nothing asked for".into())
}

/// Spins, and prints the iterations done once a second and at the end.
fn burn(until: &Until) {
    let started = Instant::now();
    let mut iterations = 0;
    let mut next_report = Duration::from_secs(1);
    loop {
        let slice = match until {
            Until::Iterations(wanted) => SLICE.min(wanted - iterations),
            Until::Elapsed(_) | Until::Forever => SLICE,
        };
        spin(slice);
        iterations += slice;
        let elapsed = started.elapsed();
        let ended = match until {
            Until::Elapsed(wanted) => elapsed >= *wanted,
            Until::Iterations(wanted) => iterations == *wanted,
            Until::Forever => false,
        };
        if ended || elapsed >= next_report {
            println!("{iterations} iterations in {:.3} s", elapsed.as_secs_f64());
            next_report = elapsed + Duration::from_secs(1);
        }
        if ended {
            return;
        }
    }
}

/// A chain of xorshift steps: each needs the one before, so that no compiler shortens it.
fn spin(iterations: u64) {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..iterations {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}
