//! What is left on a connection, and what a target is told of the client.

use std::sync::{Arc, Mutex};

use coracle_balancer::{
    Action, Balancer, BalancerConfig, FixedResponse, HeaderPolicy, ListenerConfig, Redirect,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Front, any_port, group, read_head, tcp, upstream, within};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A target that notes the head of each request, answers, and closes.
async fn noting(config: ListenerConfig) -> (Front, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let address = upstream(move |mut stream, head| {
        noted.lock().unwrap().push(head);
        async move { stream.write_all(OK).await.unwrap() }
    })
    .await;
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let listener = balancer.listen(config, group([("only", tcp(address))])).unwrap();
    (Front { balancer, listener }, seen)
}

/// CVE-2025-4366: an answer before the end of the body leaves the body on the connection, where it is not a request.
#[tokio::test]
async fn a_body_nobody_read_is_not_the_next_request() {
    let (front, seen) = noting(any_port()).await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let redirect = Redirect::new("HTTP_302", [("Port", "1")]).unwrap();
    for action in [
        Action::FixedResponse(FixedResponse::new(200, None, "fixed").unwrap()),
        Action::Redirect(redirect),
        group([]).into(),
    ] {
        front.listener.set_routes(action);
        for framing in [
            format!("content-length: {}\r\n\r\n{hidden}", hidden.len()),
            format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
        ] {
            let next = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let answer = front.raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}{next}")).await;
            // The next request, or the end of the connection; never the hidden one between them.
            assert!((1..=2).contains(&answer.answers()), "{answer:?}");
        }
    }
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
}

/// The same towards targets: what the client sends after the answer may still go to the target, and nothing behind it.
#[tokio::test]
async fn a_connection_on_which_a_body_goes_on_after_the_answer_is_used_for_nothing_else() {
    let (rest, mut seen) = mpsc::unbounded_channel();
    let address = upstream(move |mut stream, head| {
        let rest = rest.clone();
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            if head.starts_with("POST ") {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.ok();
                rest.send(bytes).unwrap();
            }
        }
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    assert!(within(read_head(&mut client)).await.unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!(front.get("/next").await.body(), "ok");
    client.write_all(b"-whole").await.ok();
    drop(client);
    let bytes = within(seen.recv()).await.unwrap();
    assert!(b"half-whole".starts_with(&bytes), "{:?}", String::from_utf8_lossy(&bytes));
}

/// A connection with something left on it is not used for another request.
#[tokio::test]
async fn an_answer_with_more_behind_it_is_not_the_next_answer() {
    let address = upstream(|mut stream, _| async move {
        let two = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmineHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen";
        stream.write_all(two).await.ok();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.connect().await;
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"mine") {
            answer.push(within(client.read_u8()).await.unwrap());
            assert!(!answer.ends_with(b"stolen"), "{}", String::from_utf8_lossy(&answer));
        }
    }
}

#[tokio::test]
async fn fields_that_name_the_client_follow_their_policies() {
    let request =
        "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\n\r\n";
    let with = |x_forwarded_for, forwarded| ListenerConfig { x_forwarded_for, forwarded, ..any_port() };
    use HeaderPolicy::{Append, Preserve, Remove};
    for (config, expected) in [
        (any_port(), &["forwarded: for=192.0.2.1", "x-forwarded-for: 192.0.2.1, 127.0.0.1"][..]),
        (
            with(Append, Append),
            &["forwarded: for=192.0.2.1, for=127.0.0.1;proto=http", "x-forwarded-for: 192.0.2.1, 127.0.0.1"],
        ),
        (with(Preserve, Preserve), &["forwarded: for=192.0.2.1", "x-forwarded-for: 192.0.2.1"]),
        (with(Remove, Remove), &[]),
    ] {
        let (front, seen) = noting(config).await;
        let mut client = front.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        within(client.read_u8()).await.unwrap();
        let noted = seen.lock().unwrap()[0].clone();
        let named = |line: &&str| line.contains("forwarded") && !line.starts_with("x-forwarded-p");
        let mut found: Vec<_> = noted.lines().filter(named).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}
