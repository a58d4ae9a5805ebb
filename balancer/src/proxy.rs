//! The way of one request: check, pick, call, and pick again when it did not arrive.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::headers::Forwarded;
use crate::listener::Shared;
use crate::target_group::InFlight;
use crate::{Body, BoxError, TargetError, answer, headers, rules};

/// What the requests of one connection have in common.
pub(crate) struct Client {
    pub(crate) listener: Arc<Shared>,
    pub(crate) forwarded: Forwarded,
}

/// Answers one request, always.
pub(crate) async fn serve(
    client: Arc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    if let Err(refusal) = rules::check(&request) {
        tracing::debug!(listener = client.listener.name, refusal.reason, "request refused");
        let mut response = answer::page(refusal.status);
        if request.version() < Version::HTTP_2 {
            // Who sent this may mean something else by the bytes that follow.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return Ok(response.map(AnswerBody::own));
    }
    headers::prepare_request(&mut request, &client.forwarded);
    Ok(forward(&client, request.map(Body::from)).await)
}

async fn forward(client: &Client, request: Request<Body>) -> Response<AnswerBody> {
    // The snapshot is not held across an await: its guard is released with this statement.
    let claim = client.listener.group.load().pick();
    let Some(claim) = claim else { return own_answer(StatusCode::SERVICE_UNAVAILABLE) };
    match claim.call(request).await {
        Ok(response) => pass_on(claim, response),
        Err(error) => elsewhere(client, claim, error).await,
    }
}

/// Tries a request that did not reach its target on the others, each once, and answers for what is left.
async fn elsewhere(client: &Client, mut claim: InFlight, mut error: TargetError) -> Response<AnswerBody> {
    let mut tried = Vec::new();
    loop {
        claim.count_failure();
        let status = answer::status_of(&error, claim.target().address().is_none());
        let (TargetError::Unreached { request: Some(request), .. }
        | TargetError::Overloaded { request: Some(request) }) = error
        else {
            tracing::debug!(target = %claim.id(), error = &error as &dyn std::error::Error, "request failed");
            return own_answer(status);
        };
        tried.push(claim.key());
        // Give the failed target back before the next is claimed: it may be waiting to drain.
        drop(claim);
        // Bounded: each round tries a target not tried before, of the snapshot of this moment.
        let next = client.listener.group.load().pick_other(&tried);
        let Some(next) = next else { return own_answer(status) };
        claim = next;
        error = match claim.call(request).await {
            Ok(response) => return pass_on(claim, response),
            Err(error) => error,
        };
    }
}

fn pass_on(claim: InFlight, mut response: Response<Body>) -> Response<AnswerBody> {
    // 101 would hand the connection over to a protocol nobody asked for (`Upgrade` is not forwarded yet), and other
    // interim answers are no answers.
    if response.status().is_informational() {
        claim.count_failure();
        return own_answer(StatusCode::BAD_GATEWAY);
    }
    claim.count_response(response.status());
    headers::prepare_response(&mut response);
    response.map(|body| AnswerBody { body, claim: Some(claim) })
}

fn own_answer(status: StatusCode) -> Response<AnswerBody> {
    answer::page(status).map(AnswerBody::own)
}

/// The body of an answer, with the claim on the target it comes from.
pub(crate) struct AnswerBody {
    body: Body,
    claim: Option<InFlight>,
}

impl AnswerBody {
    fn own(body: Body) -> Self {
        Self { body, claim: None }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = &frame {
            self.claim = None;
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
