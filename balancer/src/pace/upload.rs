//! A request's body whose client has to keep up.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::{MinimumRate, Pace};
use crate::BoxError;
use crate::body::BrokenOff;

/// Found again among the causes of a target's failure, of which it is then the cause.
#[derive(Debug, thiserror::Error)]
#[error("the client sent its request too slowly")]
pub(crate) struct TooSlow;

/// Ends in [`TooSlow`] where the client falls behind. It is waited for only when whoever reads the body wants more of it.
pub(crate) struct Upload {
    incoming: Incoming,
    pace: Pace,
}

impl Upload {
    pub(crate) const fn new(incoming: Incoming, rate: MinimumRate) -> Self {
        Self { incoming, pace: Pace::new(Some(rate), rate.grace) }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.pace.poll_lost(cx));
            return Poll::Ready(Some(Err(TooSlow.into())));
        };
        if let Some(Ok(frame)) = &frame {
            self.pace.moved(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| BrokenOff(error).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
