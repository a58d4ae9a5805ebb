//! The body of a message on its way through the balancer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::pace::Upload;
use crate::tcp_target::{LeanBody, UpstreamBody};
use crate::{BoxError, trailers};

/// Body of a request on its way to a target, and of a response on its way back.
///
/// Never buffered: a frame is read from one side when the other side asks for it, so that back-pressure passes
/// through. The common kinds are variants of an enum, because a `Box<dyn Body>` for each would be an allocation
/// per message.
pub struct Body(Kind);

enum Kind {
    Empty,
    Full(Bytes),
    Incoming(Incoming),
    Upload(Upload),
    Upstream(UpstreamBody),
    Lean(LeanBody),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

/// A client left in the middle of its request's body, or sent something that is none. Found again among the causes of a
/// target's failure, which is then no failure of the target.
#[derive(Debug, thiserror::Error)]
#[error("the request's body was broken off")]
pub(crate) struct BrokenOff(#[source] pub(crate) hyper::Error);

impl Body {
    /// A body without content.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is wholly in memory; its length goes out as `Content-Length`.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }

    /// Any other body, at the price of an allocation.
    ///
    /// An error from it aborts the message: the receiver sees a broken connection (HTTP/1.1) or a reset stream
    /// (HTTP/2), never a body that seems complete.
    pub fn boxed<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Kind::Boxed(body.map_err(Into::into).boxed_unsync()))
    }

    pub(crate) const fn upload(upload: Upload) -> Self {
        Self(Kind::Upload(upload))
    }

    pub(crate) const fn upstream(body: UpstreamBody) -> Self {
        Self(Kind::Upstream(body))
    }

    pub(crate) const fn lean(body: LeanBody) -> Self {
        Self(Kind::Lean(body))
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self(Kind::Incoming(incoming))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Incoming(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(|error| BrokenOff(error).into())
            }
            Kind::Upload(upload) => Pin::new(upload).poll_frame(cx),
            Kind::Upstream(upstream) => Pin::new(upstream).poll_frame(cx),
            Kind::Lean(lean) => Pin::new(lean).poll_frame(cx),
            Kind::Boxed(boxed) => Pin::new(boxed).poll_frame(cx),
        };
        frame.map_ok(trailers::cleaned)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Upload(upload) => upload.is_end_stream(),
            Kind::Upstream(upstream) => upstream.is_end_stream(),
            Kind::Lean(lean) => lean.is_end_stream(),
            Kind::Boxed(boxed) => boxed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::Upload(upload) => upload.size_hint(),
            Kind::Upstream(upstream) => upstream.size_hint(),
            Kind::Lean(lean) => lean.size_hint(),
            Kind::Boxed(boxed) => boxed.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Empty => "empty",
            Kind::Full(_) => "full",
            Kind::Incoming(_) => "incoming",
            Kind::Upload(_) => "upload",
            Kind::Upstream(_) => "upstream",
            Kind::Lean(_) => "lean",
            Kind::Boxed(_) => "boxed",
        };
        f.debug_tuple("Body").field(&kind).finish()
    }
}
