//! An HTTP/1 connection: in hyper's hands while there is something to do, and next to nothing while there is not.
//!
//! hyper keeps two buffers of 8 KiB for each connection. A client that is silent needs none, and most clients are silent
//! most of the time: after a moment without a request the connection is taken out of hyper's hands and only its socket is
//! kept, until the next byte arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{self, Duration, Instant, Sleep};

use super::activity::{Activity, Exchange};
use super::rewound::Rewound;
use super::{MAX_BUFFERED, header_limits};
use crate::BoxError;
use crate::drain::{Phase, Watch};
use crate::proxy::{self, AnswerBody, Answering, Client};

/// Long against the pauses between the requests of one page or of a busy client, because to begin anew costs about two
/// microseconds; short enough that clients that come in numbers and leave again never hold much at once.
const PARK_AFTER: Duration = Duration::from_millis(100);
/// Whether a request is still under way.
const LOOK_AGAIN: Duration = Duration::from_secs(4);

type Connection<I> = http1::UpgradeableConnection<Rewound<I>, Serve>;

pin_project! {
    /// Serves a connection until it ends or is drained.
    pub(crate) struct Http1<I> {
        stage: Stage<I>,
        client: Arc<Client>,
        activity: Arc<Activity>,
        #[pin]
        watch: Watch,
        // One for all its waits, set anew only when it has gone off: that is cheaper than one for each request.
        #[pin]
        timer: Sleep,
        armed: bool,
    }
}

enum Stage<I> {
    /// In a box that is given back with hyper's buffers.
    Serving(Box<Connection<I>>),
    /// Without a request, waiting for the next.
    Parked(Rewound<I>),
    /// On the way from one to the other.
    Between,
}

impl<I> Http1<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    pub(super) fn new(io: Rewound<I>, client: Arc<Client>) -> Self {
        let activity = Arc::clone(io.activity());
        let watch = client.listener.drain.watch();
        let timer = time::sleep(first_look(&client));
        let stage = Stage::Serving(serving(io, &client));
        Self { stage, client, activity, watch, timer, armed: false }
    }
}

fn first_look(client: &Client) -> Duration {
    PARK_AFTER.min(client.timeouts.client_idle)
}

fn serving<I>(io: Rewound<I>, client: &Arc<Client>) -> Box<Connection<I>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (header_bytes, header_fields) = header_limits(client);
    let service = Serve { client: Arc::clone(client), activity: Arc::clone(io.activity()) };
    let mut builder = http1::Builder::new();
    builder
        // The time a header may take is watched here (`Stage::Serving`), so hyper gets no timer.
        .max_header_size(header_bytes)
        // A header is read into the same buffer.
        .max_buf_size(header_bytes.max(MAX_BUFFERED))
        // A half-closed client counts as gone: only so is a target's work for nobody cancelled.
        .half_close(false)
        .writev(true)
        // pipeline_flush stays off: with it hyper closes without sending the 400 and 431 it has written, as long as
        // unread bytes follow the malformed ones.
        // Accepted while draining already: it still gets the answer it has asked for.
        .keep_alive(client.listener.drain.phase() == Phase::Open);
    // Set only where it is asked for: hyper then allocates what it else keeps on the stack.
    if let Some(fields) = header_fields {
        builder.max_headers(fields);
    }
    Box::new(builder.serve_connection(io, service).with_upgrades())
}

impl<I> Future for Http1<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage {
                Stage::Serving(connection) => {
                    while let Poll::Ready(phase) = this.watch.as_mut().poll_phase(cx) {
                        match phase {
                            Phase::Open => {}
                            Phase::Draining => {
                                // A request that has arrived and was not read yet is to be answered: look before
                                // closing what seems idle.
                                if let Poll::Ready(ended) = Pin::new(&mut **connection).poll(cx) {
                                    return Poll::Ready(ended.map_err(Into::into));
                                }
                                Pin::new(&mut **connection).graceful_shutdown();
                            }
                            Phase::Aborted => return Poll::Ready(Ok(())),
                        }
                    }
                    if let Poll::Ready(ended) = Pin::new(&mut **connection).poll(cx) {
                        return Poll::Ready(ended.map_err(Into::into));
                    }
                    // It knows whom to wake already, and that it has not gone off is seen without asking it.
                    if *this.armed && !this.timer.is_elapsed() {
                        return Poll::Pending;
                    }
                    *this.armed = true;
                    ready!(this.timer.as_mut().poll(cx));
                    *this.armed = false;
                    let now = Instant::now();
                    let next = match this.activity.idle_since() {
                        None => now + LOOK_AGAIN.min(this.client.timeouts.client_idle),
                        Some(since) => {
                            let (last, park) =
                                (since + this.client.timeouts.client_idle, since + first_look(this.client));
                            if now >= last {
                                return Poll::Ready(Err("no complete request in time".into()));
                            }
                            if now < park {
                                park
                            } else {
                                if this.activity.is_settled()
                                    && this.client.listener.drain.phase() == Phase::Open
                                {
                                    park_or_resume(this.stage, this.client);
                                }
                                last
                            }
                        }
                    };
                    this.timer.as_mut().reset(next);
                }
                Stage::Parked(io) => {
                    // A drain that begins later wakes this task, which has watched for it while it served.
                    let open = this.client.listener.drain.phase() == Phase::Open;
                    if open && io.poll_arrival(cx).is_pending() {
                        ready!(this.timer.as_mut().poll(cx));
                        return Poll::Ready(Ok(()));
                    }
                    // How it ends is hyper's to see to as well.
                    this.timer.as_mut().reset(Instant::now() + first_look(this.client));
                    *this.armed = false;
                    if let Stage::Parked(io) = std::mem::replace(this.stage, Stage::Between) {
                        *this.stage = Stage::Serving(serving(io, this.client));
                    }
                }
                Stage::Between => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Takes a connection without a request out of hyper's hands; for good, unless a part of the next request is there.
fn park_or_resume<I>(stage: &mut Stage<I>, client: &Arc<Client>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Stage::Serving(connection) = std::mem::replace(stage, Stage::Between) else { return };
    let Some(parts) = connection.into_parts() else { return };
    let mut io = parts.io;
    io.rewind(parts.read_buf);
    *stage = if io.is_rewound() { Stage::Serving(serving(io, client)) } else { Stage::Parked(io) };
}

/// Answers the requests of one connection, and notes that they are under way.
struct Serve {
    client: Arc<Client>,
    activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for Serve {
    type Response = Response<AnswerBody>;
    type Error = std::convert::Infallible;
    type Future = Exchanging;

    fn call(&self, request: Request<Incoming>) -> Exchanging {
        let exchange = Some(Exchange::begin(&self.activity, !request.body().is_end_stream()));
        Exchanging { answering: proxy::serve(&self.client, request), exchange }
    }
}

/// An answer on its way, which takes the exchange along.
struct Exchanging {
    answering: Answering,
    exchange: Option<Exchange>,
}

impl Future for Exchanging {
    type Output = <Answering as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = Pin::new(&mut self.answering).poll(cx);
        if let Poll::Ready(Ok(response)) = &mut answer {
            response.body_mut().exchange = self.exchange.take();
        }
        answer
    }
}
