//! A handler that passes each request on, with its path, to the URL that `RELAY_TO` has, and streams back what comes of it: what a service is that
//! calls another one.
//!
//! What gets no answer is answered 502, with the name that `wasi:http` has for the error. A path that begins with `/here` is answered here, with the task's id; without
//! `RELAY_TO` every path is.

use std::env;

use wstd::http::error::ErrorCode;
use wstd::http::{Body, Client, Error, Request, Response, Result, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>> {
    match env::var("RELAY_TO") {
        Ok(to) if !request.uri().path().starts_with("/here") => relay(request, &to).await,
        _ => {
            let task = env::var("CORACLE_TASK_ID").unwrap_or_else(|_| "nowhere".to_owned());
            text(StatusCode::OK, format!("here is {task}\n"))
        }
    }
}

async fn relay(request: Request<Body>, to: &str) -> Result<Response<Body>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let onward = Request::builder()
        .method(request.method())
        .uri(format!("{}{path}", to.trim_end_matches('/')))
        .body(request.into_body())?;
    match Client::new().send(onward).await {
        Ok(answer) => {
            let (parts, body) = answer.into_parts();
            let mut response = Response::builder().status(parts.status);
            for name in ["content-type", "content-length"] {
                if let Some(value) = parts.headers.get(name) {
                    response = response.header(name, value);
                }
            }
            Ok(response.body(body)?)
        }
        Err(error) => text(StatusCode::BAD_GATEWAY, format!("{}\n", name_of(&error))),
    }
}

/// The error's variant, as in WIT: `ErrorCode::LoopDetected`.
fn name_of(error: &Error) -> String {
    let Some(code) = error.downcast_ref::<ErrorCode>() else { return format!("{error:#}") };
    let text = format!("{code:?}");
    let name = text.strip_prefix("ErrorCode::").unwrap_or(&text);
    name.split(['(', ' ']).next().unwrap_or(name).to_owned()
}

fn text(status: StatusCode, text: String) -> Result<Response<Body>> {
    let response = Response::builder().status(status).header("content-type", "text/plain; charset=utf-8");
    Ok(response.header("content-length", text.len()).body(text.into())?)
}
