//! Fields behind a message's body, on their way to targets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_balancer::{
    Body, HealthCheckConfig, ProtocolVersion, TargetGroup, TargetGroupAttributes, TargetGroupConfig,
    TcpTarget, TcpTargetConfig,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Front, HEALTHY, group, target, tcp, upstream, within};

/// Fields that would frame, route or authenticate a message if they were taken for a part of its header.
const SMUGGLED: &str = "content-length: 99\r\nhost: inside\r\nauthorization: Basic eA==\r\nx-forwarded-for: 10.0.0.1\r\n\
                        connection: close\r\ntransfer-encoding: chunked\r\ncookie: a=b\r\n";

/// A target that sends on all it reads of a request's body, as it came over the wire.
async fn wire() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (bodies, seen) = mpsc::unbounded_channel();
    let address = upstream(move |mut stream, head| {
        let bodies = bodies.clone();
        async move {
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            assert!(!head.contains("\r\ncontent-length:"), "{head}");
            let mut body = Vec::new();
            // Up to the empty line behind the last chunk.
            while !(body.ends_with(b"\r\n\r\n") && contains(&body, b"0\r\n")) {
                body.push(stream.read_u8().await.unwrap());
            }
            bodies.send(String::from_utf8(body).unwrap()).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    (address, seen)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn chunked(fields: &str, trailers: &str) -> String {
    format!(
        "PUT / HTTP/1.1\r\nhost: test\r\n{fields}transfer-encoding: chunked\r\nconnection: close\r\n\r\n\
         4\r\ndata\r\n0\r\n{trailers}\r\n"
    )
}

/// An HTTP/2 request with a body and trailers.
fn streamed(
    headers: &[(&'static str, &'static str)],
    trailers: &[(&'static str, &'static str)],
) -> Request<Body> {
    let trailers =
        trailers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    let frames = [Frame::data(Bytes::from_static(b"data")), Frame::trailers(trailers.collect::<HeaderMap>())];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>)));
    let request = headers
        .iter()
        .fold(Request::put("http://test/"), |request, (name, value)| request.header(*name, *value));
    request.body(Body::boxed(body)).unwrap()
}

#[tokio::test]
async fn announced_trailers_reach_a_target_over_http1_byte_for_byte() {
    let (address, mut seen) = wire().await;
    let front = Front::of_upstream(address);
    let sent = chunked("trailer: X-Checksum\r\ntrailer: x-b\r\n", "X-Checksum: abc\r\nx-b: 1\r\nx-b: 2\r\n");
    assert_eq!(front.raw(sent).await.status(), 200);
    let expected = "4\r\ndata\r\n0\r\nx-checksum: abc\r\nx-b: 1\r\nx-b: 2\r\n\r\n";
    assert_eq!(within(seen.recv()).await.unwrap(), expected);

    let (mut client, _connection) = front.h2_client().await;
    for headers in [&[("trailer", "x-checksum")][..], &[("trailer", "x-checksum"), ("content-length", "4")]] {
        let request = streamed(headers, &[("x-checksum", "abc")]);
        assert_eq!(within(client.send_request(request)).await.unwrap().status(), 200);
        assert_eq!(
            within(seen.recv()).await.unwrap(),
            "4\r\ndata\r\n0\r\nx-checksum: abc\r\n\r\n",
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn what_was_not_announced_or_may_not_be_there_is_taken_off_over_http1() {
    let (address, mut seen) = wire().await;
    let front = Front::of_upstream(address);
    let names: Vec<_> = SMUGGLED.lines().filter_map(|line| line.split(':').next()).collect();
    let announced = format!("trailer: x-end, {}\r\n", names.join(", "));
    let sent = chunked(&announced, &format!("{SMUGGLED}x-end: 1\r\nx-unannounced: 1\r\n"));
    assert_eq!(front.raw(sent).await.status(), 200);
    assert_eq!(within(seen.recv()).await.unwrap(), "4\r\ndata\r\n0\r\nx-end: 1\r\n\r\n");
    let only_forbidden = chunked(&announced, SMUGGLED);
    assert_eq!(front.raw(only_forbidden).await.status(), 200);
    assert_eq!(within(seen.recv()).await.unwrap(), "4\r\ndata\r\n0\r\n\r\n");
}

#[tokio::test]
async fn targets_over_http2_and_in_process_get_all_that_may_be_there() {
    let telling = || {
        target(|request: Request<Body>| async move {
            let trailers =
                request.into_body().collect().await.unwrap().trailers().cloned().unwrap_or_default();
            let mut lines: Vec<_> =
                trailers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            lines.sort_unstable();
            Ok(Response::new(Body::from(lines.join("\n"))))
        })
    };
    let inner = Front::new(group([("in process", telling())]));
    let config = TcpTargetConfig { protocol: ProtocolVersion::Http2, ..TcpTargetConfig::default() };
    let outer = Front::new(group([("http2", Arc::new(TcpTarget::new(inner.address(), config)) as _)]));
    for front in [&inner, &outer] {
        let answer = front.raw(chunked("", &format!("{SMUGGLED}x-checksum: abc\r\netag: \"e\"\r\n"))).await;
        assert_eq!(answer.body(), "etag: \"e\"\nx-checksum: abc");
        let (mut client, _connection) = front.h2_client().await;
        let request = streamed(&[], &[("x-checksum", "abc"), ("host", "inside"), ("cookie", "a=b")]);
        let answer = within(client.send_request(request)).await.unwrap();
        assert_eq!(within(answer.into_body().collect()).await.unwrap().to_bytes(), "x-checksum: abc");
    }
}

#[tokio::test]
async fn a_request_that_may_be_repeated_keeps_its_trailers() {
    let (address, mut seen) = wire().await;
    let attributes = TargetGroupAttributes::from_pairs([("coracle.retry.attempts", "1")]).unwrap();
    let health_check = HealthCheckConfig::disabled();
    let repeating =
        TargetGroup::new(TargetGroupConfig { health_check, attributes, ..TargetGroupConfig::new("test") });
    repeating.register("only", tcp(address), HEALTHY);
    let front = Front::with_workers(1, repeating);
    let (mut client, _connection) = front.h2_client().await;
    let request =
        streamed(&[("trailer", "x-end"), ("content-length", "4")], &[("x-end", "1"), ("host", "b")]);
    let answer = tokio::time::timeout(Duration::from_secs(20), client.send_request(request));
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert_eq!(within(seen.recv()).await.unwrap(), "4\r\ndata\r\n0\r\nx-end: 1\r\n\r\n");
}

#[tokio::test]
async fn forbidden_trailers_of_answers_are_taken_off_too() {
    let address = upstream(|mut stream, _| async move {
        let answer = "HTTP/1.1 200 OK\r\ntrailer: x-end, set-cookie, location\r\ntransfer-encoding: chunked\r\n\r\n\
                      2\r\nok\r\n0\r\nset-cookie: a=b\r\nlocation: /\r\nx-end: 1\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let front = Front::of_upstream(address);
    let (mut client, _connection) = front.h2_client().await;
    let request = Request::get("http://test/").header("te", "trailers").body(Body::empty()).unwrap();
    let answer = within(client.send_request(request)).await.unwrap();
    let answer = within(answer.into_body().collect()).await.unwrap();
    let names: Vec<_> = answer.trailers().unwrap().keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-end"]);
}
