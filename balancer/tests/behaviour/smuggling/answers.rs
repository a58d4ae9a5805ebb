//! Answers of a target that two programs could read in two ways, or that one client's request could leave for another's.

use coracle_balancer::{Condition, Routes, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::NEXT;
use crate::support::{Front, group, read_head, tcp, upstream, within};

/// What the client gets for the request behind that of the row.
const NEXT_ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnext";
const NEXT_FROM_TARGET: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext";
/// What the target says when it gets that request over the connection of the row.
const STOLEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen";

enum Then {
    /// 502, and the client's connection goes on.
    BadGateway,
    /// These bytes, but for `Date`, and the client's connection goes on.
    Passed(&'static str),
    /// These bytes, but for `Date`, and the end of the connection.
    Last(&'static str),
}
use Then::{BadGateway, Last, Passed};

/// A name, the request's method, the target's answer, what the client gets.
struct Row(&'static str, &'static str, Vec<u8>, Then);

fn row(name: &'static str, answer: impl Into<Vec<u8>>, then: Then) -> Row {
    Row(name, "GET", answer.into(), then)
}

/// The balancer reads answers in two ways: this way those to requests that have nothing but a head,
const PLAIN: &str = "";
/// and this way those to all others, such as one that would speak another protocol.
const WISHING: &str = "connection: upgrade\r\nupgrade: other\r\n";

/// Sends a request and an honest one behind it. The target answers the first with the row's bytes. If `end`, it ends its side
/// behind them, and the honest request goes to another target, because over the same it could meet a connection that is
/// about to end; else that request is answered as it should unless it comes over the connection that the row has spoilt.
async fn check(end: bool, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for Row(name, method, answer, then) in rows {
        let expected = match then {
            BadGateway => None,
            Passed(bytes) => Some(format!("{bytes}{NEXT_ANSWER}")),
            Last(bytes) => Some(bytes.to_owned()),
        };
        for fields in [PLAIN, WISHING] {
            let seen = seen_by_client(method, fields, answer.clone(), end).await;
            let held = match &expected {
                Some(expected) => seen == *expected,
                None => seen.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && seen.ends_with(NEXT_ANSWER),
            };
            if !held {
                wrong.push(format!("{name} ({fields:?})\n    saw {seen:?}\n wanted {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

async fn seen_by_client(method: &str, fields: &str, answer: Vec<u8>, end: bool) -> String {
    let address = upstream(move |mut stream, head| {
        let answer = answer.clone();
        async move {
            if head.contains(" /next ") {
                stream.write_all(NEXT_FROM_TARGET).await.unwrap();
                return;
            }
            // The balancer may close before it has taken everything.
            stream.write_all(&answer).await.ok();
            if end {
                return;
            }
            while read_head(&mut stream).await.is_some() {
                stream.write_all(STOLEN.as_bytes()).await.ok();
            }
        }
    })
    .await;
    let front = Front::of_upstream(address);
    if end {
        let next =
            upstream(|mut stream, _| async move { stream.write_all(NEXT_FROM_TARGET).await.unwrap() }).await;
        let condition = Condition::path_pattern(["/next"]).unwrap();
        let rule = Rule::new(1, vec![condition], group([("next", tcp(next))]).into()).unwrap();
        front.listener.set_routes(Routes::new(vec![rule], group([("only", tcp(address))])).unwrap());
    }
    let mut client = front.connect().await;
    let request = format!("{method} / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    client.write_all(format!("{request}{NEXT}").as_bytes()).await.unwrap();
    let mut received = Vec::new();
    within(client.read_to_end(&mut received)).await.ok();
    let text = String::from_utf8_lossy(&received).into_owned();
    let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
    lines.collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

fn with(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

/// The target's connection is not used again: what it says next is nobody's answer.
#[tokio::test]
async fn more_than_an_answer_is_not_the_next_answer() {
    let head = |name, method, answer: &str, seen: &'static str| {
        Row(name, method, answer.as_bytes().to_vec(), Passed(seen))
    };
    let long: &'static str = with("content-length: 100000", &"x".repeat(100_000)).leak();
    check(
        false,
        vec![
            row("an answer behind the answer", format!("{OK}{STOLEN}"), Passed(OK)),
            row("an answer behind a long answer", format!("{long}{STOLEN}"), Passed(long)),
            row("an answer behind chunks", format!("{CHUNKS}{STOLEN}"), Passed(CHUNKS)),
            row("a byte behind the answer", format!("{OK}x"), Passed(OK)),
            row(
                "an answer in the body of a 204",
                format!("HTTP/1.1 204 No Content\r\n\r\n{STOLEN}"),
                Passed("HTTP/1.1 204 No Content\r\n\r\n"),
            ),
            row(
                "a 204 of a length",
                "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
                Passed("HTTP/1.1 204 No Content\r\n\r\n"),
            ),
            row(
                "a 204 in chunks",
                "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                Passed("HTTP/1.1 204 No Content\r\n\r\n"),
            ),
            row(
                "an answer in the body of a 304",
                format!("HTTP/1.1 304 Not Modified\r\n\r\n{STOLEN}"),
                Passed("HTTP/1.1 304 Not Modified\r\n\r\n"),
            ),
            head("a body of an answer to HEAD", "HEAD", OK, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
            head("chunks of an answer to HEAD", "HEAD", CHUNKS, "HTTP/1.1 200 OK\r\n\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_answer_ends_where_it_says_in_one_way() {
    check(
        true,
        vec![
            row("a length", OK, Passed(OK)),
            row("chunks", CHUNKS, Passed(CHUNKS)),
            row(
                "the end of the connection",
                with("x: y", "ok"),
                Passed("HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            ),
            row(
                "a length beside chunks",
                with("content-length: 2\r\ntransfer-encoding: chunked", "2\r\nok\r\n0\r\n\r\n"),
                BadGateway,
            ),
            row("the same length twice", with("content-length: 2\r\ncontent-length: 2", "ok"), Passed(OK)),
            row("two lengths", with("content-length: 2\r\ncontent-length: 1", "ok"), BadGateway),
            row("a list of lengths", with("content-length: 2, 2", "ok"), BadGateway),
            row("a list of two lengths", with("content-length: 2, 3", "ok"), BadGateway),
            row("a length and a sign", with("content-length: +2", "ok"), BadGateway),
            row("a negative length", with("content-length: -2", "ok"), BadGateway),
            row("a hexadecimal length", with("content-length: 0x2", "ok"), BadGateway),
            row("a length of 65 bits", with("content-length: 18446744073709551618", "ok"), BadGateway),
            row("no length at all", with("content-length:", "ok"), BadGateway),
            row("gzip", with("transfer-encoding: gzip", "ok"), BadGateway),
            row(
                "gzip and chunks",
                with("transfer-encoding: gzip, chunked", "2\r\nok\r\n0\r\n\r\n"),
                BadGateway,
            ),
            row(
                "chunks and gzip",
                with("transfer-encoding: chunked, gzip", "2\r\nok\r\n0\r\n\r\n"),
                BadGateway,
            ),
            row("identity", with("transfer-encoding: identity", "ok"), BadGateway),
            row(
                "chunks twice",
                with("transfer-encoding: chunked\r\ntransfer-encoding: chunked", "2\r\nok\r\n0\r\n\r\n"),
                BadGateway,
            ),
            row("xchunked", with("transfer-encoding: xchunked", "2\r\nok\r\n0\r\n\r\n"), BadGateway),
            row(
                "chunks before HTTP/1.1",
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                BadGateway,
            ),
            row(
                "less than its length",
                with("content-length: 5", "ok"),
                Last("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok"),
            ),
            row(
                "chunks without an end",
                with("transfer-encoding: chunked", "2\r\nok\r\n"),
                Last("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"),
            ),
            row(
                "a chunk of no number",
                with("transfer-encoding: chunked", "2\r\nok\r\nxyz\r\n\r\n"),
                Last("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_answer_is_one_of_http_1() {
    let fields: String = (0..200).map(|index| format!("x{index}: y\r\n")).collect();
    let long = format!("x: {}", "y".repeat(1024 * 1024));
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    check(
        true,
        vec![
            row("nothing", "", BadGateway),
            row("half a head", "HTTP/1.1 200 OK\r\ncontent-le", BadGateway),
            row("garbage", "\x01\x02\x03\x04\r\n\r\n", BadGateway),
            row("another protocol", "SSH-2.0-OpenSSH_9.2\r\n", BadGateway),
            row("HTTP/2", b"\0\0\0\x04\0\0\0\0\0", BadGateway),
            row("HTTP/0.9", "ok", BadGateway),
            row("HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Passed(OK)),
            row("HTTP/1.2", "HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok", BadGateway),
            row("HTTP/2.0 in words", "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok", BadGateway),
            row("a status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok", BadGateway),
            row("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok", BadGateway),
            row("status 000", "HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\nok", BadGateway),
            row("status 099", "HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok", BadGateway),
            row(
                "status 600",
                "HTTP/1.1 600 What\r\ncontent-length: 2\r\n\r\nok",
                Passed("HTTP/1.1 600 What\r\ncontent-length: 2\r\n\r\nok"),
            ),
            row(
                "status 999",
                "HTTP/1.1 999 What\r\ncontent-length: 2\r\n\r\nok",
                Passed("HTTP/1.1 999 What\r\ncontent-length: 2\r\n\r\nok"),
            ),
            row(
                "no reason",
                "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
                Passed("HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"),
            ),
            row(
                "a reason of its own",
                "HTTP/1.1 200 Fine\r\ncontent-length: 2\r\n\r\nok",
                Passed("HTTP/1.1 200 Fine\r\ncontent-length: 2\r\n\r\nok"),
            ),
            row("CR in the reason", "HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nok", BadGateway),
            row("NUL in a value", with("x: a\0b\r\ncontent-length: 2", "ok"), BadGateway),
            row("CR in a value", with("x: a\rb\r\ncontent-length: 2", "ok"), BadGateway),
            row("a space before the colon", with("content-length : 2", "ok"), BadGateway),
            row("a folded line", with("x: a\r\n b\r\ncontent-length: 2", "ok"), BadGateway),
            row("bare LF", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok", Passed(OK)),
            row("200 fields", with(&format!("{fields}content-length: 2"), "ok"), BadGateway),
            row("a field of 1 MiB", with(&format!("{long}\r\ncontent-length: 2"), "ok"), BadGateway),
            row("an interim answer", format!("{early}{OK}"), Passed(OK)),
            row("a thousand interim answers", format!("{}{OK}", early.repeat(1000)), Passed(OK)),
            row("interim answers only", early.repeat(3), BadGateway),
            row(
                "a switch nobody asked for",
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
                BadGateway,
            ),
            row(
                "fields of one hop",
                with("connection: close, x\r\nx: y\r\nkeep-alive: 5\r\ncontent-length: 2", "ok"),
                Passed(OK),
            ),
            row(
                "the length as a field of one hop",
                with("connection: content-length\r\ncontent-length: 2", "ok"),
                Passed(OK),
            ),
        ],
    )
    .await;
}
