//! Who gets a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coracle_balancer::{
    Balancer, BalancerConfig, BalancerError, Body, HealthCheckConfig, ListenerConfig, RegisterOptions,
    TargetError, TargetGroup, TargetGroupConfig,
};
use http::{Request, Response};
use http_body_util::BodyExt;

use crate::support::{Front, HEALTHY, any_port, bytes_of, get, group, saying, target};

#[tokio::test]
async fn requests_go_to_each_target_in_turn() {
    let front = Front::new(group([("a", saying("a")), ("b", saying("b")), ("c", saying("c"))]));
    let mut said = String::new();
    for _ in 0..9 {
        said.push_str(front.get("/").await.body());
    }
    assert_eq!(said, "abcabcabc");
}

#[tokio::test]
async fn without_targets_the_answer_is_503_as_an_albs() {
    let front = Front::new(group([]));
    let answer = front.get("/").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert!(answer.body().contains("<h1>503 Service Temporarily Unavailable</h1>"), "{}", answer.text);
}

#[tokio::test]
async fn a_new_target_gets_no_traffic_before_its_first_success() {
    let config =
        TargetGroupConfig { health_check: HealthCheckConfig::default(), ..TargetGroupConfig::new("new") };
    let group = TargetGroup::new(config);
    let never = target(|_| std::future::pending());
    group.register("new", never, RegisterOptions::default());
    let front = Front::new(group);
    assert_eq!(front.get("/").await.status(), 503);
}

#[tokio::test]
async fn a_request_that_did_not_reach_its_target_goes_to_another_with_its_body() {
    let tried = Arc::new(AtomicUsize::new(0));
    let unreached = |tried: &Arc<AtomicUsize>| {
        let tried = Arc::clone(tried);
        target(move |request| {
            tried.fetch_add(1, Ordering::Relaxed);
            async move { Err(TargetError::Unreached { request: Some(request), source: "stopped".into() }) }
        })
    };
    let full = target(|request| async move { Err(TargetError::Overloaded { request: Some(request) }) });
    let echo = target(|request: Request<Body>| async move { Ok(Response::new(request.into_body())) });
    let group =
        group([("gone", unreached(&tried)), ("full", full), ("gone too", unreached(&tried)), ("echo", echo)]);
    let front = Front::new(Arc::clone(&group));
    for turn in 0..8 {
        let body = format!("body {turn}");
        let request = Request::post("/").header("host", "test").body(Body::full(body.clone())).unwrap();
        let response = front.client().await.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(bytes_of(response).await, body);
    }
    assert!(tried.load(Ordering::Relaxed) > 0);
    let counters = |id: &str| group.target(&id.into()).unwrap().counters;
    assert_eq!((counters("echo").requests, counters("echo").responses_2xx), (8, 8));
    assert_eq!(counters("full").failures, counters("full").requests);
}

#[tokio::test]
async fn when_no_target_takes_it_the_answer_is_503() {
    let full = || target(|request| async move { Err(TargetError::Overloaded { request: Some(request) }) });
    let gone = || target(|_| async { Err(TargetError::Unreached { request: None, source: "gone".into() }) });
    let front = Front::new(group([("a", full()), ("b", full())]));
    assert_eq!(front.get("/").await.status(), 503);
    front.listener.set_routes(group([("a", gone())]));
    assert_eq!(front.get("/").await.status(), 503);
}

#[tokio::test]
async fn a_listener_can_be_pointed_at_another_group_under_an_open_connection() {
    let front = Front::new(group([("blue", saying("blue"))]));
    let mut client = front.client().await;
    assert_eq!(bytes_of(client.send_request(get("/")).await.unwrap()).await, "blue");
    front.listener.set_routes(group([("green", saying("green"))]));
    client.ready().await.unwrap();
    assert_eq!(bytes_of(client.send_request(get("/")).await.unwrap()).await, "green");
}

#[tokio::test]
async fn registering_an_id_again_replaces_the_target() {
    let group = group([("task", saying("old"))]);
    let front = Front::new(Arc::clone(&group));
    group.register("task", saying("new"), HEALTHY);
    for _ in 0..3 {
        assert_eq!(front.get("/").await.body(), "new");
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_can_be_told_apart() {
    let front = Front::new(group([]));
    let taken = ListenerConfig::new("second", front.address());
    let other = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let error = other.listen(taken.clone(), group([])).unwrap_err();
    assert!(matches!(error, BalancerError::PortInUse { address } if address == front.address()), "{error:?}");
    let error = front.balancer.listen(taken, group([])).unwrap_err();
    assert!(matches!(error, BalancerError::PortInUse { .. }), "{error:?}");
}

#[tokio::test]
async fn the_number_of_workers_is_checked_and_the_hook_runs_on_each() {
    for workers in [0, 257] {
        let error = Balancer::start(BalancerConfig { workers, ..BalancerConfig::default() }).unwrap_err();
        assert!(matches!(error, BalancerError::Workers(given) if given == workers));
    }
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let hook = move || started.send(std::thread::current().name().map(str::to_owned)).unwrap();
    let config =
        BalancerConfig { workers: 3, on_worker_start: Some(Arc::new(hook)), ..BalancerConfig::default() };
    let balancer = Balancer::start(config).unwrap();
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(crate::support::within(starts.recv()).await.unwrap().unwrap());
    }
    names.sort();
    assert_eq!(names, ["balancer-0", "balancer-1", "balancer-2"]);
    balancer.shutdown(crate::support::DEADLINE).await;
    assert!(matches!(balancer.listen(any_port(), group([])).unwrap_err(), BalancerError::ShutDown));
}

#[tokio::test]
async fn counters_tell_what_a_target_did() {
    let status = target(|request: Request<Body>| async move {
        let code: u16 = request.uri().path()[1..].parse().unwrap();
        if code == 0 {
            return Err(TargetError::Failed("broken".into()));
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::builder().status(code).body(Body::full(body)).unwrap())
    });
    let group = group([("only", status)]);
    let front = Front::new(Arc::clone(&group));
    for (code, times) in [(200, 4), (302, 3), (404, 2), (500, 1), (0, 2)] {
        for _ in 0..times {
            assert_eq!(front.get(&format!("/{code}")).await.status(), if code == 0 { 502 } else { code });
        }
    }
    let counters = group.targets()[0].counters;
    assert_eq!((counters.requests, counters.in_flight, counters.failures), (12, 0, 2));
    let classes =
        [counters.responses_2xx, counters.responses_3xx, counters.responses_4xx, counters.responses_5xx];
    assert_eq!(classes, [4, 3, 2, 1]);
}
