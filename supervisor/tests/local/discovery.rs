//! Services that find each other by name, with real guests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use coracle_supervisor::model::arn::Identity;
use coracle_supervisor::model::deployment::Slot;
use coracle_supervisor::model::names::{ClusterName, ServiceName};
use coracle_supervisor::model::tags::Tag;
use coracle_supervisor::model::task::{HealthStatus, LastStatus};
use coracle_supervisor::operations::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::host::{DEADLINE, Host, get, guest};

/// The port of a definition's container, with the name that it is offered by.
fn port() -> Value {
    json!([{"containerPort": 8080, "name": "http"}])
}

/// In the namespace, and found there by its own name on port 80.
fn found(name: &str) -> Value {
    let alias = json!({"port": 80, "dnsName": name});
    let offer = json!({"portName": "http", "discoveryName": name, "clientAliases": [alias]});
    json!({"enabled": true, "namespace": "shop.local", "services": [offer]})
}

/// In the namespace, and not found there.
fn client() -> Value {
    json!({"enabled": true, "namespace": "shop.local"})
}

async fn create(host: &Host, name: &str, desired: i64, connect: Value, tags: &[(&str, &str)]) {
    let request = CreateServiceRequest {
        service_name: name.to_owned(),
        task_definition: name.to_owned(),
        desired_count: Some(desired),
        service_connect_configuration: Some(serde_json::from_value(connect).unwrap()),
        tags: tags.iter().map(|(key, value)| Tag::new(*key, *value)).collect(),
        ..CreateServiceRequest::default()
    };
    host.supervisor.create_service(request).await.unwrap();
    host.until_steady(name).await;
}

/// A service that others find.
async fn offer(host: &Host, name: &str, image: &str, desired: i64, tags: &[(&str, &str)]) {
    host.register(name, &guest(image), json!({"portMappings": port()})).await;
    create(host, name, desired, found(name), tags).await;
}

/// A published service that passes what it is asked on to `to`.
async fn relay(host: &Host, name: &str, to: &str, connect: Value) -> SocketAddr {
    let environment = json!([{"name": "RELAY_TO", "value": to}]);
    host.register(name, &guest("relay"), json!({"portMappings": port(), "environment": environment})).await;
    let tags = [("coracle.listen", "127.0.0.1:0"), ("coracle.health-check.path", "/here")];
    create(host, name, 1, connect, &tags).await;
    host.supervisor.endpoint("default", name).expect("a published service")
}

/// Requests that a service's tasks were given, and those they have now.
fn requests(host: &Host, service: &str) -> (u64, u64) {
    let (cluster, name) = (ClusterName::default(), ServiceName::parse(service).unwrap());
    let group = Identity::default().target_group(&cluster, &name, Slot::Blue);
    let counters = host.driver.targets(&group).into_iter().map(|target| target.counters);
    counters.fold((0, 0), |sum, now| (sum.0 + now.requests, sum.1 + now.in_flight))
}

/// What a standalone task of these operations says that may reach what `egress` names.
async fn probe(host: &Host, image: &str, egress: &str, operations: &str) -> String {
    let command: Vec<&str> = operations.split(' ').collect();
    let labels = if egress.is_empty() { json!({}) } else { json!({"coracle.egress": egress}) };
    host.register("probe", &guest(image), json!({"command": command, "dockerLabels": labels})).await;
    let arn = host.run("probe").await.unwrap();
    host.until_stopped(&arn).await;
    host.log(&arn)
}

#[tokio::test]
async fn a_neighbours_requests_go_to_each_replica_in_turn_and_are_counted_as_a_clients() {
    let host = Host::new().await;
    offer(&host, "orders", "hello", 2, &[]).await;
    let replicas = host.running("orders").await;
    for to in ["http://orders", "http://orders:8080", "http://orders.shop.local/"] {
        let name = format!("web-{}", to.len());
        let web = relay(&host, &name, to, client()).await;
        let (before, _) = requests(&host, "orders");
        let mut answers = Vec::new();
        for _ in 0..4 {
            let (status, text) = get(web, "/").await;
            assert_eq!(status, 200, "{to}: {text}");
            answers.push(text);
        }
        for replica in &replicas {
            let hello = format!("hello from {}\n", replica.rsplit('/').next().unwrap());
            assert_eq!(answers.iter().filter(|answer| **answer == hello).count(), 2, "{to}: {answers:?}");
        }
        assert_eq!(requests(&host, "orders").0 - before, 4, "{to}");
        // A guest has still to return from the answer that its caller has already.
        host.until(|| async { requests(&host, "orders").1 == 0 }).await;
    }
}

/// One request to `/echo` that is sent while its answer is received: the answer, whole.
async fn echo(at: SocketAddr, body: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (mut reader, mut writer) = stream.split();
        let sending = async {
            writer.write_all(head.as_bytes()).await.unwrap();
            writer.write_all(body.as_bytes()).await.unwrap();
        };
        let mut answer = Vec::new();
        let receiving = async { reader.read_to_end(&mut answer).await.unwrap() };
        tokio::join!(sending, receiving);
        String::from_utf8(answer).unwrap()
    };
    timeout(DEADLINE, exchange).await.expect("an answer")
}

/// What chunks hold.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once_however_large_and_a_server_is_called_over_its_socket() {
    let host = Host::new().await;
    offer(&host, "handler", "chaos", 1, &[]).await;
    offer(&host, "server", "web", 1, &[]).await;
    for name in ["handler", "server"] {
        let web = relay(&host, &format!("to-{name}"), &format!("http://{name}"), client()).await;
        // More than anything on the way keeps: it arrives only if it is answered as it is read.
        let body: String = (0..1 << 16).map(|line| format!("line {line:010}\n")).collect();
        assert_eq!(body.len(), 1 << 20);
        let answer = echo(web, &body).await;
        let (head, received) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{name}: {head}");
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let received = if is_chunked { unchunked(received) } else { received.to_owned() };
        assert!(received == body, "{name}: {} of {} bytes, or others", received.len(), body.len());
        assert_eq!(requests(&host, name), (1, 0), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_whole_chain_and_half_an_answer_is_none() {
    let host = Host::new().await;
    offer(&host, "orders", "chaos", 1, &[]).await;
    let web = relay(&host, "web", "http://orders", client()).await;
    let mut stream = TcpStream::connect(web).await.unwrap();
    stream.write_all(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    host.until(|| async { requests(&host, "orders") == (1, 1) }).await;
    drop(stream);
    host.until(|| async { requests(&host, "orders") == (1, 0) }).await;

    let mut stream = TcpStream::connect(web).await.unwrap();
    stream.write_all(b"GET /trap-mid-body HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection ends").ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("chunk 0 of 10") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(get(web, "/trap").await.0, 502, "as the balancer answers for it");
}

#[tokio::test]
async fn a_name_without_a_task_is_a_prompt_503_and_one_without_a_service_is_denied() {
    let host = Host::new().await;
    offer(&host, "orders", "hello", 0, &[]).await;
    let web = relay(&host, "web", "http://orders", client()).await;
    let asked = timeout(Duration::from_secs(5), get(web, "/"));
    assert_eq!(asked.await.expect("it is not held").0, 503);
    let lost = relay(&host, "lost", "http://nobody", client()).await;
    assert_eq!(get(lost, "/").await, (502, "HttpRequestDenied\n".to_owned()));
    let wrong_port = relay(&host, "wrong-port", "http://orders:81", client()).await;
    assert_eq!(get(wrong_port, "/").await, (502, "ConnectionRefused\n".to_owned()));
}

#[tokio::test]
async fn one_outside_of_the_namespace_neither_resolves_nor_reaches_what_is_in_it() {
    let host = Host::new().await;
    host.register("orders", &guest("web"), json!({"portMappings": port()})).await;
    create(&host, "orders", 1, found("orders"), &[]).await;
    let elsewhere = json!({"enabled": true, "namespace": "bank.local"});
    for (name, connect) in [("elsewhere", elsewhere), ("nowhere", json!({"enabled": false}))] {
        for to in ["http://orders", "http://orders.shop.local"] {
            let name = format!("{name}-{}", to.len());
            let web = relay(&host, &name, to, connect.clone()).await;
            assert_eq!(get(web, "/").await, (502, "HttpRequestDenied\n".to_owned()), "{name} {to}");
        }
    }
    assert_eq!(requests(&host, "orders"), (0, 0));
}

#[tokio::test]
async fn by_sockets_a_task_resolves_and_reaches_what_its_egress_names_and_not_more() {
    let host = Host::new().await;
    host.register_task(
        "echo",
        &guest("echo"),
        json!({"portMappings": port()}),
        json!({"networkMode": "awsvpc"}),
    )
    .await;
    create(&host, "echo", 1, found("echo"), &[]).await;
    let task = host.task(&host.running("echo").await[0]).await;
    let address = task.containers[0].network_interfaces[0].private_ipv4_address.clone();
    let operations = format!(
        "resolve echo.shop.local then tcp-connect {address}:80 one then tcp-connect {address}:8080 other \
         then tcp-connect {address}:81 no then resolve echo then resolve nobody.shop.local"
    );
    for image in ["netprobe", "netprobe-p3"] {
        let operations = if image == "netprobe-p3" {
            operations
                .replace("tcp-connect", "tcp-reach")
                .replace(&format!("tcp-reach {address}:81 no then "), "")
        } else {
            operations.clone()
        };
        let log = probe(&host, image, "echo.shop.local", &operations).await;
        assert!(log.contains(&format!("resolve echo.shop.local: {address}")), "{image}: {log}");
        assert!(log.contains(&format!("{address}:80 one: one")), "the port of its name: {image}: {log}");
        assert!(log.contains(&format!("{address}:8080 other: other")), "{image}: {log}");
        assert!(!log.contains(":81 no: no"), "{image}: {log}");
        assert!(log.contains("resolve echo: error access-denied"), "{image}: {log}");
        assert!(log.contains("resolve nobody.shop.local: error"), "{image}: {log}");
    }
    for egress in ["", "*", "other.shop.local"] {
        let operations = format!("resolve echo.shop.local then tcp-connect {address}:8080 hi");
        let log = probe(&host, "netprobe", egress, &operations).await;
        assert!(!log.contains(&format!(": {address}")) && !log.contains("hi: hi"), "{egress:?}: {log}");
    }
}

#[tokio::test]
async fn a_guest_of_preview_3_calls_a_service_that_its_egress_names() {
    let host = Host::new().await;
    offer(&host, "orders", "hello-p3", 1, &[]).await;
    let id = host.running("orders").await[0].rsplit('/').next().unwrap().to_owned();
    for image in ["netprobe-p3", "netprobe"] {
        let log = probe(&host, image, "*.shop.local", "http http://orders.shop.local/").await;
        assert!(log.contains(&format!("200 hello from {id}")), "{image}: {log}");
    }
    let log = probe(&host, "netprobe", "orders.shop.local:443", "http http://orders.shop.local/").await;
    assert!(log.contains("error ConnectionRefused"), "its egress names another port: {log}");
}

/// The tasks that answer `count` requests.
async fn who_answers(at: SocketAddr, count: usize) -> BTreeSet<String> {
    let mut tasks = BTreeSet::new();
    for _ in 0..count {
        let (status, task) = get(at, "/task").await;
        assert_eq!(status, 200, "{task}");
        tasks.insert(task);
    }
    tasks
}

#[tokio::test]
async fn a_replica_that_fails_its_containers_check_is_not_called_while_another_passes_it() {
    let host = Host::new().await;
    // Tasks that come later find no image: who is ill stays, because nobody can take its place.
    let image = host.data.path().join("orders.wasm");
    std::fs::copy(guest("chaos"), &image).unwrap();
    let check =
        json!({"command": ["CMD", "http", "http://localhost:8080/condition"], "interval": 5, "retries": 1});
    let container = json!({"portMappings": port(), "healthCheck": check});
    host.register_task("orders", &image, container, json!({"networkMode": "awsvpc"})).await;
    create(&host, "orders", 2, found("orders"), &[]).await;
    std::fs::remove_file(&image).unwrap();
    let web = relay(&host, "web", "http://orders", client()).await;
    let replicas = host.running("orders").await;
    let id = |arn: &String| arn.rsplit('/').next().unwrap().to_owned();
    assert_eq!(who_answers(web, 6).await, replicas.iter().map(id).collect(), "both");

    assert_eq!(get(web, "/sicken").await.0, 200);
    let are = async |health: HealthStatus| {
        let mut tasks = Vec::new();
        for arn in &replicas {
            let task = host.task(arn).await;
            if task.last_status == LastStatus::Running && task.health_status == health {
                tasks.push(arn.clone());
            }
        }
        tasks
    };
    let of_each = async || [are(HealthStatus::Unhealthy).await.len(), are(HealthStatus::Healthy).await.len()];
    host.until(|| async { of_each().await == [1, 1] }).await;
    let well = are(HealthStatus::Healthy).await.remove(0);
    assert_eq!(who_answers(web, 8).await, [id(&well)].into());
    assert_eq!(are(HealthStatus::Unhealthy).await.len(), 1, "the ill one is there all the time");
    let address = host.task(&well).await.containers[0].network_interfaces[0].private_ipv4_address.clone();
    let log = probe(&host, "netprobe", "orders.shop.local", "resolve orders.shop.local").await;
    assert!(log.trim_end().ends_with(&format!("resolve orders.shop.local: {address}")), "{log}");

    assert_eq!(get(web, "/sicken").await.0, 200);
    host.until(|| async { are(HealthStatus::Unhealthy).await.len() == 2 }).await;
    assert!(!who_answers(web, 4).await.is_empty(), "better an ill one than none");
}

#[tokio::test]
async fn each_of_a_services_ports_has_its_own_name_and_all_of_them_keep_it_awake() {
    let host = Host::new().await;
    let app = json!({"name": "app", "image": guest("hello"), "portMappings": [
        {"containerPort": 8080, "name": "http"}, {"containerPort": 8081, "name": "other"}]});
    let web = json!({"name": "web", "image": guest("web"), "portMappings": [{"containerPort": 9090, "name": "admin"}],
        "environment": [{"name": "PORT", "value": "9090"}]});
    let definition = json!({"family": "orders", "containerDefinitions": [app, web]});
    let request = parse_request(definition.to_string().as_bytes()).unwrap();
    host.supervisor.register_task_definition(request).await.unwrap();
    let offers = json!({"enabled": true, "namespace": "shop.local", "services": [
        {"portName": "http", "discoveryName": "orders"},
        {"portName": "other", "clientAliases": [{"port": 81, "dnsName": "orders-other"}]},
        {"portName": "admin", "clientAliases": [{"port": 80, "dnsName": "orders-admin"}]},
    ]});
    create(&host, "orders", 1, offers, &[("coracle.scale-to-zero", "1")]).await;
    host.until(|| async { host.running("orders").await.is_empty() }).await;
    // What the server echoes, which is nothing here, the handler takes for a request like any other.
    for (to, expected) in [
        ("http://orders-admin", ""),
        ("http://admin.shop.local:9090", ""),
        ("http://orders-other:81", "hello from"),
        ("http://orders.shop.local", "hello from"),
    ] {
        let web = relay(&host, &format!("web-{}", to.len()), to, client()).await;
        let (status, text) = get(web, "/echo").await;
        assert_eq!((status, text.get(..10).unwrap_or_default()), (200, expected), "{to}: {text}");
    }
}

#[tokio::test]
async fn services_that_call_each_other_in_a_circle_stop_and_serve_on() {
    let host = Host::new().await;
    let here = relay(&host, "a", "http://b", found("a")).await;
    relay(&host, "b", "http://a", found("b")).await;
    for _ in 0..3 {
        assert_eq!(get(here, "/").await, (502, "LoopDetected\n".to_owned()));
    }
    assert_eq!(get(here, "/here").await.0, 200);
    let of = |service| requests(&host, service);
    host.until(|| async { of("a").1 == 0 && of("b").1 == 0 }).await;
    assert_eq!(of("b").0 % 3, 0, "each request went as far as the others");
}

#[tokio::test]
async fn one_that_sleeps_is_woken_by_those_who_call_it_and_kept_awake_by_them() {
    let host = Host::new().await;
    offer(&host, "orders", "hello", 1, &[("coracle.scale-to-zero", "0.5")]).await;
    let web = relay(&host, "web", "http://orders", client()).await;
    host.until(|| async { host.running("orders").await.is_empty() }).await;
    let answers = futures_util::future::join_all((0..10).map(|_| get(web, "/"))).await;
    assert!(answers.iter().all(|(status, text)| *status == 200 && text.starts_with("hello")), "{answers:?}");
    let awake = host.running("orders").await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(get(web, "/").await.0, 200);
    }
    assert_eq!(host.running("orders").await, awake, "for two seconds it was asked each tenth of one");
}
