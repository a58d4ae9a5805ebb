//! The way of a request to a service in this process: no socket, and the same limits.
//!
//! The service's answer is made in a task of tokio's of its own. There its guest runs on its own account and stack, however deep calls go, and not inside the poll of the
//! guest that called. The task ends with whoever waits for it: a caller that goes away takes the whole chain along.

use super::body::AnswerBody;
use super::{TOTAL_TIMEOUT, Timeouts, client};
use crate::network::Network;
use crate::network::discovery::{Content, Service};
use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use wasmtime_wasi_http::{Error, WasiBody};

/// How many calls may follow from one another: a service that calls itself, by whatever way round, stops there.
pub const MAX_HOPS: u8 = 16;

/// How many calls led to a request. It travels with the request inside this process, and is lost where a socket is in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hops(u8);

impl Hops {
    /// Of a request that a guest begins to answer.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }

    /// Of a request that this one leads to.
    fn next(self) -> Result<Self, Error> {
        if self.0 < MAX_HOPS { Ok(Self(self.0 + 1)) } else { Err(Error::LoopDetected) }
    }
}

/// Sends a request to a service, and gives the answer's head and its body as it comes. `hops` led to it.
pub(super) async fn send(
    network: &Network,
    service: Arc<dyn Service>,
    request: Request<WasiBody>,
    timeouts: Timeouts,
    hops: Hops,
) -> Result<Response<WasiBody>, Error> {
    let deadline = Instant::now() + TOTAL_TIMEOUT;
    let hops = hops.next()?;
    let turn = client::turn(network.task().requests()).await?;
    let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    request.extensions_mut().insert(hops);
    let (head, answered) = oneshot::channel();
    // One frame ahead of the reader: who reads slowly slows the service down.
    let (frames, coming) = mpsc::channel(1);
    let answer = service.answer(request, network.address());
    let exchange = Exchange(tokio::spawn(pass_on(answer, head, frames)).abort_handle());
    let answered = timeout(timeouts.first_byte, answered).await.map_err(|_| Error::ConnectionReadTimeout)?;
    let response = answered.map_err(|_| Error::ConnectionTerminated)?;
    Ok(response.map(|(size, is_over)| {
        let body = Frames { coming, size, is_over, _exchange: exchange };
        AnswerBody::new(body, timeouts.between_bytes, deadline, None, turn).boxed_unsync()
    }))
}

/// What can be said of a body before it was read: its length, and whether there is nothing in it.
type Outline = (SizeHint, bool);

/// Ends with the service's answer, or when nobody takes it any more.
async fn pass_on(
    answer: impl Future<Output = Response<Content>>,
    head: oneshot::Sender<Response<Outline>>,
    frames: mpsc::Sender<Result<Frame<Bytes>, Error>>,
) {
    let (parts, mut body) = answer.await.into_parts();
    let outline = (body.size_hint(), body.is_end_stream());
    if head.send(Response::from_parts(parts, outline)).is_err() {
        return;
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a service's answer broke off");
            Error::HttpResponseIncomplete
        });
        let is_last = frame.is_err();
        if frames.send(frame).await.is_err() || is_last {
            return;
        }
    }
    // The end is told by `frames`, which goes with this.
}

/// Ended when dropped.
#[derive(Debug)]
struct Exchange(AbortHandle);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer's body on its way out of the task that makes it.
struct Frames {
    coming: mpsc::Receiver<Result<Frame<Bytes>, Error>>,
    size: SizeHint,
    is_over: bool,
    _exchange: Exchange,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = self.coming.poll_recv(context);
        if frame.is_ready() {
            // What it said was of all of it.
            self.size = SizeHint::default();
        }
        self.is_over |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_over { SizeHint::with_exact(0) } else { self.size }
    }
}

#[cfg(test)]
mod tests;
