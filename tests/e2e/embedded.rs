//! The library inside of another program.

use std::time::Duration;

use coracle::{Host, Serving};

use crate::support::{eventually, get, guest};

#[path = "../../coracle/examples/embed.rs"]
#[expect(dead_code, reason = "its main is for those who run it as an example")]
mod example;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_makes_a_host_and_is_answered() {
    let answer = example::serve_and_ask(&guest("hello")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("hello from"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_in_one_process_do_not_meet() {
    let hosts = [Host::builder().start().await.unwrap(), Host::builder().start().await.unwrap()];
    let mut bodies = Vec::new();
    for host in &hosts {
        let address = host.serve(&Serving::new(guest("hello"))).await.unwrap();
        bodies.push(tokio::task::spawn_blocking(move || get(address, "/").unwrap().body).await.unwrap());
    }
    assert_ne!(bodies[0], bodies[1]);
    for host in hosts {
        host.shutdown(Duration::from_secs(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_on_with_what_the_one_before_it_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let start = || Host::builder().data_dir(directory.path()).api(([127, 0, 0, 1], 0).into()).start();

    let first = start().await.unwrap();
    let api = first.api_address().unwrap();
    let mut serving = Serving::new(guest("hello"));
    serving.name = "web".to_owned();
    let address = first.serve(&serving).await.unwrap();
    first.shutdown(Duration::from_secs(10)).await;
    for closed in [api, address] {
        assert!(std::net::TcpStream::connect(closed).is_err(), "nobody listens on {closed} any more");
    }

    let second = start().await.unwrap();
    let endpoint = || second.supervisor().endpoint(coracle::CLUSTER, "web");
    let address =
        tokio::task::block_in_place(|| eventually("the service", endpoint, Option::is_some)).unwrap();
    let status = || get(address, "/").map(|answer| answer.status).ok();
    tokio::task::block_in_place(|| eventually("an answer", status, |status| *status == Some(200)));
    second.shutdown(Duration::from_secs(10)).await;
}
