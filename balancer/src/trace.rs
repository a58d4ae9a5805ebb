//! What becomes of a request, told to a collector of traces: W3C trace context in, spans over OTLP out.
//!
//! A listener without a [`Tracer`] passes trace context on as it came and does nothing here. With one, each request that is
//! sampled has a span of its own, and one for each attempt at a target, whose id the target gets as its parent. Spans are
//! handed to a thread of their own through a bounded queue; what does not fit is counted and not told.

mod context;
mod env;
mod exchange;
mod export;
mod otlp;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue, Request, Uri};
use tokio::sync::{mpsc, oneshot};

use crate::ConfigError;
use crate::access_log::Came;
use context::Context;
use exchange::Exchange;
pub(crate) use exchange::{Served, Traced};
use export::Message;

/// Requests whose spans may wait for the collector: about 4 MB of them.
const QUEUE: usize = 4096;

/// Where spans go, and of which requests.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingConfig {
    /// What spans are sent to with `POST`: `http://` or `https://`, path included, usually `/v1/traces`.
    pub endpoint: Uri,
    /// Sent along, for example to authenticate.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Of the requests that bring no trace context, the share that is traced, 0 to 1; 1 by default. Of the others those
    /// whose caller says so.
    pub sample_ratio: f64,
    /// `service.name` of the spans; `coracle` by default.
    pub service_name: String,
    /// More attributes of the resource the spans come from.
    pub resource: Vec<(String, String)>,
}

impl TracingConfig {
    /// All requests, to this endpoint.
    ///
    /// # Errors
    ///
    /// It is no `http` or `https` URL.
    pub fn new(endpoint: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new("endpoint", endpoint, "a URL that begins with http:// or https://");
        let endpoint: Uri = endpoint.parse().map_err(|_malformed| wrong())?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.host().is_none() {
            return Err(wrong());
        }
        let service_name = "coracle".to_owned();
        Ok(Self { endpoint, headers: Vec::new(), sample_ratio: 1.0, service_name, resource: Vec::new() })
    }

    /// Another share of the requests that bring no trace context, as text.
    ///
    /// # Errors
    ///
    /// It is no number from 0 to 1.
    pub fn set_sample_ratio(&mut self, text: &str) -> Result<(), ConfigError> {
        self.sample_ratio = env::sample_ratio(text)?;
        Ok(())
    }
}

/// Makes spans and has them exported. Ends when the last handle is dropped, after a last try to export what is left.
pub struct Tracer {
    queue: mpsc::Sender<Message>,
    sample_ratio: f64,
    counters: Arc<Counters>,
}

/// Spans by what became of them.
#[derive(Debug, Default)]
struct Counters {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl Tracer {
    /// Starts the thread that exports.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(config: TracingConfig) -> std::io::Result<Arc<Self>> {
        let (queue, messages) = mpsc::channel(QUEUE);
        let (sample_ratio, counters) = (config.sample_ratio, Arc::<Counters>::default());
        export::start(config, messages, Arc::clone(&counters))?;
        Ok(Arc::new(Self { queue, sample_ratio, counters }))
    }

    /// Resolves when the spans of all requests that have ended were sent, or given up, which may take a minute.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // An error means that the thread has ended: there is nothing left to wait for.
            flushed.await.ok();
        }
    }

    /// Spans that the collector has taken.
    pub fn exported(&self) -> u64 {
        self.counters.exported.load(Ordering::Relaxed)
    }

    /// Spans that were not told: they came faster than they could be sent, or the collector would not have them.
    pub fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
    }

    /// Both numbers as Prometheus reads them.
    pub fn prometheus(&self) -> String {
        let counter = |name: &str, help: &str, value: u64| {
            format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
        };
        counter("coracle_spans_exported_total", "Spans that the collector has taken.", self.exported())
            + &counter("coracle_spans_dropped_total", "Spans that were not told to it.", self.dropped())
    }

    /// Puts the request's trace context into it, and follows it if it is sampled.
    pub(crate) fn begin<B>(self: &Arc<Self>, request: &mut Request<B>, came: &Came<'_>) -> Option<Served> {
        let parent = Context::of(request.headers());
        let context = parent.map_or_else(|| Context::root(self.sample_ratio), Context::child);
        if parent.is_none() {
            // W3C: "If the vendor failed to parse traceparent, it MUST NOT attempt to parse tracestate."
            request.headers_mut().remove(context::TRACESTATE);
        }
        if context.sampled || parent.is_none() {
            context.put_into(request.headers_mut());
        }
        if context.sampled {
            let exchange = Exchange::new(Arc::clone(self), context, parent, request, came);
            Some(Served::begin(exchange, request))
        } else {
            None
        }
    }

    fn take(&self, exchange: Box<Exchange>) {
        let spans = exchange.spans();
        if self.queue.try_send(Message::Exchange(exchange)).is_err() {
            self.counters.dropped.fetch_add(spans, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("counters", &self.counters).finish_non_exhaustive()
    }
}
