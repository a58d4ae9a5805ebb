//! Requests by which a client could make the balancer and a target disagree, byte by byte.

use std::sync::Arc;
use std::sync::Mutex;

use coracle_balancer::Body;
use http::{Request, Response};

use crate::support::{Front, Raw};

/// A front that notes the path of each request that reached the target.
fn noting() -> (Front, Arc<Mutex<Vec<String>>>) {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&paths);
    let front = Front::of(move |request: Request<Body>| {
        noted.lock().unwrap().push(request.uri().path().to_owned());
        async move { Ok(Response::new(request.into_body())) }
    });
    (front, paths)
}

/// Each is refused with `status` over a connection that is then closed, and nothing reaches the target.
async fn refused(cases: &[(&str, u16)]) {
    for (request, status) in cases {
        let (front, paths) = noting();
        let request = request.replace('\n', "\r\n");
        let answer = front.raw(&request).await;
        assert_eq!(answer.status(), *status, "{request:?} -> {answer:?}");
        assert_eq!(answer.answers(), 1, "{request:?} -> {answer:?}");
        assert_eq!(*paths.lock().unwrap(), Vec::<String>::new(), "{request:?} reached the target");
    }
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    refused(&[
        ("GET / HTTP/1.1\n\n", 400),
        ("GET / HTTP/1.1\nhost: a\nhost: b\n\n", 400),
        ("GET / HTTP/1.1\nhost: a\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\nhost:\n\n", 400),
        ("GET / HTTP/1.1\nhost: a, b\n\n", 400),
        ("GET / HTTP/1.1\nhost: a b\n\n", 400),
        ("GET / HTTP/1.1\nhost: a/b\n\n", 400),
        ("GET / HTTP/1.1\nhost: user@a\n\n", 400),
        ("GET / HTTP/1.0\nhost: a\nhost: b\n\n", 400),
        ("GET http://b/ HTTP/1.1\nhost: a\n\n", 400),
    ])
    .await;
}

#[tokio::test]
async fn the_request_target_is_one_for_an_origin_server() {
    let long = format!("GET /{} HTTP/1.1\nhost: a\n\n", "x".repeat(16 * 1024));
    refused(&[
        ("CONNECT a:443 HTTP/1.1\nhost: a:443\n\n", 405),
        ("CONNECT / HTTP/1.1\nhost: a\n\n", 405),
        ("GET * HTTP/1.1\nhost: a\n\n", 400),
        ("GET a HTTP/1.1\nhost: a\n\n", 400),
        ("GET a:80 HTTP/1.1\nhost: a\n\n", 400),
        ("GET ftp://a/ HTTP/1.1\nhost: a\n\n", 400),
        ("GET http://user@a/ HTTP/1.1\nhost: a\n\n", 400),
        ("GET / x HTTP/1.1\nhost: a\n\n", 400),
        (&long, 414),
    ])
    .await;
}

#[tokio::test]
async fn the_body_is_framed_in_one_way_only() {
    refused(&[
        ("POST / HTTP/1.1\nhost: a\ncontent-length: 3\ncontent-length: 4\n\nabcd", 400),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: +3\n\nabc", 400),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: 3, 3\n\nabc", 400),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: 0x3\n\nabc", 400),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: -1\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: 99999999999999999999\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding: gzip\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked, gzip\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding: xchunked\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding: gzip, chunked\n\n0\n\n", 501),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked, chunked\n\n0\n\n", 501),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\ntransfer-encoding: chunked\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding: identity\ntransfer-encoding: chunked\n\n0\n\n", 400),
        ("POST / HTTP/1.0\nhost: a\ntransfer-encoding: chunked\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ntransfer-encoding : chunked\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\n transfer-encoding: chunked\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\nx: y\n transfer-encoding: chunked\n\n0\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\ncontent_length: 3\n\n", 400),
        ("POST / HTTP/1.1\nhost: a\nTransfer_Encoding: chunked\n\n", 400),
        ("GET / HTTP/1.1\nhost: a\nX_Forwarded_For: 1.2.3.4\n\n", 400),
    ])
    .await;
}

#[tokio::test]
async fn connection_cannot_take_off_what_frames_or_routes() {
    refused(&[
        ("POST / HTTP/1.1\nhost: a\nconnection: content-length\ncontent-length: 3\n\nabc", 400),
        ("POST / HTTP/1.1\nhost: a\nconnection: close, Content-Length\ncontent-length: 3\n\nabc", 400),
        ("POST / HTTP/1.1\nhost: a\nconnection: transfer-encoding\ntransfer-encoding: chunked\n\n0\n\n", 400),
        ("GET / HTTP/1.1\nhost: a\nconnection: host\n\n", 400),
    ])
    .await;
}

#[tokio::test]
async fn headers_have_limits() {
    let field = format!("GET / HTTP/1.1\nhost: a\nx: {}\n\n", "x".repeat(64 * 1024));
    let fields: String = (0..60).map(|index| format!("x{index}: {}\n", "x".repeat(1200))).collect();
    let block = format!("GET / HTTP/1.1\nhost: a\n{fields}\n");
    let many: String = (0..101).map(|index| format!("x{index}: x\n")).collect();
    let many = format!("GET / HTTP/1.1\n{many}\n");
    refused(&[(&field, 431), (&block, 431), (&many, 431)]).await;
}

#[tokio::test]
async fn control_characters_are_refused() {
    for request in [
        &b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET\0 / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx\x80: b\r\n\r\n",
    ] {
        let (front, paths) = noting();
        let answer = front.raw(request).await;
        assert_eq!(answer.status(), 400, "{:?} -> {answer:?}", String::from_utf8_lossy(request));
        assert!(paths.lock().unwrap().is_empty());
    }
}

/// The length is dropped, and the connection ends with the answer: what hides behind the body is no request.
#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for framing in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "Content-Length: 6\r\nTransfer-Encoding: Chunked",
    ] {
        let (front, paths) = noting();
        let request = format!("POST /seen HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n0\r\n\r\n{hidden}");
        let answer: Raw = front.raw(request).await;
        assert_eq!((answer.status(), answer.answers()), (200, 1), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(*paths.lock().unwrap(), ["/seen"]);
    }
}

#[tokio::test]
async fn malformed_chunks_end_the_connection() {
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for chunks in
        ["0x3\r\nabc\r\n0\r\n\r\n", "-1\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "ffffffffffffffff1\r\n", "\r\n"]
    {
        let (front, paths) = noting();
        let head = "POST /seen HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        front.raw(format!("{head}{chunks}{hidden}")).await;
        assert!(!paths.lock().unwrap().contains(&"/smuggled".to_owned()), "{chunks:?}");
    }
}

#[tokio::test]
async fn bytes_after_an_upgrade_that_was_not_made_are_requests_like_any_other() {
    let (front, paths) = noting();
    let upgrade = "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let answer =
        front.raw(format!("{upgrade}GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
    assert_eq!(answer.answers(), 2, "{answer:?}");
    assert_eq!(*paths.lock().unwrap(), ["/upgrade", "/next"]);
}
