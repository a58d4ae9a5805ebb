//! One request that is traced: what is known of it and of each attempt at a target.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use tokio::time::Instant;

use super::Tracer;
use super::context::{Context, TRACESTATE};
use crate::access_log::Came;
use crate::target_group::InFlight;
use crate::{Body, TargetError};

/// A request, from its head to the last byte of its answer. Handed to the tracer when nobody has to do with it any more.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Taken when it is handed over.
    tracer: Option<Arc<Tracer>>,
    pub(super) context: Context,
    pub(super) parent: Option<u64>,
    pub(super) trace_state: String,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) host: String,
    pub(super) user_agent: String,
    pub(super) scheme: &'static str,
    pub(super) listener: String,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) begun: SystemTime,
    start: Instant,
    pub(super) progress: Progress,
}

/// What is found out on the way.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) status: Option<StatusCode>,
    /// From the start on; `None` in an attempt: it ended with the request.
    pub(super) end: Duration,
    pub(super) attempts: Vec<Attempt>,
}

/// One attempt at a target.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) span: u64,
    pub(super) target: String,
    pub(super) group: String,
    pub(super) address: Option<SocketAddr>,
    pub(super) path: String,
    /// From the request's start on.
    pub(super) begun: Duration,
    /// `None`: with the request.
    pub(super) end: Option<Duration>,
    pub(super) outcome: Result<StatusCode, &'static str>,
}

impl Exchange {
    pub(super) fn new<B>(
        tracer: Arc<Tracer>,
        context: Context,
        parent: Option<Context>,
        request: &Request<B>,
        came: &Came<'_>,
    ) -> Self {
        let text = |name: header::HeaderName| {
            let values = request.headers().get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",")
        };
        let host = text(header::HOST);
        let authority = request.uri().authority().map(ToString::to_string);
        Self {
            tracer: Some(tracer),
            context,
            parent: parent.map(|parent| parent.span),
            trace_state: text(TRACESTATE),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: if host.is_empty() { authority.unwrap_or_default() } else { host },
            user_agent: text(header::USER_AGENT),
            scheme: if came.secure { "https" } else { "http" },
            listener: came.listener.to_owned(),
            client: came.client,
            local: came.local,
            begun: SystemTime::now(),
            start: Instant::now(),
            progress: Progress::default(),
        }
    }

    /// How many spans it is told in.
    pub(super) fn spans(&self) -> u64 {
        1 + self.progress.attempts.len() as u64
    }
}

/// Shared by all that have to do with the request: who serves it, and each attempt at a target.
#[derive(Debug)]
struct Followed {
    /// `Some` until it is dropped.
    exchange: Mutex<Option<Box<Exchange>>>,
}

impl Followed {
    /// Never waited for: what belongs to one request is done on one thread.
    fn with<T>(&self, change: impl FnOnce(&mut Exchange) -> T) -> Option<T> {
        lock(&self.exchange).as_deref_mut().map(change)
    }
}

fn lock(exchange: &Mutex<Option<Box<Exchange>>>) -> MutexGuard<'_, Option<Box<Exchange>>> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(mut exchange) = lock(&self.exchange).take()
            && let Some(tracer) = exchange.tracer.take()
        {
            tracer.take(exchange);
        }
    }
}

/// Held until the last byte of the answer.
#[derive(Debug)]
pub(crate) struct Served(Arc<Followed>);

impl Served {
    /// The request takes along who follows it.
    pub(super) fn begin<B>(exchange: Exchange, request: &mut Request<B>) -> Self {
        let followed = Arc::new(Followed { exchange: Mutex::new(Some(Box::new(exchange))) });
        request.extensions_mut().insert(Traced(Arc::clone(&followed)));
        Self(followed)
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        self.0.with(|exchange| exchange.progress.status = Some(status));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.with(|exchange| exchange.progress.end = exchange.start.elapsed());
    }
}

/// What a request that is traced has among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Traced(Arc<Followed>);

impl Traced {
    /// Calls a target, in a span of its own that the target gets to know.
    pub(crate) fn call(
        self,
        claim: &InFlight,
        mut request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        let begun = self.0.with(|exchange| {
            let context = exchange.context.child();
            context.put_into(request.headers_mut());
            let group = claim.group();
            let attempt = Attempt {
                span: context.span,
                target: claim.id().to_string(),
                group: group.map(|group| group.name().to_owned()).unwrap_or_default(),
                address: claim.target().address(),
                path: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
                begun: exchange.start.elapsed(),
                end: None,
                outcome: Err("cancelled"),
            };
            Attempting { followed: Arc::clone(&self.0), attempt: Some(attempt) }
        });
        let answer = claim.target().call(request);
        async move {
            let answer = answer.await;
            if let Some(begun) = begun {
                begun.end(match &answer {
                    Ok(response) => Ok(response.status()),
                    Err(error) => Err(kind(error)),
                });
            }
            answer
        }
        .boxed()
    }
}

/// `error.type` of an attempt without an answer.
const fn kind(error: &TargetError) -> &'static str {
    match error {
        TargetError::Unreached { .. } => "unreached",
        TargetError::Overloaded { .. } => "overloaded",
        TargetError::ConnectTimeout => "connect_timeout",
        TargetError::Failed(_) => "failed",
        TargetError::Timeout => "timeout",
    }
}

/// An attempt under way. Dropped before its end, it was cancelled.
struct Attempting {
    followed: Arc<Followed>,
    attempt: Option<Attempt>,
}

impl Attempting {
    fn end(mut self, outcome: Result<StatusCode, &'static str>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.outcome = outcome;
        }
    }
}

impl Drop for Attempting {
    fn drop(&mut self) {
        let Some(mut attempt) = self.attempt.take() else { return };
        self.followed.with(|exchange| {
            // An answer ends with its last byte, which is when the request does.
            attempt.end = attempt.outcome.is_err().then(|| exchange.start.elapsed());
            exchange.progress.attempts.push(attempt);
        });
    }
}
