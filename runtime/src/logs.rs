//! What a guest prints: split into lines, stamped, bounded, and handed to a sink.
//!
//! Sinks are called on the thread that runs the guest, one whole line at a time, so a guest that logs without end
//! slows itself and nobody else, and holds at most one unfinished line of host memory.

mod file;
mod format;
mod ring;
mod stream;

pub use file::{FileLog, Rotation};
pub use format::LogFormat;
pub use ring::RingLog;
pub(crate) use stream::GuestOutput;

use std::fmt::Debug;
use std::time::SystemTime;

/// Lines longer than this are broken, so that a guest that never ends a line holds no more than this. Docker's
/// own bound for one message, 16 KiB.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// Most bytes that are looked at for the newest lines of a log.
const MAX_TAIL: usize = 64 * 1024;

/// Which of a guest's two outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error; what the host says of a guest (a trap's backtrace) comes here too.
    Stderr,
}

/// One line of a guest's output, without its line end, at most 16 KiB long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When the line was complete.
    pub time: SystemTime,
    /// Where it was written.
    pub stream: Stream,
    /// What was written, made valid UTF-8 by replacement.
    pub message: String,
}

/// Takes the lines of one container.
///
/// Called from the threads that run guests: an implementation must not block for long and must bound what it keeps.
pub trait LogSink: Debug + Send + Sync {
    /// Takes one line.
    fn line(&self, line: LogLine);

    /// The newest lines, oldest first, as far as it keeps them: up to `lines`, and no more than some tens of KiB. May read a file.
    fn tail(&self, lines: usize) -> Vec<LogLine> {
        let _none_are_kept = lines;
        Vec::new()
    }
}
