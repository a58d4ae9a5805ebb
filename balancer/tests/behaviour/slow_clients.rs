//! Clients that send or take less than they have to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_balancer::{
    Balancer, BalancerConfig, Body, ListenerConfig, MinimumRate, TargetGroup, TransferRates,
};
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Front, any_port, group, read_head, target, tcp, upstream, within};

const GRACE: Duration = Duration::from_millis(300);
/// Long against the grace.
const LONG: Duration = Duration::from_millis(900);

fn front(group: Arc<TargetGroup>) -> Front {
    let rate = Some(MinimumRate { bytes_per_second: 10_000, grace: GRACE });
    let transfer_rates = TransferRates { receive: rate, send: rate };
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let listener = balancer.listen(ListenerConfig { transfer_rates, ..any_port() }, group).unwrap();
    Front { balancer, listener }
}

/// Answers with the length of what it was sent.
fn counting() -> Arc<dyn coracle_balancer::Target> {
    target(|request: Request<Body>| async move {
        match request.into_body().collect().await {
            Ok(body) => Ok(Response::new(Body::from(body.to_bytes().len().to_string()))),
            Err(error) => Err(coracle_balancer::TargetError::Failed(error)),
        }
    })
}

/// Sends a request and its body in pieces, each after a pause, and reads what comes back.
async fn trickle(front: &Front, length: usize, piece: usize, pause: Duration) -> String {
    let (mut read, mut write) = front.connect().await.into_split();
    let head =
        format!("POST / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let sending = async move {
        write.write_all(head.as_bytes()).await.ok();
        for _ in 0..length.div_ceil(piece) {
            tokio::time::sleep(pause).await;
            if write.write_all(&vec![b'x'; piece]).await.is_err() {
                return;
            }
        }
        // As long as it is read from, a client that is not at its end does not leave.
        std::future::pending::<()>().await;
    };
    let mut answer = String::new();
    tokio::select! {
        () = sending => {
            read.read_to_string(&mut answer).await.ok();
        }
        _ = within(read.read_to_string(&mut answer)) => {}
    }
    answer
}

#[tokio::test]
async fn a_request_that_comes_too_slowly_is_answered_408_and_the_target_is_not_to_blame() {
    let echoing = upstream(|mut stream, _| async move {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    })
    .await;
    for targets in [group([("in process", counting())]), group([("tcp", tcp(echoing))])] {
        let front = front(Arc::clone(&targets));
        // A byte each tenth of a second, of 10,000 each second.
        let answer = trickle(&front, 1_000, 1, Duration::from_millis(100)).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[tokio::test]
async fn one_that_keeps_up_or_is_kept_waiting_is_not() {
    let counted = front(group([("in process", counting())]));
    let answer = trickle(&counted, 60_000, 5_000, Duration::from_millis(100)).await;
    assert!(answer.ends_with("\r\n\r\n60000"), "{answer}");

    let slow = front(group([(
        "slow",
        target(|request: Request<Body>| async move {
            // The client has sent all it could long before.
            tokio::time::sleep(LONG).await;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            tokio::time::sleep(LONG).await;
            Ok(Response::new(Body::from(body.len().to_string())))
        }),
    )]));
    let answer = trickle(&slow, 3, 3, Duration::ZERO).await;
    assert!(answer.ends_with("\r\n\r\n3"), "{answer}");
}

#[tokio::test]
async fn streams_of_messages_may_rest() {
    let front = front(group([("in process", counting())]));
    let (mut client, _connection) = front.h2_client().await;
    for (kind, expected) in [("application/grpc+proto", 200), ("application/octet-stream", 408)] {
        let (frames, body) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let body = stream::unfold(body, |mut body| async move { Some((body.recv().await?, body)) });
        let request = Request::post("http://test/").header("content-type", kind);
        let request = request.body(Body::boxed(StreamBody::new(Box::pin(body)))).unwrap();
        let answer = client.send_request(request);
        let resting = async move {
            frames.send(Ok(Frame::data(Bytes::from_static(b"a")))).await.unwrap();
            tokio::time::sleep(LONG).await;
            // Refused meanwhile, where it may not rest.
            frames.send(Ok(Frame::data(Bytes::from_static(b"b")))).await.ok();
        };
        let (answer, ()) = within(async { tokio::join!(answer, resting) }).await;
        assert_eq!(answer.unwrap().status(), expected, "{kind}");
    }
}

/// A target whose answers have no end, and whether one of them was dropped.
fn endless() -> (Arc<dyn coracle_balancer::Target>, Arc<tokio::sync::Notify>) {
    let dropped = Arc::new(tokio::sync::Notify::new());
    let noticed = Arc::clone(&dropped);
    let endless = target(move |request: Request<Body>| {
        let told = Told(Arc::clone(&noticed));
        async move {
            if request.uri().path() != "/endless" {
                return Ok(Response::new(Body::full("short")));
            }
            let frames = stream::repeat_with(move || {
                let _told = &told;
                Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[0; 16 * 1024])))
            });
            Ok(Response::new(Body::boxed(StreamBody::new(frames))))
        }
    });
    (endless, dropped)
}

struct Told(Arc<tokio::sync::Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_client_that_takes_too_little_of_its_answer_is_closed() {
    let (endless, dropped) = endless();
    let front = front(group([("endless", endless)]));
    let mut client = front.connect().await;
    client.write_all(b"GET /endless HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    assert!(within(read_head(&mut client)).await.unwrap().starts_with("HTTP/1.1 200"));
    within(dropped.notified()).await;
}

#[tokio::test]
async fn over_http2_its_stream_is_reset_and_its_others_go_on() {
    let (endless, dropped) = endless();
    let front = front(group([("endless", endless)]));
    let (mut client, _connection) = front.h2_client().await;
    let get = |path: &str| Request::get(format!("http://test{path}")).body(Body::empty()).unwrap();
    let mut unread = within(client.send_request(get("/endless"))).await.unwrap();
    within(dropped.notified()).await;
    let short = within(client.send_request(get("/"))).await.unwrap();
    assert_eq!(within(short.into_body().collect()).await.unwrap().to_bytes(), "short");
    let reset = async {
        loop {
            match unread.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("an answer that was broken off seems complete"),
            }
        }
    };
    assert!(format!("{:?}", within(reset).await).contains("CANCEL"));
}

#[tokio::test]
async fn events_that_come_seldom_are_the_servers_to_send() {
    let front = front(group([(
        "events",
        target(|_| async {
            let events = stream::unfold(0, |number| async move {
                if number > 0 {
                    tokio::time::sleep(LONG).await;
                }
                let event = Frame::data(Bytes::from(format!("data: {number}\n\n")));
                (number < 3).then_some((Ok::<_, std::io::Error>(event), number + 1))
            });
            Ok(Response::new(Body::boxed(StreamBody::new(Box::pin(events)))))
        }),
    )]));
    let answer = front.get("/").await;
    assert!(answer.text.contains("data: 2"), "{}", answer.text);
    let (mut client, _connection) = front.h2_client().await;
    let request = Request::get("http://test/").body(Body::empty()).unwrap();
    let answer = within(client.send_request(request)).await.unwrap();
    let text = within(answer.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(text, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
}
