//! What a target gets of a request, and a client of an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_balancer::Body;
use http::{Request, Response};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::support::{Front, bytes_of, get, group, target, upstream, within};

/// A request as the target got it: request line and headers, several of a name joined by `|`.
type Recorded = (String, BTreeMap<String, String>);

fn recording() -> (Front, mpsc::UnboundedReceiver<Recorded>) {
    let (requests, recorded) = mpsc::unbounded_channel();
    let front = Front::of(move |request: Request<Body>| {
        let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
        let mut headers = BTreeMap::<_, String>::new();
        for (name, value) in request.headers() {
            let joined = headers.entry(name.to_string()).or_default();
            joined.push_str(if joined.is_empty() { "" } else { "|" });
            joined.push_str(value.to_str().unwrap());
        }
        requests.send((line, headers)).unwrap();
        async { Ok(Response::new(Body::empty())) }
    });
    (front, recorded)
}

#[tokio::test]
async fn a_target_learns_who_asked_and_where() {
    let (front, mut recorded) = recording();
    front.get("/path?query=1").await;
    let (line, headers) = within(recorded.recv()).await.unwrap();
    assert_eq!(line, "GET /path?query=1 HTTP/1.1");
    let port = front.address().port().to_string();
    let expected = [
        ("host", "test"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-port", port.as_str()),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn the_client_is_appended_to_those_before_it_and_cannot_name_port_or_protocol() {
    let (front, mut recorded) = recording();
    front
        .raw(
            "GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 203.0.113.7, 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\n\
             x-forwarded-proto: https\r\nx-forwarded-port: 443\r\nconnection: close, x-forwarded-for\r\n\r\n",
        )
        .await;
    let (_, headers) = within(recorded.recv()).await.unwrap();
    // `Connection` takes off what the client itself sent, never what the balancer adds.
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");

    front
        .raw(
            "GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 203.0.113.7, 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\n\
             x-forwarded-proto: https\r\nx-forwarded-port: 443\r\nconnection: close\r\n\r\n",
        )
        .await;
    let (_, headers) = within(recorded.recv()).await.unwrap();
    assert_eq!(headers["x-forwarded-for"], "203.0.113.7, 10.0.0.1, 10.0.0.2, 127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-port"], front.address().port().to_string());
}

#[tokio::test]
async fn headers_for_one_hop_stay_on_it() {
    let (front, mut recorded) = recording();
    front
        .raw(
            "GET / HTTP/1.1\r\nhost: test\r\nconnection: close, X-Hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-connection: keep-alive\r\nte: gzip\r\nupgrade: websocket\r\nexpect: 100-continue\r\nx-end: 1\r\n\r\n",
        )
        .await;
    let (_, headers) = within(recorded.recv()).await.unwrap();
    let names: Vec<_> = headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["host", "x-end", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"]);
}

#[tokio::test]
async fn headers_for_one_hop_stay_on_it_on_the_way_back_too() {
    let address = upstream(|mut stream, _| async move {
        let answer =
            b"HTTP/1.0 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
            proxy-connection: close\r\nserver: theirs\r\nx-end: 1\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let answer = Front::of_upstream(address).get("/").await;
    assert!(answer.text.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.text);
    let header = |name| answer.header(name);
    assert_eq!((header("x-hop"), header("keep-alive"), header("proxy-connection")), (None, None, None));
    assert_eq!(
        (header("server"), header("x-end"), header("content-length")),
        (Some("theirs"), Some("1"), Some("2"))
    );
    assert!(header("date").is_some());
}

#[tokio::test]
async fn a_target_over_tcp_gets_the_same() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let address = upstream(move |mut stream, head| {
        heads.send(head).unwrap();
        async move { stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap() }
    })
    .await;
    let front = Front::of_upstream(address);
    let (mut client, _connection) = front.h2_client().await;
    let request = Request::get("http://example.test/a?b=c")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Body::empty())
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 204);
    let head = within(seen.recv()).await.unwrap();
    let mut lines: Vec<_> = head.trim_end().lines().collect();
    let first = lines.remove(0);
    lines.sort_unstable();
    assert_eq!(first, "GET /a?b=c HTTP/1.1");
    let port = format!("x-forwarded-port: {}", front.address().port());
    let expected = [
        "connection: te",
        "cookie: a=1; b=2",
        "host: example.test",
        "te: trailers",
        "x-forwarded-for: 127.0.0.1",
        &port,
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn the_absolute_form_becomes_the_origin_form() {
    let (front, mut recorded) = recording();
    front.raw("GET http://Test HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    let (line, headers) = within(recorded.recv()).await.unwrap();
    assert_eq!((line.as_str(), headers["host"].as_str()), ("GET / HTTP/1.1", "test"));
    front.raw("OPTIONS * HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    assert_eq!(within(recorded.recv()).await.unwrap().0, "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn large_bodies_arrive_whole_over_every_kind_of_target() {
    let echo = |request: Request<Body>| async move { Ok(Response::new(request.into_body())) };
    let inner = Front::of(echo);
    // A balancer is a target like any other.
    let outer = Front::new(group([("inner", Arc::new(tcp_default(&inner)) as _)]));
    let sent: Vec<u8> = (0..3_000_000_u32).map(|index| index.to_le_bytes()[1]).collect();
    for front in [&inner, &outer] {
        let mut client = front.client().await;
        let request = Request::post("/").header("host", "test").body(Body::full(sent.clone())).unwrap();
        let echoed = bytes_of(within(client.send_request(request)).await.unwrap()).await;
        assert!(echoed == sent, "{} bytes came back of {}", echoed.len(), sent.len());
    }
}

fn tcp_default(front: &Front) -> coracle_balancer::TcpTarget {
    coracle_balancer::TcpTarget::new(front.address(), coracle_balancer::TcpTargetConfig::default())
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_and_no_body() {
    let front =
        Front::new(group([("only", target(|_| async { Ok(Response::new(Body::full("twelve bytes"))) }))]));
    let answer = front.raw("HEAD / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    assert_eq!((answer.header("content-length"), answer.body()), (Some("12"), ""));
    let mut client = front.client().await;
    assert_eq!(bytes_of(client.send_request(get("/")).await.unwrap()).await, "twelve bytes");
}
