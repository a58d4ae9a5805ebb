//! A guest's stdout or stderr, as WASI sees it.

use super::{LogLine, LogSink, MAX_LINE, Stream};
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// How much a guest may write in one call.
const WRITE_PERMIT: usize = 64 * 1024;

/// One of a guest's outputs. Clones share the unfinished line, as WASI asks of all handles to one stream.
#[derive(Clone, Debug)]
pub(crate) struct GuestOutput {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stream: Stream,
    sink: Arc<dyn LogSink>,
    unfinished: Mutex<Vec<u8>>,
}

impl GuestOutput {
    pub(crate) fn new(stream: Stream, sink: Arc<dyn LogSink>) -> Self {
        Self { shared: Arc::new(Shared { stream, sink, unfinished: Mutex::default() }) }
    }

    fn write_bytes(&self, mut bytes: &[u8]) {
        let mut unfinished = self.shared.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let room = MAX_LINE - unfinished.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    unfinished.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    self.shared.emit(&mut unfinished);
                }
                None if bytes.len() >= room => {
                    unfinished.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    self.shared.emit(&mut unfinished);
                }
                None => {
                    unfinished.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }
}

impl Shared {
    fn emit(&self, line: &mut Vec<u8>) {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let message = String::from_utf8_lossy(line).into_owned();
        line.clear();
        self.sink.line(LogLine { time: SystemTime::now(), stream: self.stream, message });
    }
}

impl Drop for Shared {
    /// A guest that ends without a line end has still said something.
    fn drop(&mut self) {
        let mut line = std::mem::take(self.unfinished.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !line.is_empty() {
            self.emit(&mut line);
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_bytes(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT)
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write_bytes(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RingLog;

    fn lines(writes: &[&[u8]]) -> Vec<String> {
        let ring = Arc::new(RingLog::new(1000, 1 << 20));
        let output = GuestOutput::new(Stream::Stdout, ring.clone());
        for bytes in writes {
            output.write_bytes(bytes);
        }
        drop(output);
        ring.since(0).into_iter().map(|(_, line)| line.message).collect()
    }

    #[test]
    fn splits_what_is_written_into_lines() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n\nthree"]), ["one", "two", "", "three"]);
    }

    #[test]
    fn breaks_a_line_that_never_ends() {
        let endless = vec![b'x'; MAX_LINE * 2 + 1];
        let lengths: Vec<_> = lines(&[&endless]).iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 1]);
    }
}
