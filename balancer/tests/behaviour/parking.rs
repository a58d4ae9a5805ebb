//! Connections without a request are taken out of hyper's hands after a tenth of a second: nobody must notice.

use std::time::Duration;

use coracle_balancer::{Balancer, BalancerConfig, Body, Timeouts};
use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::{Front, any_port, group, saying, target, within};

/// Long enough for a connection to be parked.
const PAUSE: Duration = Duration::from_millis(250);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// Reads one answer, which ends in `end`.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(end.as_bytes()) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&text));
        }
    };
    within(read).await;
    String::from_utf8(text).unwrap()
}

/// Whether the other side closes the connection, and after how long.
async fn closed_after(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let mut left = Vec::new();
    within(stream.read_to_end(&mut left)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&left), "");
    start.elapsed()
}

#[tokio::test]
async fn a_client_that_was_silent_for_a_while_is_answered_as_before() {
    let front = Front::new(group([("only", saying("here"))]));
    let mut client = front.connect().await;
    for _ in 0..3 {
        within(client.write_all(REQUEST)).await.unwrap();
        assert!(answer(&mut client, "here").await.starts_with("HTTP/1.1 200 OK\r\n"));
        sleep(PAUSE).await;
    }
    // Several at once after a pause, of which the second is not whole yet when the first is answered.
    within(client.write_all(&[REQUEST, &REQUEST[..20]].concat())).await.unwrap();
    answer(&mut client, "here").await;
    sleep(PAUSE).await;
    within(client.write_all(&REQUEST[20..])).await.unwrap();
    answer(&mut client, "here").await;
}

#[tokio::test]
async fn a_client_that_sends_its_request_in_pieces_loses_none_of_them() {
    let front = Front::of(|request| async move {
        let body = request.into_body().collect().await.map_err(coracle_balancer::TargetError::Failed)?;
        Ok(Response::new(Body::full(body.to_bytes())))
    });
    let mut client = front.connect().await;
    let request = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 11\r\n\r\nhello world";
    for cut in [[5, 30], [40, 49], [50, 55]] {
        let [first, second] = cut;
        for piece in [&request[..first], &request[first..second], &request[second..]] {
            within(client.write_all(piece)).await.unwrap();
            sleep(PAUSE).await;
        }
        answer(&mut client, "hello world").await;
    }
}

#[tokio::test]
async fn a_client_that_takes_its_answer_late_gets_all_of_it() {
    const LENGTH: usize = 16 << 20;
    let front = Front::of(|_| async { Ok(Response::new(Body::full(vec![b'x'; LENGTH]))) });
    let mut client = front.connect().await;
    within(client.write_all(REQUEST)).await.unwrap();
    sleep(2 * PAUSE).await;
    let head = answer(&mut client, "x").await;
    let (_, body) = head.split_once("\r\n\r\n").unwrap();
    let mut rest = vec![0; LENGTH - body.len()];
    within(client.read_exact(&mut rest)).await.unwrap();
    within(client.write_all(REQUEST)).await.unwrap();
    assert!(answer(&mut client, "x").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_drain_closes_who_is_silent_and_answers_who_is_not() {
    let front = Front::new(group([("only", saying("here"))]));
    let (mut silent, mut speaking) = (front.connect().await, front.connect().await);
    for client in [&mut silent, &mut speaking] {
        within(client.write_all(REQUEST)).await.unwrap();
        answer(client, "here").await;
    }
    sleep(PAUSE).await;
    within(speaking.write_all(REQUEST)).await.unwrap();
    let drained = tokio::spawn(async move { front.listener.close(Duration::from_secs(10)).await });
    let last = answer(&mut speaking, "here").await;
    assert!(last.starts_with("HTTP/1.1 200 OK\r\n"), "{last}");
    for client in [silent, speaking] {
        assert!(closed_after(client).await < Duration::from_secs(5));
    }
    within(drained).await.unwrap();
}

#[tokio::test]
async fn silence_and_half_a_request_end_with_the_idle_timeout() {
    let timeouts = Timeouts { client_idle: Duration::from_millis(400), ..Timeouts::default() };
    let balancer =
        Balancer::start(BalancerConfig { workers: 1, timeouts, ..BalancerConfig::default() }).unwrap();
    let slow = target(|_| async {
        sleep(Duration::from_millis(700)).await;
        Ok(Response::new(Body::full("late")))
    });
    let listener = balancer.listen(any_port(), group([("only", slow)])).unwrap();
    for more in [&b""[..], b"GET / HTT"] {
        let mut client = within(TcpStream::connect(listener.local_addr())).await.unwrap();
        within(client.write_all(REQUEST)).await.unwrap();
        // The time a target takes is not the client's.
        answer(&mut client, "late").await;
        within(client.write_all(more)).await.unwrap();
        let after = closed_after(client).await;
        assert!((350..3000).contains(&after.as_millis()), "closed after {after:?}");
    }
}
