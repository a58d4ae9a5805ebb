//! Deregistration of targets, and draining of listeners.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coracle_balancer::{
    Body, HealthCheckConfig, Target, TargetError, TargetGroup, TargetGroupAttributes, TargetGroupConfig,
    TargetState,
};
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::support::{DEADLINE, Front, HEALTHY, bytes_of, get, group, read_head, target, tcp, within};

/// A target and how to stop it for good.
type Stoppable = (Arc<dyn Target>, Box<dyn FnOnce() + Send>);

/// In process: fails loudly when it is called after it was stopped.
fn in_process() -> Stoppable {
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
    (target, Box::new(move || stopped.store(true, Ordering::SeqCst)))
}

/// Over TCP: stopping it closes its port and cuts off its connections.
fn over_tcp() -> Stoppable {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let server = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                while read_head(&mut stream).await.is_some() {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
            });
        }
    });
    (tcp(address), Box::new(move || server.abort()))
}

/// Clients ask without a pause while the oldest `at_once` of the targets are replaced, again and again.
async fn replace_under_load(targets: usize, at_once: usize, replacements: usize, make: fn() -> Stoppable) {
    let group = group([]);
    let front = Front::new(Arc::clone(&group));
    let (mut running, mut gone) = (VecDeque::new(), Vec::new());
    let register = |running: &mut VecDeque<_>, index: usize| {
        let (target, stop) = make();
        let left = Arc::downgrade(&target);
        group.register(index.to_string(), target, HEALTHY);
        running.push_back((index, stop, left));
    };
    (0..targets).for_each(|index| register(&mut running, index));
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
        let mut client = front.client().await;
        clients.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                client.ready().await.unwrap();
                let response = client.send_request(get("/")).await.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(bytes_of(response).await, "ok");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for index in (targets..).step_by(at_once).take(replacements) {
        // At least one request between two replacements, so that they meet.
        let before = answered.load(Ordering::Relaxed);
        within(async {
            while answered.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        (index..index + at_once).for_each(|index| register(&mut running, index));
        let oldest: Vec<_> = running.drain(..at_once).collect();
        let drained = oldest.iter().map(|(index, ..)| group.deregister(&index.to_string().into()));
        within(join_all(drained)).await;
        for (_, stop, left) in oldest {
            stop();
            gone.push(left);
        }
    }
    over.store(true, Ordering::Relaxed);
    while let Some(client) = within(clients.join_next()).await {
        client.unwrap();
    }
    assert_eq!(group.targets().len(), targets);
    let nothing_is_left = async {
        while gone.iter().any(|target| target.strong_count() > 0) {
            tokio::task::yield_now().await;
        }
    };
    within(nothing_is_left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_targets_in_process_under_load_loses_no_request() {
    replace_under_load(3, 1, 200, in_process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_targets_over_tcp_under_load_loses_no_request() {
    replace_under_load(3, 1, 100, over_tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_a_hundred_targets_at_once_again_and_again_loses_no_request_and_leaves_nothing() {
    replace_under_load(100, 100, 100, in_process).await;
    replace_under_load(100, 100, 5, over_tcp).await;
}

/// A target that says when it was called, and answers a request for each permit.
fn held() -> (Arc<dyn Target>, mpsc::UnboundedReceiver<()>, Arc<Semaphore>) {
    let (called, calls) = mpsc::unbounded_channel();
    let release = Arc::new(Semaphore::new(0));
    let released = Arc::clone(&release);
    let target = target(move |_| {
        called.send(()).unwrap();
        let released = Arc::clone(&released);
        async move {
            released.acquire().await.unwrap().forget();
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

    release.add_permits(1);
    assert_eq!(within(answer).await.unwrap(), "done");
    within(deregistered).await.unwrap();
    assert!(group.targets().is_empty());
}

#[tokio::test]
async fn deregistration_ends_with_its_delay() {
    let (target, mut calls, _release) = held();
    let delay = Duration::from_millis(200);
    let config = TargetGroupConfig {
        attributes: TargetGroupAttributes { deregistration_delay: delay, ..TargetGroupAttributes::default() },
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
    release.add_permits(2);
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
    release.add_permits(1);
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

#[tokio::test]
async fn connections_in_the_accept_queue_of_a_closing_listener_are_answered() {
    // The only worker is busy, so that nothing is accepted before the listener closes.
    let (busy, mut blocked) = mpsc::unbounded_channel();
    let (unblock, blocking) = std::sync::mpsc::channel::<()>();
    let blocking = Mutex::new(blocking);
    let target = target(move |request| {
        if request.uri().path() == "/block" {
            busy.send(()).unwrap();
            blocking.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        }
        async { Ok(Response::new(Body::full("ok"))) }
    });
    let front = Front::with_workers(1, group([("only", target)]));
    let mut blocker = front.connect().await;
    blocker.write_all(b"GET /block HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    within(blocked.recv()).await.unwrap();
    let mut clients = vec![blocker];
    for _ in 0..40 {
        // The kernel tells each that it is connected.
        let mut client = front.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    let mut closed = std::pin::pin!(front.listener.close(DEADLINE));
    assert!(closed.as_mut().now_or_never().is_none());
    unblock.send(()).unwrap();
    within(closed).await;
    for mut client in clients {
        let mut answer = String::new();
        within(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
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
    release.add_permits(1);
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
    release.add_permits(1);
    assert_eq!(within(answer).await.unwrap(), "done");
    within(shutdown).await.unwrap();
    within(front.balancer.shutdown(DEADLINE)).await;
}
