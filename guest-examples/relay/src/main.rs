//! A handler that passes each request on, with its path, to the URL that `RELAY_TO` has, and streams back what comes of it: what a service is that
//! calls another one.
//!
//! What gets no answer is answered 502, with the name that `wasi:http` has for the error. A path that begins with `/here` is answered here, with the task's id; without
//! `RELAY_TO` every path is.
//!
//! It sends a request's body while it passes on what comes of it: `wstd`'s own client gives no answer before all of the request is sent, and so would wait for
//! itself where the other side answers as it reads.

use std::env;

use futures_lite::stream;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wstd::http::body::Bytes;
use wstd::http::{Body, BodyExt, Request, Response, Result, StatusCode, Uri};
use wstd::io::{AsyncInputStream, AsyncOutputStream, AsyncPollable};

/// What is read of an answer at a time, at most.
const CHUNK: usize = 64 << 10;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>> {
    match env::var("RELAY_TO") {
        Ok(to) if !request.uri().path().starts_with("/here") => match relay(request, &to).await {
            Ok(answer) => answer,
            Err(code) => text(StatusCode::BAD_GATEWAY, format!("{}\n", name_of(&code))),
        },
        _ => {
            let task = env::var("CORACLE_TASK_ID").unwrap_or_else(|_| "nowhere".to_owned());
            text(StatusCode::OK, format!("here is {task}\n"))
        }
    }
}

async fn relay(request: Request<Body>, to: &str) -> std::result::Result<Result<Response<Body>>, ErrorCode> {
    let (head, body) = request.into_parts();
    let onward = OutgoingRequest::new(Fields::new());
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    aim(&onward, head.method.as_str(), to, path).ok_or(ErrorCode::HttpRequestUriInvalid)?;
    let outgoing = onward.body().map_err(|()| ErrorCode::InternalError(None))?;
    let pending = handle(onward, None)?;
    wstd::runtime::spawn(send(body, outgoing)).detach();
    AsyncPollable::new(pending.subscribe()).wait_for().await;
    // It is ready, and taken once.
    let answered = pending.get().and_then(std::result::Result::ok);
    Ok(pass_on(answered.unwrap_or(Err(ErrorCode::InternalError(None)))?))
}

/// Where a request goes: `to`, with the path of the one that led to it.
fn aim(request: &OutgoingRequest, method: &str, to: &str, path: &str) -> Option<()> {
    let to: Uri = to.parse().ok()?;
    let scheme = if to.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    let prefix = to.path().trim_end_matches('/');
    request.set_method(&method_of(method)).ok()?;
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(to.authority()?.as_str())).ok()?;
    request.set_path_with_query(Some(&format!("{prefix}{path}"))).ok()
}

fn method_of(method: &str) -> Method {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

/// One that breaks off is not finished, so that the other side sees half a request and not a whole one.
async fn send(body: Body, outgoing: OutgoingBody) {
    let mut body = body.into_boxed_body();
    let Ok(stream) = outgoing.write() else { return };
    let stream = AsyncOutputStream::new(stream);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map(|frame| frame.into_data().unwrap_or_default()) else { return };
        // Who answers early need not read to the end.
        if stream.write_all(&data).await.is_err() {
            return;
        }
    }
    drop(stream);
    _ = OutgoingBody::finish(outgoing, None);
}

fn pass_on(answer: IncomingResponse) -> Result<Response<Body>> {
    let mut response = Response::builder().status(answer.status());
    let fields = answer.headers();
    for name in ["content-type", "content-length"] {
        if let Some(value) = fields.get(name).first() {
            response = response.header(name, value.as_slice());
        }
    }
    drop(fields);
    let body = match answer.consume() {
        Ok(body) => received(body),
        Err(()) => Body::empty(),
    };
    Ok(response.body(body)?)
}

/// What comes of an answer. The stream is the first to be dropped: a body that has one may not be.
struct Coming {
    stream: AsyncInputStream,
    _body: IncomingBody,
}

fn received(body: IncomingBody) -> Body {
    let Ok(stream) = body.stream() else { return Body::empty() };
    let coming = Coming { stream: AsyncInputStream::new(stream), _body: body };
    Body::from_try_stream(stream::unfold(Some(coming), |coming| async {
        let coming = coming?;
        let mut chunk = vec![0; CHUNK];
        match coming.stream.read(&mut chunk).await {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some((Ok(Bytes::from(chunk)), Some(coming)))
            }
            Err(error) => Some((Err(error), None)),
        }
    }))
}

/// The error's variant, as in WIT: `ErrorCode::LoopDetected`.
fn name_of(code: &ErrorCode) -> String {
    let text = format!("{code:?}");
    let name = text.strip_prefix("ErrorCode::").unwrap_or(&text);
    name.split(['(', ' ']).next().unwrap_or(name).to_owned()
}

fn text(status: StatusCode, text: String) -> Result<Response<Body>> {
    let response = Response::builder().status(status).header("content-type", "text/plain; charset=utf-8");
    Ok(response.header("content-length", text.len()).body(text.into())?)
}
