//! A request without a body over HTTP/1.1, without hyper.
//!
//! hyper's client is a task for each connection, with channels to and from it: most of what a request through the balancer cost. Of the kind of request that
//! most are, the head is written and the answer read right where the client's request is waiting. Everything else is `full`'s.

mod body;
mod head;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use http::{Method, Request, Response, header};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

pub(crate) use self::body::LeanBody;
use self::head::Head;
use super::body::Progress;
use super::patience::Patience;
use super::pool::{Connection, Pool};
use super::stream::Stream;
use super::{SendError, TcpTargetConfig};
use crate::connection::MAX_BUFFERED;
use crate::{Body, BoxError, TargetError};

/// What most heads, and many answers, fit into.
const FIRST_READ: usize = 8 * 1024;
/// A head that is longer does not keep its room for the next.
const KEPT: usize = 2 * 1024;

/// Whether a request is of the kind that is sent so.
pub(super) fn takes(request: &Request<Body>) -> bool {
    let headers = request.headers();
    request.body().is_end_stream()
        && !headers.contains_key(header::UPGRADE)
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
}

/// A connection to a target. In a box, because it is handed from place to place with each request.
#[derive(Debug)]
pub(super) struct Lean(Box<Line>);

#[derive(Debug)]
struct Line {
    stream: Stream,
    /// The head of the request, of which so much was written.
    request: Vec<u8>,
    written: usize,
    /// What was read and not understood yet.
    read: BytesMut,
    /// How much is read at once.
    room: usize,
    patience: Patience,
}

#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("the answer's head is malformed")]
    Head(#[from] httparse::Error),
    #[error("the answer's head has a malformed {0}")]
    Malformed(&'static str),
    #[error("the answer's head is longer than 64 KiB")]
    TooLong,
    #[error("the connection was closed before the answer's end")]
    Cut,
    #[error("a chunk of the answer is malformed")]
    Chunk,
    #[error("the trailers of the answer are malformed or too long")]
    Trailers,
}

enum ExchangeError {
    /// Not a byte of the request was written.
    Unwritten(io::Error),
    Failed(BoxError),
    Timeout,
}

impl Connection for Lean {
    async fn over(stream: Stream, config: &TcpTargetConfig) -> Result<Self, BoxError> {
        Ok(Self(Box::new(Line {
            stream,
            request: Vec::new(),
            written: 0,
            read: BytesMut::new(),
            room: FIRST_READ,
            patience: Patience::new(config.idle_timeout),
        })))
    }

    /// What has come without having been asked for spoils it.
    fn is_idle(&self) -> bool {
        self.0.read.is_empty()
    }

    /// Costs a system call only if something has come, the connection's end for one.
    fn is_open(&mut self) -> bool {
        let line = &mut *self.0;
        let mut byte = [0];
        let read = poll_fn(|cx| Pin::new(&mut line.stream).poll_read(cx, &mut ReadBuf::new(&mut byte)));
        let read = pin!(task::unconstrained(read));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn begin(&mut self, now: Instant) {
        self.0.patience.begin(now);
    }

    async fn send(
        self,
        pool: &Arc<Pool<Self>>,
        request: Request<Body>,
        _no_body: Option<&Progress>,
    ) -> Result<Response<Body>, SendError> {
        let Self(mut line) = self;
        head::write(&request, &mut line.request);
        let method = request.method();
        let head = match poll_fn(|cx| line.poll_exchange(cx, method)).await {
            Ok(head) => head,
            Err(ExchangeError::Unwritten(error)) => {
                return Err(SendError::Unsent(Box::new(request), error.into()));
            }
            Err(ExchangeError::Failed(cause)) => {
                return Err(SendError::Target(Box::new(TargetError::Failed(cause))));
            }
            Err(ExchangeError::Timeout) => return Err(SendError::Target(Box::new(TargetError::Timeout))),
        };
        let Head { response, framing, keep_alive } = head;
        let body = LeanBody::new(line, framing, keep_alive.then(|| Arc::clone(pool)));
        Ok(response.map(|()| Body::lean(body)))
    }
}

impl Line {
    /// Writes the request and reads the head of its answer, as long as something moves.
    fn poll_exchange(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, ExchangeError>> {
        let exchanged = match self.poll_written(cx) {
            Poll::Ready(Ok(())) => self.poll_head(cx, method).map_err(ExchangeError::Failed),
            Poll::Ready(Err(error)) if self.written == 0 => {
                return Poll::Ready(Err(ExchangeError::Unwritten(error)));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(ExchangeError::Failed(error.into()))),
            Poll::Pending => Poll::Pending,
        };
        if exchanged.is_pending() {
            ready!(self.patience.poll_lost(cx));
            return Poll::Ready(Err(ExchangeError::Timeout));
        }
        exchanged
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.request.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.request.len() {
            let rest = &self.request[self.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.written = 0;
        self.request.clear();
        self.request.shrink_to(KEPT);
        Poll::Ready(Ok(()))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, BoxError>> {
        loop {
            let before = self.read.len();
            if before >= MAX_BUFFERED {
                return Poll::Ready(Err(AnswerError::TooLong.into()));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(AnswerError::Cut.into()));
            }
            // A head that comes byte by byte is looked at once a line.
            if self.read[before..].contains(&b'\n')
                && let Some(head) = head::read(&mut self.read, method)?
            {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads what is there; nothing at the end of the connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.room);
        let length = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read))?;
        // A long answer is read in larger pieces.
        if length >= self.room {
            self.room = (self.room * 2).min(MAX_BUFFERED);
        }
        Poll::Ready(Ok(length))
    }
}
