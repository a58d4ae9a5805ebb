//! Nobody works for a client that has gone, and nobody takes half an answer for a whole one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use coracle_balancer::{Body, BoxError, TargetError};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use crate::support::{Front, bytes_of, get, read_head, upstream, within};

/// Tells when it is dropped.
struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A body that gives what the channel gives, and ends with it.
fn channel() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>, Body) {
    struct Receiver(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);
    impl futures_util::Stream for Receiver {
        type Item = Result<Frame<Bytes>, BoxError>;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.poll_recv(cx)
        }
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Body::boxed(StreamBody::new(Receiver(receiver))))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_target() {
    let (called, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (notify_called, notify_dropped) = (Arc::clone(&called), Arc::clone(&dropped));
    let front = Front::of(move |_| {
        let on_drop = OnDrop(Arc::clone(&notify_dropped));
        notify_called.notify_one();
        async move {
            let _on_drop = on_drop;
            std::future::pending().await
        }
    });
    let mut client = front.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(called.notified()).await;
    drop(client);
    within(dropped.notified()).await;

    // A reset of one HTTP/2 stream is the same.
    let (mut client, _connection) = front.h2_client().await;
    let answer = tokio::spawn(client.send_request(get("http://test/")));
    within(called.notified()).await;
    answer.abort();
    within(dropped.notified()).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_answer_cancels_its_body() {
    let (bodies, mut sent) = mpsc::unbounded_channel();
    let front = Front::of(move |_| {
        let (sender, body) = channel();
        sender.send(data("first")).unwrap();
        bodies.send(sender).unwrap();
        async move { Ok(Response::new(body)) }
    });
    let mut client = front.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(read_head(&mut client)).await.unwrap();
    drop(client);
    within(within(sent.recv()).await.unwrap().closed()).await;
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_connection_to_a_tcp_target() {
    let (reached, mut ends) = mpsc::unbounded_channel();
    let address = upstream(move |mut stream, _| {
        let reached = reached.clone();
        async move {
            reached.send("request").unwrap();
            stream.read_to_end(&mut Vec::new()).await.ok();
            reached.send("closed").unwrap();
        }
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    assert_eq!(within(ends.recv()).await, Some("request"));
    drop(client);
    assert_eq!(within(ends.recv()).await, Some("closed"));
}

#[tokio::test]
async fn an_error_in_the_middle_of_an_answer_aborts_it() {
    let (bodies, mut sent) = mpsc::unbounded_channel();
    let front = Front::of(move |_| {
        let (sender, body) = channel();
        sender.send(data("first")).unwrap();
        bodies.send(sender).unwrap();
        async move { Ok(Response::new(body)) }
    });
    let mut client = front.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(read_head(&mut client)).await.unwrap();
    within(sent.recv()).await.unwrap().send(Err("the guest trapped".into())).unwrap();
    let mut rest = Vec::new();
    within(client.read_to_end(&mut rest)).await.ok();
    assert_eq!(String::from_utf8_lossy(&rest), "5\r\nfirst\r\n", "no last chunk");

    let (mut client, _connection) = front.h2_client().await;
    let response = within(client.send_request(get("http://test/"))).await.unwrap();
    within(sent.recv()).await.unwrap().send(Err("the guest trapped".into())).unwrap();
    within(response.into_body().collect()).await.unwrap_err();
}

#[tokio::test]
async fn bytes_pass_as_they_come_in_both_directions() {
    let front = Front::of(|request: Request<Body>| async move { Ok(Response::new(request.into_body())) });
    let (sender, body) = channel();
    let request = Request::post("/").header("host", "test").body(body).unwrap();
    let mut client = front.client().await;
    // The answer begins before the request has ended, and each part comes back before the next is sent.
    let mut echoed = within(client.send_request(request)).await.unwrap().into_body();
    for text in ["one", "two", "three"] {
        sender.send(data(text)).unwrap();
        let frame = within(echoed.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    drop(sender);
    assert!(within(echoed.frame()).await.is_none());
}

#[tokio::test]
async fn an_upload_cut_off_is_an_error_for_the_target() {
    let (results, mut seen) = mpsc::unbounded_channel();
    let front = Front::of(move |request: Request<Body>| {
        let results = results.clone();
        async move {
            let body = request.into_body().collect().await;
            results.send(body.is_err()).unwrap();
            body.map_err(TargetError::Failed)?;
            Ok(Response::new(Body::empty()))
        }
    });
    for head in ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut client = front.connect().await;
        client.write_all(format!("POST / HTTP/1.1\r\nhost: test\r\n{head}").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(within(seen.recv()).await, Some(true), "{head}");
    }
}

#[tokio::test]
async fn a_body_nobody_reads_does_not_become_the_next_request() {
    let front = Front::of(|_| async { Ok(Response::new(Body::full("ok"))) });
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n";
    let post =
        format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len());
    let last = "GET /last HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    let answer = front.raw(format!("{post}{last}")).await;
    assert!(answer.answers() <= 2, "{}", answer.text);
    let mut client = front.client().await;
    for _ in 0..3 {
        client.ready().await.unwrap();
        let request = Request::post("/").header("host", "test").body(Body::full("unread")).unwrap();
        assert_eq!(bytes_of(within(client.send_request(request)).await.unwrap()).await, "ok");
    }
}
