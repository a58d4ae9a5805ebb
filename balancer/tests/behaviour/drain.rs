//! Deregistration of targets, and draining of listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use coracle_balancer::{
    Body, HealthCheckConfig, Target, TargetError, TargetGroup, TargetGroupConfig, TargetState,
};
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::support::{DEADLINE, Front, HEALTHY, bytes_of, get, group, read_head, saying, target, within};

/// Answers until it is stopped, and fails loudly after.
fn stoppable() -> (Arc<dyn Target>, Arc<AtomicBool>) {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let target = target(move |_| {
        let stopped = Arc::clone(&flag);
        async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                if stopped.load(Ordering::SeqCst) {
                    return Err(TargetError::Failed("called after its drain had ended".into()));
                }
            }
            Ok(Response::new(Body::full("ok")))
        }
    });
    (target, stopped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_targets_under_load_loses_no_request() {
    let group = group([]);
    let front = Front::new(Arc::clone(&group));
    let mut running = Vec::new();
    for index in 0..3_u32 {
        let (target, stopped) = stoppable();
        group.register(format!("{index}"), target, HEALTHY);
        running.push((index, stopped));
    }
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            let address = front.address();
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                let io = hyper_util::rt::TokioIo::new(stream);
                let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                while !over.load(Ordering::Relaxed) {
                    client.ready().await.unwrap();
                    let response = client.send_request(get("/")).await.unwrap();
                    assert_eq!(response.status(), 200);
                    assert_eq!(bytes_of(response).await, "ok");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for index in 3..200_u32 {
        // At least one request between two replacements, so that they meet.
        let before = answered.load(Ordering::Relaxed);
        within(async {
            while answered.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let (target, stopped) = stoppable();
        group.register(format!("{index}"), target, HEALTHY);
        let (oldest, oldest_stopped) = running.remove(0);
        within(group.deregister(&format!("{oldest}").into())).await;
        oldest_stopped.store(true, Ordering::SeqCst);
        running.push((index, stopped));
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        within(client).await.unwrap();
    }
    assert_eq!(group.targets().len(), 3);
}

/// A target that says when it was called and answers when told to.
fn held() -> (Arc<dyn Target>, mpsc::UnboundedReceiver<()>, Arc<Notify>) {
    let (called, calls) = mpsc::unbounded_channel();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let target = target(move |_| {
        called.send(()).unwrap();
        let released = Arc::clone(&released);
        async move {
            released.notified().await;
            Ok(Response::new(Body::full("done")))
        }
    });
    (target, calls, release)
}

#[tokio::test]
async fn deregistration_ends_with_the_last_request_in_flight() {
    let (target, mut calls, release) = held();
    let group = group([("task", target)]);
    let front = Front::new(Arc::clone(&group));
    let mut client = front.client().await;
    let answer = tokio::spawn(async move { bytes_of(client.send_request(get("/")).await.unwrap()).await });
    within(calls.recv()).await.unwrap();

    let deregistered = tokio::spawn(group.deregister(&"task".into()));
    assert_eq!(front.get("/").await.status(), 503, "out of rotation at once");
    let target = group.target(&"task".into()).unwrap();
    assert_eq!(
        (target.state, target.reason),
        (TargetState::Draining, Some("Target.DeregistrationInProgress"))
    );
    assert_eq!(target.counters.in_flight, 1);
    assert!(!deregistered.is_finished());

    release.notify_one();
    assert_eq!(within(answer).await.unwrap(), "done");
    within(deregistered).await.unwrap();
    assert!(group.targets().is_empty());
}

#[tokio::test]
async fn deregistration_ends_with_its_delay() {
    let (target, mut calls, _release) = held();
    let delay = Duration::from_millis(200);
    let config = TargetGroupConfig {
        deregistration_delay: delay,
        health_check: HealthCheckConfig::disabled(),
        ..TargetGroupConfig::new("short")
    };
    let group = TargetGroup::new(config);
    group.register("task", target, HEALTHY);
    let front = Front::new(Arc::clone(&group));
    let mut client = front.client().await;
    tokio::spawn(async move { client.send_request(get("/")).await });
    within(calls.recv()).await.unwrap();
    // Also when the future of the first call is dropped, and for whoever asks again.
    drop(group.deregister(&"task".into()));
    within(group.deregister(&"task".into())).await;
    assert!(group.targets().is_empty());
}

#[tokio::test]
async fn a_closing_listener_finishes_what_has_begun_and_closes_what_is_idle() {
    let (target, mut calls, release) = held();
    let front = Front::new(group([("task", target)]));
    let mut busy = front.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(calls.recv()).await.unwrap();
    // One that has had an answer and waits for its next request.
    let mut idle = front.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(calls.recv()).await.unwrap();
    release.notify_waiters();
    for stream in [&mut busy, &mut idle] {
        within(read_head(stream)).await.unwrap();
        within(stream.read_exact(&mut [0; 4])).await.unwrap();
    }
    busy.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(calls.recv()).await.unwrap();

    let listener = front.listener.clone();
    let closed = tokio::spawn(async move { listener.close(DEADLINE).await });
    assert_eq!(within(idle.read(&mut [0; 1])).await.unwrap(), 0, "closed while another connection is busy");
    assert!(!closed.is_finished());
    release.notify_waiters();
    let mut answer = String::new();
    within(busy.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
    within(closed).await.unwrap();
    assert!(TcpStream::connect(front.address()).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_request_that_outlasts_the_deadline_is_cut_off() {
    let (target, mut calls, _release) = held();
    let front = Front::new(group([("task", target)]));
    let mut busy = front.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(calls.recv()).await.unwrap();
    within(front.listener.close(Duration::from_millis(50))).await;
    let mut answer = Vec::new();
    within(busy.read_to_end(&mut answer)).await.ok();
    assert!(answer.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_in_the_accept_queue_of_a_closing_listener_are_answered() {
    for _ in 0..5 {
        let front = Front::with_workers(2, group([("only", saying("ok"))]));
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(std::net::TcpStream::connect(front.address()).unwrap());
        }
        // None of them has been asked to wait: the kernel told each that it is connected.
        for client in &mut clients {
            std::io::Write::write_all(client, b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        }
        let closed = tokio::spawn(async move { front.listener.close(DEADLINE).await });
        for client in clients {
            client.set_nonblocking(true).unwrap();
            let mut client = TcpStream::from_std(client).unwrap();
            let mut answer = String::new();
            within(client.read_to_string(&mut answer)).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
        }
        within(closed).await.unwrap();
    }
}

#[tokio::test]
async fn an_http2_client_is_sent_away_after_its_streams_have_ended() {
    let (target, mut calls, release) = held();
    let front = Front::new(group([("task", target)]));
    let (mut client, connection) = front.h2_client().await;
    let answer = tokio::spawn(client.send_request(get("http://test/")));
    within(calls.recv()).await.unwrap();
    let listener = front.listener.clone();
    let closed = tokio::spawn(async move { listener.close(DEADLINE).await });
    assert!(!closed.is_finished());
    release.notify_one();
    let response = within(answer).await.unwrap().unwrap();
    assert_eq!(bytes_of(response).await, "done");
    within(connection).await.unwrap().unwrap();
    within(closed).await.unwrap();
}

#[tokio::test]
async fn shutdown_drains_and_ends_the_threads() {
    let (target, mut calls, release) = held();
    let front = Front::new(group([("task", target)]));
    let mut client = front.client().await;
    let answer = tokio::spawn(async move { bytes_of(client.send_request(get("/")).await.unwrap()).await });
    within(calls.recv()).await.unwrap();
    let balancer = front.balancer.clone();
    let shutdown = tokio::spawn(async move { balancer.shutdown(DEADLINE).await });
    release.notify_one();
    assert_eq!(within(answer).await.unwrap(), "done");
    within(shutdown).await.unwrap();
    within(front.balancer.shutdown(DEADLINE)).await;
}
