//! A job: counts the lines, words and bytes of files, or of standard input when no file is named (or `-` is).
//!
//! Exits with 1 when a file could not be read; the others are counted nevertheless, as `wc` does.

use std::fs::File;
use std::io::{self, Read};
use std::ops::AddAssign;
use std::process::ExitCode;

#[derive(Clone, Copy, Default)]
struct Counts {
    lines: u64,
    words: u64,
    bytes: u64,
}

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        return report("", count(io::stdin())).map_or(ExitCode::FAILURE, |_| ExitCode::SUCCESS);
    }
    let mut total = Counts::default();
    let mut exit = ExitCode::SUCCESS;
    for name in &names {
        let counts = if name == "-" { count(io::stdin()) } else { File::open(name).and_then(count) };
        match report(name, counts) {
            Some(counts) => total += counts,
            None => exit = ExitCode::FAILURE,
        }
    }
    if names.len() > 1 {
        report("total", Ok(total));
    }
    exit
}

/// Prints one line about one input: its counts, or on standard error why there are none.
fn report(name: &str, counts: io::Result<Counts>) -> Option<Counts> {
    match &counts {
        Ok(Counts { lines, words, bytes }) => {
            println!("{}", format!("{lines:7} {words:7} {bytes:7} {name}").trim_end());
        }
        Err(error) => {
            eprintln!("wordcount: {}: {error}", if name.is_empty() { "standard input" } else { name })
        }
    }
    counts.ok()
}

fn count(mut input: impl Read) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut in_word = false;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => return Ok(counts),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        counts.bytes += read as u64;
        for byte in &buffer[..read] {
            counts.lines += u64::from(*byte == b'\n');
            let was_in_word = in_word;
            in_word = !byte.is_ascii_whitespace();
            counts.words += u64::from(in_word && !was_in_word);
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.words += other.words;
        self.bytes += other.bytes;
    }
}
