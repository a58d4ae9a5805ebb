//! HTTP/2 in front of a target that speaks HTTP/1.1: what HTTP/2 can say and HTTP/1.1 cannot must not get through as
//! something else.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::NEXT_SEEN;
use super::recorder::Recorder;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame,
    header_block, status,
};
use crate::support::{Front, within};

const PROTOCOL_ERROR: u32 = 1;

/// How a stream, or with it the connection, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered(u16),
    /// A stream error (RFC 9113, 5.4.2) with this code.
    Reset(u32),
    /// A connection error (5.4.1) with this code.
    Closed(u32),
}
use End::{Answered, Closed, Reset};

/// A name, the frames of stream 1, how it ends, and what reaches the target.
struct Row(&'static str, Vec<u8>, End, &'static [&'static str]);

type Field = (&'static str, &'static str);
const GET: [Field; 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
const POST: [Field; 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
const CHUNKED: &str = "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n";
const TRAILED: &str = "POST / HTTP/1.1\nhost: a\ntrailer: content-length, host, x\ntransfer-encoding: chunked\n\n\
                       3\r\nabc\r\n0\r\nx: y\r\n\r\n";
const GET_SEEN: &str = "GET / HTTP/1.1\nhost: a\n\n";

fn request(fields: &[Field]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &header_block(fields))
}

/// GET with this field in place of one of its own.
fn with(field: Field) -> Vec<u8> {
    request(&GET.map(|own| if own.0 == field.0 { field } else { own }))
}

fn without(name: &str) -> Vec<u8> {
    request(&GET.into_iter().filter(|own| own.0 != name).collect::<Vec<_>>())
}

/// GET with this field behind its own.
fn and(field: Field) -> Vec<u8> {
    request(&[&GET[..], &[field]].concat())
}

/// POST with these fields, a body, and trailers if there are any.
fn post(fields: &[Field], body: &str, trailers: &[Field]) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, 1, &header_block(&[&POST, fields].concat()));
    if trailers.is_empty() {
        return [head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat();
    }
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &header_block(trailers));
    [head, frame(DATA, 0, 1, body.as_bytes()), trailers].concat()
}

/// Each row over a connection of its own, on which an honest request follows when stream 1 has ended.
async fn check(rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for Row(name, sent, end, reached) in rows {
        let recorder = Recorder::start().await;
        let front = Front::of_upstream(recorder.address);
        let mut client = front.connect().await;
        let settings = frame(SETTINGS, 0, 0, &[]);
        within(client.write_all(&[PREFACE, &settings, &sent].concat())).await.ok();
        let seen = within(end_of(&mut client, 1)).await;
        let next =
            header_block(&[(":method", "GET"), (":scheme", "http"), (":path", "/next"), (":authority", "a")]);
        let next = frame(HEADERS, END_HEADERS | END_STREAM, 3, &next);
        let goes_on = !matches!(seen, Closed(_));
        if goes_on {
            within(client.write_all(&next)).await.unwrap();
            assert_eq!(within(end_of(&mut client, 3)).await, Answered(200), "{name}: the next request");
        }
        drop((client, front));
        let messages = within(recorder.finish()).await;
        let expected: Vec<_> = reached.iter().copied().chain(goes_on.then_some(NEXT_SEEN)).collect();
        if (seen, &messages.iter().map(String::as_str).collect::<Vec<_>>()) != (end, &expected) {
            wrong.push(format!("{name}\n    saw {seen:?} {messages:?}\n wanted {end:?} {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

async fn end_of(client: &mut TcpStream, stream: u32) -> End {
    let mut answer = 0;
    loop {
        let mut head = [0; 9];
        if client.read_exact(&mut head).await.is_err() {
            return Closed(0);
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        client.read_exact(&mut payload).await.unwrap();
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match (head[3], u32::from_be_bytes(head[5..].try_into().unwrap())) {
            (GOAWAY, _) => return Closed(code(4)),
            (RST_STREAM, of) if of == stream => return Reset(code(0)),
            (HEADERS, of) if of == stream => answer = status(&payload),
            (DATA, of) if of == stream => {}
            _ => continue,
        }
        if head[4] & END_STREAM != 0 {
            return Answered(answer);
        }
    }
}

#[tokio::test]
async fn pseudo_fields_make_one_request_line() {
    let reset = |name, sent| Row(name, sent, Reset(PROTOCOL_ERROR), &[]);
    let closed = |name, sent| Row(name, sent, Closed(PROTOCOL_ERROR), &[]);
    check(vec![
        Row("a request", request(&GET), Answered(200), &[GET_SEEN]),
        reset("no method", without(":method")),
        reset("no scheme", without(":scheme")),
        reset("no path", without(":path")),
        reset("no authority and no host", without(":authority")),
        reset("an empty path", with((":path", ""))),
        reset("an asterisk", with((":path", "*"))),
        reset("a path without a slash", with((":path", "a"))),
        Row("a query only", with((":path", "?a")), Answered(200), &["GET /?a HTTP/1.1\nhost: a\n\n"]),
        reset("an absolute path", with((":path", "http://b/"))),
        reset("a space in the path", with((":path", "/ HTTP/1.1"))),
        reset("CR LF in the path", with((":path", "/ HTTP/1.1\r\nx: y"))),
        reset("LF in the path", with((":path", "/\nx"))),
        reset("NUL in the path", with((":path", "/\0"))),
        reset("UTF-8 in the path", with((":path", "/\u{e9}"))),
        Row(
            "a fragment in the path",
            with((":path", "/a#b")),
            Answered(200),
            &["GET /a HTTP/1.1\nhost: a\n\n"],
        ),
        closed("a space in the method", with((":method", "GET / HTTP/1.1"))),
        closed("CR LF in the method", with((":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"))),
        closed("an empty method", with((":method", ""))),
        reset("a foreign scheme", with((":scheme", "ftp"))),
        reset("a path in the scheme", with((":scheme", "http://b/?"))),
        reset("CR LF in the scheme", with((":scheme", "http\r\nx: y"))),
        reset("a space in the authority", with((":authority", "a b"))),
        reset("a path in the authority", with((":authority", "a/b"))),
        reset("CR LF in the authority", with((":authority", "a\r\nx: y"))),
        reset("an empty authority", with((":authority", ""))),
        reset("a user in the authority", with((":authority", "user@a"))),
        reset("a host that differs", and(("host", "b"))),
        Row("a host that does not", and(("host", "A")), Answered(200), &["GET / HTTP/1.1\nhost: A\n\n"]),
        reset("two hosts", request(&[&GET[..], &[("host", "a"), ("host", "a")]].concat())),
        reset("two hosts and no authority", request(&[&GET[..3], &[("host", "a"), ("host", "b")]].concat())),
        Row(
            "a host for the authority",
            request(&[&GET[..3], &[("host", "a")]].concat()),
            Answered(200),
            &[GET_SEEN],
        ),
        reset("a method twice", and((":method", "GET"))),
        reset("a path twice", and((":path", "/b"))),
        reset("an authority twice", and((":authority", "b"))),
        reset("a scheme twice", and((":scheme", "http"))),
        closed("an unknown one", and((":x", "y"))),
        reset("a status", and((":status", "200"))),
        reset("behind a field", request(&[&[("x", "y")], &GET[..]].concat())),
        reset("CONNECT with a path", with((":method", "CONNECT"))),
        Row("CONNECT", request(&[(":method", "CONNECT"), (":authority", "a:443")]), Answered(405), &[]),
        reset("a protocol", request(&[&GET[..], &[(":protocol", "websocket")]].concat())),
    ])
    .await;
}

#[tokio::test]
async fn fields_are_lines_of_http_1() {
    let reset = |name, field| Row(name, and(field), Reset(PROTOCOL_ERROR), &[]);
    // What no HPACK decoder can hand over as a field ends the connection.
    let closed = |name, field| Row(name, and(field), Closed(PROTOCOL_ERROR), &[]);
    check(vec![
        closed("CR LF in a value", ("x", "y\r\ntransfer-encoding: chunked")),
        closed("LF in a value", ("x", "y\nz")),
        closed("CR in a value", ("x", "y\rz")),
        closed("NUL in a value", ("x", "y\0z")),
        closed("a control character in a value", ("x", "y\u{1}z")),
        closed("capitals in a name", ("X", "y")),
        closed("a colon in a name", ("x: y\r\nz", "y")),
        closed("a colon alone", ("x:z", "y")),
        closed("a space in a name", ("x z", "y")),
        closed("CR LF in a name", ("x\r\nz", "y")),
        closed("NUL in a name", ("x\0", "y")),
        closed("no name", ("", "y")),
        reset("Connection", ("connection", "close")),
        reset("Keep-Alive", ("keep-alive", "5")),
        reset("Proxy-Connection", ("proxy-connection", "close")),
        reset("Transfer-Encoding", ("transfer-encoding", "chunked")),
        reset("Upgrade", ("upgrade", "websocket")),
        reset("TE", ("te", "gzip")),
        Row(
            "TE: trailers",
            and(("te", "trailers")),
            Answered(200),
            &["GET / HTTP/1.1\nconnection: te\nhost: a\nte: trailers\n\n"],
        ),
        reset("Transfer_Encoding", ("transfer_encoding", "chunked")),
        reset("Content_Length", ("content_length", "3")),
        reset("a space before a value", ("x", " y")),
        reset("a tab behind a value", ("x", "y\t")),
    ])
    .await;
}

#[tokio::test]
async fn bodies_are_as_long_as_they_say() {
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let length = |length| [("content-length", length)];
    let reset = |name, sent| Row(name, sent, Reset(PROTOCOL_ERROR), &[]);
    check(vec![
        Row(
            "a length",
            post(&length("3"), "abc", &[]),
            Answered(200),
            &["POST / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc"],
        ),
        Row("no length", post(&[], "abc", &[]), Answered(200), &[CHUNKED]),
        reset("more than its length", post(&length("0"), hidden, &[])),
        reset("less than its length", post(&length("99"), "abc", &[])),
        reset("nothing of its length", and(("content-length", "3"))),
        reset("two lengths", post(&[("content-length", "3"), ("content-length", "0")], "abc", &[])),
        reset("a length and a sign", post(&length("+3"), "abc", &[])),
        reset("a list of lengths", post(&length("3, 3"), "abc", &[])),
        reset("a length of 65 bits", post(&length("18446744073709551619"), "abc", &[])),
        reset("no length at all", post(&length(""), "abc", &[])),
        reset("chunks", post(&[("transfer-encoding", "chunked")], &format!("0\r\n\r\n{hidden}"), &[])),
        Row(
            "GET with a body",
            [frame(HEADERS, END_HEADERS, 1, &header_block(&GET)), frame(DATA, END_STREAM, 1, b"abc")]
                .concat(),
            Answered(200),
            &["GET / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n"],
        ),
        Row(
            "a length and a host in the trailers",
            post(
                &[("trailer", "content-length, host, x")],
                "abc",
                &[("content-length", "9"), ("host", "b"), ("x", "y")],
            ),
            Answered(200),
            &[TRAILED],
        ),
        // The decoder drops it.
        Row("a path in the trailers", post(&[], "abc", &[(":path", "/b")]), Answered(200), &[CHUNKED]),
        reset(
            "Transfer-Encoding in the trailers",
            post(&[("trailer", "transfer-encoding")], "abc", &[("transfer-encoding", "chunked")]),
        ),
        Row(
            "a header block in pieces",
            [
                frame(HEADERS, END_STREAM, 1, &header_block(&GET[..2])),
                frame(CONTINUATION, END_HEADERS, 1, &header_block(&GET[2..])),
            ]
            .concat(),
            Answered(200),
            &[GET_SEEN],
        ),
    ])
    .await;
}
