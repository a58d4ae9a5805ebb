//! The hello of WASI preview 3: an asynchronous handler. One instance serves many requests at a time, so it keeps a
//! count of those it has seen and of those in flight.
//!
//! `/health` answers `ok`, `/slow?ms=100` waits that long before it answers, any other path says hello.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip3::cli::environment::get_environment;
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

static SEEN: AtomicU64 = AtomicU64::new(0);
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);

struct Hello;

wasip3::http::service::export!(Hello);

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
        let in_flight = IN_FLIGHT.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let text = match path {
            "/health" => "ok\n".to_owned(),
            _ => format!("hello from {}\n", task_id().as_deref().unwrap_or("nowhere")),
        };
        if path == "/slow" {
            let milliseconds =
                query.strip_prefix("ms=").and_then(|value| value.parse().ok()).unwrap_or(100_u64);
            wait_for(milliseconds.saturating_mul(1_000_000)).await;
        }
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);

        let headers = Fields::new();
        // The names and values are such as HTTP allows: setting them cannot fail.
        for (name, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", &text.len().to_string()),
            ("x-requests-seen", &seen.to_string()),
            ("x-requests-in-flight", &in_flight.to_string()),
        ] {
            _ = headers.append(name, value.as_bytes());
        }
        Ok(answer(headers, text))
    }
}

fn answer(headers: Fields, text: String) -> Response {
    let (mut body, reader) = wit_stream::new();
    let (trailers, trailers_reader) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(reader), trailers_reader);
    // Dropping the writer sends its default: no trailers.
    drop(trailers);
    wit_bindgen::spawn_local(async move {
        // What the host did not take, it had no use for: the client went away.
        _ = body.write_all(text.into_bytes()).await;
    });
    response
}

/// The task this instance belongs to, as the host names it.
fn task_id() -> Option<String> {
    get_environment().into_iter().find_map(|(name, value)| (name == "CORACLE_TASK_ID").then_some(value))
}
