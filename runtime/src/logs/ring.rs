//! The newest lines of a container, in memory.

use super::{LogLine, LogSink, MAX_TAIL};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Keeps the newest lines, up to a number of lines and of bytes.
#[derive(Debug)]
pub struct RingLog {
    max_lines: usize,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// The sequence number of the first line still kept.
    first: u64,
}

impl RingLog {
    /// A ring of at most `max_lines` lines and `max_bytes` bytes of text.
    pub fn new(max_lines: usize, max_bytes: usize) -> Self {
        Self { max_lines, max_bytes, state: Mutex::default() }
    }

    /// The lines numbered `from` and up that are still kept, each with its number. Numbers start at 0 and never repeat.
    pub fn since(&self, from: u64) -> Vec<(u64, LogLine)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(from.saturating_sub(state.first)).unwrap_or(usize::MAX);
        let numbered = state.lines.iter().enumerate().skip(skip);
        numbered.map(|(index, line)| (state.first + index as u64, line.clone())).collect()
    }
}

impl LogSink for RingLog {
    fn line(&self, line: LogLine) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += line.message.len();
        state.lines.push_back(line);
        while state.lines.len() > self.max_lines || state.bytes > self.max_bytes {
            let Some(oldest) = state.lines.pop_front() else { break };
            state.bytes -= oldest.message.len();
            state.first += 1;
        }
    }

    fn tail(&self, lines: usize) -> Vec<LogLine> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let newest = state.lines.iter().rev().take(lines).take_while(|line| {
            bytes += line.message.len();
            bytes <= MAX_TAIL
        });
        let mut tail: Vec<LogLine> = newest.cloned().collect();
        tail.reverse();
        tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;
    use std::time::SystemTime;

    fn line(message: &str) -> LogLine {
        LogLine { time: SystemTime::UNIX_EPOCH, stream: Stream::Stdout, message: message.to_owned() }
    }

    #[test]
    fn keeps_the_newest_lines_and_their_numbers() {
        let ring = RingLog::new(3, 1000);
        for message in ["a", "b", "c", "d", "e"] {
            ring.line(line(message));
        }
        let kept: Vec<_> = ring.since(0).into_iter().map(|(number, line)| (number, line.message)).collect();
        assert_eq!(kept, [(2, "c".to_owned()), (3, "d".to_owned()), (4, "e".to_owned())]);
        assert_eq!(ring.tail(2), [line("d"), line("e")]);
        assert_eq!(ring.since(4).len(), 1);
        assert!(ring.since(5).is_empty());
    }

    #[test]
    fn holds_no_more_bytes_than_allowed() {
        let ring = RingLog::new(1000, 10);
        for _ in 0..100 {
            ring.line(line("12345"));
        }
        assert_eq!(ring.since(0).len(), 2);
    }
}
