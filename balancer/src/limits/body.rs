//! A request's body that does not say how long it is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{Body, BoxError};

/// The client sent more than it may. Found again among the causes of a target's failure, of which it is then the cause.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is longer than {0} bytes")]
pub(crate) struct TooLong(u64);

/// Ends in [`TooLong`] where the client goes on past the limit.
pub(crate) struct LimitedBody {
    body: Body,
    limit: u64,
    read: u64,
}

impl LimitedBody {
    pub(crate) const fn new(body: Body, limit: u64) -> Self {
        Self { body, limit, read: 0 }
    }
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
            return Poll::Ready(None);
        };
        self.read += frame.data_ref().map_or(0, Bytes::len) as u64;
        let fits = self.read <= self.limit;
        Poll::Ready(Some(if fits { Ok(frame) } else { Err(TooLong(self.limit).into()) }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
