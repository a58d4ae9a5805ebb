//! Requests that come from inside the process, without a listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coracle_balancer::{
    Body, Forward, HealthCheckConfig, HoldPolicy, Target, TargetError, TargetGroup, TargetGroupAttributes,
    TargetGroupConfig, TargetId,
};
use futures_util::future::{BoxFuture, FutureExt, pending};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;

use crate::support::{Answer, HEALTHY, group, saying, target, tcp, within};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 3, 2, 1));

fn request(target: &str) -> Request<Body> {
    Request::get(target).body(Body::empty()).unwrap()
}

async fn ask(group: &Arc<TargetGroup>, request: Request<Body>) -> Response<Body> {
    within(Arc::new(Forward::from(Arc::clone(group))).answer(request, CLIENT)).await
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(within(response.into_body().collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

fn counters(group: &TargetGroup, id: &str) -> coracle_balancer::TargetCounters {
    group.target(&TargetId::new(id)).unwrap().counters
}

#[tokio::test]
async fn a_target_gets_it_as_it_gets_a_clients() {
    let seen = |request: Request<Body>| async move {
        let text = format!("{} {:?} {:?}", request.uri(), request.version(), request.headers());
        Ok(Response::new(Body::full(text)))
    };
    let group = group([("only", target(seen))]);
    let mut asked = request("http://orders.shop:8080/a?b=c");
    asked.headers_mut().insert("connection", "x-secret".parse().unwrap());
    asked.headers_mut().insert("x-secret", "1".parse().unwrap());
    let answer = text(ask(&group, asked).await).await;
    assert!(answer.starts_with("/a?b=c HTTP/1.1 "), "{answer}");
    for part in [
        r#""host": "orders.shop:8080""#,
        r#""x-forwarded-for": "127.3.2.1""#,
        r#""x-forwarded-port": "8080""#,
        r#""x-forwarded-proto": "http""#,
    ] {
        assert!(answer.contains(part), "{part} is missing: {answer}");
    }
    assert!(!answer.contains("secret"), "{answer}");
    let tunnel = Request::builder().method(Method::CONNECT).uri("http://a/").body(Body::empty()).unwrap();
    assert_eq!(ask(&group, tunnel).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(counters(&group, "only").requests, 1, "what is refused reaches nobody");
}

#[tokio::test]
async fn it_is_in_flight_until_its_answer_was_read_and_counted_by_its_status() {
    let group = group([("only", saying("hello"))]);
    let answer = ask(&group, request("http://a/")).await;
    let now = counters(&group, "only");
    assert_eq!((now.requests, now.in_flight, now.responses_2xx), (1, 1, 1));
    assert_eq!(text(answer).await, "hello");
    assert_eq!(counters(&group, "only").in_flight, 0);
    drop(ask(&group, request("http://a/")).await);
    assert_eq!(counters(&group, "only").in_flight, 0);
    let head = Request::head("http://a/").body(Body::empty()).unwrap();
    assert_eq!(text(ask(&group, head).await).await, "");
}

#[tokio::test]
async fn what_did_not_arrive_is_tried_on_another_target_and_nobody_at_all_is_a_503() {
    let gone = target(|request| async {
        Err(TargetError::Unreached { request: Some(request), source: "it has stopped".into() })
    });
    let group = group([("gone", gone), ("there", saying("hello"))]);
    for _ in 0..4 {
        assert_eq!(text(ask(&group, request("http://a/")).await).await, "hello");
    }
    assert_eq!(counters(&group, "there").responses_2xx, 4);
    within(group.deregister(&TargetId::new("there"))).await;
    assert_eq!(ask(&group, request("http://a/")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    within(group.deregister(&TargetId::new("gone"))).await;
    assert_eq!(ask(&group, request("http://a/")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// Tells when its work is given up.
struct Given(Arc<AtomicUsize>);

impl Drop for Given {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn one_who_goes_away_takes_the_targets_work_along() {
    let given_up = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given_up);
    let slow = target(move |_| {
        let given = Given(Arc::clone(&count));
        async move {
            let _given = given;
            pending::<()>().await;
            unreachable!("it waits for ever")
        }
    });
    let group = group([("slow", slow)]);
    let mut asking = Arc::new(Forward::from(Arc::clone(&group))).answer(request("http://a/"), CLIENT).boxed();
    assert!((&mut asking).now_or_never().is_none());
    assert_eq!((counters(&group, "slow").in_flight, given_up.load(Ordering::SeqCst)), (1, 0));
    drop(asking);
    assert_eq!((counters(&group, "slow").in_flight, given_up.load(Ordering::SeqCst)), (0, 1));
}

fn holding() -> Arc<TargetGroup> {
    let hold = HoldPolicy { timeout: Duration::from_secs(30), ..HoldPolicy::default() };
    TargetGroup::new(TargetGroupConfig {
        health_check: HealthCheckConfig::disabled(),
        attributes: TargetGroupAttributes { hold, ..TargetGroupAttributes::default() },
        ..TargetGroupConfig::new("sleeps")
    })
}

#[tokio::test]
async fn where_requests_are_held_it_wakes_the_group_and_waits_for_the_first_target() {
    let group = holding();
    let waking = tokio::spawn({
        let group = Arc::clone(&group);
        async move {
            group.demand().await;
            group.register("first", saying("hello"), HEALTHY);
        }
    });
    assert_eq!(text(ask(&group, request("http://a/")).await).await, "hello");
    within(waking).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_not_held_for_longer_than_a_clients() {
    let group = holding();
    let begun = tokio::time::Instant::now();
    let forward = Arc::new(Forward::from(group));
    let answer = Arc::clone(&forward).answer(request("http://a/"), CLIENT).await;
    assert_eq!(
        (answer.status(), begun.elapsed()),
        (StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(30))
    );
    assert!(forward.addresses(CLIENT).await.is_empty());
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
}

/// A handler that has a socket, too.
struct WithSocket(SocketAddr);

impl Target for WithSocket {
    fn call(&self, _: Request<Body>) -> BoxFuture<'static, Answer> {
        async { Ok(Response::new(Body::empty())) }.boxed()
    }

    fn reached_at(&self) -> Option<SocketAddr> {
        Some(self.0)
    }
}

#[tokio::test]
async fn addresses_are_those_of_the_groups_that_get_requests() {
    let at = |last: u8| SocketAddr::from(([127, 5, 0, last], 8080));
    let serving =
        group([("server", tcp(at(1))), ("handler", Arc::new(WithSocket(at(2))) as Arc<dyn Target>)]);
    serving.register("in process", saying("hello"), HEALTHY);
    let beside = group([("new", tcp(at(3)))]);
    for (weight, expected) in [(0, vec![at(1), at(2)]), (1, vec![at(1), at(2), at(3)])] {
        let groups = vec![(Arc::clone(&serving), 1), (Arc::clone(&beside), weight)];
        let forward = Arc::new(Forward::weighted(groups, None).unwrap());
        assert_eq!(forward.addresses_now(), expected);
        assert_eq!(forward.addresses(CLIENT).await, expected);
    }
}
