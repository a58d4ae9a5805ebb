//! Tasks that misbehave in every way beside tasks that must not notice. `bench/chaos.sh` does the same at length, with hundreds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coracle_supervisor::operations::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::alone::alone;
use crate::host::{Host, get, guest};

const MISBEHAVIOURS: [&str; 11] = [
    "/trap",
    "/trap-mid-body",
    "/panic",
    "/exit?code=1",
    "/hang",
    "/spin",
    "/recurse",
    "/allocate?mib=8",
    "/allocate?mib=64",
    "/leak?mib=4",
    "/log?lines=50",
];
const CLIENTS: usize = 4;
const REQUESTS: usize = 60;
/// How long a client waits before it goes away.
const PATIENCE: Duration = Duration::from_millis(100);
/// Descriptors of the test's own that may come and go: connections that the last clients left behind.
const SLACK: usize = 4;

/// Asks, and does not mind what comes of it.
async fn provoke(address: SocketAddr, path: &str) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    // That it fails, or not in time, is what it is there for.
    timeout(PATIENCE, exchange).await.ok();
}

#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn tasks_that_misbehave_cost_their_neighbours_no_request_and_the_host_no_descriptor() {
    if !alone("chaos::tasks_that_misbehave_cost_their_neighbours_no_request_and_the_host_no_descriptor") {
        return;
    }
    let host = Host::new().await;
    host.register("hello", &guest("hello"), json!({})).await;
    let labels = json!({"coracle.instance-reuse": "100", "coracle.request-timeout": "0.5"});
    let limits = json!({"memory": 32, "dockerLabels": labels});
    host.register_task("chaos", &guest("chaos"), limits, json!({"cpu": "128"})).await;
    let hello = host.serve("hello", 4, &[]).await.unwrap();
    assert_eq!(get(hello, "/").await.0, 200);
    let before = descriptors();

    let chaos = host.serve("chaos", 8, &[]).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let answered = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                let (status, body) = get(hello, "/").await;
                assert_eq!(status, 200, "{body}");
                answers += 1;
            }
            answers
        }
    });
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut random = StdRng::seed_from_u64(client as u64);
            for _ in 0..REQUESTS {
                let path = MISBEHAVIOURS.choose(&mut random).unwrap();
                provoke(chaos, path).await;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..5))).await;
            }
        });
    }
    clients.join_all().await;
    over.store(true, Ordering::Relaxed);
    assert!(answered.await.unwrap() > 0);

    // The leaks ended some for their memory, and nothing else ended any.
    let killed = host.ended("chaos").await;
    assert!(!killed.is_empty(), "no task leaked enough");
    for arn in killed {
        let task = host.task(&arn).await;
        assert_eq!(task.containers[0].exit_code, Some(137), "{:?}", task.containers[0].reason);
    }
    let delete =
        DeleteServiceRequest { service: "chaos".to_owned(), force: Some(true), ..Default::default() };
    host.supervisor.delete_service(delete).await.unwrap();
    host.until(|| async { host.running("chaos").await.is_empty() && descriptors() <= before + SLACK }).await;
    assert_eq!(host.running("hello").await.len(), 4);
}
