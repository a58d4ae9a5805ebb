//! Lines as they are written to files, and read back.

use super::{LogLine, Stream};
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a line is written to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Milliseconds since the epoch, `stdout` or `stderr`, and the text, separated by spaces.
    #[default]
    Plain,
    /// Docker's: `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}`.
    Json,
}

impl LogFormat {
    /// The line, with its end.
    pub(super) fn line(self, line: &LogLine) -> String {
        let stream = match line.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        match self {
            Self::Plain => format!("{} {stream} {}\n", since_epoch(line.time).as_millis(), line.message),
            Self::Json => {
                let mut text = String::with_capacity(line.message.len() + 80);
                text.push_str("{\"log\":");
                quote(&mut text, &line.message);
                // Docker's messages keep the end of their line.
                text.truncate(text.len() - 1);
                let time = Rfc3339(line.time);
                // Writing to a string cannot fail.
                let _ok = writeln!(text, "\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}");
                text
            }
        }
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// JSON's string: RFC 8259, section 7.
fn quote(text: &mut String, message: &str) {
    text.push('"');
    for character in message.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                let _ok = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

/// A moment in UTC with nanoseconds.
struct Rfc3339(SystemTime);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = since_epoch(self.0);
        let time = jiff::Timestamp::try_from(UNIX_EPOCH + since).unwrap_or_default();
        write!(f, "{time:.9}")
    }
}

impl LogLine {
    /// Reads one line of a [`FileLog`](super::FileLog)'s file back, whichever its format; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('{') { Self::parse_json(text) } else { Self::parse_plain(text) }
    }

    fn parse_plain(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let millis = parts.next()?.parse().ok()?;
        let stream = stream(parts.next()?)?;
        let time: SystemTime = UNIX_EPOCH + Duration::from_millis(millis);
        Some(Self { time, stream, message: parts.next()?.to_owned() })
    }

    fn parse_json(text: &str) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let message = json["log"].as_str()?;
        let time: jiff::Timestamp = json["time"].as_str()?.parse().ok()?;
        Some(Self {
            time: time.into(),
            stream: stream(json["stream"].as_str()?)?,
            message: message.strip_suffix('\n').unwrap_or(message).to_owned(),
        })
    }
}

fn stream(name: &str) -> Option<Stream> {
    match name {
        "stdout" => Some(Stream::Stdout),
        "stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> LogLine {
        let time = UNIX_EPOCH + Duration::new(1_700_000_000, 123_000_000);
        LogLine { time, stream: Stream::Stderr, message: message.to_owned() }
    }

    #[test]
    fn a_line_reads_back_as_it_was_written_in_either_format() {
        for message in ["two  words ", "", "{\"a\": 1}", "tab\t \"quoted\" \\ \u{1} \u{7f} ä", "1 stdout x"]
        {
            for format in [LogFormat::Plain, LogFormat::Json] {
                let text = format.line(&line(message));
                assert_eq!(text.matches('\n').count(), 1, "{text}");
                assert_eq!(LogLine::parse(text.trim_end_matches('\n')), Some(line(message)), "{text}");
            }
        }
    }

    #[test]
    fn docker_s_format_is_docker_s() {
        assert_eq!(
            LogFormat::Json.line(&line("say \"hi\"")),
            "{\"log\":\"say \\\"hi\\\"\\n\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:20.123000000Z\"}\n"
        );
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in [
            "",
            "x",
            "1 stdin x",
            "1 stdout",
            "{}",
            "{",
            "{\"log\":1}",
            "{\"log\":\"a\",\"stream\":\"stdout\"}",
        ] {
            assert_eq!(LogLine::parse(text), None, "{text}");
        }
    }
}
