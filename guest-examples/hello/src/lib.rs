//! The smallest useful handler: says hello, and which task said it.
//!
//! It is also the yardstick of `bench/throughput.sh`, so it talks to `wasi:http` directly, without an async runtime.

use wasip2::cli::environment::get_environment;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let text = match request.path_with_query().as_deref() {
            Some("/health") => "ok\n".to_owned(),
            _ => format!("hello from {}\n", task_id().as_deref().unwrap_or("nowhere")),
        };
        let headers = Fields::new();
        // The names and values are constants that HTTP allows: setting them cannot fail.
        _ = headers.append("content-type", b"text/plain; charset=utf-8");
        _ = headers.append("content-length", text.len().to_string().as_bytes());
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the body of a new response is there to take, once");
        ResponseOutparam::set(answer, Ok(response));

        let stream = body.write().expect("the stream of a new body is there to take, once");
        // Fails only when the client went away, and then there is nobody left to tell.
        _ = stream.blocking_write_and_flush(text.as_bytes());
        drop(stream);
        _ = OutgoingBody::finish(body, None);
    }
}

/// The task this instance belongs to, as the host names it.
fn task_id() -> Option<String> {
    get_environment().into_iter().find_map(|(name, value)| (name == "CORACLE_TASK_ID").then_some(value))
}

wasip2::http::proxy::export!(Hello);
