//! What reaches a target over TCP, byte by byte: both sides of the balancer read the same messages out of a connection.

use std::sync::{Arc, Mutex};

use coracle_balancer::{Action, FixedResponse, HeaderPolicy, ListenerConfig, Redirect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Front, any_port, group, tcp, upstream, within};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A target that notes all bytes of each connection, answers as soon as it has a head, and closes.
async fn noting() -> (Front, Arc<Mutex<Vec<String>>>) {
    noting_behind(any_port()).await
}

async fn noting_behind(config: ListenerConfig) -> (Front, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let address = upstream(move |mut stream, head| {
        let noted = Arc::clone(&noted);
        async move {
            let mut body = Vec::new();
            let framed = |name: &str| {
                head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
            };
            if let Some(length) = framed("content-length:") {
                body.resize(length.parse().unwrap(), 0);
                stream.read_exact(&mut body).await.unwrap();
            } else if framed("transfer-encoding:").is_some() {
                while !body.ends_with(b"0\r\n\r\n") {
                    body.push(stream.read_u8().await.unwrap());
                }
            }
            noted.lock().unwrap().push(sorted(&head) + &String::from_utf8(body).unwrap());
            stream.write_all(OK).await.ok();
            // What comes behind the message would be part of another one.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok();
            if !rest.is_empty() {
                noted.lock().unwrap().push(format!("BEHIND IT: {:?}", String::from_utf8_lossy(&rest)));
            }
        }
    })
    .await;
    let balancer = coracle_balancer::Balancer::start(coracle_balancer::BalancerConfig {
        workers: 1,
        ..coracle_balancer::BalancerConfig::default()
    })
    .unwrap();
    let listener = balancer.listen(config, group([("only", tcp(address))])).unwrap();
    (Front { balancer, listener }, seen)
}

/// A head with its fields in the order of the alphabet, without those that are tested elsewhere.
fn sorted(head: &str) -> String {
    let mut lines = head.trim_end().split("\r\n");
    let first = lines.next().unwrap().to_owned();
    let mut fields: Vec<_> = lines
        .filter(|line| !line.starts_with("x-forwarded-p") && *line != "x-forwarded-for: 127.0.0.1")
        .collect();
    fields.sort_unstable();
    [vec![first.as_str()], fields].concat().join("\n") + "\n\n"
}

#[tokio::test]
async fn what_was_understood_is_written_anew() {
    for (sent, expected) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n"),
        // A version of its own for each hop, and an HTTP/1.0 client needs no Host.
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\n\n"),
        ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n"),
        // RFC 9112, 2.2: an empty line before a request is ignored, a bare LF ends a line.
        ("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n"),
        ("GET / HTTP/1.1\nhost: a\nx: y\n\n", "GET / HTTP/1.1\nhost: a\nx: y\n\n"),
        // The absolute form.
        ("GET http://a/b?c HTTP/1.1\r\nhost: a\r\n\r\n", "GET /b?c HTTP/1.1\nhost: a\n\n"),
        ("GET http://a HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n"),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "OPTIONS * HTTP/1.1\nhost: a\n\n"),
        // Paths are not normalised: what they mean is the target's to say, and rules see the same.
        (
            "GET /a/../b//c/%2e%2e/.;x HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /a/../b//c/%2e%2e/.;x HTTP/1.1\nhost: a\n\n",
        ),
        ("GET /%00%0d%0a HTTP/1.1\r\nhost: a\r\n\r\n", "GET /%00%0d%0a HTTP/1.1\nhost: a\n\n"),
        // Space around a value is no part of it.
        ("GET / HTTP/1.1\r\nhost:a\r\nx: \t y \t\r\n\r\n", "GET / HTTP/1.1\nhost: a\nx: y\n\n"),
        // Bodies, framed once.
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 003\r\n\r\nabc",
            "POST / HTTP/1.1\ncontent-length: 003\nhost: a\n\nabc",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
            "GET / HTTP/1.1\ncontent-length: 3\nhost: a\n\nabc",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n3;ext=\"1\"\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n",
        ),
        // Fields of one hop.
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: x, keep-alive\r\nx: y\r\nkeep-alive: 5\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\n\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nproxy-connection: keep-alive\r\nte: gzip\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\n\n",
        ),
    ] {
        let (front, seen) = noting().await;
        let mut client = front.connect().await;
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        within(client.read_exact(&mut begin)).await.unwrap();
        assert!(begin.ends_with(b" 200"), "{sent:?}");
        drop(client);
        drop(front);
        assert_eq!(*seen.lock().unwrap(), [expected], "{sent:?}");
    }
}

/// CVE-2026-2835 and -2836: framing by Transfer-Encoding and by the end of an HTTP/1.0 connection. Each is refused, and
/// neither the request nor what hides in it reaches the target.
#[tokio::test]
async fn framing_that_two_programs_could_read_in_two_ways_is_refused() {
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    for framing in [
        "transfer-encoding: ,chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked chunked",
        "transfer-encoding: identity",
        "transfer-encoding: chunkedx",
        "transfer-encoding: chu\u{b}nked",
        "transfer-encoding:",
        "transfer-encoding: chunked\r\ntransfer-encoding:",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer_encoding: chunked",
        "transfer-encoding\t: chunked",
        "content-length: 1_0",
        "content-length: 1 0",
        "content-length: 10;",
        "content-length:",
        "content-length: 0\r\ncontent-length: 33",
        "content-length : 33",
        "content-length\r\n : 33",
        "content-length: 18446744073709551617",
    ] {
        let (front, seen) = noting().await;
        let answer =
            front.raw(format!("POST /seen HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n0\r\n\r\n{hidden}")).await;
        assert!([400, 501].contains(&answer.status()), "{framing:?} -> {answer:?}");
        assert_eq!(answer.answers(), 1, "{framing:?} -> {answer:?}");
        assert_eq!(*seen.lock().unwrap(), Vec::<String>::new(), "{framing:?}");
    }
}

#[tokio::test]
async fn a_request_of_http_1_0_without_a_length_has_no_body_on_either_side() {
    let (front, seen) = noting().await;
    let answer =
        front.raw("POST /seen HTTP/1.0\r\nhost: a\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status(), answer.answers()), (200, 1), "{answer:?}");
    assert_eq!(*seen.lock().unwrap(), ["POST /seen HTTP/1.1\nhost: a\n\n"]);
}

/// CVE-2025-4366: an answer before the end of the body leaves the body on the connection, where it is not a request.
#[tokio::test]
async fn a_body_nobody_read_is_not_the_next_request() {
    let (front, seen) = noting().await;
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

/// The same towards targets: a connection with something left on it is not used for another request.
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
        let (front, seen) = noting_behind(config).await;
        let mut client = front.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        within(client.read_u8()).await.unwrap();
        let noted = seen.lock().unwrap()[0].clone();
        let found: Vec<_> = noted.lines().filter(|line| line.contains("forwarded")).collect();
        assert_eq!(found, expected);
    }
}
