//! Health checks of real targets. The states themselves are tested beside their state machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use coracle_balancer::{
    Body, HealthCheckConfig, HealthCheckProtocol, RegisterOptions, Target, TargetDescription, TargetGroup,
    TargetGroupConfig, TargetState, TcpTarget, TcpTargetConfig,
};
use http::{Request, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{Front, HEALTHY, refusing, saying, target, upstream, within};

fn checked(check: HealthCheckConfig) -> Arc<TargetGroup> {
    TargetGroup::new(TargetGroupConfig { health_check: check, ..TargetGroupConfig::new("checked") })
}

fn quick() -> HealthCheckConfig {
    HealthCheckConfig::from_settings([("interval", "0.1"), ("timeout", "0.09")]).unwrap()
}

async fn reaches(group: &TargetGroup, state: TargetState) -> TargetDescription {
    within(becomes(group, state)).await
}

/// Without a deadline, for paused clocks.
async fn becomes(group: &TargetGroup, state: TargetState) -> TargetDescription {
    let mut changes = group.changes();
    loop {
        let found = group.targets().into_iter().find(|target| target.state == state);
        match found {
            Some(target) => return target,
            None => changes.changed().await.unwrap(),
        }
    }
}

/// An in-process target that answers with the status it is set to, and never at 0.
fn answering(status: &Arc<AtomicU16>, calls: &Arc<AtomicUsize>) -> Arc<dyn Target> {
    let (status, calls) = (Arc::clone(status), Arc::clone(calls));
    target(move |request: Request<Body>| {
        assert_eq!(
            (request.uri().path(), &request.headers()["host"]),
            ("/up", &"localhost".parse().unwrap())
        );
        calls.fetch_add(1, Ordering::Relaxed);
        let status = status.load(Ordering::Relaxed);
        async move {
            if status == 0 {
                std::future::pending::<()>().await;
            }
            Ok(Response::builder().status(status).body(Body::full("checked")).unwrap())
        }
    })
}

/// Each interval is up to a tenth shorter or longer.
fn about(start: Instant, seconds: f64, what: &str) {
    let elapsed = start.elapsed().as_secs_f64();
    assert!((elapsed - seconds).abs() <= seconds * 0.1, "{what}: {elapsed} s");
}

#[tokio::test(start_paused = true)]
async fn a_target_in_process_is_called_and_judged_as_elb_does() {
    let (status, calls) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
    let group = checked(HealthCheckConfig { path: "/up".to_owned(), ..HealthCheckConfig::default() });
    let start = Instant::now();
    group.register("task", answering(&status, &calls), RegisterOptions::default());
    assert_eq!(group.targets()[0].reason, Some("Elb.RegistrationInProgress"));

    becomes(&group, TargetState::Healthy).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "the first check is at once, one success is enough");

    status.store(503, Ordering::Relaxed);
    let unhealthy = becomes(&group, TargetState::Unhealthy).await;
    about(start, 60.0, "two failures, 30 s apart");
    assert_eq!(unhealthy.reason, Some("Target.ResponseCodeMismatch"));
    assert_eq!(unhealthy.description.as_deref(), Some("Health checks failed with these codes: [503]"));

    status.store(200, Ordering::Relaxed);
    becomes(&group, TargetState::Healthy).await;
    about(start, 60.0 + 5.0 * 30.0, "five successes");

    status.store(0, Ordering::Relaxed);
    let hangs = becomes(&group, TargetState::Unhealthy).await;
    assert_eq!(hangs.reason, Some("Target.Timeout"));
    about(start, 210.0 + 60.0 + 5.0, "two failures, the second known after 5 s");

    group.deregister(&"task".into()).await;
    let before = calls.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(calls.load(Ordering::Relaxed), before, "no checks after deregistration");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_starts_late_gets_traffic_soon_after_and_not_an_interval_later() {
    for late in [50, 900, 7000] {
        let (status, calls) = (Arc::new(AtomicU16::new(503)), Arc::new(AtomicUsize::new(0)));
        let group = checked(HealthCheckConfig { path: "/up".to_owned(), ..HealthCheckConfig::default() });
        let start = Instant::now();
        group.register("task", answering(&status, &calls), RegisterOptions::default());
        tokio::time::sleep(Duration::from_millis(late)).await;
        assert_eq!(group.targets()[0].reason, Some("Elb.InitialHealthChecking"));
        status.store(200, Ordering::Relaxed);
        becomes(&group, TargetState::Healthy).await;
        let took = start.elapsed().as_millis();
        assert!(took <= u128::from(2 * late + 100), "ready after {late} ms, found healthy after {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn the_probes_of_a_new_target_in_between_cannot_make_it_unhealthy() {
    // The target that hangs is given up at the interval's end, and not a timeout later.
    for status in [503, 0] {
        let (status, calls) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicUsize::new(0)));
        let group = checked(HealthCheckConfig { path: "/up".to_owned(), ..HealthCheckConfig::default() });
        let start = Instant::now();
        group.register("task", answering(&status, &calls), RegisterOptions::default());
        becomes(&group, TargetState::Unhealthy).await;
        let timeout = if status.load(Ordering::Relaxed) == 0 { 5.0 } else { 0.0 };
        let elapsed = start.elapsed().as_secs_f64() - timeout;
        assert!((27.0..=33.0).contains(&elapsed), "two failures, 30 s apart, and not {elapsed} s");
        let before = calls.load(Ordering::Relaxed);
        assert!((4..=11).contains(&before), "{before} probes: the pauses grow");
        tokio::time::sleep(Duration::from_secs(300)).await;
        let more = calls.load(Ordering::Relaxed) - before;
        assert!((9..=11).contains(&more), "{more} probes in ten intervals: it is not new any more");
    }
}

#[tokio::test]
async fn unhealthy_targets_get_nothing_until_all_are() {
    let sick = || {
        target(|request: Request<Body>| async move {
            let checked = request.uri().path() == "/up";
            Ok(Response::builder().status(if checked { 500 } else { 200 }).body("sick".into()).unwrap())
        })
    };
    let group = checked(HealthCheckConfig { path: "/up".to_owned(), ..quick() });
    group.register("sick", sick(), HEALTHY);
    group.register("well", saying("well"), HEALTHY);
    reaches(&group, TargetState::Unhealthy).await;
    let front = Front::new(Arc::clone(&group));
    for _ in 0..4 {
        assert_eq!(front.get("/").await.body(), "well");
    }
    within(group.deregister(&"well".into())).await;
    assert_eq!(front.get("/").await.body(), "sick", "fails open");
}

#[tokio::test]
async fn targets_over_tcp_are_checked_over_a_connection_of_their_own() {
    let answer = |head: &'static str| async move {
        upstream(move |mut stream, request| async move {
            assert!(request.starts_with("GET /up HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("connection: close\r\n"), "{request}");
            stream.write_all(head.as_bytes()).await.unwrap();
        })
        .await
    };
    let (refused, _refusing) = refusing();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cases = [
        (answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await, TargetState::Healthy, None),
        (
            answer("HTTP/1.1 404 Not Found\r\n\r\n").await,
            TargetState::Unhealthy,
            Some("Target.ResponseCodeMismatch"),
        ),
        (
            answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await,
            TargetState::Unhealthy,
            Some("Target.FailedHealthChecks"),
        ),
        (answer("nonsense\r\n").await, TargetState::Unhealthy, Some("Target.FailedHealthChecks")),
        (refused, TargetState::Unhealthy, Some("Target.FailedHealthChecks")),
        (silent.local_addr().unwrap(), TargetState::Unhealthy, Some("Target.Timeout")),
    ];
    for (address, state, reason) in cases {
        let group = checked(HealthCheckConfig { path: "/up".to_owned(), ..quick() });
        let target = Arc::new(TcpTarget::new(address, TcpTargetConfig::default()));
        group.register("task", target, RegisterOptions::default());
        let found = reaches(&group, state).await;
        assert_eq!((found.reason, found.address), (reason, Some(address)));
    }
}

#[tokio::test]
async fn a_tcp_check_asks_for_a_connection_only() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let group = checked(HealthCheckConfig { protocol: HealthCheckProtocol::Tcp, ..quick() });
    let target = TcpTarget::new(silent.local_addr().unwrap(), TcpTargetConfig::default());
    group.register("task", Arc::new(target), RegisterOptions::default());
    reaches(&group, TargetState::Healthy).await;
    drop(silent);
    let found = reaches(&group, TargetState::Unhealthy).await;
    assert_eq!(found.reason, Some("Target.FailedHealthChecks"));
}

#[tokio::test]
async fn without_checks_a_target_gets_traffic_at_once() {
    let group = checked(HealthCheckConfig::disabled());
    group.register("task", saying("here"), RegisterOptions::default());
    assert_eq!(group.targets()[0].state, TargetState::Unavailable);
    assert_eq!(Front::new(group).get("/").await.body(), "here");
}
