//! Targets over TCP that fail, and what the client gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::{Front, bytes_of, get, group, read_head, saying, tcp, upstream, within};

/// What the client gets from a target that writes `bytes` and closes.
async fn answer_of(bytes: &'static [u8]) -> crate::support::Raw {
    let address = upstream(move |mut stream, _| async move {
        stream.write_all(bytes).await.unwrap();
    })
    .await;
    Front::of_upstream(address).get("/").await
}

async fn refusing() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn a_target_that_refuses_is_a_502() {
    assert_eq!(Front::of_upstream(refusing().await).get("/").await.status(), 502);
}

#[tokio::test]
async fn a_target_that_refuses_costs_nothing_while_another_is_healthy() {
    let front = Front::new(group([("refuses", tcp(refusing().await)), ("answers", saying("here"))]));
    for _ in 0..6 {
        assert_eq!(front.get("/").await.body(), "here");
    }
}

#[tokio::test]
async fn a_target_that_lets_no_connection_in_is_a_504() {
    // A full accept queue: the kernel drops what more comes.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    for _ in 0..16 {
        match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            Ok(stream) => queued.push(stream.unwrap()),
            Err(_full) => break,
        }
    }
    assert_eq!(Front::of_upstream(address).get("/").await.status(), 504);
}

#[tokio::test]
async fn a_target_that_never_answers_is_a_504() {
    let address = upstream(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let answer = Front::of_upstream(address).get("/").await;
    assert_eq!(answer.status(), 504);
    assert!(answer.body().contains("504 Gateway Time-out"), "{}", answer.text);
}

#[tokio::test]
async fn bad_answers_are_a_502() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 999999 what\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabcde",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: telnet\r\nconnection: upgrade\r\n\r\n",
    ] {
        let answer = answer_of(bytes).await;
        assert_eq!(answer.status(), 502, "{:?} -> {}", String::from_utf8_lossy(bytes), answer.text);
    }
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let answer =
        answer_of(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!((answer.status(), answer.body()), (200, "ok"));
}

#[tokio::test]
async fn an_answer_cut_off_in_its_body_is_cut_off_for_the_client() {
    let counted = answer_of(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!((counted.status(), counted.header("content-length")), (200, Some("10")));
    assert!(counted.body().len() < 10, "{}", counted.text);
    let chunked = answer_of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    assert_eq!(chunked.status(), 200);
    assert!(!chunked.body().ends_with("0\r\n\r\n"), "{}", chunked.text);
}

#[tokio::test]
async fn an_answer_that_stalls_in_its_body_is_cut_off() {
    let address = upstream(|mut stream, _| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let answer = Front::of_upstream(address).get("/").await;
    assert!(answer.body().contains("half") && !answer.body().ends_with("0\r\n\r\n"), "{}", answer.text);
}

#[tokio::test]
async fn an_answer_that_comes_slowly_but_comes_is_passed_on() {
    let address = upstream(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.unwrap();
        for byte in b"slow!" {
            // Each gap is inside the idle timeout, all of them together are not.
            tokio::time::sleep(Duration::from_millis(120)).await;
            stream.write_all(&[*byte]).await.unwrap();
        }
    })
    .await;
    let answer = Front::of_upstream(address).get("/").await;
    assert_eq!((answer.status(), answer.body()), (200, "slow!"));
}

#[tokio::test]
async fn an_upload_that_moves_is_not_idle() {
    let address = upstream(|mut stream, _| async move {
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await.unwrap();
        stream.write_all(&body).await.unwrap();
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\n").await.unwrap();
    for byte in b"slow!" {
        tokio::time::sleep(Duration::from_millis(120)).await;
        client.write_all(&[*byte]).await.unwrap();
    }
    let head = within(read_head(&mut client)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut body = [0; 5];
    within(client.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"slow!");
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_is_passed_on() {
    let address = upstream(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        // A close with unread bytes would be a reset, which may overtake the answer.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\nstart").await.unwrap();
    let head = within(read_head(&mut client)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
}

/// Else clients could have targets ejected.
#[tokio::test]
async fn a_body_that_its_client_spoils_is_no_failure_of_the_target() {
    let address = upstream(|mut stream, _| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.ok();
    })
    .await;
    let targets = group([("only", tcp(address))]);
    let front = Front::new(Arc::clone(&targets));
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in ["3\r\nabcd", "x\r\n", "3\r\nabc\r\n-1\r\n"] {
        assert_eq!(front.raw(format!("{chunked}{body}")).await.status(), 400, "{body:?}");
    }
    assert_eq!(targets.targets()[0].counters.failures, 0);
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn connections_to_a_target_are_reused() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let address = upstream(move |mut stream, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            stream.write_all(OK).await.unwrap();
            while read_head(&mut stream).await.is_some() {
                // Chunked, so that the end of the answer is one more thing to read than its last byte.
                let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
                stream.write_all(chunked).await.unwrap();
            }
        }
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.client().await;
    for _ in 0..50 {
        client.ready().await.unwrap();
        assert_eq!(bytes_of(client.send_request(get("/")).await.unwrap()).await, "ok");
    }
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_pooled_connection_found_closed_is_replaced_by_a_fresh_one_also_for_a_post() {
    let closed = Arc::new(Notify::new());
    let notify = Arc::clone(&closed);
    let address = upstream(move |mut stream, _| {
        let closed = Arc::clone(&notify);
        async move {
            stream.write_all(OK).await.unwrap();
            drop(stream);
            closed.notify_one();
        }
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.client().await;
    for _ in 0..10 {
        client.ready().await.unwrap();
        let request = http::Request::post("/").header("host", "test").body("x".into()).unwrap();
        let response = within(client.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(bytes_of(response).await, "ok");
        within(closed.notified()).await;
    }
}
