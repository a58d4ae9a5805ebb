//! The server over real sockets, with a service of its own behind it.

use std::net::SocketAddr;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::*;
use crate::Service;

/// Answers with its input; `Wait` says that it began, and again when it ended.
#[derive(Clone)]
struct Echo(mpsc::UnboundedSender<&'static str>);

#[async_trait]
impl Service for Echo {
    fn target_prefix(&self) -> &'static str {
        "Echo_1"
    }

    async fn call(&self, operation: &str, body: Bytes) -> Result<Bytes, ApiError> {
        match operation {
            "Echo" => json::render(&json!({ "got": json::parse::<Value>(&body)? })),
            "Fail" => Err(ApiError::bad_request("ClusterNotFoundException", "Cluster not found.")),
            "Panic" => panic!("as asked"),
            "Wait" => {
                self.0.send("began").unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.0.send("ended").unwrap();
                Ok(Bytes::from_static(b"{}"))
            }
            _ => Err(ApiError::unknown_operation(operation)),
        }
    }
}

impl crate::QueryService for Echo {
    fn version(&self) -> &'static str {
        "2026-11-28"
    }

    fn namespace(&self) -> &'static str {
        "urn:echo"
    }
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
    events: mpsc::UnboundedReceiver<&'static str>,
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, events) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let server = Server::new(listener, Services::new().with_query(Echo(sender))).with_limits(limits);
    Running { address, server: tokio::spawn(server.run(stop.clone())), stop, events }
}

fn request(target: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {target}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Sends bytes as they are, and returns all that comes back.
async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    read_all(stream).await
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // The server may close with data of ours unread, which resets the connection after its answer.
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    read.expect("the server neither answered nor closed").ok();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn an_operation_is_answered_with_a_request_id() {
    let running = start(Limits::default()).await;
    let answer = exchange(running.address, &request("Echo_1.Echo", r#"{"a":1}"#)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-amzn-requestid: "), "{answer}");
    assert!(answer.contains("content-type: application/x-amz-json-1.1"), "{answer}");
    assert!(answer.ends_with(r#"{"got":{"a":1}}"#), "{answer}");
}

#[tokio::test]
async fn errors_have_a_status_a_type_and_a_message() {
    let running = start(Limits::default()).await;
    let table = [
        ("Echo_1.Fail", "400", r#"{"__type":"ClusterNotFoundException","message":"Cluster not found."}"#),
        ("Echo_1.Nope", "400", r#"{"__type":"UnknownOperationException","#),
        ("Other.Echo", "400", r#"{"__type":"UnknownOperationException","#),
        ("nothing", "400", r#"{"__type":"UnknownOperationException","#),
        ("Echo_1.Panic", "500", r#"{"__type":"ServerException","#),
    ];
    for (target, status, body) in table {
        let answer = exchange(running.address, &request(target, "{}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        assert!(answer.contains(body), "{target}: {answer}");
    }
}

/// As AWS's clients send it to services that are spoken to by forms.
fn form(body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
         X-Amz-Date: 20261128T000000Z\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_form_is_answered_in_xml() {
    let running = start(Limits::default()).await;
    let body = "Action=Echo&Version=2026-11-28&Names.member.1=a%26b";
    let answer = exchange(running.address, &form(body)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/xml\r\n"), "{answer}");
    let xml = "<EchoResponse xmlns=\"urn:echo\"><EchoResult><got><Names><member>a&amp;b</member></Names></got></EchoResult>";
    assert!(answer.contains(xml), "{answer}");
    for (body, status, code) in [
        ("Action=Fail&Version=2026-11-28", "400", "<Code>ClusterNotFoundException</Code>"),
        ("Action=Nope&Version=2026-11-28", "400", "<Code>InvalidAction</Code>"),
        ("Action=Echo&Version=2015-12-01", "400", "<Code>InvalidAction</Code>"),
        ("Version=2026-11-28", "400", "<Code>MissingAction</Code>"),
        ("Action=Panic&Version=2026-11-28", "500", "<Type>Receiver</Type>"),
    ] {
        let answer = exchange(running.address, &form(body)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {answer}");
        assert!(answer.contains(code), "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_form_that_a_web_page_could_send_does_nothing() {
    let running = start(Limits::default()).await;
    let good = form("Action=Echo&Version=2026-11-28");
    for (what, bytes) in [
        ("no date, which no page can add", good.replace("X-Amz-Date: 20261128T000000Z\r\n", "")),
        ("another origin", good.replace("Host: localhost", "Host: localhost\r\nOrigin: http://evil.example")),
        ("another host name", good.replace("Host: localhost", "Host: evil.example")),
    ] {
        let answer = exchange(running.address, &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{what}: {answer}");
    }
}

#[tokio::test]
async fn only_post_to_the_root_is_an_operation() {
    let running = start(Limits::default()).await;
    let get =
        exchange(running.address, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(get.starts_with("HTTP/1.1 405 ") && get.contains("allow: POST"), "{get}");
    let other = request("Echo_1.Echo", "{}").replacen("POST / ", "POST /elsewhere ", 1);
    let other = exchange(running.address, &other).await;
    assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
}

#[tokio::test]
async fn a_request_that_a_web_page_could_send_does_nothing() {
    let running = start(Limits::default()).await;
    let good = request("Echo_1.Echo", "{}");
    let table = [
        ("another host name", good.replace("Host: localhost", "Host: evil.example:4566"), "403"),
        (
            "another origin",
            good.replace("Host: localhost", "Host: localhost\r\nOrigin: http://evil.example"),
            "403",
        ),
        ("a form's content type", good.replace("application/x-amz-json-1.1", "text/plain"), "415"),
        ("a preflight", "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(), "405"),
    ];
    for (what, bytes, status) in table {
        let answer = exchange(running.address, &bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        assert!(!answer.contains("access-control-allow"), "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let running = start(Limits { body: 1000, ..Limits::default() }).await;
    let announced = exchange(running.address, &request("Echo_1.Echo", &" ".repeat(1001))).await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");

    let head = request("Echo_1.Echo", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunk = format!("200\r\n{}\r\n", " ".repeat(0x200));
    let chunked = exchange(running.address, &format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
}

#[tokio::test]
async fn a_client_that_sends_too_slowly_is_cut_off() {
    let soon = Duration::from_millis(50);
    let running = start(Limits { head_timeout: soon, body_timeout: soon, ..Limits::default() }).await;
    let head_only_begun = exchange(running.address, "POST / HTTP/1.1\r\nHost: loc").await;
    assert!(!head_only_begun.contains(" 200 "), "{head_only_begun}");
    let body_missing = request("Echo_1.Echo", "{}").replace("Content-Length: 2", "Content-Length: 20");
    let answer = exchange(running.address, &body_missing).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_client_over_the_cap_waits_until_a_connection_is_free() {
    let soon = Duration::from_millis(100);
    let running = start(Limits { connections: 2, head_timeout: soon, ..Limits::default() }).await;
    // Two clients that say nothing hold both places, until their time to send a head is over.
    let _idle = [
        TcpStream::connect(running.address).await.unwrap(),
        TcpStream::connect(running.address).await.unwrap(),
    ];
    let answer = exchange(running.address, &request("Echo_1.Echo", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_operation_ends_even_when_its_client_has_left() {
    let mut running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(request("Echo_1.Wait", "{}").as_bytes()).await.unwrap();
    assert_eq!(running.events.recv().await, Some("began"));
    drop(stream);
    let ended = timeout(Duration::from_secs(5), running.events.recv()).await;
    assert_eq!(ended, Ok(Some("ended")));
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_accepts_no_more() {
    let mut running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(request("Echo_1.Wait", "{}").as_bytes()).await.unwrap();
    assert_eq!(running.events.recv().await, Some("began"));
    running.stop.cancel();
    let answer = read_all(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    timeout(Duration::from_secs(5), running.server).await.expect("the server did not end").unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}
