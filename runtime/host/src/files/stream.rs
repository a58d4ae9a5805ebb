//! A preview 2 output stream into a file whose growth is charged.

use super::quota::{NoSpace, OpenFile, Write};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::sync::Arc;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Charges each write before wasmtime's own stream makes it.
pub(super) struct ChargedStream {
    inner: DynOutputStream,
    file: Arc<File>,
    charged: Arc<OpenFile>,
    place: Place,
    under_way: Option<Write>,
    /// A write was refused: as after any failed write, the stream is at its end.
    closed: bool,
}

/// Where the next byte goes.
pub(super) enum Place {
    At(u64),
    End,
}

impl ChargedStream {
    pub(super) fn new(inner: DynOutputStream, file: Arc<File>, charged: Arc<OpenFile>, place: Place) -> Self {
        Self { inner, file, charged, place, under_way: None, closed: false }
    }

    fn charge(&mut self, length: usize) -> Result<Write, NoSpace> {
        match &mut self.place {
            Place::End => self.charged.append(length as u64),
            Place::At(position) => {
                let end = position.saturating_add(length as u64);
                let write = self.charged.write_to(end)?;
                *position = end;
                Ok(write)
            }
        }
    }

    fn refuse(&mut self, full: NoSpace) -> StreamError {
        self.closed = true;
        StreamError::LastOperationFailed(io::Error::from(full).into())
    }

    /// The write that was under way is over, one way or the other.
    fn settle(&mut self, complete: bool) {
        if let Some(write) = self.under_way.take() {
            write.finish(complete, &self.file);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for ChargedStream {
    async fn ready(&mut self) {
        if !self.closed {
            self.inner.ready().await;
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for ChargedStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.closed {
            return Err(StreamError::Closed);
        }
        let write = self.charge(bytes.len()).map_err(|full| self.refuse(full))?;
        let started = self.inner.write(bytes);
        if started.is_ok() {
            self.under_way = Some(write);
        } else {
            write.finish(false, &self.file);
        }
        started
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.closed { Err(StreamError::Closed) } else { self.inner.flush() }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.closed {
            return Err(StreamError::Closed);
        }
        let permit = self.inner.check_write();
        match &permit {
            Ok(0) => {} // still under way
            Ok(_) => self.settle(true),
            Err(_) => self.settle(false),
        }
        permit
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.closed {
            return Err(StreamError::Closed);
        }
        self.inner.ready().await;
        // Measured, for what became of it only a check_write would tell.
        self.settle(false);
        let write = self.charge(bytes.len()).map_err(|full| self.refuse(full))?;
        let result = self.inner.blocking_write_and_flush(bytes).await;
        write.finish(result.is_ok(), &self.file);
        result
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
        self.settle(false);
    }
}
