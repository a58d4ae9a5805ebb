//! The bodies on a connection to a target: watched, so that one that stalls ends the request.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::full::Taken;
use super::http2::Stream;
use crate::{Body, BoxError};

/// What an answer holds of its connection until its last byte.
pub(super) enum Held {
    /// All of it: given back to the pool at the end, closed when dropped before.
    Pooled(Taken),
    /// One stream, which is reset when dropped before the end.
    Stream(#[expect(dead_code, reason = "held for its drop")] Stream),
}

/// The body of a target's answer. Holds its part of the connection and gives it back at the end.
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    connection: Option<Held>,
    idle_timeout: Duration,
    /// Armed when the target lets us wait for the first time: most answers never do.
    idle: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the target sent nothing for {0:?} in the middle of its answer")]
pub(super) struct Stalled(pub(super) Duration);

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, connection: Held, idle_timeout: Duration) -> Self {
        let mut body =
            Self { incoming, connection: Some(connection), idle_timeout, idle: None, waiting: false };
        body.finish_if_ended();
        body
    }

    fn finish_if_ended(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(Held::Pooled(connection)) = self.connection.take() {
            connection.give_back();
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.idle_timeout;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !std::mem::replace(&mut self.waiting, true) {
            idle.as_mut().reset(Instant::now() + timeout);
        }
        idle.as_mut().poll(cx)
    }
}

impl http_body::Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.poll_stalled(cx));
            self.connection = None;
            return Poll::Ready(Some(Err(Stalled(self.idle_timeout).into())));
        };
        self.waiting = false;
        match &frame {
            Some(Ok(_)) => self.finish_if_ended(),
            Some(Err(_)) => self.connection = None,
            None => self.finish(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// What is known of a request's body on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    moved: AtomicBool,
    failure: Mutex<Option<BoxError>>,
}

impl Progress {
    fn note(&self) {
        self.0.moved.store(true, Ordering::Relaxed);
    }

    fn fail(&self, error: BoxError) {
        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Whether it has moved since last asked.
    pub(super) fn moved(&self) -> bool {
        self.0.moved.swap(false, Ordering::Relaxed)
    }

    /// Why it ended before its end, if it did: the error that hyper makes of that does not tell with HTTP/2.
    pub(super) fn failure(&self) -> Option<BoxError> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request's body ended before its end")]
struct Failed;

/// A request's body that notes each frame that the connection takes from it.
pub(super) struct WatchedBody {
    body: Body,
    progress: Progress,
}

impl WatchedBody {
    pub(super) fn new(body: Body, progress: Progress) -> Self {
        Self { body, progress }
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.progress.note();
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                self.progress.fail(error);
                Failed.into()
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that does not say how long it is, so that HTTP/1.1 sends it in chunks: behind a body of a known length there is no
/// place for trailers.
pub(super) struct Chunked(pub(super) Body);

impl http_body::Body for Chunked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// The body of an answer that has to end by a deadline.
pub(super) struct LimitedBody {
    body: Body,
    timeout: Duration,
    deadline: Pin<Box<Sleep>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the answer did not end within {0:?}")]
struct TooLong(Duration);

impl LimitedBody {
    pub(super) fn new(body: Body, deadline: Instant, timeout: Duration) -> Self {
        Self { body, timeout, deadline: Box::pin(tokio::time::sleep_until(deadline)) }
    }
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Looked at first: a body that always has a frame ready would never come to it otherwise.
        if self.deadline.as_mut().poll(cx).is_ready() {
            self.body = Body::empty();
            return Poll::Ready(Some(Err(TooLong(self.timeout).into())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
