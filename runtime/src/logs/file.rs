//! A container's lines in files that take turns.

use super::{LogFormat, LogLine, LogSink, MAX_TAIL, Stream};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How much a [`FileLog`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Largest size of one file in bytes. A single line that is longer has a file of its own.
    pub max_bytes: u64,
    /// Most files, the one that is written to included; at least 1.
    pub max_files: u32,
}

/// Appends lines to a file.
///
/// When the file would grow past its bound it becomes `NAME.1`, the one of that name before `NAME.2` and so on, and the oldest goes, so that a
/// container never holds more than the rotation says. A line that cannot be written (a full disk) is dropped and counted; the guest goes on, and
/// the first line that can be written again is preceded by one that says how many are missing.
#[derive(Debug)]
pub struct FileLog {
    path: PathBuf,
    rotation: Rotation,
    format: LogFormat,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    written: u64,
    dropped: u64,
}

impl FileLog {
    /// Opens `path` for appending, creating it and its directory where they are missing.
    pub fn create(path: &Path, rotation: Rotation, format: LogFormat) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = open(path)?;
        let written = file.metadata()?.len();
        let state = Mutex::new(State { file, written, dropped: 0 });
        Ok(Self { path: path.to_owned(), rotation, format, state })
    }

    /// The files that there are of `path`, newest first.
    pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(directory) = path.parent() else { return Ok(Vec::new()) };
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let file = entry?.path();
            files.extend(age(path, &file).map(|age| (age, file)));
        }
        files.sort();
        Ok(files.into_iter().map(|(_, file)| file).collect())
    }

    fn append(&self, state: &mut State, text: &[u8]) -> io::Result<()> {
        if state.written > 0 && state.written + text.len() as u64 > self.rotation.max_bytes {
            self.rotate()?;
            state.file = open(&self.path)?;
            state.written = 0;
        }
        if let Err(error) = state.file.write_all(text) {
            // Half a line, on a disk that is full, must not become the beginning of the next one.
            state.file.set_len(state.written)?;
            return Err(error);
        }
        state.written += text.len() as u64;
        Ok(())
    }

    /// Makes room for a new file. What an interruption left is taken as it is found.
    fn rotate(&self) -> io::Result<()> {
        let oldest = self.rotation.max_files.saturating_sub(1);
        if oldest == 0 {
            return unless_missing(fs::remove_file(&self.path));
        }
        for age in (1..oldest).rev() {
            unless_missing(fs::rename(numbered(&self.path, age), numbered(&self.path, age + 1)))?;
        }
        unless_missing(fs::rename(&self.path, numbered(&self.path, 1)))
    }
}

impl LogSink for FileLog {
    fn line(&self, line: LogLine) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = self.format.line(&line);
        if state.dropped > 0 {
            let message = format!("[{} lines could not be written]", state.dropped);
            let gap = LogLine { time: line.time, stream: Stream::Stderr, message };
            text.insert_str(0, &self.format.line(&gap));
        }
        match self.append(&mut state, text.as_bytes()) {
            Ok(()) => state.dropped = 0,
            Err(_) => state.dropped += 1,
        }
    }

    fn tail(&self, lines: usize) -> Vec<LogLine> {
        let text = end_of(&self.path).unwrap_or_default();
        let mut tail: Vec<LogLine> = text.lines().rev().filter_map(LogLine::parse).take(lines).collect();
        tail.reverse();
        tail
    }
}

/// The last bytes of a log's files, beginning with a whole line.
fn end_of(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    for file in FileLog::files(path)? {
        let room = (MAX_TAIL - text.len()) as u64;
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(room);
        file.seek(SeekFrom::Start(from))?;
        let mut older = Vec::new();
        file.take(room).read_to_end(&mut older)?;
        if from > 0 {
            let first_end = older.iter().position(|byte| *byte == b'\n').map_or(older.len(), |end| end + 1);
            older.drain(..first_end);
        }
        older.extend_from_slice(&text);
        text = older;
        if from > 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn numbered(path: &Path, age: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}

/// How old a file of `path` is: 0 the one that is written to, 1 the one before; `None` when it is another's.
fn age(path: &Path, file: &Path) -> Option<u32> {
    if file == path {
        return Some(0);
    }
    let rest = file.to_str()?.strip_prefix(path.to_str()?)?;
    rest.strip_prefix('.')?.parse().ok().filter(|age| *age > 0)
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn write(log: &FileLog, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let message = format!("line {number}");
            log.line(LogLine { time: UNIX_EPOCH, stream: Stream::Stdout, message });
        }
    }

    fn sizes(path: &Path) -> Vec<u64> {
        FileLog::files(path).unwrap().iter().map(|file| fs::metadata(file).unwrap().len()).collect()
    }

    #[test]
    fn a_container_that_logs_without_end_holds_as_many_files_as_it_may() {
        for max_files in [1, 2, 5] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("logs/app.log");
            let rotation = Rotation { max_bytes: 1000, max_files };
            let log = FileLog::create(&path, rotation, LogFormat::Plain).unwrap();
            fs::write(directory.path().join("logs/app.log.old"), "another's").unwrap();
            write(&log, 0..1000);
            let sizes = sizes(&path);
            assert_eq!(sizes.len(), max_files as usize);
            assert!(sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
            assert!(fs::read_to_string(&path).unwrap().contains("line 999"));
            let all: String = FileLog::files(&path)
                .unwrap()
                .iter()
                .rev()
                .map(|file| fs::read_to_string(file).unwrap())
                .collect();
            let numbers: Vec<u32> =
                all.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        }
    }

    #[test]
    fn the_newest_lines_are_found_in_the_files_they_are_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let log = FileLog::create(&path, Rotation { max_bytes: 60, max_files: 3 }, LogFormat::Plain).unwrap();
        write(&log, 0..10);
        let tail = |lines| log.tail(lines).into_iter().map(|line| line.message).collect::<Vec<_>>();
        assert_eq!(tail(4), ["line 6", "line 7", "line 8", "line 9"]);
        assert_eq!(tail(1000).last().unwrap(), "line 9");
        let large =
            FileLog::create(&path, Rotation { max_bytes: 1 << 20, max_files: 3 }, LogFormat::Plain).unwrap();
        write(&large, 10..20_000);
        let tail = large.tail(usize::MAX);
        assert!(tail.len() > 1000 && tail.len() * 16 < MAX_TAIL, "{}", tail.len());
        assert_eq!(tail.last().unwrap().message, "line 19999");
    }

    #[test]
    fn one_that_is_started_again_goes_on_in_the_same_file_and_within_the_same_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let rotation = Rotation { max_bytes: 200, max_files: 2 };
        for round in 0..10 {
            let log = FileLog::create(&path, rotation, LogFormat::Plain).unwrap();
            write(&log, round * 5..round * 5 + 5);
        }
        assert!(sizes(&path).iter().all(|size| *size <= 200), "{:?}", sizes(&path));
        assert!(fs::read_to_string(&path).unwrap().ends_with("line 49\n"));
    }

    #[test]
    fn an_interrupted_rotation_does_not_end_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let rotation = Rotation { max_bytes: 100, max_files: 3 };
        let log = FileLog::create(&path, rotation, LogFormat::Plain).unwrap();
        write(&log, 0..20);
        fs::remove_file(&path).unwrap();
        fs::remove_file(numbered(&path, 1)).unwrap();
        write(&log, 20..60);
        assert!(fs::read_to_string(&path).unwrap().ends_with("line 59\n"));
        assert_eq!(sizes(&path).len(), 3);
    }

    /// `/dev/full` answers each write as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted_and_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let log =
            FileLog::create(&path, Rotation { max_bytes: 10_000, max_files: 2 }, LogFormat::Json).unwrap();
        write(&log, 0..1);
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let disk = std::mem::replace(&mut log.state.lock().unwrap().file, full);
        write(&log, 1..4);
        log.state.lock().unwrap().file = disk;
        write(&log, 4..6);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<LogLine> = text.lines().map(|line| LogLine::parse(line).unwrap()).collect();
        let messages: Vec<&str> = lines.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(messages, ["line 0", "[3 lines could not be written]", "line 4", "line 5"]);
    }
}
