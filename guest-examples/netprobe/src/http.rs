//! HTTP.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::streams::StreamError;

const CHUNK: u64 = 64 << 10;
const PAUSE_NANOSECONDS: u64 = 100_000_000;

pub(crate) fn exchange(url: &str, body: Option<&str>) -> Result<String, String> {
    let request = request(url, body.is_some())?;
    let outgoing = request.body().map_err(|()| "no body")?;
    let pending = handle(request, None).map_err(code)?;
    if let Some(text) = body {
        let stream = outgoing.write().map_err(|()| "no stream")?;
        stream.blocking_write_and_flush(text.as_bytes()).map_err(|error| format!("{error:?}"))?;
    }
    OutgoingBody::finish(outgoing, None).map_err(code)?;
    pending.subscribe().block();
    let answer = pending.get().ok_or("no answer")?.map_err(|()| "taken twice")?.map_err(code)?;
    let status = answer.status();
    Ok(format!("{status} {}", text(&answer)?))
}

/// Begins a body of unknown length, and gives it up.
pub(crate) fn broken(url: &str) -> Result<String, String> {
    let request = request(url, true)?;
    let outgoing = request.body().map_err(|()| "no body")?;
    let pending = handle(request, None).map_err(code)?;
    {
        let stream = outgoing.write().map_err(|()| "no stream")?;
        stream.blocking_write_and_flush(b"half of it").map_err(|error| format!("{error:?}"))?;
    }
    // Time for the half to be sent.
    subscribe_duration(PAUSE_NANOSECONDS).block();
    drop(outgoing);
    pending.subscribe().block();
    let answer = pending.get().ok_or("no answer")?.map_err(|()| "taken twice")?.map_err(code)?;
    Ok(format!("{} {}", answer.status(), text(&answer)?))
}

fn request(url: &str, has_body: bool) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let request = OutgoingRequest::new(Fields::new());
    let set = || {
        request.set_method(if has_body { &Method::Post } else { &Method::Get })?;
        request.set_scheme(Some(&scheme))?;
        request.set_authority(Some(authority))?;
        request.set_path_with_query(Some(if path.is_empty() { "/" } else { path }))
    };
    set().map_err(|()| "no URL")?;
    Ok(request)
}

fn text(answer: &IncomingResponse) -> Result<String, String> {
    let body = answer.consume().map_err(|()| "no body")?;
    let stream = body.stream().map_err(|()| "no stream")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                let cause =
                    wasip2::http::types::http_error_code(&error).map_or_else(|| "unknown".to_owned(), code);
                return Err(format!("{cause} after {} bytes", bytes.len()));
            }
        }
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// The variant's name.
fn code(error: ErrorCode) -> String {
    let text = format!("{error:?}");
    let name = text.strip_prefix("ErrorCode::").unwrap_or(&text);
    name.split(['(', ' ']).next().unwrap_or(name).to_owned()
}
