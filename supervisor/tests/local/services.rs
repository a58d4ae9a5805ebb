//! Services behind the balancer.

use std::collections::BTreeSet;
use std::time::Duration;

use coracle_supervisor::operations::*;
use serde_json::json;

use crate::host::{DEADLINE, Host, get, guest};

/// Fast enough for a test, and generous on a slow machine.
const QUICK: (&str, &str) = ("coracle.health-check.interval", "0.5");

#[tokio::test]
async fn requests_go_to_every_replica_in_turn() {
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({})).await;
    let address = host.serve("hello", 3, &[]).await.unwrap();
    let mut turns = Vec::new();
    for _ in 0..6 {
        let (status, body) = get(address, "/").await;
        assert_eq!(status, 200, "{body}");
        turns.push(body);
    }
    assert_eq!(turns[..3], turns[3..]);
    let expected: BTreeSet<String> = host
        .running("hello")
        .await
        .iter()
        .filter_map(|arn| Some(format!("hello from {}\n", arn.rsplit('/').next()?)))
        .collect();
    assert_eq!(turns.into_iter().collect::<BTreeSet<String>>(), expected);
}

#[tokio::test]
async fn no_request_fails_while_tasks_are_stopped_one_after_another() {
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({})).await;
    let address = host.serve("hello", 4, &[]).await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let client = tokio::spawn(async move {
        let mut answers = 0;
        while stopped.try_recv().is_err() {
            let (status, body) = get(address, "/").await;
            assert_eq!(status, 200, "{body}");
            answers += 1;
        }
        answers
    });
    for _ in 0..10 {
        let victim = host.running("hello").await.remove(0);
        let request = StopTaskRequest { task: victim.clone(), ..StopTaskRequest::default() };
        host.supervisor.stop_task(request).await.unwrap();
        host.until_stopped(&victim).await;
        host.until_steady("hello").await;
    }
    stop.send(()).unwrap();
    assert!(client.await.unwrap() > 0);
}

#[tokio::test]
async fn a_request_that_a_task_dies_over_is_sent_to_another_where_that_is_asked_for() {
    let host = Host::new().await;
    let reused = json!({ "memory": 64, "dockerLabels": { "coracle.instance-reuse": "1000" } });
    for (family, tags, last) in [("once", &[][..], 502), ("again", &[("coracle.retry.attempts", "1")], 200)] {
        host.register(family, &guest("chaos"), reused.clone()).await;
        let address = host.serve(family, 2, tags).await.unwrap();
        let before = host.running(family).await;
        // The third is for the task of the first one, which has no room for it.
        for (path, status) in [("/leak?mib=40", 200), ("/", 200), ("/leak?mib=40", last)] {
            assert_eq!(get(address, path).await.0, status, "{family}: {path}");
        }
        host.until(async || {
            let now = host.running(family).await;
            before.iter().filter(|task| !now.contains(task)).count() == 1
        })
        .await;
    }
}

#[tokio::test]
async fn servers_all_listen_on_the_same_port_at_addresses_of_their_own() {
    let host = Host::new().await;
    let port = json!({"portMappings": [{"containerPort": 8080}]});
    host.register_task("web", &guest("web"), port, json!({"networkMode": "awsvpc"})).await;
    let address = host.serve("web", 2, &[]).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let (status, body) = get(address, "/").await;
        assert_eq!(status, 200, "{body}");
        seen.insert(body);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let mut addresses = BTreeSet::new();
    for arn in host.running("web").await {
        let task = host.task(&arn).await;
        let address = &task.containers[0].network_interfaces[0].private_ipv4_address;
        let direct = format!("{address}:8080").parse().unwrap();
        assert_eq!(get(direct, "/health").await, (200, "ok\n".to_owned()));
        addresses.insert(address.clone());
    }
    assert_eq!(addresses.len(), 2);
}

#[tokio::test]
async fn a_replica_that_dies_is_replaced_and_its_neighbours_answer() {
    let host = Host::new().await;
    let label = json!({"dockerLabels": {"coracle.instance-reuse": "100"}, "memory": 32});
    host.register("chaos", &guest("chaos"), label).await;
    let address = host.serve("chaos", 2, &[QUICK]).await.unwrap();
    let before: BTreeSet<String> = host.running("chaos").await.into_iter().collect();
    let (status, _) = get(address, "/allocate?mib=64").await;
    assert!(status >= 500, "{status}");
    assert_eq!(get(address, "/").await.0, 200);
    host.until(|| async {
        let now: BTreeSet<String> = host.running("chaos").await.into_iter().collect();
        now.len() == 2 && now != before
    })
    .await;
    let lost = before.difference(&host.running("chaos").await.into_iter().collect()).next().cloned().unwrap();
    let task = host.until_stopped(&lost).await;
    assert_eq!(task.containers[0].exit_code, Some(137));
}

#[tokio::test]
async fn a_new_revision_takes_over_without_a_lost_request() {
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({})).await;
    let address = host.serve("hello", 2, &[]).await.unwrap();
    let old: BTreeSet<String> = host.running("hello").await.into_iter().collect();
    host.register("hello", &guest("hello-p3"), json!({})).await;
    let update = UpdateServiceRequest {
        service: "hello".to_owned(),
        task_definition: Some("hello:2".to_owned()),
        ..UpdateServiceRequest::default()
    };
    host.supervisor.update_service(update).await.unwrap();
    let taken_over = async {
        loop {
            let (status, body) = get(address, "/").await;
            assert_eq!(status, 200, "{body}");
            let now: BTreeSet<String> = host.running("hello").await.into_iter().collect();
            if now.len() == 2 && now.is_disjoint(&old) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, taken_over).await.expect("the old tasks go");
}

#[tokio::test]
async fn a_port_in_use_or_a_program_that_cannot_answer_refuses_the_service() {
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({})).await;
    host.register("count", &guest("wordcount"), json!({})).await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = host.serve("hello", 1, &[("coracle.listen", &address)]).await.unwrap_err();
    // Tags of one key twice: the first is the one that `serve` adds.
    assert!(error.to_string().contains("given twice"), "{error}");
    let request = |family: &str, listen: &str| CreateServiceRequest {
        service_name: family.to_owned(),
        task_definition: family.to_owned(),
        desired_count: Some(1),
        tags: vec![coracle_supervisor::model::tags::Tag::new("coracle.listen", listen)],
        ..CreateServiceRequest::default()
    };
    let error = host.supervisor.create_service(request("hello", &address)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("Tag coracle.listen: {address} is already in use."));
    let error = host.supervisor.create_service(request("count", "127.0.0.1:0")).await.unwrap_err();
    assert!(error.to_string().contains("needs a port in portMappings"), "{error}");
    assert!(host.driver.targets("none").is_empty());
}

#[tokio::test]
async fn a_shutdown_closes_the_port_and_ends_every_task() {
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({})).await;
    let address = host.serve("hello", 2, &[]).await.unwrap();
    let tasks = host.running("hello").await;
    host.supervisor.shutdown(Duration::from_secs(30)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is closed");
    for task in tasks {
        assert_eq!(
            host.until_stopped(&task).await.stopped_reason.as_deref(),
            Some("Coracle is shutting down")
        );
    }
}

#[tokio::test]
async fn a_preview_1_module_with_a_port_answers_the_cgi_way() {
    let host = Host::new().await;
    let ports = json!({"portMappings": [{"containerPort": 8080}]});
    host.register("cgi", &guest("cgi"), ports).await;
    let address = host.serve("cgi", 2, &[("coracle.health-check.path", "/health")]).await.unwrap();
    assert_eq!(get(address, "/").await, (200, "hello from cgi\n".to_owned()));
    assert_eq!(get(address, "/silent").await.0, 502);
    assert_eq!(get(address, "/health").await.0, 200);
}
