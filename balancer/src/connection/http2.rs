//! An HTTP/2 connection, of which the answers that come at one moment leave in one send.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::TokioTimer;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::outbox::{Buffered, Outbox};
use super::rewound::Rewound;
use super::streams::Streams;
use super::{MAX_BUFFERED, header_limits};
use crate::BoxError;
use crate::drain::{Phase, Watch};
use crate::proxy::{self, AnswerBody, Answering, Client};

/// ALB allows 128 as well.
const MAX_STREAMS: u32 = 128;

pin_project! {
    /// Serves a connection until it ends or is drained.
    pub(super) struct Http2<I> {
        #[pin]
        connection: http2::Connection<Buffered<Rewound<I>>, Serve, Streams>,
        outbox: Outbox<Rewound<I>>,
        #[pin]
        watch: Watch,
        told: bool,
    }
}

impl<I> Http2<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    pub(super) fn new(io: Rewound<I>, client: Arc<Client>) -> Self {
        let watch = client.listener.drain.watch();
        let (header_bytes, _) = header_limits(&client);
        let mut builder = http2::Builder::new(Streams { rate: client.rates.send });
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(MAX_BUFFERED)
            .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
            // Without a ping a client that lost its network would hold its streams for ever.
            .keep_alive_interval(client.timeouts.client_idle);
        let (outbox, buffered) = Outbox::new(io);
        let connection = builder.serve_connection(buffered, Serve { client });
        Self { connection, outbox, watch, told: false }
    }
}

impl<I> Future for Http2<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        while let Poll::Ready(phase) = this.watch.as_mut().poll_phase(cx) {
            match phase {
                Phase::Open => {}
                Phase::Draining if *this.told => {}
                Phase::Draining => {
                    // A request that has arrived and was not read yet is to be answered: look before closing what
                    // seems idle.
                    if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
                        return Poll::Ready(ended.map_err(Into::into));
                    }
                    this.connection.as_mut().graceful_shutdown();
                    *this.told = true;
                }
                Phase::Aborted => return Poll::Ready(Ok(())),
            }
        }
        let ended = this.connection.as_mut().poll(cx);
        let sent = this.outbox.poll_send(cx);
        match (ended, sent) {
            (Poll::Ready(ended), _) => Poll::Ready(ended.map_err(Into::into)),
            (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
            _ => Poll::Pending,
        }
    }
}

/// Answers the requests of one connection.
struct Serve {
    client: Arc<Client>,
}

impl Service<Request<Incoming>> for Serve {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        proxy::serve(&self.client, request)
    }
}
