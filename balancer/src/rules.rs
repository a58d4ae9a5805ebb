//! Requests and answers that hyper accepts and a proxy must not, each rule with its reason.
//!
//! Refused by hyper itself already (400 or a closed connection): conflicting or malformed `Content-Length`,
//! `Transfer-Encoding` that does not end in `chunked`, `Transfer-Encoding` on HTTP/1.0, folded header lines, NUL and
//! bare CR in values, more than 100 header fields or a header block over 64 KiB (431), a request target over 64 KiB (414).
//!
//! Decided otherwise than by refusal:
//! - `Content-Length` with `Transfer-Encoding`: hyper frames the body by `Transfer-Encoding`, hides the length from us and
//!   closes the connection after the answer, which is what RFC 9112, 6.3 asks of a server that does not refuse ("MUST
//!   close the connection after responding"), and what an ALB does in its default desync mitigation mode. What a
//!   smuggler hid behind the body is never read as a request.
//! - Identical `Content-Length` fields are one (RFC 9112, 6.3, rule 5), lines that end in a bare LF are lines (2.2):
//!   what goes to the target is written anew from what was understood, so the two cannot disagree.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Version};

use crate::fields::Fields;

/// ALB: "request line: 16 K".
const MAX_REQUEST_LINE: usize = 16 * 1024;

/// Fields of which a spelling with `_` is one with `-` to a target that reads its headers as CGI variables.
const NEVER_UNDERSCORED: [&str; 7] = [
    "content_length",
    "transfer_encoding",
    "host",
    "connection",
    "x_forwarded_for",
    "x_forwarded_proto",
    "x_forwarded_port",
];

/// Fields that frame or route the message. `Connection: content-length` would have us take the length off a message
/// and so change where it ends for the target.
const NEVER_HOP_BY_HOP: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST];

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// For the log; the client learns the status only.
    pub(crate) reason: &'static str,
}

const fn refuse(status: StatusCode, reason: &'static str) -> Result<(), Refusal> {
    Err(Refusal { status, reason })
}

const fn malformed(reason: &'static str) -> Result<(), Refusal> {
    refuse(StatusCode::BAD_REQUEST, reason)
}

/// Refuses what must not reach a target.
pub(crate) fn check<B>(request: &Request<B>, fields: Fields) -> Result<(), Refusal> {
    check_method_and_target(request)?;
    check_host(request)?;
    if fields.any(Fields::TRANSFER_ENCODING) {
        check_transfer_encoding(request.headers())?;
    }
    if fields.any(Fields::CONNECTION) {
        check_connection(request.headers())?;
    }
    if fields.any(Fields::UNDERSCORED) {
        check_underscores(request.headers())?;
    }
    if request.version() == Version::HTTP_2 {
        check_edges(request.headers())?;
    }
    Ok(())
}

/// Refuses an answer of a target that a client could read in another way than we have.
pub(crate) fn check_answer(headers: &HeaderMap, fields: Fields) -> Result<(), Refusal> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if fields.any(Fields::TRANSFER_ENCODING) {
        check_transfer_encoding(headers)?;
        // RFC 9112, 6.3: "might indicate an attempt to perform request smuggling or response splitting and ought to be
        // handled as an error". hyper reads the chunks and leaves us the length.
        if lengths.next().is_some() {
            return malformed("Content-Length beside Transfer-Encoding");
        }
    }
    // hyper reads a list of equal numbers as one number.
    if lengths.any(|length| !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return malformed("Content-Length other than a number");
    }
    Ok(())
}

fn check_method_and_target<B>(request: &Request<B>) -> Result<(), Refusal> {
    let uri = request.uri();
    // A tunnel through a reverse proxy would be one to the inside of the network.
    if request.method() == Method::CONNECT {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "CONNECT");
    }
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    // ALB's limit. Less than hyper's, so that what we accept a target accepts as well.
    if request.method().as_str().len() + target.len() > MAX_REQUEST_LINE {
        return refuse(StatusCode::URI_TOO_LONG, "method and request target longer than 16 KiB");
    }
    // RFC 3986, 2: a URI is ASCII. hyper lets UTF-8 through, which targets decode, refuse or cut off.
    if !target.is_ascii() {
        return malformed("request target with bytes above ASCII");
    }
    // RFC 9112, 3.2.4: the asterisk form is for OPTIONS only.
    if uri.path() == "*" && request.method() != Method::OPTIONS {
        return malformed("asterisk form without OPTIONS");
    }
    // RFC 9112, 3.2.3: the authority form (`GET example.com HTTP/1.1`) is for CONNECT only. It has no path to forward.
    if uri.scheme().is_none() && uri.authority().is_some() {
        return malformed("authority form without CONNECT");
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return malformed("scheme other than http");
    }
    Ok(())
}

/// One host, the same wherever it is named: else the balancer could route by one and the target answer for another.
fn check_host<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks
    // a Host header field and to any request message that contains more than one".
    if second.is_some() {
        return malformed("more than one Host");
    }
    match (host, authority) {
        // HTTP/1.0 has no Host, HTTP/2 names it in `:authority`.
        (None, None) if request.version() == Version::HTTP_10 => return Ok(()),
        (None, None) => return malformed("no Host"),
        (Some(host), _) if !valid_host(host.as_bytes()) => return malformed("invalid Host"),
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            return malformed("Host differs from the authority of the request target");
        }
        _ => {}
    }
    // RFC 9110, 4.2.4: userinfo in an authority is to be treated as an error; it hides where a request goes.
    if authority.is_some_and(|authority| !valid_host(authority.as_bytes())) {
        return malformed("invalid authority");
    }
    Ok(())
}

/// `host [":" port]` (RFC 3986, 3.2.2 and 3.2.3). Other characters, such as `/`, `@` and `,`, are read as a separator by one
/// program and as part of the name by the next; so is a second colon. No `%` either: names have none, and a target over
/// HTTP/2 could not be told of it.
fn valid_host(host: &[u8]) -> bool {
    let last = |wanted: u8| host.iter().rposition(|byte| *byte == wanted);
    let (name, port) = match last(b':') {
        // One before the bracket is part of an address.
        Some(colon) if last(b']') < Some(colon) => (&host[..colon], &host[colon + 1..]),
        _ => (host, &[][..]),
    };
    let in_name = |byte: &u8| IN_HOST_NAME[usize::from(*byte)];
    let valid_name = match name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")) {
        Some(address) => address.iter().all(|byte| in_name(byte) || *byte == b':'),
        None => !name.is_empty() && name.iter().all(in_name),
    };
    valid_name && port.iter().all(u8::is_ascii_digit)
}

/// RFC 3986, 3.2.2: unreserved characters and sub-delims, without the comma. A table, because it is asked for each byte of each request's host.
static IN_HOST_NAME: [bool; 256] = {
    let allowed = b"-._~!$&'()*+;=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut table = [false; 256];
    let mut next = 0;
    while next < allowed.len() {
        table[allowed[next] as usize] = true;
        next += 1;
    }
    table
};

/// Exactly `chunked`, once, in requests and in answers. hyper looks at the last coding only; the framing is ours to take
/// off, so any other coding under it would be lost on the way (RFC 9112, 6.1: "SHOULD respond with 501"), and `chunked`
/// twice is malformed (7.1).
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), None) => refuse(StatusCode::NOT_IMPLEMENTED, "transfer coding other than chunked"),
        (Some(_), Some(_)) => malformed("more than one Transfer-Encoding"),
    }
}

fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    let framing = |option: &[u8]| {
        NEVER_HOP_BY_HOP.iter().any(|name| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    for value in headers.get_all(header::CONNECTION) {
        if value.as_bytes().split(|byte| *byte == b',').any(|option| framing(option.trim_ascii())) {
            return malformed("Connection names a field that frames or routes the message");
        }
    }
    Ok(())
}

/// RFC 9113, 8.2.1: "A field value MUST NOT start or end with an ASCII whitespace character". HTTP/1 takes it off, so that a
/// target would see another value than our rules have.
fn check_edges(headers: &HeaderMap) -> Result<(), Refusal> {
    let blank = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let mut values = headers.values().map(HeaderValue::as_bytes);
    if values.any(|value| blank(value.first()) || blank(value.last())) {
        return malformed("space around the value of a field");
    }
    Ok(())
}

/// `Content_Length` is a field like any other to us, and `CONTENT_LENGTH` to a program behind WSGI, CGI or PHP.
fn check_underscores(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.keys().any(|name| NEVER_UNDERSCORED.contains(&name.as_str())) {
        return malformed("underscore in the name of a field that frames or routes the message");
    }
    Ok(())
}
