//! Reading a log from a position that stays valid while it is written to.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::Path,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use coracle_runtime::{FileLog, LogLine};
use coracle_supervisor::driver::local::ContainerLog;

use super::Event;

/// "The maximum number of log events is as many log events as can fit in a response size of 1 MB".
const MAX_BYTES: usize = 1 << 20;
/// Counted for each event on top of its message: CloudWatch's own figure.
const EVENT_OVERHEAD: usize = 26;

/// Before a line: in which file, and how far in. A log in memory has one "file", and numbers its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// What tells the file from others, also when it was renamed to make place for the next one.
    file: u64,
    offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.file, self.offset)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (file, offset) = text.split_once('-').ok_or(())?;
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| ());
        Ok(Self { file: number(file)?, offset: number(offset)? })
    }
}

/// Which lines are asked for.
#[derive(Debug)]
pub(super) struct Window {
    /// From here on; `None` from the oldest.
    pub(super) from: Option<Position>,
    /// Up to here; `None` up to the newest.
    pub(super) until: Option<Position>,
    /// Of those, the last ones rather than the first ones.
    pub(super) newest: bool,
    pub(super) limit: usize,
    /// Milliseconds since 1970.
    pub(super) times: Range<i64>,
}

/// The lines, and the positions before the first and after the last of them.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Event>,
    pub(super) begin: Position,
    pub(super) end: Position,
}

pub(super) fn page(log: &ContainerLog, window: &Window) -> io::Result<Page> {
    let mut page = Collector::new(window);
    match log {
        ContainerLog::Memory(ring) => {
            let from = window.from.map_or(0, |position| position.offset);
            for (number, line) in ring.since(from) {
                let at = |offset| Position { file: 0, offset };
                if !page.take(&line, at(number), at(number + 1)) {
                    break;
                }
            }
        }
        ContainerLog::File(path) => read_files(path, window, &mut page)?,
    }
    Ok(page.finish())
}

/// The oldest file and then the newer ones, from where the window begins.
fn read_files(path: &Path, window: &Window, page: &mut Collector<'_>) -> io::Result<()> {
    let mut files = Vec::new();
    // Opened before they are read: a file that is renamed meanwhile stays the same file. The newest first, because if a
    // new one takes its place in between, the next older one found is the same file, and is left out below.
    for path in FileLog::files(path)? {
        match File::open(&path) {
            Ok(file) => {
                let identity = identity(&file)?;
                if files.iter().all(|(known, _)| *known != identity) {
                    files.insert(0, (identity, file));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // A file that is gone took its lines with it: then we go on with the oldest that is left.
    let first = window.from.and_then(|from| files.iter().position(|(identity, _)| *identity == from.file));
    for (identity, mut file) in files.into_iter().skip(first.unwrap_or(0)) {
        let from = window.from.filter(|from| from.file == identity).map_or(0, |from| from.offset);
        file.seek(SeekFrom::Start(from))?;
        if !read_lines(BufReader::new(file), identity, from, page)? {
            break;
        }
    }
    Ok(())
}

/// Its inode and its birth: an inode alone is given to the next file once its own is gone.
fn identity(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let birth =
        metadata.created().ok().and_then(|birth| birth.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let nanos = birth.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(birth.subsec_nanos()));
    Ok(metadata.ino().rotate_left(32) ^ nanos)
}

/// Whether more is wanted.
fn read_lines(
    mut file: impl BufRead,
    identity: u64,
    from: u64,
    page: &mut Collector<'_>,
) -> io::Result<bool> {
    let (mut offset, mut bytes) = (from, Vec::new());
    loop {
        bytes.clear();
        let read = file.read_until(b'\n', &mut bytes)?;
        // A line without an end is one that is being written.
        if bytes.pop() != Some(b'\n') {
            return Ok(true);
        }
        let (before, after) = (offset, offset + read as u64);
        offset = after;
        let line = LogLine::parse(&String::from_utf8_lossy(&bytes));
        let at = |offset| Position { file: identity, offset };
        if let Some(line) = line
            && !page.take(&line, at(before), at(after))
        {
            return Ok(false);
        }
    }
}

/// Lines of the window, no more than fit.
struct Collector<'a> {
    window: &'a Window,
    lines: VecDeque<(Event, Position, Position)>,
    bytes: usize,
}

impl<'a> Collector<'a> {
    fn new(window: &'a Window) -> Self {
        Self { window, lines: VecDeque::new(), bytes: 0 }
    }

    /// Takes a line, if it is one of the window's. Whether more is wanted.
    fn take(&mut self, line: &LogLine, begin: Position, end: Position) -> bool {
        if self.window.until == Some(begin) {
            return false;
        }
        let timestamp = millis(line.time);
        if !self.window.times.contains(&timestamp) {
            return true;
        }
        let size = line.message.len() + EVENT_OVERHEAD;
        let is_full = |page: &Self| page.lines.len() == page.window.limit || page.bytes + size > MAX_BYTES;
        if is_full(self) && !self.window.newest {
            return false;
        }
        while is_full(self)
            && let Some((oldest, ..)) = self.lines.pop_front()
        {
            self.bytes -= oldest.message.len() + EVENT_OVERHEAD;
        }
        self.bytes += size;
        let event = Event { timestamp, message: line.message.clone(), ingestion_time: timestamp };
        self.lines.push_back((event, begin, end));
        true
    }

    fn finish(self) -> Page {
        let known = self.window.from.or(self.window.until).unwrap_or_default();
        let begin = self.lines.front().map_or(known, |(_, begin, _)| *begin);
        let end = self.lines.back().map_or(known, |(.., end)| *end);
        Page { events: self.lines.into_iter().map(|(event, ..)| event).collect(), begin, end }
    }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use coracle_runtime::{LogFormat, LogSink, RingLog, Rotation, Stream};

    use super::*;

    fn write(log: &dyn LogSink, numbers: Range<u32>) {
        for number in numbers {
            let time = UNIX_EPOCH + Duration::from_millis(u64::from(number));
            log.line(LogLine { time, stream: Stream::Stdout, message: format!("line {number}") });
        }
    }

    fn head(from: Option<Position>, limit: usize) -> Window {
        Window { from, until: None, newest: false, limit, times: i64::MIN..i64::MAX }
    }

    fn tail(until: Option<Position>, limit: usize) -> Window {
        Window { from: None, until, newest: true, limit, times: i64::MIN..i64::MAX }
    }

    fn numbers(page: &Page) -> Vec<u32> {
        page.events
            .iter()
            .map(|event| event.message.strip_prefix("line ").unwrap().parse().unwrap())
            .collect()
    }

    /// A log in a file and one in memory, each with a sink that writes to it.
    fn logs(directory: &Path) -> [(ContainerLog, Arc<dyn LogSink>); 2] {
        let path = directory.join("a.log");
        let rotation = Rotation { max_bytes: 1 << 20, max_files: 2 };
        let file: Arc<dyn LogSink> = Arc::new(FileLog::create(&path, rotation, LogFormat::Json).unwrap());
        let ring = Arc::new(RingLog::new(1000, 1 << 20));
        [(ContainerLog::File(path), file), (ContainerLog::Memory(ring.clone()), ring)]
    }

    #[test]
    fn pages_go_forward_and_then_wait_for_more() {
        let directory = tempfile::tempdir().unwrap();
        for (log, sink) in logs(directory.path()) {
            write(&*sink, 0..5);
            let first = page(&log, &head(None, 3)).unwrap();
            assert_eq!(numbers(&first), [0, 1, 2]);
            let second = page(&log, &head(Some(first.end), 3)).unwrap();
            assert_eq!(numbers(&second), [3, 4]);
            let nothing = page(&log, &head(Some(second.end), 3)).unwrap();
            assert_eq!((numbers(&nothing), nothing.end), (vec![], second.end));
            write(&*sink, 5..6);
            assert_eq!(numbers(&page(&log, &head(Some(nothing.end), 3)).unwrap()), [5]);
        }
    }

    #[test]
    fn pages_go_backward_from_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        for (log, sink) in logs(directory.path()) {
            write(&*sink, 0..5);
            let newest = page(&log, &tail(None, 2)).unwrap();
            assert_eq!(numbers(&newest), [3, 4]);
            let before = page(&log, &tail(Some(newest.begin), 2)).unwrap();
            assert_eq!(numbers(&before), [1, 2]);
        }
    }

    #[test]
    fn only_the_times_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        for (log, sink) in logs(directory.path()) {
            write(&*sink, 0..5);
            let window = Window { times: 1..3, ..head(None, 10) };
            assert_eq!(numbers(&page(&log, &window).unwrap()), [1, 2]);
        }
    }

    #[test]
    fn a_page_holds_no_more_than_a_megabyte() {
        let ring = Arc::new(RingLog::new(1000, 1 << 24));
        let message = "x".repeat(400_000);
        for _ in 0..5 {
            ring.line(LogLine { time: UNIX_EPOCH, stream: Stream::Stdout, message: message.clone() });
        }
        let log = ContainerLog::Memory(ring);
        assert_eq!(page(&log, &head(None, 10)).unwrap().events.len(), 2);
        assert_eq!(page(&log, &tail(None, 10)).unwrap().events.len(), 2);
    }

    #[test]
    fn a_reader_follows_a_log_whose_files_take_turns() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        // About five lines a file.
        let rotation = Rotation { max_bytes: 100, max_files: 3 };
        let sink = FileLog::create(&path, rotation, LogFormat::Plain).unwrap();
        let log = ContainerLog::File(path);
        let (mut seen, mut token) = (Vec::new(), None);
        for round in 0..20 {
            write(&sink, round * 3..round * 3 + 3);
            let page = page(&log, &head(token, 100)).unwrap();
            seen.extend(numbers(&page));
            token = Some(page.end);
        }
        assert_eq!(seen, (0..60).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_that_is_being_written_is_left_for_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        std::fs::write(&path, "1 stdout line 0\n2 stdout li").unwrap();
        let log = ContainerLog::File(path.clone());
        let first = page(&log, &head(None, 10)).unwrap();
        assert_eq!(numbers(&first), [0]);
        std::fs::write(&path, "1 stdout line 0\n2 stdout line 1\n").unwrap();
        assert_eq!(numbers(&page(&log, &head(Some(first.end), 10)).unwrap()), [1]);
    }

    #[test]
    fn a_position_is_written_and_read_back() {
        let position = Position { file: 123_456, offset: 789 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "-", "1", "x-1", "1-", "1-2-3"] {
            assert_eq!(text.parse::<Position>(), Err(()), "{text}");
        }
    }
}
