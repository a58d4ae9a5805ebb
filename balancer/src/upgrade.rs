//! Switching a connection to another protocol: WebSocket and others.
//!
//! The client's wish is handed to the target. Only when the target answers 101 and names a protocol the client had asked
//! for is the client's connection taken out of HTTP, and only then is anything it sent after its request passed on:
//! until then hyper keeps those bytes, and reads them as the next request if the switch is not made. (Forwarding
//! them before the 101 is CVE-2026-2833.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::fields::Fields;
use crate::listener::Shared;
use crate::proxy::{self, AnswerBody, Client};
use crate::target_group::InFlight;
use crate::{Body, headers};

/// Protocols that would let a client speak past the checks of the balancer: HTTP under another version.
const NEVER: [&[u8]; 3] = [b"h2", b"h2c", b"tls"];
/// Bytes read at once. Two such buffers are all a spliced connection holds.
const BUFFER: usize = 16 * 1024;

/// What a client wishes its connection to become.
pub(crate) struct Wish {
    /// As it was sent: one protocol, or several in the order of preference.
    protocols: HeaderValue,
    connection: OnUpgrade,
}

impl Wish {
    /// Taken from a request as the client sent it. `None`: there is none, or none that is to be passed on; the request is
    /// then one like any other (RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field").
    pub(crate) fn of<B>(request: &mut Request<B>, fields: Fields) -> Option<Self>
    where
        B: http_body::Body,
    {
        // "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request" (RFC 9110, 7.8). And a
        // body would be followed by the new protocol's bytes: one framing more on which two programs can disagree.
        if !fields.any(Fields::UPGRADE)
            || request.version() != Version::HTTP_11
            || !request.body().is_end_stream()
            || !names(request.headers(), b"upgrade")
        {
            return None;
        }
        let mut values = request.headers().get_all(header::UPGRADE).iter();
        let (Some(protocols), None) = (values.next(), values.next()) else { return None };
        let refused = tokens(protocols).any(|token| {
            let name = token.split(|byte| *byte == b'/').next().unwrap_or_default();
            name.eq_ignore_ascii_case(b"http") || NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
        });
        let protocols = (!refused && tokens(protocols).next().is_some()).then(|| protocols.clone())?;
        Some(Self { protocols, connection: hyper::upgrade::on(request) })
    }

    /// Puts the wish into the request that goes to the target.
    pub(crate) fn express(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocols.clone());
        // Would want `Connection` for itself, and there is no body that trailers could follow.
        headers.remove(header::TE);
    }

    fn names(&self, protocol: &HeaderValue) -> bool {
        let mut granted = tokens(protocol);
        let (Some(granted), None) = (granted.next(), granted.next()) else { return false };
        tokens(&self.protocols).any(|wished| wished.eq_ignore_ascii_case(granted))
    }
}

/// Answers a request with a wish in it.
pub(crate) async fn serve(
    client: Arc<Client>,
    claim: InFlight,
    request: Request<Body>,
    wish: Wish,
) -> Response<AnswerBody> {
    let answered = match claim.call(request).await {
        Ok(response) => Ok((claim, response)),
        Err(error) => proxy::elsewhere(claim, error).await,
    };
    match answered {
        Ok((claim, response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(&client, claim, response, wish)
        }
        Ok((claim, response)) => proxy::pass_on(&client, claim, response),
        Err(own) => own,
    }
}

fn switch(
    client: &Client,
    claim: InFlight,
    mut response: Response<Body>,
    wish: Wish,
) -> Response<AnswerBody> {
    let granted = response.headers_mut().remove(header::UPGRADE);
    let Some(granted) = granted.filter(|granted| wish.names(granted)) else {
        // A switch to what nobody asked for.
        claim.count_failure();
        return proxy::own_answer(StatusCode::BAD_GATEWAY);
    };
    claim.count_response(response.status());
    let target = hyper::upgrade::on(&mut response);
    let fields = Fields::of(response.headers());
    headers::prepare_response(&mut response, fields);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, granted);
    claim.set_cookies(headers);
    let (listener, idle) = (Arc::clone(&client.listener), client.timeouts.client_idle);
    let token = listener.tasks.token();
    tokio::spawn(async move {
        let both = future::try_join(wish.connection, target);
        // The client may leave before it has read the 101.
        if let Ok(Ok((client, target))) = tokio::time::timeout(idle, both).await {
            splice_until(TokioIo::new(client), TokioIo::new(target), idle, &listener, &claim).await;
        }
        drop((claim, token));
    });
    response.map(|_| AnswerBody::own(Body::empty()))
}

/// Splices until both sides have ended, nothing moves for `idle`, or the time to drain is over for the listener or for
/// the target.
pub(crate) async fn splice_until<A, B>(
    client: A,
    target: B,
    idle: Duration,
    listener: &Shared,
    claim: &InFlight,
) where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    tokio::select! {
        () = splice(client, target, idle) => {}
        () = listener.drain.aborted() => {}
        () = claim.gone() => {}
    }
}

/// Copies both ways until both sides have ended, one fails, or nothing moves for `idle`.
async fn splice<A, B>(client: A, target: B, idle: Duration)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let moved = AtomicBool::new(false);
    let (from_client, to_client) = tokio::io::split(client);
    let (from_target, to_target) = tokio::io::split(target);
    let both = future::try_join(copy(from_client, to_target, &moved), copy(from_target, to_client, &moved));
    tokio::pin!(both);
    while let Err(_elapsed) = tokio::time::timeout(idle, &mut both).await {
        if !moved.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        moved.store(true, Ordering::Relaxed);
        if length == 0 {
            // The other way may have something to say yet.
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        moved.store(true, Ordering::Relaxed);
    }
}

fn names(headers: &HeaderMap, option: &[u8]) -> bool {
    let mut values = headers.get_all(header::CONNECTION).iter();
    values.any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case(option)))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}
