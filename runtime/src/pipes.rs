//! Standard input and output that somebody else writes and reads, byte for byte.

use crate::logs::Stream;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime_wasi::cli::{AsyncStdinStream, IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that a guest may be ahead of whoever reads its output; then it waits.
const MAX_AHEAD: usize = 256 * 1024;
/// How much a guest may write in one call.
const WRITE_PERMIT: usize = 64 * 1024;

/// A guest's standard input.
#[derive(Clone)]
pub struct InputPipe {
    stream: Arc<AsyncStdinStream>,
    is_terminal: bool,
}

impl std::fmt::Debug for InputPipe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("InputPipe").field("is_terminal", &self.is_terminal).finish_non_exhaustive()
    }
}

impl InputPipe {
    /// What `reader` reads. `is_terminal` is what the guest is told of it.
    pub fn new(reader: impl AsyncRead + Send + Sync + 'static, is_terminal: bool) -> Self {
        Self { stream: Arc::new(AsyncStdinStream::new(reader)), is_terminal }
    }

    /// Nothing, and the end once `stopping` is cancelled.
    pub(crate) fn until(stopping: CancellationToken) -> Self {
        Self::new(Silent(Box::pin(stopping.cancelled_owned())), false)
    }
}

impl IsTerminal for InputPipe {
    fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl StdinStream for InputPipe {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        self.stream.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        self.stream.p2_stream()
    }
}

/// Has nothing to read, and ends when it is told to.
struct Silent(Pin<Box<WaitForCancellationFutureOwned>>);

impl AsyncRead for Silent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll(context).map(Ok)
    }
}

/// A guest's standard output and standard error. Clones are the same.
#[derive(Clone, Debug)]
pub struct OutputPipe {
    shared: Arc<Shared>,
    sender: mpsc::UnboundedSender<(Stream, Bytes)>,
    stream: Stream,
    is_terminal: bool,
}

/// The other end of an [`OutputPipe`].
#[derive(Debug)]
pub struct OutputReader {
    shared: Arc<Shared>,
    receiver: mpsc::UnboundedReceiver<(Stream, Bytes)>,
}

/// The channel itself has no bound: what bounds it is that a guest is not permitted to write while `ahead` is at its most.
#[derive(Debug, Default)]
struct Shared {
    ahead: AtomicUsize,
    room: Notify,
    /// Preview 3 polls.
    waker: AtomicWaker,
}

/// A pipe for a guest's output. `is_terminal` is what the guest is told of it.
pub fn output_pipe(is_terminal: bool) -> (OutputPipe, OutputReader) {
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = mpsc::unbounded_channel();
    let pipe = OutputPipe { shared: shared.clone(), sender, stream: Stream::Stdout, is_terminal };
    (pipe, OutputReader { shared, receiver })
}

impl OutputReader {
    /// The next bytes; nothing once the guest has ended and all is read.
    pub async fn next(&mut self) -> Option<(Stream, Bytes)> {
        let (stream, bytes) = self.receiver.recv().await?;
        self.shared.ahead.fetch_sub(bytes.len(), Ordering::AcqRel);
        self.shared.room.notify_waiters();
        self.shared.waker.wake();
        Some((stream, bytes))
    }
}

impl Drop for OutputReader {
    /// A guest that waits for room learns that nobody reads any more.
    fn drop(&mut self) {
        self.receiver.close();
        self.shared.room.notify_waiters();
        self.shared.waker.wake();
    }
}

impl OutputPipe {
    pub(crate) fn of(&self, stream: Stream) -> Self {
        Self { stream, ..self.clone() }
    }

    /// Says something about the guest on its standard error.
    pub(crate) fn say(&self, message: &str) {
        // Nobody may be listening any more.
        self.of(Stream::Stderr).send(Bytes::from(format!("{message}\n"))).ok();
    }

    fn send(&self, bytes: Bytes) -> Result<(), StreamError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.shared.ahead.fetch_add(bytes.len(), Ordering::AcqRel);
        self.sender.send((self.stream, bytes)).map_err(|_| StreamError::Closed)
    }

    fn has_room(&self) -> bool {
        self.shared.ahead.load(Ordering::Acquire) < MAX_AHEAD || self.sender.is_closed()
    }
}

impl IsTerminal for OutputPipe {
    fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl StdoutStream for OutputPipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for OutputPipe {
    async fn ready(&mut self) {
        loop {
            // Before the look: room that is made in between is not missed.
            let room = self.shared.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }
}

impl OutputStream for OutputPipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.send(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.sender.is_closed() {
            return Err(StreamError::Closed);
        }
        Ok(if self.has_room() { WRITE_PERMIT } else { 0 })
    }
}

impl AsyncWrite for OutputPipe {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.has_room() {
            self.shared.waker.register(context.waker());
            // Room may have been made before the waker was there.
            if !self.has_room() {
                return Poll::Pending;
            }
        }
        let some = &bytes[..bytes.len().min(WRITE_PERMIT)];
        match self.send(Bytes::copy_from_slice(some)) {
            Ok(()) => Poll::Ready(Ok(some.len())),
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
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

    #[tokio::test]
    async fn a_guest_waits_for_whoever_reads_and_learns_when_nobody_does() {
        let (mut pipe, mut reader) = output_pipe(false);
        let mut written = 0;
        while pipe.check_write().unwrap() > 0 {
            OutputStream::write(&mut pipe, Bytes::from(vec![b'x'; WRITE_PERMIT])).unwrap();
            written += WRITE_PERMIT;
        }
        assert_eq!(written, MAX_AHEAD);
        let (stream, bytes) = reader.next().await.unwrap();
        assert_eq!((stream, bytes.len()), (Stream::Stdout, WRITE_PERMIT));
        pipe.ready().await;
        assert_eq!(pipe.check_write().unwrap(), WRITE_PERMIT);
        drop(reader);
        pipe.ready().await;
        assert!(matches!(pipe.check_write(), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_is_read_after_it() {
        let (pipe, mut reader) = output_pipe(true);
        assert!(pipe.is_terminal());
        pipe.say("last words");
        drop(pipe);
        assert_eq!(reader.next().await, Some((Stream::Stderr, Bytes::from("last words\n"))));
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn silent_input_ends_with_the_order_to_stop() {
        let stopping = CancellationToken::new();
        let input = InputPipe::until(stopping.clone());
        let mut stream = input.p2_stream();
        assert_eq!(stream.read(1).unwrap(), Bytes::new());
        stopping.cancel();
        stream.ready().await;
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
    }
}
