//! Rules against requests, and what is refused as a rule.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode, header};

use super::*;
use crate::target_group::Asking;
use crate::{HealthCheckConfig, RegisterOptions, TargetGroupConfig, TargetState, TcpTarget, TcpTargetConfig};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));

fn answer(status: u16) -> Action {
    Action::FixedResponse(FixedResponse::new(status, None, "").unwrap())
}

fn rule(priority: u32, condition: Condition, status: u16) -> Rule {
    Rule::new(priority, vec![condition], answer(status)).unwrap()
}

fn request(target: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn status(routes: &Routes, request: &Request<()>) -> u16 {
    match routes.action(request, CLIENT).1 {
        Action::FixedResponse(fixed) => fixed.response().status().as_u16(),
        other => panic!("{other:?}"),
    }
}

fn holds(condition: Condition, request: &Request<()>) -> bool {
    let routes = Routes::new(vec![rule(1, condition, 200)], answer(404)).unwrap();
    status(&routes, request) == 200
}

#[test]
fn the_first_rule_that_matches_decides_and_else_the_default() {
    let path = |pattern| Condition::path_pattern([pattern]).unwrap();
    let rules = vec![rule(20, path("/*"), 420), rule(3, path("/a*"), 403), rule(10, path("/ab"), 410)];
    let routes = Routes::new(rules, answer(500)).unwrap();
    for (target, expected) in [("/ab", 403), ("/abc", 403), ("/b", 420)] {
        assert_eq!(status(&routes, &request(target, &[])), expected, "{target}");
    }
    assert_eq!(status(&Routes::from(answer(500)), &request("/", &[])), 500);
}

#[test]
fn all_conditions_of_a_rule_have_to_hold() {
    let conditions = vec![
        Condition::path_pattern(["/api/*"]).unwrap(),
        Condition::http_header("x-canary", ["yes", "1"]).unwrap(),
    ];
    let routes = Routes::new(vec![Rule::new(1, conditions, answer(200)).unwrap()], answer(404)).unwrap();
    assert_eq!(status(&routes, &request("/api/x", &[("x-canary", "YES")])), 200);
    assert_eq!(status(&routes, &request("/api/x", &[("x-canary", "no")])), 404);
    assert_eq!(status(&routes, &request("/api/x", &[])), 404);
    assert_eq!(status(&routes, &request("/", &[("x-canary", "1")])), 404);
}

#[test]
fn conditions_look_at_what_awss_do() {
    let host =
        |pattern, host| holds(Condition::host_header([pattern]).unwrap(), &request("/", &[("host", host)]));
    assert!(host("*.Example.com", "www.example.COM:8080"));
    assert!(!host("*.example.com", "example.com"));
    assert!(host("[::1]", "[::1]:80"));

    let path = |pattern, target| holds(Condition::path_pattern([pattern]).unwrap(), &request(target, &[]));
    assert!(path("/img/*.jp?g", "/img/a/b.jpeg?size=1"));
    assert!(!path("/img", "/IMG"));
    assert!(!path("*size*", "/img?size=1"));

    let header = |value, sent| {
        holds(Condition::http_header("User-Agent", [value]).unwrap(), &request("/", &[("user-agent", sent)]))
    };
    assert!(header("*chrome*", "Mozilla Chrome/1"));
    assert!(!header("chrome", "Mozilla Chrome/1"));

    let mut post = request("/", &[]);
    *post.method_mut() = http::Method::POST;
    let method = |method| holds(Condition::http_request_method([method]).unwrap(), &post);
    assert!(method("POST") && !method("GET"));

    let query =
        |key, value, target| holds(Condition::query_string([(key, value)]).unwrap(), &request(target, &[]));
    assert!(query(Some("version"), "v1*", "/?a=b&Version=V1.2"));
    assert!(!query(Some("version"), "v1", "/?other=v1"));
    assert!(query(None, "v1", "/?other=v1"));
    assert!(query(Some("flag"), "", "/?flag"));
    assert!(!query(None, "*", "/"));

    let source = |network| holds(Condition::source_ip([network]).unwrap(), &request("/", &[]));
    for (network, expected) in [
        ("10.1.2.3/32", true),
        ("10.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("10.1.2.2/32", false),
        ("11.0.0.0/8", false),
        ("::/0", false),
    ] {
        assert_eq!(source(network), expected, "{network}");
    }
    let forged = request("/", &[("x-forwarded-for", "192.168.0.1")]);
    assert!(!holds(Condition::source_ip(["192.168.0.0/16"]).unwrap(), &forged));
}

#[test]
fn conditions_out_of_their_limits_are_refused_with_their_field() {
    let long = "x".repeat(129);
    for (refused, field) in [
        (Condition::host_header(["a/b"]), "HostHeaderConfig.Values"),
        (Condition::host_header([long.as_str()]), "HostHeaderConfig.Values"),
        (Condition::path_pattern(["/a b"]), "PathPatternConfig.Values"),
        (Condition::path_pattern([""]), "PathPatternConfig.Values"),
        (Condition::http_header("host", ["a"]), "HttpHeaderConfig.HttpHeaderName"),
        (Condition::http_header("a b", ["a"]), "HttpHeaderConfig.HttpHeaderName"),
        (Condition::http_header(&long[..41], ["a"]), "HttpHeaderConfig.HttpHeaderName"),
        (Condition::http_header("a", ["\u{7f}"]), "HttpHeaderConfig.Values"),
        (Condition::http_request_method(["get"]), "HttpRequestMethodConfig.Values"),
        (Condition::query_string([(None, long.as_str())]), "QueryStringConfig.Values.Value"),
        (Condition::query_string([(Some(""), "a")]), "QueryStringConfig.Values.Key"),
        (Condition::source_ip(["10.0.0.1"]), "SourceIpConfig.Values"),
        (Condition::source_ip(["10.0.0.1/33"]), "SourceIpConfig.Values"),
    ] {
        assert_eq!(refused.unwrap_err().field(), field);
    }
}

#[test]
fn rules_out_of_their_limits_are_refused() {
    let path = |patterns: &[&'static str]| Condition::path_pattern(patterns.iter().copied()).unwrap();
    let refused =
        |priority, conditions| Rule::new(priority, conditions, answer(200)).unwrap_err().to_string();
    assert_eq!(refused(0, vec![path(&["/"])]), "Priority: \"0\" is not from 1 to 50000");
    assert_eq!(refused(50_001, vec![path(&["/"])]), "Priority: \"50001\" is not from 1 to 50000");
    assert_eq!(refused(1, vec![]), "Conditions: \"0 values\" is not 1 to 5 values in all");
    assert_eq!(
        refused(1, vec![path(&["/1", "/2", "/3"]), Condition::host_header(["a", "b", "c"]).unwrap()]),
        "Conditions: \"6 values\" is not 1 to 5 values in all"
    );
    assert_eq!(
        refused(1, vec![path(&["/*?*?*?*"])]),
        "Conditions: \"7 wildcards\" is not at most 6 wildcards in all"
    );
    assert_eq!(
        refused(1, vec![path(&["/a"]), path(&["/b"])]),
        "Conditions: \"path-pattern\" is not given once at most"
    );
    let twice = vec![rule(7, path(&["/a"]), 200), rule(7, path(&["/b"]), 200)];
    assert_eq!(
        Routes::new(twice, answer(404)).unwrap_err().to_string(),
        "Priority: \"7\" is not a priority that no other rule of the listener has"
    );
}

fn location(parts: &[(&str, &str)], request: &Request<()>) -> String {
    let redirect = Redirect::new("HTTP_301", parts.iter().copied()).unwrap();
    let response = redirect.response(request, Place { protocol: "http", port: 8080 }).unwrap();
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    response.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

#[test]
fn a_redirect_is_made_of_the_requests_parts() {
    let request = request("/a/b?c=d", &[("host", "example.com:8080")]);
    for (parts, expected) in [
        (&[("Protocol", "HTTPS"), ("Port", "443")][..], "https://example.com:443/a/b?c=d"),
        (&[("Host", "www.#{host}")], "http://www.example.com:8080/a/b?c=d"),
        (&[("Path", "/new/#{path}"), ("Query", "")], "http://example.com:8080/new/a/b"),
        (
            &[("Path", "/#{host}/#{port}"), ("Query", "x=#{path}&#{query}")],
            "http://example.com:8080/example.com/8080?x=a/b&c=d",
        ),
        (&[("Path", "/#{protocol}")], "http://example.com:8080/http?c=d"),
    ] {
        assert_eq!(location(parts, &request), expected);
    }
}

#[test]
fn a_redirect_cannot_be_led_to_another_host_or_header() {
    let request = request("//evil.com/x", &[("host", "example.com")]);
    let parts = [("Protocol", "HTTPS"), ("Port", "443")];
    assert_eq!(location(&parts, &request), "https://example.com:443//evil.com/x");
    let redirect = Redirect::new("HTTP_302", parts).unwrap();
    let hostless = Request::builder().uri("/").body(()).unwrap();
    assert!(redirect.response(&hostless, Place { protocol: "http", port: 80 }).is_none());
}

#[test]
fn redirects_out_of_their_limits_are_refused() {
    for (status, parts, field) in [
        ("HTTP_307", &[("Port", "1")][..], "RedirectConfig.StatusCode"),
        ("HTTP_301", &[], "RedirectConfig.Location"),
        ("HTTP_301", &[("Query", "a")], "RedirectConfig.Location"),
        ("HTTP_301", &[("Host", "#{host}"), ("Path", "/#{path}")], "RedirectConfig.Location"),
        ("HTTP_301", &[("Protocol", "ftp")], "RedirectConfig.Protocol"),
        ("HTTP_301", &[("Port", "0")], "RedirectConfig.Port"),
        ("HTTP_301", &[("Path", "x")], "RedirectConfig.Path"),
        ("HTTP_301", &[("Path", "/#{nothing}")], "RedirectConfig.Path"),
        ("HTTP_301", &[("Path", "/#{path")], "RedirectConfig.Path"),
        ("HTTP_301", &[("Port", "1"), ("Query", "?a")], "RedirectConfig.Query"),
        ("HTTP_301", &[("Host", "a\r\nx: y")], "RedirectConfig.Host"),
        ("HTTP_301", &[("Scheme", "https")], "RedirectConfig"),
    ] {
        let refused = Redirect::new(status, parts.iter().copied()).unwrap_err();
        assert_eq!(refused.field(), field, "{refused}");
    }
}

#[test]
fn fixed_responses_out_of_their_limits_are_refused() {
    let long = "x".repeat(1025);
    for (refused, field) in [
        (FixedResponse::new(302, None, ""), "FixedResponseConfig.StatusCode"),
        (FixedResponse::new(600, None, ""), "FixedResponseConfig.StatusCode"),
        (FixedResponse::new(200, Some("image/png"), ""), "FixedResponseConfig.ContentType"),
        (FixedResponse::new(200, None, &long), "FixedResponseConfig.MessageBody"),
    ] {
        assert_eq!(refused.unwrap_err().field(), field);
    }
}

fn group(name: &str) -> Arc<TargetGroup> {
    let health_check = HealthCheckConfig::disabled();
    let group = TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new(name) });
    let target = TcpTarget::new(([127, 0, 0, 1], 9).into(), TcpTargetConfig::default());
    group.register(format!("target of {name}"), Arc::new(target), RegisterOptions::new(TargetState::Healthy));
    group
}

#[tokio::test]
async fn weighted_groups_get_their_weights_and_a_bound_client_stays() {
    let blue_green = |stickiness| {
        Forward::weighted(vec![(group("blue"), 90), (group("green"), 10), (group("off"), 0)], stickiness)
            .unwrap()
    };
    let headers = HeaderMap::new();
    let asking = Asking { headers: &headers, client: CLIENT };
    let forward = blue_green(None);
    let picked: Vec<_> = (0..100).map(|_| forward.pick(&asking).unwrap().id().to_string()).collect();
    let count = |name| picked.iter().filter(|id| id.ends_with(name)).count();
    assert_eq!((count("blue"), count("green"), count("off")), (90, 10, 0));

    let sticky = blue_green(Some(Duration::from_secs(60)));
    let (first, mut answer) = (sticky.pick(&asking).unwrap(), HeaderMap::new());
    first.set_cookies(&mut answer);
    let cookies: Vec<_> = answer.get_all(header::SET_COOKIE).iter().cloned().collect();
    assert_eq!(cookies.len(), 2, "{answer:?}");
    let cookie = cookies[0].to_str().unwrap().split(';').next().unwrap();
    assert!(cookie.starts_with("AWSALBTG="), "{cookie}");
    let bound: HeaderMap = [(header::COOKIE, cookie.parse().unwrap())].into_iter().collect();
    for _ in 0..100 {
        let claim = sticky.pick(&Asking { headers: &bound, client: CLIENT }).unwrap();
        assert_eq!(claim.id(), first.id());
    }
}

#[tokio::test]
async fn forwards_out_of_their_limits_are_refused() {
    let one = group("one");
    let to = |weights: &[u32], stickiness| {
        let groups = weights.iter().map(|weight| (Arc::clone(&one), *weight)).collect();
        Forward::weighted(groups, stickiness).map(|_| ()).map_err(|error| error.field().to_owned())
    };
    assert_eq!(to(&[], None), Err("ForwardConfig.TargetGroups".to_owned()));
    assert_eq!(to(&[1; 6], None), Err("ForwardConfig.TargetGroups".to_owned()));
    assert_eq!(to(&[1000], None), Err("ForwardConfig.TargetGroups.Weight".to_owned()));
    let field = "ForwardConfig.TargetGroupStickinessConfig.DurationSeconds".to_owned();
    assert_eq!(to(&[1], Some(Duration::from_secs(604_801))), Err(field));
    assert_eq!(to(&[0, 999], Some(Duration::from_secs(1))), Ok(()));
}
