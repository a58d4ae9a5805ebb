//! What a listener's rules do to a request, and that changing them disturbs nobody.

use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    Action, Condition, FixedResponse, Forward, HealthCheckConfig, Redirect, Routes, Rule, TargetGroup,
    TargetGroupAttributes, TargetGroupConfig,
};

use crate::support::{Front, HEALTHY, bytes_of, get, group, saying, within};

fn path(pattern: &str) -> Vec<Condition> {
    vec![Condition::path_pattern([pattern]).unwrap()]
}

#[tokio::test]
async fn rules_forward_redirect_and_answer() {
    let front = Front::new(group([("default", saying("default"))]));
    let fixed = FixedResponse::new(503, Some("application/json"), "{\"closed\":true}").unwrap();
    let redirect = Redirect::new("HTTP_302", [("Protocol", "HTTPS"), ("Port", "443")]).unwrap();
    let rules = vec![
        Rule::new(1, path("/api/*"), group([("api", saying("api"))]).into()).unwrap(),
        Rule::new(2, path("/closed"), Action::FixedResponse(fixed)).unwrap(),
        Rule::new(3, path("/old*"), Action::Redirect(redirect)).unwrap(),
    ];
    front.listener.set_routes(Routes::new(rules, group([("default", saying("default"))])).unwrap());
    assert_eq!(front.get("/").await.body(), "default");
    assert_eq!(front.get("/api/users").await.body(), "api");
    let closed = front.get("/closed").await;
    assert_eq!((closed.status(), closed.body()), (503, "{\"closed\":true}"));
    assert_eq!(closed.header("content-type"), Some("application/json"));
    let moved = front.get("/old?a=b").await;
    assert_eq!((moved.status(), moved.body()), (302, ""));
    assert_eq!(moved.header("location"), Some("https://test:443/old?a=b"));
}

#[tokio::test]
async fn rules_and_attributes_change_under_connections_that_stay_open() {
    let blue = group([("blue", saying("blue"))]);
    let front = Front::new(Arc::clone(&blue));
    let mut client = front.client().await;
    let mut ask = async |path: &str| {
        let response = within(client.send_request(get(path))).await.unwrap();
        let cookie = response.headers().contains_key("set-cookie");
        (String::from_utf8(bytes_of(response).await.to_vec()).unwrap(), cookie)
    };
    assert_eq!(ask("/").await, ("blue".to_owned(), false));
    front.listener.set_routes(group([("green", saying("green"))]));
    assert_eq!(ask("/").await, ("green".to_owned(), false));
    let fixed = Action::FixedResponse(FixedResponse::new(200, None, "fixed").unwrap());
    front
        .listener
        .set_routes(Routes::new(vec![Rule::new(1, path("/x"), fixed).unwrap()], blue.clone()).unwrap());
    assert_eq!(ask("/x").await, ("fixed".to_owned(), false));
    blue.set_attributes(TargetGroupAttributes::from_pairs([("stickiness.enabled", "true")]).unwrap());
    assert_eq!(ask("/").await, ("blue".to_owned(), true));
}

#[tokio::test]
async fn a_client_with_a_cookie_comes_back_to_its_target() {
    let sticky = TargetGroupAttributes::from_pairs([("stickiness.enabled", "true")]).unwrap();
    let config = TargetGroupConfig {
        health_check: HealthCheckConfig::disabled(),
        attributes: sticky,
        ..TargetGroupConfig::new("sticky")
    };
    let targets = TargetGroup::new(config);
    for name in ["a", "b", "c"] {
        targets.register(name, saying(name), HEALTHY);
    }
    let forward = Forward::weighted(vec![(targets, 1)], Some(Duration::from_secs(60))).unwrap();
    let front = Front::new(group([]));
    front.listener.set_routes(Action::Forward(forward));
    let first = front.get("/").await;
    let cookies: Vec<_> = first.text.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).collect();
    let names: Vec<_> = cookies.iter().map(|cookie| cookie.split('=').next().unwrap()).collect();
    assert_eq!(names, ["AWSALB", "AWSALBCORS", "AWSALBTG", "AWSALBTGCORS"]);
    assert!(cookies[0].ends_with("; Max-Age=86400; Path=/"), "{}", cookies[0]);
    assert!(cookies[3].ends_with("; Max-Age=60; Path=/; SameSite=None; Secure"), "{}", cookies[3]);
    let pairs: Vec<_> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
    let request =
        format!("GET / HTTP/1.1\r\nhost: a\r\ncookie: {}\r\nconnection: close\r\n\r\n", pairs.join("; "));
    for _ in 0..6 {
        assert_eq!(front.raw(&request).await.body(), first.body());
    }
}
