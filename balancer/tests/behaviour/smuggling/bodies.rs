//! Where the body of a request ends.

use super::Then::{BrokenOff, Exactly, Last, Passed, Refused};
use super::{NEXT_SEEN, check, row};

/// A request that would be one if the balancer saw the end of a body too early.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";

fn post(framing: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked", body)
}

const CHUNKED: &str = "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n";
const HIDDEN_SEEN: &str = "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n21\r\n\
                           GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n\r\n0\r\n\r\n";
const COUNTED: &str = "POST / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc";

#[tokio::test]
async fn a_length_is_one_number() {
    let refused =
        |framing: &'static str| row(framing, post(framing, &format!("0\r\n\r\n{HIDDEN}")), Refused(400));
    check(vec![
        row("a length", post("content-length: 3", "abc"), Passed(vec![COUNTED])),
        row(
            "a length with zeros",
            post("content-length: 003", "abc"),
            Passed(vec!["POST / HTTP/1.1\ncontent-length: 003\nhost: a\n\nabc"]),
        ),
        row(
            "the same length twice",
            post("content-length: 3\r\ncontent-length: 3", "abc"),
            Passed(vec![COUNTED]),
        ),
        refused("content-length: 3\r\ncontent-length: 4"),
        refused("content-length: 0\r\ncontent-length: 33"),
        refused("content-length: 3, 3"),
        refused("content-length: 3, 4"),
        refused("content-length: +3"),
        refused("content-length: -1"),
        refused("content-length: 0x3"),
        refused("content-length: 1_0"),
        refused("content-length: 1 0"),
        refused("content-length: 10;"),
        refused("content-length: 3.0"),
        refused("content-length:"),
        refused("content-length: \u{b}3"),
        refused("content-length : 33"),
        refused("content-length\t: 33"),
        refused("content-length\r\n : 33"),
        refused("x: y\r\n content-length: 33"),
        refused("content_length: 33"),
        refused("Content_Length: 33"),
        row("the largest length", post("content-length: 18446744073709551615", HIDDEN), Refused(431)),
        refused("content-length: 18446744073709551617"),
        refused("content-length: 99999999999999999999"),
    ])
    .await;
}

#[tokio::test]
async fn the_only_transfer_coding_is_chunked_once() {
    let refused = |framing: &'static str, status| {
        row(framing, post(framing, &format!("0\r\n\r\n{HIDDEN}")), Refused(status))
    };
    check(vec![
        row("chunks", chunked("3\r\nabc\r\n0\r\n\r\n"), Passed(vec![CHUNKED])),
        row(
            "in capitals",
            post("Transfer-Encoding: CHUNKED", "3\r\nabc\r\n0\r\n\r\n"),
            Passed(vec![CHUNKED]),
        ),
        refused("transfer-encoding: gzip", 400),
        refused("transfer-encoding: identity", 400),
        refused("transfer-encoding: xchunked", 400),
        refused("transfer-encoding: chunkedx", 400),
        refused("transfer-encoding: chunked, identity", 400),
        refused("transfer-encoding: chunked, gzip", 400),
        refused("transfer-encoding: chunked;q=1", 400),
        refused("transfer-encoding: \"chunked\"", 400),
        refused("transfer-encoding: chunked chunked", 400),
        refused("transfer-encoding: chu\u{b}nked", 400),
        refused("transfer-encoding: \u{b}chunked", 400),
        refused("transfer-encoding: chunked\u{b}", 400),
        refused("transfer-encoding: chunked,", 400),
        refused("transfer-encoding:", 400),
        refused("transfer-encoding:\r\n chunked", 400),
        refused("transfer-encoding : chunked", 400),
        refused("transfer-encoding\t: chunked", 400),
        refused(" transfer-encoding: chunked", 400),
        refused("x: y\r\n transfer-encoding: chunked", 400),
        refused("transfer_encoding: chunked", 400),
        refused("Transfer_Encoding: chunked", 400),
        refused("transfer-encoding: chunked\r\ntransfer-encoding: chunked", 400),
        refused("transfer-encoding: chunked\r\ntransfer-encoding: identity", 400),
        refused("transfer-encoding: identity\r\ntransfer-encoding: chunked", 400),
        refused("transfer-encoding: chunked\r\ntransfer-encoding:", 400),
        refused("transfer-encoding: ,chunked", 501),
        refused("transfer-encoding: gzip, chunked", 501),
        refused("transfer-encoding: chunked, chunked", 501),
        row(
            "before HTTP/1.1 (CVE-2026-2835)",
            format!("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
            Refused(400),
        ),
    ])
    .await;
}

/// The length is dropped, and the connection ends with the answer: what hides behind the body is no request.
#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let last = |name, framing: &str| row(name, post(framing, "3\r\nabc\r\n0\r\n\r\n"), Last(CHUNKED));
    check(vec![
        last("the length first", "content-length: 6\r\ntransfer-encoding: chunked"),
        last("the length last", "transfer-encoding: chunked\r\ncontent-length: 6"),
        last("the length of the chunks", "content-length: 13\r\ntransfer-encoding: chunked"),
        last("no length at all", "content-length: 0\r\ntransfer-encoding: chunked"),
        last("in capitals", "Content-Length: 6\r\nTransfer-Encoding: Chunked"),
        row(
            "two lengths",
            post("content-length: 6\r\ncontent-length: 7\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
            Refused(400),
        ),
    ])
    .await;
}

#[tokio::test]
async fn chunks_are_read_in_one_way() {
    let flawed = |name, body: &str| row(name, chunked(body), BrokenOff);
    check(vec![
        row("an extension", chunked("3;ext=\"1\"\r\nabc\r\n0;end\r\n\r\n"), Passed(vec![CHUNKED])),
        row("zeros", chunked("0003\r\nabc\r\n000\r\n\r\n"), Passed(vec![CHUNKED])),
        row(
            "a request in a chunk",
            chunked(&format!("{:X}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len())),
            Passed(vec![HIDDEN_SEEN]),
        ),
        flawed("no size", "\r\nabc\r\n0\r\n\r\n"),
        flawed("a word for a size", "zz\r\nabc\r\n0\r\n\r\n"),
        flawed("a negative size", "-3\r\nabc\r\n0\r\n\r\n"),
        flawed("a positive size", "+3\r\nabc\r\n0\r\n\r\n"),
        flawed("0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        flawed("an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
        flawed("a size of 17 digits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        flawed("more than 64 bits", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        flawed("a size that ends in LF", "3\nabc\r\n0\r\n\r\n"),
        flawed("a size that ends in CR", "3\rabc\r\n0\r\n\r\n"),
        flawed("LF in an extension", "3;a\nabc\r\n0\r\n\r\n"),
        flawed("CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        flawed("a chunk that ends in LF", "3\r\nabc\n0\r\n\r\n"),
        flawed("a chunk without an end", "3\r\nabc0\r\n\r\n"),
        flawed("a chunk longer than said", "3\r\nabcd\r\n0\r\n\r\n"),
        flawed("a last chunk that ends in LF", "3\r\nabc\r\n0\n\n"),
        flawed("a space before the size", " 3\r\nabc\r\n0\r\n\r\n"),
        flawed("a trailer that is none", "3\r\nabc\r\n0\r\nx\r\n\r\n"),
        flawed("a trailer with a space before the colon", "3\r\nabc\r\n0\r\nx : y\r\n\r\n"),
    ])
    .await;
}

#[tokio::test]
async fn trailers_frame_route_and_authenticate_nothing() {
    let names = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "authorization",
        "cookie",
        "x-forwarded-for",
        "forwarded",
    ];
    let with = |name: &str, rest: &str| {
        let head = format!("transfer-encoding: chunked\r\ntrailer: {name}, x");
        post(&head, &format!("3\r\nabc\r\n0\r\n{rest}\r\n"))
    };
    for name in names {
        let sent = with(name, &format!("{name}: 5\r\nx: y\r\n"));
        let outcome = super::outcome_of(sent.as_bytes()).await;
        assert_eq!(outcome.answers, [200, 200], "{name}");
        let [message, next] = &outcome.reached[..] else { panic!("{name}: {outcome:?}") };
        assert!(message.ends_with("\n\n3\r\nabc\r\n0\r\nx: y\r\n\r\n"), "{name}: {message:?}");
        assert_eq!(next, NEXT_SEEN, "{name}");
    }
}

#[tokio::test]
async fn a_body_belongs_to_its_request_whatever_the_method_or_the_version() {
    const CHUNKS: &str = "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    const COUNT: &str = "content-length: 3\r\n\r\nabc";
    const GET_CHUNKED: &str = "GET / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n";
    const HEAD_CHUNKED: &str =
        "HEAD / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n";
    const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\n";
    let sent = |line: &str, rest: &str| format!("{line}\r\nhost: a\r\n{rest}");
    let as_sent = |method: &'static str, rest: &str, seen: &'static str| {
        row(method, sent(&format!("{method} / HTTP/1.1"), rest), Passed(vec![seen]))
    };
    check(vec![
        as_sent("GET", COUNT, "GET / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc"),
        as_sent("HEAD", COUNT, "HEAD / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc"),
        as_sent("DELETE", COUNT, "DELETE / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc"),
        as_sent("GET", CHUNKS, GET_CHUNKED),
        as_sent("HEAD", CHUNKS, HEAD_CHUNKED),
        row(
            "POST without a length",
            sent("POST / HTTP/1.1", "\r\n"),
            Passed(vec!["POST / HTTP/1.1\nhost: a\n\n"]),
        ),
        row(
            "a length of nothing",
            sent("GET / HTTP/1.1", "content-length: 0\r\n\r\n"),
            Passed(vec!["GET / HTTP/1.1\ncontent-length: 0\nhost: a\n\n"]),
        ),
        row(
            "before HTTP/1.1, ended by the connection (CVE-2026-2836)",
            sent("POST / HTTP/1.0", &format!("\r\n{HIDDEN}")),
            Last("POST / HTTP/1.1\nhost: a\n\n"),
        ),
        row(
            "before HTTP/1.1, with a length",
            sent("POST / HTTP/1.0", &format!("content-length: 3\r\n\r\nabc{HIDDEN}")),
            Last(COUNTED),
        ),
        row(
            "with an upgrade",
            sent("POST / HTTP/1.1", &format!("{UPGRADE}content-length: 3\r\n\r\nabc")),
            Passed(vec![COUNTED]),
        ),
        row(
            "with an upgrade, in chunks",
            sent("POST / HTTP/1.1", &format!("{UPGRADE}{CHUNKS}")),
            Passed(vec![CHUNKED]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn an_expectation_is_met_here() {
    let expecting = |line: &str, expectation: &str, body: &str| {
        format!("{line}\r\nhost: a\r\nexpect: {expectation}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let continued = Exactly(&[100, 200, 200], &[COUNTED, NEXT_SEEN]);
    check(vec![
        row("100-continue", expecting("POST / HTTP/1.1", "100-continue", "abc"), continued.clone()),
        row("100-Continue", expecting("POST / HTTP/1.1", "100-Continue", "abc"), continued),
        row("something else", expecting("POST / HTTP/1.1", "the unexpected", "abc"), Passed(vec![COUNTED])),
        row("before HTTP/1.1", expecting("POST / HTTP/1.0", "100-continue", "abc"), Last(COUNTED)),
        row(
            "without a body",
            "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n",
            Passed(vec!["GET / HTTP/1.1\nhost: a\n\n"]),
        ),
        row(
            "in chunks",
            post("expect: 100-continue\r\ntransfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
            Exactly(&[100, 200, 200], &[CHUNKED, NEXT_SEEN]),
        ),
    ])
    .await;
}
