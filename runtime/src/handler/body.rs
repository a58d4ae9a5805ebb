//! The answer of a guest: its head, and a body that runs the guest as it is read.

use super::InFlight;
use super::call::Call;
use super::error::CallError;
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

/// How much of a body is gathered before the head is sent, where the guest writes it without waiting. A small answer is
/// then whole: it gets a length and leaves in one write.
const GATHERED: usize = 16 * 1024;

/// A guest's answer as it is read. Dropping it cancels the guest.
///
/// A guest that fails after its headers ends the body with an error, never with a proper end: who reads must not take a
/// truncated answer for a whole one.
pub struct GuestBody {
    /// What was gathered before the head was sent.
    gathered: Option<Bytes>,
    body: Option<WasiBody>,
    call: Option<Box<(Call, InFlight)>>,
}

/// The guest failed, or the container ended, before the body was complete.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the guest did not finish its answer")]
pub struct GuestBodyError(#[source] CallErrorSource);

/// Keeps the cause private while it stays in the error's chain.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
struct CallErrorSource(String);

impl GuestBodyError {
    fn new(cause: impl std::fmt::Display) -> Self {
        Self(CallErrorSource(cause.to_string()))
    }
}

impl std::fmt::Debug for GuestBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GuestBody").field("running", &self.call.is_some()).finish_non_exhaustive()
    }
}

/// Runs the call until the guest has answered.
pub(crate) async fn respond(mut call: Call, in_flight: InFlight) -> Result<Response<GuestBody>, CallError> {
    let response = std::future::poll_fn(|context| poll_response(&mut call, context)).await?;
    call.answered();
    let (head, body) = response.into_parts();
    let mut body = GuestBody { gathered: None, body: Some(body), call: Some(Box::new((call, in_flight))) };
    body.gather().await?;
    Ok(Response::from_parts(head, body))
}

fn poll_response(call: &mut Call, context: &mut Context<'_>) -> Poll<Result<Response<WasiBody>, CallError>> {
    let ended = call.poll(context);
    // A failure counts more than an answer: the answer's body could not be finished.
    if let Poll::Ready(Err(error)) = ended {
        return Poll::Ready(Err(error));
    }
    if ended.is_ready() {
        let no_answer = || CallError::NoAnswer("it returned without one".to_owned());
        return Poll::Ready(call.take_answer().ok_or_else(no_answer));
    }
    match call.poll_answer(context) {
        Poll::Ready(Some(response)) => Poll::Ready(Ok(response)),
        // Without an answer the guest's end says why: it is about to come from another thread.
        Poll::Ready(None) | Poll::Pending => call.poll_interrupts(context).map(Err),
    }
}

impl GuestBody {
    /// Reads ahead what can be had without waiting. An error here still becomes a proper error response.
    async fn gather(&mut self) -> Result<(), CallError> {
        let mut gathered = BytesMut::new();
        let mut first: Option<Bytes> = None;
        std::future::poll_fn(|context| {
            while gathered.len() < GATHERED {
                match self.poll_next(context) {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => match &first {
                            None if gathered.is_empty() => first = Some(data),
                            None => gathered.extend_from_slice(&data),
                            Some(one) => {
                                gathered.extend_from_slice(one);
                                gathered.extend_from_slice(&data);
                                first = None;
                            }
                        },
                        // Trailers: rare enough to be read by the reader, who must then see them first.
                        Err(trailers) => {
                            self.put_back(trailers);
                            break;
                        }
                    },
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) | Poll::Pending => break,
                }
                if first.as_ref().is_some_and(|data| data.len() >= GATHERED) {
                    break;
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.gathered = first.or_else(|| (!gathered.is_empty()).then(|| gathered.freeze()));
        Ok(())
    }

    fn put_back(&mut self, frame: Frame<Bytes>) {
        use http_body_util::{BodyExt, StreamBody};
        let frames = futures_util::stream::iter([Ok(frame)]);
        self.body = Some(StreamBody::new(frames).boxed_unsync());
    }

    /// The next frame of the guest's body, running the guest for it.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        loop {
            if let Some(body) = &mut self.body {
                match Pin::new(body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
                    Poll::Ready(Some(Err(error))) => {
                        self.body = None;
                        return Poll::Ready(Some(Err(self.failure(context, &error))));
                    }
                    Poll::Ready(None) => {
                        self.body = None;
                        return self.poll_end(context);
                    }
                    Poll::Pending => {}
                }
            } else {
                return self.poll_end(context);
            }
            let Some(running) = &mut self.call else { return Poll::Pending };
            match running.0.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => self.call = None, // what it wrote last is in the body's channel
                Poll::Ready(Err(error)) => {
                    self.call = None;
                    self.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// The reader is about to wait: breaks the body off when the guest's container has ended.
    fn poll_interrupts(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let Some(running) = &mut self.call else { return Poll::Pending };
        let error = ready!(running.0.poll_interrupts(context));
        self.call = None;
        self.body = None;
        Poll::Ready(Some(Err(error)))
    }

    /// The body has ended. Properly, unless the guest failed: its end drops the body's writer, which looks the same.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let Some(running) = &mut self.call else { return Poll::Ready(None) };
        // A guest lets go of this before it drops the writer, so if it still has it, it ended the body on purpose.
        let returned = running.0.read.as_ref().is_none_or(oneshot::Sender::is_closed);
        if !returned && let Some(read) = running.0.read.take() {
            let _received = read.send(());
        }
        match running.0.poll(context) {
            Poll::Ready(result) => {
                self.call = None;
                Poll::Ready(result.err().map(Err))
            }
            Poll::Pending if returned => Poll::Pending, // on another thread; how it ended is about to be known
            Poll::Pending => {
                if let Some(running) = self.call.take() {
                    let (call, in_flight) = *running;
                    call.detach(in_flight);
                }
                Poll::Ready(None)
            }
        }
    }

    /// The body broke off: because the guest failed, if it did.
    fn failure(&mut self, context: &mut Context<'_>, error: &wasmtime_wasi_http::Error) -> CallError {
        if let Some(mut running) = self.call.take()
            && !running.0.is_done()
            && let Poll::Ready(Err(error)) = running.0.poll(context)
        {
            return error;
        }
        CallError::NoAnswer(error.to_string())
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = GuestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GuestBodyError>>> {
        if let Some(data) = self.gathered.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let next = match self.poll_next(context) {
            Poll::Pending => self.poll_interrupts(context),
            next => next,
        };
        next.map(|frame| frame.map(|result| result.map_err(GuestBodyError::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.gathered.is_none() && self.body.is_none() && self.call.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.body.is_none() && self.call.is_none() {
            return SizeHint::with_exact(self.gathered.as_ref().map_or(0, |data| data.len() as u64));
        }
        SizeHint::default()
    }
}
