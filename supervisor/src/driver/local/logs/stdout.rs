//! `stdout`: the daemon's own standard output and standard error, for whatever collects those.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use coracle_runtime::{LogLine, LogSink, Stream};

use super::driver::{LogDriver, OpenLog, Options};

/// Bytes that may wait for a reader that is slow. More are dropped, so that whoever does not read a pipe stops no guest.
const MAX_WAITING: usize = 1 << 20;
/// How long what waits at the end is written for.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) struct Stdout;

impl LogDriver for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn configure(&self, _options: &Options<'_>) -> Result<OpenLog, String> {
        Ok(Box::new(|logs, source| {
            let id = source.task.as_str();
            let label = format!("{}/{}", source.container, id.get(..12).unwrap_or(id));
            Ok(Arc::new(Labelled { label, writer: logs.process_output() }))
        }))
    }
}

/// One container's lines, each with a label that says whose it is.
#[derive(Debug)]
struct Labelled {
    label: String,
    writer: Arc<Writer>,
}

impl LogSink for Labelled {
    fn line(&self, line: LogLine) {
        self.writer.take(line.stream, format!("{} | {}\n", self.label, line.message));
    }
}

/// A thread that writes, and what waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<(Stream, String)>,
    bytes: usize,
    dropped: u64,
    /// No more lines come.
    is_closed: bool,
    /// All that was taken is written.
    is_done: bool,
}

impl Writer {
    /// Writes to the process's own outputs.
    pub(super) fn to_process() -> Arc<Self> {
        Self::start(Box::new(std::io::stdout()), Box::new(std::io::stderr()))
    }

    fn start(mut stdout: Box<dyn Write + Send>, mut stderr: Box<dyn Write + Send>) -> Arc<Self> {
        let shared = Arc::new(Shared::default());
        let weak = Arc::downgrade(&shared);
        let started = std::thread::Builder::new().name("log-stdout".to_owned()).spawn(move || {
            while let Some((stream, line)) = next(&weak) {
                let output = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
                // Nobody reads it any more: then there is nobody to tell either.
                output.write_all(line.as_bytes()).and_then(|()| output.flush()).ok();
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "what containers print cannot be written to standard output");
            shared.lock().is_done = true;
        }
        Arc::new(Self { shared })
    }

    fn take(&self, stream: Stream, line: String) {
        let mut queue = self.shared.lock();
        if queue.bytes + line.len() > MAX_WAITING {
            queue.dropped += 1;
            return;
        }
        if queue.dropped > 0 {
            let gap = format!("[{} lines could not be written]\n", queue.dropped);
            queue.push(Stream::Stderr, gap);
            queue.dropped = 0;
        }
        queue.push(stream, line);
        drop(queue);
        self.shared.changed.notify_all();
    }
}

impl Drop for Writer {
    /// What was printed last is written, too, as long as somebody takes it.
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_closed = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(queue, LAST_WORDS, |queue| !queue.is_done);
        drop(waited);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Guards a queue and its counts, which change together.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, stream: Stream, line: String) {
        self.bytes += line.len();
        self.lines.push_back((stream, line));
    }
}

/// The next line to write; `None` when no more come.
fn next(shared: &Weak<Shared>) -> Option<(Stream, String)> {
    let shared = shared.upgrade()?;
    let mut queue = shared.lock();
    loop {
        if let Some((stream, line)) = queue.lines.pop_front() {
            queue.bytes -= line.len();
            return Some((stream, line));
        }
        if queue.is_closed {
            queue.is_done = true;
            shared.changed.notify_all();
            return None;
        }
        queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc;
    use std::time::SystemTime;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe that nobody reads until told to.
    struct Stuck(mpsc::Receiver<()>, Kept);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().ok();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(stream: Stream, message: &str) -> LogLine {
        LogLine { time: SystemTime::UNIX_EPOCH, stream, message: message.to_owned() }
    }

    #[test]
    fn lines_go_where_they_were_written_to_and_say_whose_they_are() {
        let (stdout, stderr) = (Kept::default(), Kept::default());
        let writer = Writer::start(Box::new(stdout.clone()), Box::new(stderr.clone()));
        let log = Labelled { label: "web/0123456789ab".to_owned(), writer };
        log.line(line(Stream::Stdout, "one"));
        log.line(line(Stream::Stderr, "two"));
        log.line(line(Stream::Stdout, "three"));
        // Dropping waits for the last of them.
        drop(log);
        assert_eq!(stdout.text(), "web/0123456789ab | one\nweb/0123456789ab | three\n");
        assert_eq!(stderr.text(), "web/0123456789ab | two\n");
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody_and_costs_a_bounded_piece_of_memory() {
        let (read, reads) = mpsc::channel();
        let (stdout, stderr) = (Kept::default(), Kept::default());
        let writer = Writer::start(Box::new(Stuck(reads, stdout.clone())), Box::new(stderr.clone()));
        let text = "x".repeat(1000);
        for _ in 0..5000 {
            writer.take(Stream::Stdout, format!("{text}\n"));
        }
        assert!(writer.shared.lock().bytes <= MAX_WAITING);
        // From now on somebody reads.
        drop(read);
        while !writer.shared.lock().lines.is_empty() {
            std::thread::yield_now();
        }
        writer.take(Stream::Stdout, "last\n".to_owned());
        drop(writer);
        assert!(stdout.text().ends_with("last\n"));
        // More than once where the writer looked in between.
        let counts = stderr.text();
        let counts = counts.lines().map(|line| line.trim_start_matches('[').split(' ').next().unwrap());
        let told: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
        let written = stdout.text().lines().count() as u64 - 1;
        assert_eq!(told + written, 5000, "each line is written or counted");
    }
}
