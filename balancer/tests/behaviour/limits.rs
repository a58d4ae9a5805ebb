//! What one client, and all of them together, may ask for.

use std::time::Duration;

use coracle_balancer::{Balancer, BalancerConfig, Body, Limits, ListenerConfig, Rate, TargetError, Timeouts};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Answer, Front, any_port, get, group, read_head, saying, target, within};

fn limited(limits: Limits, answer: std::sync::Arc<dyn coracle_balancer::Target>) -> Front {
    let balancer = Balancer::start(BalancerConfig { workers: 2, ..BalancerConfig::default() }).unwrap();
    let listener =
        balancer.listen(ListenerConfig { limits, ..any_port() }, group([("only", answer)])).unwrap();
    Front { balancer, listener }
}

#[tokio::test]
async fn a_rate_is_of_a_client_over_all_its_connections() {
    let rate_per_client = Some(Rate { per_second: 1, burst: 3 });
    let front = limited(Limits { rate_per_client, ..Limits::default() }, saying("ok"));
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(front.get("/").await.status());
    }
    // One more may have become due meanwhile.
    assert_eq!(statuses[..3], [200; 3], "{statuses:?}");
    assert!(statuses[3..].contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn requests_at_once_are_counted_to_the_last_byte_of_the_answer() {
    for (limits, refused) in [
        (Limits { requests_per_client: Some(1), ..Limits::default() }, 429),
        (Limits { requests: Some(1), ..Limits::default() }, 503),
    ] {
        let (bodies, mut wanted) = mpsc::unbounded_channel();
        let slow = target(move |request: Request<Body>| {
            let bodies = bodies.clone();
            async move {
                if request.uri().path() == "/quick" {
                    return Ok(Response::new(Body::full("quick")));
                }
                let (body, frames) = tokio::io::duplex(64);
                bodies.send(body).unwrap();
                let stream = futures_util::stream::unfold(frames, |mut frames| async move {
                    let mut bytes = vec![0; 64];
                    let length = frames.read(&mut bytes).await.ok().filter(|length| *length > 0)?;
                    bytes.truncate(length);
                    let frame = http_body::Frame::data(bytes::Bytes::from(bytes));
                    Some((Ok::<_, std::io::Error>(frame), frames))
                });
                Ok(Response::new(Body::boxed(http_body_util::StreamBody::new(stream))))
            }
        });
        let front = limited(limits, slow);
        let mut first = front.client().await;
        let answer = within(first.send_request(get("/slow"))).await.unwrap();
        let writer = within(wanted.recv()).await.unwrap();
        assert_eq!(front.get("/quick").await.status(), refused, "the first is under way");
        drop(writer);
        within(answer.into_body().collect()).await.unwrap();
        let until_given_back = async { while front.get("/quick").await.status() != 200 {} };
        within(until_given_back).await;
    }
}

#[tokio::test]
async fn connections_beyond_their_number_are_closed() {
    for limits in [
        Limits { connections: Some(2), ..Limits::default() },
        Limits { connections_per_client: Some(2), ..Limits::default() },
    ] {
        let front = limited(limits, saying("ok"));
        let (mut first, mut second) = (front.client().await, front.client().await);
        for client in [&mut first, &mut second] {
            assert_eq!(within(client.send_request(get("/"))).await.unwrap().status(), 200);
        }
        assert_eq!(front.get("/").await.answers(), 0, "the third");
        drop((first, second));
        let until_given_back = async { while front.get("/").await.status() != 200 {} };
        within(until_given_back).await;
    }
}

async fn swallowing(request: Request<Body>) -> Answer {
    let body = request.into_body().collect().await.map_err(TargetError::Failed)?;
    Ok(Response::new(Body::full(body.to_bytes().len().to_string())))
}

#[tokio::test]
async fn a_body_that_is_too_long_is_413_whether_it_says_so_or_not() {
    let front = limited(Limits { body: Some(10), ..Limits::default() }, target(swallowing));
    let fits = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 10\r\n\r\n0123456789";
    assert_eq!(front.raw(fits).await.body(), "10");
    let says = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n";
    let refused = front.raw(says).await;
    assert_eq!((refused.status(), refused.header("connection")), (413, Some("close")));
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(front.raw(format!("{chunked}a\r\n0123456789\r\n0\r\n\r\n")).await.body(), "10");
    assert_eq!(front.raw(format!("{chunked}b\r\n0123456789a\r\n0\r\n\r\n")).await.status(), 413);
}

#[tokio::test]
async fn a_header_may_be_limited_further() {
    let limits = Limits { header_bytes: Some(8192), header_fields: Some(5), ..Limits::default() };
    let front = limited(limits, saying("ok"));
    let fields = |count: usize| (0..count).map(|index| format!("x{index}: x\r\n")).collect::<String>();
    let with = |fields: String| format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n");
    assert_eq!(front.raw(with(fields(3))).await.status(), 200);
    assert_eq!(front.raw(with(fields(4))).await.status(), 431);
    assert_eq!(front.raw(with(format!("x: {}\r\n", "x".repeat(10_000)))).await.status(), 431);
}

/// A client that takes its answer slowly or not at all holds a target's connection: not for ever.
#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_closed() {
    let timeouts = Timeouts { client_idle: Duration::from_millis(300), ..Timeouts::default() };
    let balancer =
        Balancer::start(BalancerConfig { workers: 1, timeouts, ..BalancerConfig::default() }).unwrap();
    let endless = target(|_| async {
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from(vec![0; 65_536])))
        });
        Ok(Response::new(Body::boxed(http_body_util::StreamBody::new(frames))))
    });
    let targets = group([("only", endless)]);
    let listener = balancer.listen(any_port(), std::sync::Arc::clone(&targets)).unwrap();
    let front = Front { balancer, listener };
    let mut client = front.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let head = within(read_head(&mut client)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let in_flight = || targets.targets()[0].counters.in_flight;
    let until_closed = async {
        while in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(until_closed).await;
}
