//! A container's lines in a file, with one older file behind it.

use super::{LogLine, LogSink, Stream};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Appends lines to a file: milliseconds since the epoch, `stdout` or `stderr`, and the text, separated by spaces.
///
/// When the file would grow past its bound it becomes `NAME.1`, replacing the one before, so that a container
/// never holds more than twice the bound. A line that cannot be written (a full disk) is dropped and counted; the
/// guest goes on, and the first line that can be written again is preceded by one that says how many are missing.
#[derive(Debug)]
pub struct FileLog {
    path: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    written: u64,
    dropped: u64,
}

impl FileLog {
    /// Opens `path` for appending, creating it and its directory where they are missing. `max_bytes` bounds one file.
    pub fn create(path: &Path, max_bytes: u64) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = open(path)?;
        let written = file.metadata()?.len();
        let state = Mutex::new(State { file, written, dropped: 0 });
        Ok(Self { path: path.to_owned(), max_bytes, state })
    }

    /// Where the previous file of `path` is kept.
    pub fn previous(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".1");
        PathBuf::from(name)
    }

    fn append(&self, state: &mut State, text: &[u8]) -> io::Result<()> {
        if state.written > 0 && state.written + text.len() as u64 > self.max_bytes {
            fs::rename(&self.path, Self::previous(&self.path))?;
            state.file = open(&self.path)?;
            state.written = 0;
        }
        state.file.write_all(text)?;
        state.written += text.len() as u64;
        Ok(())
    }
}

impl LogSink for FileLog {
    fn line(&self, line: LogLine) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = format(&line, state.dropped);
        match self.append(&mut state, text.as_bytes()) {
            Ok(()) => state.dropped = 0,
            Err(_) => state.dropped += 1,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn format(line: &LogLine, dropped: u64) -> String {
    let millis = line.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let stream = match line.stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    let text = format!("{millis} {stream} {}\n", line.message);
    if dropped == 0 {
        return text;
    }
    format!("{millis} stderr [{dropped} lines could not be written]\n{text}")
}

impl LogLine {
    /// Reads one line of a [`FileLog`]'s file back; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let millis = parts.next()?.parse().ok()?;
        let stream = match parts.next()? {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return None,
        };
        let time: SystemTime = UNIX_EPOCH + std::time::Duration::from_millis(millis);
        Some(Self { time, stream, message: parts.next()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/app.log");
        let log = FileLog::create(&path, 1 << 20).unwrap();
        let line = LogLine {
            time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            stream: Stream::Stderr,
            message: "two  words ".to_owned(),
        };
        log.line(line.clone());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(LogLine::parse(text.trim_end_matches('\n')), Some(line));
    }

    #[test]
    fn a_container_that_logs_without_end_holds_two_files_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let log = FileLog::create(&path, 1000).unwrap();
        for number in 0..1000 {
            let message = format!("line {number}");
            log.line(LogLine { time: UNIX_EPOCH, stream: Stream::Stdout, message });
        }
        assert!(fs::metadata(&path).unwrap().len() <= 1000);
        assert!(fs::metadata(FileLog::previous(&path)).unwrap().len() <= 1000);
        assert!(fs::read_to_string(&path).unwrap().contains("line 999"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
