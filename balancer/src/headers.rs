//! What a proxy changes in the headers of a message.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};

use crate::fields::Fields;
use crate::listener::Shared;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// What is done about a header field that names the clients a request has come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderPolicy {
    /// The client is added to those the field names already.
    Append,
    /// The field goes to the target as it came.
    Preserve,
    /// The target gets no such field.
    Remove,
}

/// What of `X-Forwarded-*` is the same for all requests of a connection, ready to be shared into each.
#[derive(Debug)]
pub(crate) struct Forwarded {
    client: HeaderValue,
    pub(crate) scheme: &'static str,
    port: HeaderValue,
    x_forwarded_for: HeaderPolicy,
    forwarded: HeaderPolicy,
    /// An element of `Forwarded`, when it is appended to.
    element: Option<HeaderValue>,
}

impl Forwarded {
    pub(crate) fn new(client: SocketAddr, listener: &Shared, scheme: &'static str) -> Self {
        // An IPv4 client of an IPv6 socket is still an IPv4 client.
        let address = client.ip().to_canonical();
        let client = address.to_string();
        let element = (listener.forwarded == HeaderPolicy::Append).then(|| {
            // RFC 7239, 6: "an IPv6 address is always enclosed in square brackets", and then in quotes.
            let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { client.clone() };
            let element = format!("for={node};proto={scheme}");
            HeaderValue::try_from(element).expect("an address is printed in visible ASCII")
        });
        Self {
            client: HeaderValue::try_from(client).expect("an address is printed in visible ASCII"),
            scheme,
            port: HeaderValue::from(listener.address.port()),
            x_forwarded_for: listener.x_forwarded_for,
            forwarded: listener.forwarded,
            element,
        }
    }
}

impl Forwarded {
    /// Of one request that a program of this process sends to `port`.
    pub(crate) fn inside(client: IpAddr, port: u16) -> Self {
        let client = client.to_canonical().to_string();
        Self {
            client: HeaderValue::try_from(client).expect("an address is printed in visible ASCII"),
            scheme: "http",
            port: HeaderValue::from(port),
            x_forwarded_for: HeaderPolicy::Append,
            forwarded: HeaderPolicy::Preserve,
            element: None,
        }
    }
}

/// Turns a request as the client sent it into one as a target gets it (see [`Target`](crate::Target)).
pub(crate) fn prepare_request<B>(request: &mut Request<B>, fields: Fields, forwarded: &Forwarded) {
    to_origin_form(request);
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    let headers = request.headers_mut();
    if fields.any(Fields::HOP_BY_HOP) {
        let trailers = fields.any(Fields::TE) && accepts_trailers(headers);
        remove_hop_by_hop(headers, fields);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    if fields.any(Fields::EXPECT) {
        // hyper answers `100-continue` itself, as soon as the target begins to read the body.
        headers.remove(header::EXPECT);
    }
    headers.reserve(3);
    match forwarded.x_forwarded_for {
        HeaderPolicy::Append => {
            append(headers, X_FORWARDED_FOR, fields.any(Fields::X_FORWARDED_FOR), &forwarded.client)
        }
        HeaderPolicy::Preserve => {}
        HeaderPolicy::Remove => {
            headers.remove(X_FORWARDED_FOR);
        }
    }
    match (forwarded.forwarded, &forwarded.element) {
        (HeaderPolicy::Append, Some(element)) => {
            let there = headers.contains_key(FORWARDED);
            append(headers, FORWARDED, there, element);
        }
        (HeaderPolicy::Remove, _) => {
            headers.remove(FORWARDED);
        }
        _ => {}
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(forwarded.scheme));
    headers.insert(X_FORWARDED_PORT, forwarded.port.clone());
    *request.version_mut() = Version::HTTP_11;
}

/// One field with what all of its kind said and `value` at the end.
fn append(headers: &mut HeaderMap, name: HeaderName, there: bool, value: &HeaderValue) {
    let value = if there { join(headers.get_all(&name).iter().chain([value]), b", ") } else { value.clone() };
    headers.insert(name, value);
}

/// Turns a target's answer into one for the client.
pub(crate) fn prepare_response<B>(response: &mut Response<B>, fields: Fields) {
    if fields.any(Fields::HOP_BY_HOP) {
        remove_hop_by_hop(response.headers_mut(), fields);
    }
    // The version is each hop's own; hyper lowers it for an HTTP/1.0 client.
    *response.version_mut() = Version::HTTP_11;
}

/// `GET http://host/path` (and every HTTP/2 request) names the host in its target; a server wants `/path` and `Host`.
fn to_origin_form<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else { return };
    if !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::from_str(authority.as_str()).expect("an authority is visible ASCII");
        request.headers_mut().insert(header::HOST, host);
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    (parts.scheme, parts.authority) = (None, None);
    let root = || PathAndQuery::from_static("/");
    parts.path_and_query =
        Some(parts.path_and_query.filter(|target| !target.as_str().is_empty()).unwrap_or_else(root));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// RFC 9113, 8.2.3: cookie fields split for compression "MUST be concatenated into a single octet string using the
/// two-octet delimiter "; " before being passed into a non-HTTP/2 context".
fn join_cookies(headers: &mut HeaderMap) {
    if let Entry::Occupied(mut entry) = headers.entry(header::COOKIE)
        && entry.iter().nth(1).is_some()
    {
        let joined = join(entry.iter(), b"; ");
        entry.insert(joined);
    }
}

fn join<'a>(values: impl Iterator<Item = &'a HeaderValue>, delimiter: &[u8]) -> HeaderValue {
    let mut joined = BytesMut::new();
    for value in values {
        if !joined.is_empty() {
            joined.extend_from_slice(delimiter);
        }
        joined.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_maybe_shared(joined.freeze()).expect("joined from valid values by a valid delimiter")
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let trailers = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    headers.get_all(header::TE).iter().any(trailers)
}

/// RFC 9110, 7.6.1: the fields that `Connection` names, and those that are for one hop by definition.
fn remove_hop_by_hop(headers: &mut HeaderMap, fields: Fields) {
    if fields.any(Fields::CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    for (field, name) in &HOP_BY_HOP {
        if fields.any(*field) {
            headers.remove(name);
        }
    }
}

const HOP_BY_HOP: [(Fields, HeaderName); 6] = [
    (Fields::CONNECTION, header::CONNECTION),
    (Fields::KEEP_ALIVE, KEEP_ALIVE),
    (Fields::PROXY_CONNECTION, PROXY_CONNECTION),
    (Fields::TE, header::TE),
    (Fields::TRANSFER_ENCODING, header::TRANSFER_ENCODING),
    (Fields::UPGRADE, header::UPGRADE),
];

/// Most say only whether the connection is kept, which names no field.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let options = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let names = options.filter(|option| {
        !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive")
    });
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}
