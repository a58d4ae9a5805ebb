//! The way of one request: check, route, pick, call, and pick again when it did not arrive.
//!
//! What is not the rule leaves this way for one of its own: `upgrade`, `retry`, and waiting for a target.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::StreamBody;
use hyper::body::Incoming;

use crate::access_log::{Came, Pending};
use crate::attached::Attached;
use crate::balancer::Timeouts;
use crate::connection::{self, Exchange};
use crate::drain::Phase;
use crate::fields::Fields;
use crate::headers::Forwarded;
use crate::limits::{Connected, LimitedBody};
use crate::listener::Shared;
use crate::pace::{TransferRates, Upload};
use crate::routing::{Action, Place};
use crate::rules::Refusal;
use crate::target_group::{Asking, InFlight};
use crate::trace::Tracer;
use crate::upgrade::{self, Wish};
use crate::{Body, BoxError, TargetError, TargetGroup, answer, headers, retry, rules};

/// What the requests of one connection have in common.
pub(crate) struct Client {
    pub(crate) listener: Arc<Shared>,
    /// As it is connected, or as the proxy in front has told.
    pub(crate) peer: SocketAddr,
    /// The peer's own address.
    pub(crate) address: IpAddr,
    pub(crate) forwarded: Forwarded,
    pub(crate) protocol: Protocol,
    pub(crate) timeouts: Timeouts,
    pub(crate) rates: TransferRates,
    pub(crate) limited: Option<Arc<Connected>>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    /// Something is configured that looks at each request: limits, an access log or traces.
    pub(crate) watched: bool,
}

impl Client {
    /// A request's body on its way to a target.
    pub(crate) fn body(&self, headers: &HeaderMap, body: Incoming) -> Body {
        if body.is_end_stream() {
            return Body::from(body);
        }
        let unsized_body = body.size_hint().upper().is_none();
        let body = match self.rates.receive {
            Some(rate) if !may_rest(headers) => Body::upload(Upload::new(body, rate)),
            _ => Body::from(body),
        };
        match self.limited.as_ref().and_then(|limited| limited.limits().body) {
            Some(most) if unsized_body => Body::boxed(LimitedBody::new(body, most)),
            _ => body,
        }
    }

    fn request(&self, request: Request<Incoming>) -> Request<Body> {
        let (parts, body) = request.into_parts();
        let body = self.body(&parts.headers, body);
        Request::from_parts(parts, body)
    }
}

/// Whether a request is a stream of messages, each sent when there is one.
fn may_rest(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    [&b"application/grpc"[..], b"application/connect+"].iter().any(|stream| kind.starts_with(stream))
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Answers one request, always.
///
/// Not an `async fn`: a request is moved by copying some 300 bytes, and each layer of `async` that takes it would do so
/// once more. Here it goes from hyper to the target in one go.
pub(crate) fn serve(client: &Arc<Client>, request: Request<Incoming>) -> Answering {
    if client.watched {
        return watched(client, request);
    }
    answer_to(client, request, None)
}

/// The way of a request that is counted against limits, logged or traced.
fn watched(client: &Arc<Client>, mut request: Request<Incoming>) -> Answering {
    let mut attached = Box::new(Attached::default());
    let came = Came {
        secure: client.forwarded.scheme == "https",
        listener: &client.listener.name,
        client: client.peer,
        local: client.listener.address,
    };
    // Before the log, which names the trace.
    attached.trace = client.tracer.as_ref().and_then(|tracer| tracer.begin(&mut request, &came));
    if let Some(log) = &client.listener.access_log {
        attached.log = Some(Pending::new(log, &request, came));
    }
    let answering = match client.limited.as_ref().map(Connected::request).transpose() {
        Err(status) => Answering::own(own_answer(status)),
        Ok(permit) => {
            attached.permit = permit;
            let most = client.limited.as_ref().and_then(|limited| limited.limits().body);
            if most.is_some_and(|most| request.body().size_hint().lower() > most) {
                let reason = "body longer than the limit";
                let refusal = Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, reason };
                Answering::own(refused(&request, refusal))
            } else {
                answer_to(client, request, attached.log.as_mut())
            }
        }
    };
    let answer = async move {
        let Ok(mut response) = answering.await;
        let status = response.status();
        if let Some(trace) = &attached.trace {
            trace.answered(status);
        }
        let body = response.body_mut();
        if let Some(log) = &mut attached.log {
            log.answered(status, body.claim.as_ref());
        }
        body.attached = Some(attached);
        response
    };
    Answering::Otherwise(answer.boxed())
}

fn answer_to(client: &Arc<Client>, mut request: Request<Incoming>, log: Option<&mut Pending>) -> Answering {
    let fields = Fields::of(request.headers());
    if let Err(refusal) = rules::check(&request, fields) {
        tracing::debug!(listener = client.listener.name, refusal.reason, "request refused");
        return Answering::own(refused(&request, refusal));
    }
    let wish = Wish::of(&mut request, fields);
    headers::prepare_request(&mut request, fields, &client.forwarded);
    // The snapshot is not held while the target answers: its guard is released with this function.
    let routes = client.listener.routes.load();
    let (priority, action) = routes.action(&request, client.address);
    if let Some(log) = log {
        log.matched(priority);
    }
    let forward = match action {
        Action::Forward(forward) => forward,
        Action::FixedResponse(fixed) => return Answering::own(fixed.response().map(AnswerBody::own)),
        Action::Redirect(redirect) => {
            let place = Place { protocol: client.forwarded.scheme, port: client.listener.address.port() };
            let response = redirect.response(&request, place).map(|response| response.map(AnswerBody::own));
            return Answering::own(response.unwrap_or_else(|| own_answer(StatusCode::BAD_REQUEST)));
        }
    };
    let asking = Asking { headers: request.headers(), client: client.address };
    match forward.pick(&asking) {
        Ok(claim) => proceed(client, claim, request, wish),
        Err(Some(group)) if group.holds() => {
            Answering::Otherwise(wait(Arc::clone(client), group, request, wish).boxed())
        }
        Err(_) => Answering::own(own_answer(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

/// Sends a request to the target that was picked for it.
#[inline(always)]
fn proceed(
    client: &Arc<Client>,
    claim: InFlight,
    mut request: Request<Incoming>,
    wish: Option<Wish>,
) -> Answering {
    if let Some(wish) = wish
        && claim.target().upgrades()
    {
        wish.express(request.headers_mut());
        let serving = upgrade::serve(Arc::clone(client), claim, request.map(Body::from), wish);
        return Answering::Otherwise(serving.boxed());
    }
    if let Some(retry) = claim.retry()
        && retry::may_repeat(&request, retry)
    {
        let retry = Arc::clone(retry);
        return Answering::Otherwise(retry::serve(Arc::clone(client), claim, request, retry).boxed());
    }
    let answer = claim.call(client.request(request));
    Answering::Target { answer, claim: Some(claim), client: Arc::clone(client) }
}

/// Holds a request until there is a target, within the group's limits.
async fn wait(
    client: Arc<Client>,
    group: Arc<TargetGroup>,
    request: Request<Incoming>,
    wish: Option<Wish>,
) -> Response<AnswerBody> {
    // A copy, because a body cannot be looked at by two threads and what is awaited must be able to move between them.
    let headers = request.headers().clone();
    let asking = Asking { headers: &headers, client: client.address };
    let Some(claim) = group.wait(&asking).await else { return own_answer(StatusCode::SERVICE_UNAVAILABLE) };
    drop(group);
    let Ok(response) = proceed(&client, claim, request, wish).await;
    response
}

fn refused<B>(request: &Request<B>, refusal: Refusal) -> Response<AnswerBody> {
    let mut response = own_answer(refusal.status);
    if request.version() < Version::HTTP_2 {
        // Who sent this may mean something else by the bytes that follow.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else if refusal.status == StatusCode::BAD_REQUEST {
        // RFC 9113, 8.1.1: "Malformed requests or responses that are detected MUST be treated as a stream error of type
        // PROTOCOL_ERROR". hyper resets a stream with what it finds in the error of a body.
        let reset = h2::Error::from(h2::Reason::PROTOCOL_ERROR);
        let body = StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(reset)]));
        return response.map(|_page| AnswerBody::own(Body::boxed(body)));
    }
    response
}

/// The answer to one request, on its way.
pub(crate) enum Answering {
    /// The target whose turn it was has the request.
    Target {
        answer: BoxFuture<'static, Result<Response<Body>, TargetError>>,
        /// Taken when the answer has come.
        claim: Option<InFlight>,
        client: Arc<Client>,
    },
    /// All that is rarer.
    Otherwise(BoxFuture<'static, Response<AnswerBody>>),
}

impl Answering {
    fn own(response: Response<AnswerBody>) -> Self {
        Self::Otherwise(std::future::ready(response).boxed())
    }
}

impl Future for Answering {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            *self = match &mut *self {
                Self::Otherwise(response) => return response.as_mut().poll(cx).map(Ok),
                Self::Target { answer, claim, client } => {
                    let answer = ready!(answer.as_mut().poll(cx));
                    let claim = claim.take().expect("a future is not polled again after it was ready");
                    match answer {
                        Ok(response) => return Poll::Ready(Ok(pass_on(client, claim, response))),
                        Err(error) => {
                            let client = Arc::clone(client);
                            let elsewhere = async move {
                                match elsewhere(claim, error).await {
                                    Ok((claim, response)) => pass_on(&client, claim, response),
                                    Err(own) => own,
                                }
                            };
                            Self::Otherwise(elsewhere.boxed())
                        }
                    }
                }
            };
        }
    }
}

/// Tries a request that did not reach its target on the others, each once, and answers for what is left.
pub(crate) async fn elsewhere(
    mut claim: InFlight,
    mut error: TargetError,
) -> Result<(InFlight, Response<Body>), Response<AnswerBody>> {
    let mut tried = Vec::new();
    loop {
        claim.count_error(&error);
        let status = answer::status_of(&error, claim.target().address().is_none());
        let (TargetError::Unreached { request: Some(request), .. }
        | TargetError::Overloaded { request: Some(request) }) = error
        else {
            tracing::debug!(target = %claim.id(), error = &error as &dyn std::error::Error, "request failed");
            return Err(own_answer(status));
        };
        tried.push(claim.key());
        // Bounded: each round tries a target not tried before, of the snapshot of this moment.
        let Some(next) = claim.give_up(&tried) else { return Err(own_answer(status)) };
        claim = next;
        error = match claim.call(request).await {
            Ok(response) => return Ok((claim, response)),
            Err(error) => error,
        };
    }
}

/// A target's answer as the client gets it.
pub(crate) fn pass_on(
    client: &Client,
    claim: InFlight,
    mut response: Response<Body>,
) -> Response<AnswerBody> {
    if !accept(&claim, &mut response) {
        return own_answer(StatusCode::BAD_GATEWAY);
    }
    // The connection is about to be closed: the client should not find that out by losing its next request.
    if client.protocol == Protocol::Http1 && client.listener.drain.phase() != Phase::Open {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| AnswerBody::claimed(body, claim))
}

/// Makes a target's answer one for whoever asked, and counts it; false if it makes no sense.
pub(crate) fn accept(claim: &InFlight, response: &mut Response<Body>) -> bool {
    let fields = Fields::of(response.headers());
    let refused = rules::check_answer(response.headers(), fields);
    if let Err(refusal) = refused {
        tracing::debug!(target = %claim.id(), refusal.reason, "answer refused");
    }
    // 101 would hand the connection over to a protocol nobody asked for (a switch that was asked for does not come by
    // here), and other interim answers are no answers.
    if response.status().is_informational() || refused.is_err() {
        claim.count_failure();
        return false;
    }
    claim.count_response(response.status());
    headers::prepare_response(response, fields);
    claim.set_cookies(response.headers_mut());
    true
}

pub(crate) fn own_answer(status: StatusCode) -> Response<AnswerBody> {
    answer::page(status).map(AnswerBody::own)
}

/// The body of an answer, with the claim on the target it comes from.
pub(crate) struct AnswerBody {
    body: Body,
    claim: Option<InFlight>,
    attached: Option<Box<Attached>>,
    /// On connections that want to know when they are between two requests.
    pub(crate) exchange: Option<Exchange>,
}

impl AnswerBody {
    pub(crate) fn own(body: Body) -> Self {
        Self { body, claim: None, attached: None, exchange: None }
    }

    /// A target's, given back at its end.
    pub(crate) fn claimed(body: Body, claim: InFlight) -> Self {
        Self { body, claim: Some(claim), attached: None, exchange: None }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        connection::asked();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(None | Some(Err(_))) => (self.claim, self.attached) = (None, None),
            Poll::Ready(Some(Ok(frame))) => {
                connection::handed(frame.data_ref().map_or(0, Bytes::len));
                if let Some(attached) = &mut self.attached {
                    attached.frame(frame);
                }
            }
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
