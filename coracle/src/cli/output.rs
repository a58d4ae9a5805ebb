//! Results as tables and as JSON.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use coracle_supervisor::clock::Timestamp;
use serde::Serialize;

use super::{args::OutputFormat, error::Failure};

/// Columns with headings, as wide as their widest entry.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        // Guests choose some of the texts: none of them may move the terminal's cursor.
        self.rows.push(cells.map(|cell| cell.chars().filter(|c| !c.is_control()).collect()).to_vec());
    }

    pub(crate) fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string cannot fail.
                write!(line, "{cell:<width$}   ").ok();
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Writes a result in the form that was asked for.
pub(crate) fn print<T: Serialize>(
    format: OutputFormat,
    value: &T,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        OutputFormat::Table => write(&table()),
        OutputFormat::Json => {
            let json = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
            write(&format!("{json}\n"))
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io(error)),
        _ => Ok(()),
    }
}

/// How long ago something was, in its two largest units.
pub(crate) fn ago(moment: Timestamp) -> String {
    let now = Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    span(now.since(moment))
}

fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A moment as people read it.
pub(crate) fn at(moment: Timestamp) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit by far")]
    let time = jiff::Timestamp::from_millisecond((moment.seconds() * 1000.0) as i64);
    time.map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default()
}

/// The last part of an ARN: what people call the thing.
pub(crate) fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// As much of a task's id as tells it from others.
pub(crate) fn short_id(arn: &str) -> &str {
    let id = name_of(arn);
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_entry() {
        let mut table = Table::new(["NAME", "N"]);
        table.row(["a".into(), "1".into()]);
        table.row(["longer".into(), String::new()]);
        table.row(["\u{1b}[2Jé".into(), "3".into()]);
        assert_eq!(table.render(), "NAME     N\na        1\nlonger\n[2Jé     3\n");
    }

    #[test]
    fn spans_have_their_two_largest_units() {
        let table = [(0, "0s"), (59, "59s"), (61, "1m1s"), (3660, "1h1m"), (90_000, "1d1h")];
        for (seconds, text) in table {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn ids_are_shortened() {
        assert_eq!(
            short_id("arn:aws:ecs:local:0:task/default/0123456789abcdef0123456789abcdef"),
            "0123456789ab"
        );
        assert_eq!(short_id("abc"), "abc");
    }
}
