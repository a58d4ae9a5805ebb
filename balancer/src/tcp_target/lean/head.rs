//! Heads: of a request as it is written, of an answer as it is read.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::AnswerError;
use super::body::Framing;
use crate::BoxError;

/// hyper's number.
pub(super) const MAX_FIELDS: usize = 100;

/// The head of a request in origin form.
pub(super) fn write<B>(request: &Request<B>, into: &mut Vec<u8>) {
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    // Over HTTP/2 a path may be left away before a query.
    let root = if target.is_empty() || target.starts_with('?') { "/" } else { "" };
    for part in [request.method().as_str(), " ", root, target, " HTTP/1.1\r\n"] {
        into.extend_from_slice(part.as_bytes());
    }
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            into.extend_from_slice(part);
        }
    }
    into.extend_from_slice(b"\r\n");
}

/// The head of an answer, and what it says of what follows.
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// The target lets the connection be used again.
    pub(super) keep_alive: bool,
}

/// Takes the head of an answer to `method` out of what was read; nothing if its end is not there yet. Interim answers are passed over.
pub(super) fn read(read: &mut BytesMut, method: &Method) -> Result<Option<Head>, BoxError> {
    loop {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let parsing =
            ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, read, &mut fields);
        let Status::Complete(length) = parsing.map_err(AnswerError::from)? else { return Ok(None) };
        let status = StatusCode::from_u16(parsed.code.unwrap_or_default())?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            read.advance(length);
            continue;
        }
        let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
        let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
        let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes().to_vec()).ok());
        // Where the fields lie, since what they lie in is about to change hands.
        let mut places = [Place::default(); MAX_FIELDS];
        let count = parsed.headers.len();
        for (place, field) in places.iter_mut().zip(&*parsed.headers) {
            *place =
                Place { name: Part::of(field.name.as_bytes(), read)?, value: Part::of(field.value, read)? };
        }
        let bytes = read.split_to(length).freeze();
        let mut received = Received::new(version, count);
        for Place { name, value } in &places[..count] {
            received.take(&bytes[name.range()], bytes.slice(value.range()))?;
        }
        let framing = framing(&received.fields, status, version, method)?;
        let keep_alive = received.keep_alive && status != StatusCode::SWITCHING_PROTOCOLS;
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.version_mut() = version;
        *response.headers_mut() = received.fields;
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        return Ok(Some(Head { response, framing, keep_alive }));
    }
}

#[derive(Clone, Copy, Default)]
struct Place {
    name: Part,
    value: Part,
}

/// Small, because there is room for a hundred.
#[derive(Clone, Copy, Default)]
struct Part {
    start: u16,
    length: u16,
}

impl Part {
    /// Where `part` lies in `whole`, if that is within the first 64 KiB.
    fn of(part: &[u8], whole: &[u8]) -> Result<Self, AnswerError> {
        let small = |number: usize| u16::try_from(number).map_err(|_large| AnswerError::TooLong);
        let start = small(part.as_ptr().addr() - whole.as_ptr().addr())?;
        Ok(Self { start, length: small(part.len())? })
    }

    fn range(self) -> Range<usize> {
        let start = usize::from(self.start);
        start..start + usize::from(self.length)
    }
}

/// The fields of an answer, but for those that are this connection's only.
struct Received {
    fields: HeaderMap,
    keep_alive: bool,
    closes: bool,
}

impl Received {
    fn new(version: Version, count: usize) -> Self {
        Self {
            fields: HeaderMap::with_capacity(count),
            keep_alive: version == Version::HTTP_11,
            closes: false,
        }
    }

    fn take(&mut self, name: &[u8], value: Bytes) -> Result<(), BoxError> {
        let name = HeaderName::from_bytes(name)?;
        if name == header::CONNECTION && self.connection(&value) {
            return Ok(());
        }
        self.fields.append(name, HeaderValue::from_maybe_shared(value)?);
        Ok(())
    }

    /// Whether that was all that a `Connection` says. Once it says `close` nothing undoes that.
    fn connection(&mut self, value: &[u8]) -> bool {
        let mut only = true;
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                only = false;
            }
        }
        self.keep_alive &= !self.closes;
        only
    }
}

/// How the body of an answer ends (RFC 9112, 6.3). What could be read in two ways is refused.
fn framing(
    fields: &HeaderMap,
    status: StatusCode,
    version: Version,
    method: &Method,
) -> Result<Framing, AnswerError> {
    let never = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if never || status.is_informational() || method == Method::HEAD {
        return Ok(Framing::Ended);
    }
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || version == Version::HTTP_10 {
            return Err(AnswerError::Malformed("Transfer-Encoding"));
        }
        return Ok(Framing::chunked());
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let Some(length) = lengths.next() else { return Ok(Framing::UntilClose) };
    let number = |digits: &[u8]| {
        let digits =
            digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()).flatten();
        digits.and_then(|digits| digits.parse::<u64>().ok())
    };
    match number(length) {
        Some(value) if lengths.all(|other| number(other) == Some(value)) => Ok(Framing::length(value)),
        _ => Err(AnswerError::Malformed("Content-Length")),
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use http::uri::Parts;

    use super::*;

    fn answer(text: &str, method: &Method) -> Result<Option<Head>, BoxError> {
        read(&mut BytesMut::from(text), method)
    }

    fn framing_of(fields: &str) -> Result<Framing, String> {
        let head = answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET);
        head.map(|head| head.unwrap().framing).map_err(|error| error.to_string())
    }

    #[test]
    fn a_request_is_written_in_origin_form() {
        let written = |target: &'static str| {
            let mut parts = Parts::default();
            parts.path_and_query = Some(PathAndQuery::from_static(target));
            let uri = Uri::from_parts(parts).unwrap();
            let request = Request::get(uri).header("host", "a").header("x-two", "1").header("x-two", "2");
            let mut into = Vec::new();
            write(&request.body(()).unwrap(), &mut into);
            String::from_utf8(into).unwrap()
        };
        assert_eq!(written("/a?b"), "GET /a?b HTTP/1.1\r\nhost: a\r\nx-two: 1\r\nx-two: 2\r\n\r\n");
        assert!(written("?b").starts_with("GET /?b HTTP/1.1\r\n"));
        assert!(written("*").starts_with("GET * HTTP/1.1\r\n"));
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        assert_eq!(framing_of("content-length: 5\r\n"), Ok(Framing::length(5)));
        assert_eq!(framing_of("content-length: 0\r\n"), Ok(Framing::Ended));
        assert_eq!(framing_of("content-length: 5\r\ncontent-length: 5\r\n"), Ok(Framing::length(5)));
        assert_eq!(framing_of("transfer-encoding: Chunked\r\n"), Ok(Framing::chunked()));
        assert_eq!(framing_of(""), Ok(Framing::UntilClose));
        let never = |text: &str, method| answer(text, method).unwrap().unwrap().framing == Framing::Ended;
        assert!(never("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", &Method::GET));
        assert!(never("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", &Method::GET));
        assert!(never("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &Method::HEAD));
    }

    #[test]
    fn an_answer_that_could_end_in_two_places_is_refused() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: \r\n",
            "content-length: 18446744073709551616\r\n",
        ] {
            assert_eq!(
                framing_of(fields).unwrap_err(),
                "the answer's head has a malformed Content-Length",
                "{fields}"
            );
        }
        for fields in [
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ] {
            assert_eq!(
                framing_of(fields).unwrap_err(),
                "the answer's head has a malformed Transfer-Encoding",
                "{fields}"
            );
        }
        assert!(answer("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &Method::GET).is_err());
    }

    #[test]
    fn interim_answers_are_passed_over_and_what_follows_is_left() {
        let mut bytes = BytesMut::from(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 201 Made\r\nx: y\r\n\r\nrest",
        );
        let head = read(&mut bytes, &Method::GET).unwrap().unwrap();
        assert_eq!(
            (head.response.status().as_u16(), &head.response.headers()["x"]),
            (201, &"y".parse().unwrap())
        );
        let reason = head.response.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!((reason.as_bytes(), &*bytes), (&b"Made"[..], &b"rest"[..]));
    }

    #[test]
    fn a_connection_is_kept_as_both_sides_understand_it() {
        let kept = |head: &str| {
            let head = answer(&format!("{head}content-length: 0\r\n\r\n"), &Method::GET).unwrap().unwrap();
            let said =
                head.response.headers().get("connection").map(|value| value.to_str().unwrap().to_owned());
            (head.keep_alive, said)
        };
        assert_eq!(kept("HTTP/1.1 200 OK\r\n"), (true, None));
        assert_eq!(kept("HTTP/1.1 200 OK\r\nconnection: close\r\nconnection: keep-alive\r\n"), (false, None));
        assert_eq!(kept("HTTP/1.0 200 OK\r\n"), (false, None));
        assert_eq!(kept("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n"), (true, None));
        // What else it names is the proxy's to take off.
        assert_eq!(
            kept("HTTP/1.1 200 OK\r\nconnection: x-hop, close\r\n"),
            (false, Some("x-hop, close".to_owned()))
        );
    }

    #[test]
    fn malformed_and_unfinished_heads_are_told_apart() {
        for part in
            ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nx: y\r\n\r", "HTTP/1.1 100 Continue\r\n\r\n"]
        {
            assert!(answer(part, &Method::GET).unwrap().is_none(), "{part:?}");
        }
        for bad in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nname : x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n",
        ] {
            assert!(answer(bad, &Method::GET).is_err(), "{bad:?}");
        }
        let many = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count));
        assert!(answer(&many(MAX_FIELDS), &Method::GET).is_ok());
        assert!(answer(&many(MAX_FIELDS + 1), &Method::GET).is_err());
        let long = |length: usize| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(length));
        assert!(answer(&long(60_000), &Method::GET).is_ok());
        assert!(answer(&long(70_000), &Method::GET).is_err());
    }
}
