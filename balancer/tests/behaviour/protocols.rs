//! HTTP/1.0, HTTP/1.1 and HTTP/2 with prior knowledge on one port.

use bytes::Bytes;
use coracle_balancer::Body;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Front, get, group, read_head, saying, within};

#[tokio::test]
async fn http2_with_prior_knowledge_multiplexes_over_one_connection() {
    let front = Front::new(group([("a", saying("a")), ("b", saying("b"))]));
    let (client, _connection) = front.h2_client().await;
    let answers = (0..50).map(|_| {
        let mut client = client.clone();
        async move {
            let response = within(client.send_request(get("http://test/"))).await.unwrap();
            assert_eq!(response.status(), 200);
            within(response.into_body().collect()).await.unwrap().to_bytes()
        }
    });
    let answers = join_all(answers).await;
    assert_eq!(answers.iter().filter(|answer| *answer == "a").count(), 25);
    assert_eq!(answers.iter().filter(|answer| *answer == "b").count(), 25);
}

#[tokio::test]
async fn an_http2_request_reaches_the_target_as_one_of_http_1() {
    let front = Front::of(|request: Request<Body>| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        Ok(Response::new(Body::full(format!("{host} {}", request.uri()))))
    });
    let (mut client, _connection) = front.h2_client().await;
    let mut ask = async |hosts: &[&str]| {
        let mut request = Request::get("http://test/path").body(Body::empty()).unwrap();
        for host in hosts {
            request.headers_mut().append("host", host.parse().unwrap());
        }
        let response = within(client.send_request(request)).await.unwrap();
        within(response.into_body().collect()).await.unwrap().to_bytes()
    };
    assert_eq!(ask(&[]).await, "test /path");
    assert_eq!(ask(&["test"]).await, "test /path");
}

#[tokio::test]
async fn the_http2_preface_may_come_in_pieces() {
    let front = Front::new(group([("a", saying("a"))]));
    let mut client = front.connect().await;
    for piece in [&b"PRI"[..], b" * HTTP/2.0\r\n\r\nS", b"M\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        client.write_all(piece).await.unwrap();
        client.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut frame = [0; 9];
    within(client.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "a SETTINGS frame");
}

#[tokio::test]
async fn a_request_that_begins_like_the_preface_is_still_http1() {
    let front = Front::new(group([("a", saying("a"))]));
    let answer = front.raw("PROPFIND / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    assert_eq!((answer.status(), answer.body()), (200, "a"));
}

#[tokio::test]
async fn trailers_pass_to_clients_that_take_them() {
    let front = Front::of(|request: Request<Body>| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let trailers =
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        let frames = [Frame::data(Bytes::from_static(b"data")), Frame::trailers(trailers)];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>)));
        Ok(Response::builder().header("trailer", "grpc-status").body(Body::boxed(body)).unwrap())
    });
    let (mut client, _connection) = front.h2_client().await;
    let request = Request::get("http://test/").header("te", "trailers").body(Body::empty()).unwrap();
    let body =
        within(within(client.send_request(request)).await.unwrap().into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let answer =
        front.raw("GET / HTTP/1.1\r\nhost: test\r\nte: trailers\r\nconnection: te, close\r\n\r\n").await;
    assert!(answer.text.ends_with("0\r\ngrpc-status: 0\r\n\r\n"), "{}", answer.text);
}

#[tokio::test]
async fn http10_works_without_host_and_without_chunks() {
    let front = Front::of(|request: Request<Body>| async move {
        assert_eq!(request.version(), http::Version::HTTP_11);
        let frames = ["stre", "amed"].map(|text| Ok::<_, std::io::Error>(Frame::data(Bytes::from(text))));
        Ok(Response::new(Body::boxed(StreamBody::new(futures_util::stream::iter(frames)))))
    });
    let answer = front.raw("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((answer.status(), answer.body()), (200, "streamed"));
    assert!(answer.text.starts_with("HTTP/1.0 200"), "{}", answer.text);
}

#[tokio::test]
async fn an_expected_continue_comes_when_the_target_reads() {
    let front = Front::of(|request: Request<Body>| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::new(Body::full(body)))
    });
    let mut client = front.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(within(read_head(&mut client)).await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"ok").await.unwrap();
    assert!(within(read_head(&mut client)).await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let front = Front::of(|request: Request<Body>| async move {
        Ok(Response::new(request.uri().path().to_owned().into()))
    });
    let requests: String =
        (0..10).map(|index| format!("GET /{index} HTTP/1.1\r\nhost: test\r\n\r\n")).collect();
    let answer =
        front.raw(format!("{requests}GET /end HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")).await;
    let bodies: Vec<_> =
        answer.text.split("\r\n\r\n").skip(1).filter_map(|part| part.split("HTTP").next()).collect();
    assert_eq!(bodies, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/end"]);
}
