//! Sending spans to the collector, in batches, on a thread of their own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use super::exchange::Exchange;
use super::{Counters, TracingConfig, otlp};
use crate::outgoing::{Outgoing, OutgoingError};

/// OpenTelemetry's batch of spans; here of requests, which have some two each.
const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// A batch the collector cannot take now is sent so often, after 1 s, 2 s, 4 s and 8 s, each up to a half longer.
const TRIES: u32 = 5;
/// The longest the collector may tell us to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// What the thread is handed.
#[derive(Debug)]
pub(super) enum Message {
    Exchange(Box<Exchange>),
    /// Told when all before it was sent, or given up.
    Flush(oneshot::Sender<()>),
}

/// Exports until the last sender is gone.
pub(super) fn start(
    config: TracingConfig,
    messages: mpsc::Receiver<Message>,
    counters: Arc<Counters>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exporter = Exporter { outgoing: Outgoing::new([]), config, counters };
    thread::Builder::new()
        .name("spans".to_owned())
        .spawn(move || runtime.block_on(exporter.run(messages)))?;
    Ok(())
}

struct Exporter {
    outgoing: Outgoing,
    config: TracingConfig,
    counters: Arc<Counters>,
}

impl Exporter {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        let mut batch = Vec::new();
        while let Some(first) = messages.recv().await {
            let mut flushes = Vec::new();
            let mut sort = |message, batch: &mut Vec<_>| match message {
                Message::Exchange(exchange) => batch.push(exchange),
                Message::Flush(done) => flushes.push(done),
            };
            let hurry = matches!(first, Message::Flush(_));
            sort(first, &mut batch);
            let until = Instant::now() + if hurry { Duration::ZERO } else { DELAY };
            while batch.len() < BATCH
                && let Ok(Some(message)) = time::timeout_at(until, messages.recv()).await
            {
                let last = matches!(message, Message::Flush(_));
                sort(message, &mut batch);
                if last {
                    break;
                }
            }
            self.export(&batch).await;
            batch.clear();
            for done in flushes {
                // Whoever asked may have given up.
                done.send(()).ok();
            }
        }
    }

    async fn export(&self, batch: &[Box<Exchange>]) {
        if batch.is_empty() {
            return;
        }
        let spans = batch.iter().map(|exchange| exchange.spans()).sum();
        let body = Bytes::from(otlp::request(&self.config, batch));
        for attempt in 1..=TRIES {
            let pause = match self.outgoing.send(self.request(&body)).await {
                Ok(response) if response.status().is_success() => {
                    self.counters.exported.fetch_add(spans, Ordering::Relaxed);
                    return;
                }
                Ok(response) if may_come_again(response.status()) => retry_after(&response),
                Ok(response) => {
                    tracing::warn!(status = %response.status(), "the collector does not take spans");
                    break;
                }
                Err(error @ OutgoingError::Url(_)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "spans cannot be sent");
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no collector of spans");
                    None
                }
            };
            if attempt < TRIES {
                let backoff = Duration::from_secs(1 << (attempt - 1)).mul_f64(1.0 + fastrand::f64() / 2.0);
                time::sleep(pause.unwrap_or(backoff)).await;
            }
        }
        self.counters.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    fn request(&self, body: &Bytes) -> Request<Bytes> {
        let mut request = Request::new(body.clone());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.config.endpoint.clone();
        let headers = request.headers_mut();
        headers.extend(self.config.headers.iter().cloned());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }
}

/// OTLP: "the client SHOULD retry" after these, and "MUST NOT" after others.
fn may_come_again(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}
