//! A preview 3 stream into a file whose growth is charged.

use super::super::quota::OpenFile;
use super::{Ending, HasTaskFiles};
use crate::state::ComponentState;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::component::{Access, FutureReader, Source, StreamConsumer, StreamReader, StreamResult};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p3::bindings::filesystem::types::ErrorCode;

/// How much is taken from the guest at a time.
const CHUNK: usize = 64 * 1024;

/// Writes what the guest streams, as wasmtime's own consumer does, and charges it first.
pub(super) struct ChargedConsumer {
    file: Arc<File>,
    charged: Arc<OpenFile>,
    /// Where the next byte goes; `None` is the end.
    position: Option<u64>,
    ending: Option<oneshot::Sender<Result<(), ErrorCode>>>,
    task: Option<JoinHandle<io::Result<usize>>>,
}

impl ChargedConsumer {
    /// Has `data` written to the file. The future tells how it went.
    pub(super) fn pipe(
        mut store: Access<'_, ComponentState, HasTaskFiles>,
        data: StreamReader<u8>,
        file: Arc<File>,
        charged: Arc<OpenFile>,
        position: Option<u64>,
    ) -> Result<Ending> {
        let (sender, ending) = oneshot::channel();
        data.pipe(&mut store, Self { file, charged, position, ending: Some(sender), task: None })?;
        FutureReader::new(&mut store, ending)
    }

    fn end(&mut self, result: Result<(), ErrorCode>) {
        if let Some(ending) = self.ending.take() {
            // The guest may have lost interest in how it ended.
            drop(ending.send(result));
        }
    }

    /// Starts to write a piece.
    fn start(&self, bytes: Vec<u8>) -> io::Result<JoinHandle<io::Result<usize>>> {
        let length = bytes.len() as u64;
        let write = match self.position {
            Some(position) => self.charged.write_to(position.saturating_add(length))?,
            None => self.charged.append(length)?,
        };
        let (file, position) = (self.file.clone(), self.position);
        // The charge goes along, to be settled even if the guest does not live to see the end.
        Ok(tokio::task::spawn_blocking(move || {
            let written = match position {
                Some(position) => file.write_at(&bytes, position),
                None => append(&file, &bytes),
            };
            write.finish(matches!(&written, Ok(written) if *written == bytes.len()), &file);
            written
        }))
    }
}

impl StreamConsumer<ComponentState> for ChargedConsumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<ComponentState>,
        source: Source<u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut source = source.as_direct(store);
        if self.task.is_none() {
            let remaining = source.remaining();
            match self.start(remaining[..remaining.len().min(CHUNK)].to_vec()) {
                Ok(task) => self.task = Some(task),
                Err(error) => {
                    self.end(Err(error.into()));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
            }
        }
        let Some(task) = &mut self.task else { return Poll::Pending };
        let result = match Pin::new(&mut *task).poll(context) {
            // Once it has begun it cannot be called back: it is waited for.
            Poll::Pending if finish => {
                task.abort();
                ready!(Pin::new(task).poll(context))
            }
            result => ready!(result),
        };
        self.task = None;
        match result {
            Ok(Ok(written)) => {
                source.mark_read(written);
                if let Some(position) = &mut self.position {
                    *position = position.saturating_add(written as u64);
                }
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Ok(Err(error)) => {
                self.end(Err(error.into()));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Err(error) if error.is_cancelled() => Poll::Ready(Ok(StreamResult::Cancelled)),
            Err(error) => Poll::Ready(Err(wasmtime::Error::from_anyhow(error.into()))),
        }
    }
}

impl Drop for ChargedConsumer {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

/// Writes to the end, wherever that is: in one step where the system can.
fn append(file: &File, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags, pwritev2};
        match pwritev2(file, &[io::IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
            Err(Errno::NOSYS | Errno::NOTSUP) => {}
            written => return Ok(written?),
        }
    }
    file.write_at(bytes, file.metadata()?.len())
}
