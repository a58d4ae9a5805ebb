//! Ports, addresses and egress of tasks.

use std::net::SocketAddr;

use coracle_supervisor::model::service::Service;
use coracle_supervisor::model::task::{NetworkBinding, Task};
use coracle_supervisor::model::task_definition::TransportProtocol;
use coracle_supervisor::operations::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::host::{DEADLINE, Host, get, guest};

async fn running(host: &Host, family: &str) -> Task {
    let arn = host.run(family).await.unwrap();
    host.until(|| async { host.task(&arn).await.started_at.is_some() }).await;
    host.task(&arn).await
}

async fn stop(host: &Host, task: &Task) {
    let request = StopTaskRequest { task: task.task_arn.clone(), ..StopTaskRequest::default() };
    host.supervisor.stop_task(request).await.unwrap();
    host.until_stopped(&task.task_arn).await;
}

fn at(binding: &NetworkBinding) -> SocketAddr {
    format!("{}:{}", binding.bind_ip, binding.host_port).parse().unwrap()
}

/// Asks until it answers: a server takes a moment to listen.
async fn until_answered(address: SocketAddr, path: &str) -> String {
    let answered = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(address).await {
                let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
                let mut answer = String::new();
                stream.write_all(request.as_bytes()).await.ok();
                stream.read_to_string(&mut answer).await.ok();
                if let Some((_, body)) = answer.split_once("\r\n\r\n") {
                    return body.to_owned();
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, answered).await.expect("an answer")
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn id(task: &Task) -> &str {
    task.task_arn.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_host_port_leads_to_its_own_task_and_ends_with_it() {
    let host = Host::new().await;
    for (family, port) in
        [("web", json!({"containerPort": 8080})), ("hello", json!({"containerPort": 80, "hostPort": 0}))]
    {
        let chosen = port["containerPort"].as_u64().unwrap();
        host.register(family, &guest(family), json!({"portMappings": [port]})).await;
        let (one, other) = (running(&host, family).await, running(&host, family).await);
        for task in [&one, &other] {
            let binding = &task.containers[0].network_bindings[0];
            assert_eq!((binding.bind_ip.as_str(), u64::from(binding.container_port)), ("127.0.0.1", chosen));
            assert_eq!(binding.protocol, TransportProtocol::Tcp);
            let answer = until_answered(at(binding), "/").await;
            assert_eq!(answer, format!("hello from {}\n", id(task)), "{family}");
            assert!(task.attachments.is_empty() && task.containers[0].network_interfaces.is_empty());
        }
        let port = at(&one.containers[0].network_bindings[0]);
        stop(&host, &one).await;
        assert!(TcpStream::connect(port).await.is_err(), "{family}: the host port is closed");
        assert!(!until_answered(at(&other.containers[0].network_bindings[0]), "/").await.is_empty());
    }
}

#[tokio::test]
async fn a_host_port_that_is_taken_fails_the_task_in_ecss_words() {
    let host = Host::new().await;
    for family in ["web", "hello"] {
        // By another program: where another task has it, this one is not even placed.
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let mapping = json!({"portMappings": [{"containerPort": 8080, "hostPort": port}]});
        host.register(family, &guest(family), mapping).await;
        let failed = host.run(family).await.unwrap();
        let failed = host.until_stopped(&failed).await;
        assert_eq!(
            failed.stopped_reason,
            Some(format!(
                "ResourceInitializationError: cannot open 127.0.0.1:{port}/tcp for container 'app': the port is already in use"
            ))
        );
        drop(taken);
        for _ in 0..2 {
            let task = running(&host, family).await;
            assert_eq!(task.containers[0].network_bindings[0].host_port, port);
            until_answered(SocketAddr::from(([127, 0, 0, 1], port)), "/").await;
            stop(&host, &task).await;
        }
    }
}

#[tokio::test]
async fn in_awsvpc_a_task_is_reached_at_its_own_address() {
    let host = Host::new().await;
    for family in ["web", "hello"] {
        let mapping = json!({"portMappings": [{"containerPort": 8080, "hostPort": 8080}]});
        host.register_task(family, &guest(family), mapping, json!({"networkMode": "awsvpc"})).await;
        for task in [running(&host, family).await, running(&host, family).await] {
            let container = &task.containers[0];
            assert!(container.network_bindings.is_empty());
            let interface = &container.network_interfaces[0];
            let attachment = &task.attachments[0];
            assert_eq!(attachment["id"], json!(interface.attachment_id));
            assert_eq!(
                (&attachment["type"], &attachment["status"]),
                (&json!("ElasticNetworkInterface"), &json!("ATTACHED"))
            );
            let address = json!({"name": "privateIPv4Address", "value": interface.private_ipv4_address});
            assert!(attachment["details"].as_array().unwrap().contains(&address), "{attachment}");
            let address = format!("{}:8080", interface.private_ipv4_address).parse().unwrap();
            assert_eq!(until_answered(address, "/").await, format!("hello from {}\n", id(&task)));
        }
    }
}

#[tokio::test]
async fn in_host_mode_a_server_has_the_hosts_ports() {
    let host = Host::new().await;
    let port = free_port().await;
    let mapping = json!({
        "portMappings": [{"containerPort": port}],
        "command": ["tcp-serve", format!("127.0.0.1:{port}")],
    });
    host.register_task("probe", &guest("netprobe"), mapping, json!({"networkMode": "host"})).await;
    let task = running(&host, "probe").await;
    let binding = &task.containers[0].network_bindings[0];
    assert_eq!((binding.bind_ip.as_str(), binding.host_port), ("0.0.0.0", port));
    host.until(|| async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
}

#[tokio::test]
async fn datagrams_find_their_way_to_a_task_and_back() {
    let host = Host::new().await;
    let container = json!({
        "portMappings": [{"containerPort": 5353, "protocol": "udp"}],
        "command": ["udp-serve", "0.0.0.0:5353"],
    });
    host.register("probe", &guest("netprobe"), container).await;
    let task = running(&host, "probe").await;
    let binding = &task.containers[0].network_bindings[0];
    assert_eq!(binding.protocol, TransportProtocol::Udp);
    let clients =
        [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    host.until(|| async { host.log(&task.task_arn).contains("listening") }).await;
    for round in 0..3_u8 {
        for (index, client) in (0_u8..).zip(&clients) {
            client.send_to(&[round, index], at(binding)).await.unwrap();
            let mut answer = [0; 10];
            let (length, from) = timeout(DEADLINE, client.recv_from(&mut answer)).await.unwrap().unwrap();
            assert_eq!((&answer[..length], from), (&[round, index][..], at(binding)));
        }
    }
}

#[tokio::test]
async fn a_neighbour_finds_a_handler_at_localhost_and_nobody_else_there() {
    let host = Host::new().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let operations =
        format!("http http://localhost:8080/ then tcp-connect {other} hi then tcp-connect 127.0.0.1:4566 hi");
    let command: Vec<&str> = operations.split(' ').collect();
    for mode in ["bridge", "awsvpc"] {
        let definition = json!({
            "family": "pair",
            "networkMode": mode,
            "containerDefinitions": [
                {"name": "hello", "image": guest("hello"), "portMappings": [{"containerPort": 8080}]},
                {
                    "name": "app",
                    "image": guest("netprobe"),
                    "command": command,
                    "dependsOn": [{"containerName": "hello", "condition": "START"}],
                },
            ],
        });
        let request = parse_request(definition.to_string().as_bytes()).unwrap();
        host.supervisor.register_task_definition(request).await.unwrap();
        let arn = host.run("pair").await.unwrap();
        let task = host.until_stopped(&arn).await;
        let log = host.log(&arn);
        assert!(log.contains(&format!("200 hello from {}", id(&task))), "{mode}: {log}");
        assert_eq!(log.matches("error connection-refused").count(), 2, "{mode}: {log}");
    }
}

#[tokio::test]
async fn egress_is_what_the_label_grants() {
    let host = Host::new().await;
    let hello = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hello.local_addr().unwrap();
    for (egress, told) in [(None, "error connection-refused"), (Some(address.to_string()), "error closed")] {
        let mut container = json!({"command": ["tcp-connect", address.to_string(), "hi"]});
        if let Some(egress) = &egress {
            container["dockerLabels"] = json!({"coracle.egress": egress});
        }
        host.register("probe", &guest("netprobe"), container).await;
        let arn = host.run("probe").await.unwrap();
        if egress.is_some() {
            drop(timeout(DEADLINE, hello.accept()).await.expect("it connects").unwrap());
        }
        host.until_stopped(&arn).await;
        let log = host.log(&arn);
        assert_eq!(log.contains("connection-refused"), told.contains("refused"), "{log}");
    }
}

#[tokio::test]
async fn a_contradiction_is_refused_when_it_is_registered() {
    let host = Host::new().await;
    let refused = async |task: Value| {
        let request = parse_request(task.to_string().as_bytes()).unwrap();
        host.supervisor.register_task_definition(request).await.expect_err("refused").to_string()
    };
    let image = guest("web");
    let labelled = |mode: &str, egress: &str| {
        json!({"family": "a", "networkMode": mode, "containerDefinitions": [
            {"name": "app", "image": image, "dockerLabels": {"coracle.egress": egress}}]})
    };
    let error = refused(labelled("bridge", "a.example,fd00::1")).await;
    assert!(error.contains("container 'app'") && error.contains("coracle.egress"), "{error}");
    assert!(error.contains("write it in brackets, [fd00::1]") && error.contains("Allowed are"), "{error}");
    for (mode, why) in [("host", "everything can be reached"), ("none", "nothing can be reached")] {
        let error = refused(labelled(mode, "a.example")).await;
        assert!(error.contains("coracle.egress") && error.contains(why), "{error}");
    }
    let ports = |one: Value, other: Value| {
        json!({"family": "a", "containerDefinitions": [
            {"name": "a", "image": image, "portMappings": [one]},
            {"name": "b", "image": image, "portMappings": [other]}]})
    };
    let error = refused(ports(json!({"containerPort": 80}), json!({"containerPort": 80}))).await;
    assert!(error.contains("container 'b'. 'containerPort' 80 is mapped by container 'a'"), "{error}");
    let twice =
        ports(json!({"containerPort": 80, "hostPort": 90}), json!({"containerPort": 81, "hostPort": 90}));
    let error = refused(twice).await;
    assert!(error.contains("'hostPort' 90 is mapped by container 'a'"), "{error}");
    let request = ports(json!({"containerPort": 80}), json!({"containerPort": 80, "protocol": "udp"}));
    let request = parse_request(request.to_string().as_bytes()).unwrap();
    host.supervisor.register_task_definition(request).await.unwrap();

    let udp = json!({"portMappings": [{"containerPort": 80, "protocol": "udp"}]});
    host.register("udp", &guest("hello"), udp).await;
    let error = host.run("udp").await.unwrap_err().to_string();
    assert!(error.contains("'protocol' must be tcp"), "{error}");
}

#[tokio::test]
async fn a_published_service_keeps_working_beside_its_host_ports() {
    let host = Host::new().await;
    host.register("web", &guest("web"), json!({"portMappings": [{"containerPort": 8080}]})).await;
    let address = host.serve("web", 2, &[]).await.unwrap();
    assert_eq!(get(address, "/health").await, (200, "ok\n".to_owned()));
}

async fn service(host: &Host, name: &str) -> Service {
    let request =
        DescribeServicesRequest { services: vec![name.to_owned()], ..DescribeServicesRequest::default() };
    host.supervisor.describe_services(request).await.unwrap().services.remove(0)
}

async fn create_service(host: &Host, family: &str, desired: i64) {
    let request: CreateServiceRequest = parse_request(
        json!({
            "serviceName": family,
            "taskDefinition": family,
            "desiredCount": desired,
            "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100},
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    host.supervisor.create_service(request).await.unwrap();
}

#[tokio::test]
async fn a_host_port_is_held_by_one_task_of_a_service_and_handed_on_by_a_deployment() {
    let host = Host::new().await;
    let port = free_port().await;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mapping = json!({"portMappings": [{"containerPort": 8080, "hostPort": port}]});
    host.register("web", &guest("web"), mapping.clone()).await;
    create_service(&host, "web", 2).await;
    host.until(|| async {
        let service = service(&host, "web").await;
        let unplaced = "is already using a port required by your task.";
        service.running_count == 1 && service.events.iter().any(|event| event.message.ends_with(unplaced))
    })
    .await;
    let first = host.task(&host.running("web").await[0]).await;
    assert_eq!(first.containers[0].network_bindings[0].host_port, port);
    assert_eq!(until_answered(address, "/").await, format!("hello from {}\n", id(&first)));
    assert!(host.ended("web").await.is_empty(), "what is not placed does not fail either");

    host.register("web", &guest("web"), mapping).await;
    let request = UpdateServiceRequest {
        service: "web".to_owned(),
        desired_count: Some(1),
        task_definition: Some("web".to_owned()),
        ..UpdateServiceRequest::default()
    };
    host.supervisor.update_service(request).await.unwrap();
    host.until_steady("web").await;
    let second = host.task(&host.running("web").await[0]).await;
    assert_ne!(id(&second), id(&first));
    assert_eq!(until_answered(address, "/").await, format!("hello from {}\n", id(&second)));
}

#[tokio::test]
async fn each_task_of_a_service_has_a_host_port_of_its_own_where_none_is_given() {
    let host = Host::new().await;
    for family in ["web", "hello"] {
        let mapping = json!({"portMappings": [{"containerPort": 8080, "hostPort": 0}]});
        host.register(family, &guest(family), mapping).await;
        create_service(&host, family, 2).await;
        host.until_steady(family).await;
        let mut ports = Vec::new();
        for arn in host.running(family).await {
            let task = host.task(&arn).await;
            let binding = &task.containers[0].network_bindings[0];
            assert_eq!(binding.container_port, 8080, "{family}");
            assert_eq!(until_answered(at(binding), "/").await, format!("hello from {}\n", id(&task)));
            ports.push(binding.host_port);
        }
        assert_eq!(ports.len(), 2, "{family}");
        assert_ne!(ports[0], ports[1], "{family}");
    }
}
