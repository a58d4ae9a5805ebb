//! Preview 1 modules that answer HTTP the CGI way.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use bytes::Bytes;
use coracle_runtime::{Container, ContainerSpec, ExitReason, HandleError};
use http::Request;
use http_body_util::{BodyExt, Full};
use std::time::Duration;
use support::{Host, ask, read, text};

async fn start(host: &Host, spec: ContainerSpec) -> Container {
    host.start("cgi", ContainerSpec { cgi: true, ..spec }).await
}

#[tokio::test]
async fn a_request_is_in_the_environment_and_its_answer_on_standard_output() {
    let host = Host::new();
    let spec = ContainerSpec {
        env: vec![("MODE".into(), "own".into())],
        fuel: Some(u64::MAX),
        ..ContainerSpec::named("cgi")
    };
    let container = start(&host, spec).await;
    assert_eq!(text(&container, "/").await, "hello from cgi\n");
    let variables = text(&container, "/env?a=b").await;
    for line in [
        "GATEWAY_INTERFACE=CGI/1.1",
        "PATH_INFO=/env",
        "QUERY_STRING=a=b",
        "REQUEST_METHOD=GET",
        "SERVER_NAME=test",
        "MODE=own",
    ] {
        assert!(variables.lines().any(|found| found == line), "{line}: {variables}");
    }
    assert!(host.log_text().contains("GET /env"), "standard error is the log: {}", host.log_text());
    assert_eq!(container.usage().requests, 2);
    assert!(container.usage().fuel > 0);
}

#[tokio::test]
async fn a_client_cannot_change_the_containers_own_environment() {
    let host = Host::new();
    let spec =
        ContainerSpec { env: vec![("HTTP_X_ROLE".into(), "own".into())], ..ContainerSpec::named("cgi") };
    let container = start(&host, spec).await;
    let request =
        Request::get("/env").header("host", "test").header("x-role", "theirs").body(Full::<Bytes>::default());
    let variables = read(container.handle(request.unwrap()).await.unwrap()).await;
    assert!(variables.contains("HTTP_X_ROLE=own") && !variables.contains("theirs"), "{variables}");
}

#[tokio::test]
async fn bodies_of_any_length_go_in_and_out() {
    let host = Host::new();
    let container = start(&host, ContainerSpec::named("cgi")).await;
    for length in [0, 1, 100_000, 3 << 20] {
        let body = Bytes::from(vec![b'y'; length]);
        let request = Request::post("/echo").header("host", "test").body(Full::new(body.clone())).unwrap();
        let answer = container.handle(request).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
        assert!(answer.into_body().collect().await.unwrap().to_bytes() == body, "{length}");
    }
    assert_eq!(text(&container, "/stream?5000").await.len(), 5_000_000);
}

#[tokio::test]
async fn status_and_location_are_the_answers() {
    let host = Host::new();
    let container = start(&host, ContainerSpec::named("cgi")).await;
    assert_eq!(ask(&container, "/status?418").await.unwrap().status(), 418);
    assert_eq!(ask(&container, "/nowhere").await.unwrap().status(), 404);
    let redirect = ask(&container, "/redirect").await.unwrap();
    assert_eq!((redirect.status().as_u16(), redirect.headers()["location"].as_bytes()), (302, &b"/"[..]));
}

#[tokio::test]
async fn a_program_that_gives_no_answer_costs_its_request_alone() {
    let host = Host::new();
    let container =
        start(&host, ContainerSpec { fuel: Some(50_000_000), ..ContainerSpec::named("cgi") }).await;
    for (path, part) in [
        ("/silent", "before its header"),
        ("/no-header", "has no colon"),
        ("/long-header", "longer than"),
        ("/exit?3", "code 3"),
        ("/trap", "unreachable"),
    ] {
        let error = ask(&container, path).await.unwrap_err().to_string();
        assert!(error.contains(part), "{path}: {error}");
    }
    assert!(matches!(ask(&container, "/spin").await, Err(HandleError::OutOfFuel)));
    // Gathered before the head was sent, so that it is still an error and no broken body.
    assert!(ask(&container, "/trap-mid-body").await.is_err());
    assert_eq!(text(&container, "/health").await, "ok\n");
    assert!(container.exit().is_none());

    let hasty = ContainerSpec { request_timeout: Duration::from_millis(300), ..ContainerSpec::named("cgi") };
    let container = start(&host, hasty).await;
    assert!(matches!(ask(&container, "/spin").await, Err(HandleError::TimedOut)));
    assert!(container.exit().is_none());
}

#[tokio::test]
async fn a_program_over_its_memory_ends_the_container() {
    let host = Host::new();
    let spec = ContainerSpec { memory: Some(16 << 20), ..ContainerSpec::named("cgi") };
    let container = start(&host, spec).await;
    assert!(matches!(ask(&container, "/allocate").await, Err(HandleError::OutOfMemory)));
    assert_eq!(container.wait().await.reason, ExitReason::OutOfMemory);
}

#[tokio::test]
async fn a_reader_that_stops_reading_stops_the_program() {
    let host = Host::new();
    let spec = ContainerSpec { memory: Some(16 << 20), ..ContainerSpec::named("cgi") };
    let container = start(&host, spec).await;
    let answer = ask(&container, "/stream?1000000000").await.unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(container.usage().memory <= 16 << 20);
    drop(body);
    assert_eq!(container.stop(Duration::from_secs(5)).await.code, Some(0));
}
