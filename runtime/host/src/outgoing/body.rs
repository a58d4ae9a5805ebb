//! An answer's body, as it comes.

use super::client::Turn;
use super::connect::Sender;
use super::pool::{Key, Pool};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

/// The body, its limits of time, and what it holds until it ends. Dropped before its end, it closes the connection.
pub(super) struct AnswerBody<B> {
    incoming: B,
    between_bytes: Duration,
    deadline: Instant,
    /// Set while it waits.
    timer: Option<Pin<Box<Sleep>>>,
    connection: Option<(Sender, Key, Arc<Pool>)>,
    turn: Option<Turn>,
}

impl<B: Body<Data = Bytes>> AnswerBody<B> {
    /// `connection`: what it comes over, and where that waits for another request.
    pub(super) fn new(
        incoming: B,
        between_bytes: Duration,
        deadline: Instant,
        connection: Option<(Sender, Key, Arc<Pool>)>,
        turn: Turn,
    ) -> Self {
        let turn = Some(turn);
        let mut body = Self { incoming, between_bytes, deadline, timer: None, connection, turn };
        if body.incoming.is_end_stream() {
            body.end();
        }
        body
    }

    /// Gives back the connection, for another request, and the turn.
    fn end(&mut self) {
        if let Some((sender, key, pool)) = self.connection.take() {
            pool.put(key, sender);
        }
        self.turn = None;
    }

    /// Gives up the connection: what else it brings belongs to this answer.
    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.connection = None;
        self.turn = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl<B> Body for AnswerBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                if self.incoming.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(error.into()),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let end = self.deadline.min(Instant::now() + self.between_bytes);
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
                ready!(timer.as_mut().poll(context));
                if Instant::now() >= self.deadline {
                    self.fail(Error::HttpResponseTimeout)
                } else {
                    self.fail(Error::ConnectionReadTimeout)
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
