//! Spans as OTLP has them (JSON encoding of `ExportTraceServiceRequest`), named by OpenTelemetry's semantic conventions for
//! HTTP: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, Version};
use serde_json::{Value, json};

use super::TracingConfig;
use super::exchange::{Attempt, Exchange};

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// Query parameters that let whoever knows them in: "Sensitive content … SHOULD be scrubbed".
const SECRETS: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// A request of these exchanges' spans.
pub(super) fn request(config: &TracingConfig, exchanges: &[Box<Exchange>]) -> String {
    let mut resource = vec![
        text("service.name", config.service_name.as_str()),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    resource.extend(config.resource.iter().map(|(key, value)| text(key, value.as_str())));
    let spans: Vec<_> = exchanges.iter().flat_map(|exchange| spans(exchange)).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "coracle-balancer"}, "spans": spans}],
    }]})
    .to_string()
}

fn spans(exchange: &Exchange) -> Vec<Value> {
    let attempts = exchange.progress.attempts.iter().enumerate();
    let attempts = attempts.map(|(index, attempt)| of_attempt(exchange, index, attempt));
    std::iter::once(of_request(exchange)).chain(attempts).collect()
}

fn of_request(exchange: &Exchange) -> Value {
    let (host, port) = split_host(&exchange.host, exchange.local.port());
    let mut attributes = common(exchange);
    attributes.extend([
        text("url.path", exchange.uri.path()),
        text("url.scheme", exchange.scheme),
        text("server.address", host),
        number("server.port", port.into()),
        text("client.address", exchange.client.ip().to_canonical().to_string()),
        text("network.peer.address", exchange.client.ip().to_canonical().to_string()),
        number("network.peer.port", exchange.client.port().into()),
        text("network.protocol.version", version(exchange.version)),
        text("coracle.listener", exchange.listener.as_str()),
    ]);
    if let Some(query) = exchange.uri.query() {
        attributes.push(text("url.query", scrubbed(query)));
    }
    if !exchange.user_agent.is_empty() {
        attributes.push(text("user_agent.original", exchange.user_agent.as_str()));
    }
    let error = match exchange.progress.status {
        // The client left before there was an answer.
        None => Some("cancelled".to_owned()),
        Some(status) => {
            attributes.push(number("http.response.status_code", status.as_u16().into()));
            status.is_server_error().then(|| status.as_str().to_owned())
        }
    };
    let span = Span {
        id: exchange.context.span,
        parent: exchange.parent,
        kind: SERVER,
        begun: Duration::ZERO,
        end: exchange.progress.end,
    };
    span.told(exchange, attributes, error)
}

fn of_attempt(exchange: &Exchange, index: usize, attempt: &Attempt) -> Value {
    let mut attributes = common(exchange);
    attributes.extend([
        text("coracle.target", attempt.target.as_str()),
        text("coracle.target_group", attempt.group.as_str()),
    ]);
    if let Some(address) = attempt.address {
        let (path, query) = attempt.path.split_once('?').unwrap_or((&attempt.path, ""));
        let query = if query.is_empty() { String::new() } else { format!("?{}", scrubbed(query)) };
        attributes.extend([
            text("server.address", address.ip().to_string()),
            number("server.port", address.port().into()),
            text("url.full", format!("http://{address}{path}{query}")),
        ]);
    }
    if index > 0 {
        attributes.push(number("http.request.resend_count", index as u64));
    }
    let error = match attempt.outcome {
        Ok(status) => {
            attributes.push(number("http.response.status_code", status.as_u16().into()));
            let failed = status.is_client_error() || status.is_server_error();
            failed.then(|| status.as_str().to_owned())
        }
        Err(kind) => Some(kind.to_owned()),
    };
    let span = Span {
        id: attempt.span,
        parent: Some(exchange.context.span),
        kind: CLIENT,
        begun: attempt.begun,
        end: attempt.end.unwrap_or(exchange.progress.end),
    };
    span.told(exchange, attributes, error)
}

/// "HTTP request method … `_OTHER`" where it is none that is known.
fn common(exchange: &Exchange) -> Vec<Value> {
    let method = method(&exchange.method);
    let mut attributes = vec![text("http.request.method", method)];
    if method != exchange.method.as_str() {
        attributes.push(text("http.request.method_original", exchange.method.as_str()));
    }
    attributes
}

fn method(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    if known.contains(method) { method.as_str() } else { "_OTHER" }
}

struct Span {
    id: u64,
    parent: Option<u64>,
    kind: u8,
    begun: Duration,
    end: Duration,
}

impl Span {
    fn told(self, exchange: &Exchange, mut attributes: Vec<Value>, error: Option<String>) -> Value {
        // "HTTP span names SHOULD be {method} {target} if there is a (low-cardinality) target available", which a path is not.
        let name = match method(&exchange.method) {
            "_OTHER" => "HTTP",
            known => known,
        };
        let status = match &error {
            Some(error) => {
                attributes.push(text("error.type", error.as_str()));
                json!({"code": ERROR})
            }
            None => json!({}),
        };
        json!({
            "traceId": format!("{:032x}", exchange.context.trace),
            "spanId": format!("{:016x}", self.id),
            "parentSpanId": self.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
            "traceState": exchange.trace_state,
            "flags": 1,
            "name": name,
            "kind": self.kind,
            "startTimeUnixNano": nanoseconds(exchange.begun + self.begun),
            "endTimeUnixNano": nanoseconds(exchange.begun + self.end),
            "attributes": attributes,
            "status": status,
        })
    }
}

/// OTLP has 64 bits as text.
fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn text<'a>(key: &str, value: impl Into<Cow<'a, str>>) -> Value {
    json!({"key": key, "value": {"stringValue": value.into()}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn split_host(host: &str, default: u16) -> (&str, u16) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().unwrap_or(default)),
        _ => (host, default),
    }
}

fn scrubbed(query: &str) -> String {
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if SECRETS.contains(&name) => format!("{name}=REDACTED"),
        _ => parameter.to_owned(),
    };
    query.split('&').map(parameter).collect::<Vec<_>>().join("&")
}
