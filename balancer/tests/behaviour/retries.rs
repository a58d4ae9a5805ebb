//! Requests that are sent again, requests that wait for a target, and targets that are set aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coracle_balancer::{
    Body, HealthCheckConfig, RegisterOptions, Target, TargetError, TargetGroup, TargetGroupAttributes,
    TargetGroupConfig, TargetState, TcpTarget, TcpTargetConfig,
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::support::{Front, HEALTHY, saying, target, upstream, within};

fn group_with(
    attributes: &[(&str, &str)],
    targets: impl IntoIterator<Item = (&'static str, Arc<dyn Target>)>,
) -> Arc<TargetGroup> {
    let group = TargetGroup::new(TargetGroupConfig {
        health_check: HealthCheckConfig::disabled(),
        attributes: TargetGroupAttributes::from_pairs(attributes.iter().copied()).unwrap(),
        ..TargetGroupConfig::new("test")
    });
    for (id, target) in targets {
        group.register(id, target, HEALTHY);
    }
    group
}

/// A target that takes requests and breaks each off, and how many it took.
fn breaking() -> (Arc<dyn Target>, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let target = target(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Err(TargetError::Failed("broken off".into())) }
    });
    (target, taken)
}

fn echoing() -> Arc<dyn Target> {
    target(|request: Request<Body>| async move { Ok(Response::new(request.into_body())) })
}

const RETRY: &[(&str, &str)] = &[("coracle.retry.attempts", "1"), ("coracle.retry.max_body_bytes", "10")];

async fn send(front: &Front, method: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let answer = front.raw(request).await;
    (answer.status(), answer.body().to_owned())
}

#[tokio::test]
async fn an_idempotent_request_is_sent_to_another_target_with_its_body() {
    let (broken, taken) = breaking();
    let group = group_with(RETRY, [("broken", broken), ("echo", echoing())]);
    let front = Front::with_workers(1, Arc::clone(&group));
    for _ in 0..4 {
        assert_eq!(send(&front, "PUT", "0123456789").await, (200, "0123456789".to_owned()));
    }
    assert_eq!(taken.load(Ordering::Relaxed), 2);
    let retries: u64 = group.targets().iter().map(|target| target.counters.retries).sum();
    assert_eq!(retries, 2);
}

#[tokio::test]
async fn what_must_not_be_repeated_or_is_too_long_is_sent_once() {
    let (broken, taken) = breaking();
    let front = Front::with_workers(1, group_with(RETRY, [("broken", broken), ("echo", echoing())]));
    let mut statuses = Vec::new();
    for (method, body) in [
        ("POST", "x"),
        ("POST", "x"),
        ("PATCH", "x"),
        ("PATCH", "x"),
        ("PUT", "0123456789a"),
        ("PUT", "0123456789a"),
    ] {
        statuses.push(send(&front, method, body).await.0);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 3, "{statuses:?}");
    assert_eq!(taken.load(Ordering::Relaxed), 3);
    let chunked =
        "PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let both = [front.raw(chunked).await.status(), front.raw(chunked).await.status()];
    assert!(both.contains(&502), "of unknown length: {both:?}");
}

#[tokio::test]
async fn without_a_policy_nothing_that_reached_a_target_is_sent_again() {
    let (broken, taken) = breaking();
    let front = Front::with_workers(1, group_with(&[], [("broken", broken), ("echo", echoing())]));
    let both = [front.get("/").await.status(), front.get("/").await.status()];
    assert!(both.contains(&502) && both.contains(&200), "{both:?}");
    assert_eq!(taken.load(Ordering::Relaxed), 1);
}

/// When every target fails, retries are bounded by the budget: the reserve of ten and one in five requests.
#[tokio::test]
async fn retries_end_with_their_budget() {
    let ((one, first), (two, second)) = (breaking(), breaking());
    let front = Front::with_workers(1, group_with(RETRY, [("one", one), ("two", two)]));
    for _ in 0..100 {
        assert_eq!(front.get("/").await.status(), 502);
    }
    let taken = first.load(Ordering::Relaxed) + second.load(Ordering::Relaxed);
    assert_eq!(taken, 100 + 10 + 20);
}

const HOLD: &[(&str, &str)] = &[("coracle.hold.timeout_seconds", "1"), ("coracle.hold.max_requests", "2")];

#[tokio::test]
async fn a_request_waits_for_the_first_target() {
    let group = group_with(HOLD, []);
    let front = Front::new(Arc::clone(&group));
    let asked =
        front.raw("POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody");
    let register = async {
        // Registered once the request waits: before it there would be nothing to see.
        tokio::time::sleep(Duration::from_millis(100)).await;
        group.register("late", echoing(), HEALTHY);
    };
    let (answer, ()) = tokio::join!(asked, register);
    assert_eq!((answer.status(), answer.body()), (200, "body"));
}

#[tokio::test]
async fn a_request_that_waits_is_told_to_whoever_can_bring_a_target() {
    let group = group_with(HOLD, []);
    let front = Front::new(Arc::clone(&group));
    // Nobody waits yet, so that nothing is told.
    let soon = tokio::time::timeout(Duration::from_millis(50), group.demand()).await;
    assert!(soon.is_err());
    let bring = async {
        within(group.demand()).await;
        // It waits still: who asks later is told at once.
        within(group.demand()).await;
        group.register("late", saying("late"), HEALTHY);
    };
    let (answer, ()) = tokio::join!(front.get("/"), bring);
    assert_eq!(answer.body(), "late");
    let soon = tokio::time::timeout(Duration::from_millis(50), group.demand()).await;
    assert!(soon.is_err(), "it waits no longer");
}

#[tokio::test]
async fn requests_wait_for_a_bounded_time_and_in_a_bounded_number() {
    let front = Front::with_workers(1, group_with(HOLD, []));
    let start = Instant::now();
    let (first, second, third) = tokio::join!(front.get("/"), front.get("/"), front.get("/"));
    let elapsed = start.elapsed();
    assert_eq!([first.status(), second.status(), third.status()], [503; 3]);
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    let group = group_with(&[("coracle.hold.max_requests", "2")], []);
    let front = Front::with_workers(1, group);
    let start = Instant::now();
    assert_eq!(front.get("/").await.status(), 503);
    assert!(start.elapsed() < Duration::from_secs(1), "holding is off");
}

#[tokio::test]
async fn beyond_the_bound_a_request_is_refused_at_once() {
    let hold = [("coracle.hold.timeout_seconds", "300"), ("coracle.hold.max_requests", "1")];
    let group = group_with(&hold, []);
    let front = Front::with_workers(1, Arc::clone(&group));
    let mut first = front.connect().await;
    first.write_all(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // Until the first waits the second may take its place; once it does each further one is refused.
    let refused =
        async { while tokio::time::timeout(Duration::from_millis(200), front.get("/")).await.is_err() {} };
    within(refused).await;
    group.register("late", saying("late"), HEALTHY);
    let head = within(crate::support::read_head(&mut first)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

fn outliers(targets: impl IntoIterator<Item = (&'static str, Arc<dyn Target>)>) -> Arc<TargetGroup> {
    let attributes = [
        ("coracle.outlier_detection.consecutive_failures", "3"),
        ("coracle.outlier_detection.base_ejection_seconds", "1"),
        ("coracle.outlier_detection.max_ejection_percent", "34"),
    ];
    group_with(&attributes, targets)
}

fn failing() -> Arc<dyn Target> {
    target(|_| async {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        Ok(response)
    })
}

#[tokio::test]
async fn a_target_that_fails_in_a_row_is_set_aside_for_a_while() {
    let group = outliers([("good", saying("good")), ("bad", failing())]);
    let front = Front::with_workers(1, Arc::clone(&group));
    let mut failed = 0;
    for _ in 0..40 {
        failed += usize::from(front.get("/").await.status() == 500);
    }
    // A turn may come once more between two ejections on a machine that was paused.
    assert!((3..=6).contains(&failed), "{failed}");
    let bad = group.target(&"bad".into()).unwrap();
    assert_eq!((bad.state, bad.ejections >= 1), (TargetState::Healthy, true));
    let returns = async {
        while group.target(&"bad".into()).unwrap().counters.requests == failed as u64 {
            front.get("/").await;
        }
    };
    within(returns).await;
}

#[tokio::test]
async fn no_more_targets_are_set_aside_than_may_be_and_never_the_last() {
    let group = outliers([("a", failing()), ("b", failing()), ("c", failing()), ("d", failing())]);
    let front = Front::with_workers(1, Arc::clone(&group));
    for _ in 0..40 {
        assert_eq!(front.get("/").await.status(), 500);
    }
    let ejected = group.targets().iter().filter(|target| target.ejected).count();
    assert!(ejected <= 1, "{ejected} of 4 at 34 %");
    let alone = outliers([("only", failing())]);
    let front = Front::with_workers(1, Arc::clone(&alone));
    for _ in 0..10 {
        front.get("/").await;
    }
    assert_eq!(alone.targets()[0].ejections, 0);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_in_all_is_ended() {
    // It drips, so that no idle timeout is ever reached.
    let address = upstream(|mut stream, head| async move {
        if head.starts_with("GET /slow-head ") {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.ok();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let config =
        TcpTargetConfig { total_timeout: Some(Duration::from_millis(300)), ..TcpTargetConfig::default() };
    let target: Arc<dyn Target> = Arc::new(TcpTarget::new(address, config));
    let front = Front::with_workers(1, group_with(&[], [("slow", target)]));
    assert_eq!(front.get("/slow-head").await.status(), 504);
    let mut client = front.client().await;
    let response = within(client.send_request(crate::support::get("/"))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(within(response.into_body().collect()).await.is_err(), "cut, not seemingly complete");
}

#[tokio::test]
async fn a_new_target_may_be_registered_as_unvouched_while_requests_wait() {
    let group = TargetGroup::new(TargetGroupConfig {
        attributes: TargetGroupAttributes::from_pairs(HOLD.iter().copied()).unwrap(),
        ..TargetGroupConfig::new("checked")
    });
    group.register("new", echoing(), RegisterOptions::default());
    let front = Front::with_workers(1, group);
    assert_eq!(front.get("/").await.status(), 200, "once its first check has succeeded");
}
