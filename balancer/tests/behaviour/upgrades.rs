//! Connections that leave HTTP: WebSocket and others.

use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    Balancer, BalancerConfig, HealthCheckConfig, TargetGroup, TargetGroupAttributes, TargetGroupConfig,
    TcpTarget, TcpTargetConfig, Timeouts,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::support::{Front, HEALTHY, any_port, group, read_head, refusing, tcp, upstream, within};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-key: x\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-accept: y\r\n\r\n";

async fn echo(mut stream: TcpStream, head: String) {
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-key: x\r\n"), "{head}");
    stream.write_all(SWITCH).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await.ok();
    writer.write_all(b"bye").await.ok();
}

async fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, expected);
}

/// A client whose upgrade was granted.
async fn upgraded(front: &Front) -> TcpStream {
    let mut client = front.connect().await;
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    let head = within(read_head(&mut client)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for field in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: y"] {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
    }
    client
}

#[tokio::test]
async fn a_granted_upgrade_is_spliced_both_ways_and_each_way_ends_by_itself() {
    let front = Front::of_upstream(upstream(echo).await);
    let mut client = upgraded(&front).await;
    for size in [1, 1000, 100_000] {
        let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
        let (mut reader, mut writer) = client.split();
        let mut back = vec![0; size];
        let (sent, read) = tokio::join!(writer.write_all(&bytes), within(reader.read_exact(&mut back)));
        sent.unwrap();
        read.unwrap();
        assert!(back == bytes, "{size} bytes came back as others");
    }
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within(client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"bye");
}

/// CVE-2026-2833: what follows the request is not to be taken for the new protocol before the target agreed to it.
#[tokio::test]
async fn bytes_behind_an_upgrade_stay_here_until_the_target_has_agreed() {
    let (early, mut seen) = mpsc::unbounded_channel();
    let address = upstream(move |mut stream, _| {
        let early = early.clone();
        async move {
            let mut bytes = [0; 64];
            // Nothing may come, however long the target thinks.
            let read = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut bytes)).await;
            early.send(read.map(|length| length.unwrap()).ok()).unwrap();
            stream.write_all(SWITCH).await.unwrap();
            let length = stream.read(&mut bytes).await.unwrap();
            stream.write_all(&bytes[..length]).await.unwrap();
        }
    })
    .await;
    let front = Front::of_upstream(address);
    let mut client = front.connect().await;
    client.write_all(format!("{UPGRADE}EARLY").as_bytes()).await.unwrap();
    within(read_head(&mut client)).await.unwrap();
    expect(&mut client, b"EARLY").await;
    assert_eq!(within(seen.recv()).await, Some(None));
}

#[tokio::test]
async fn bytes_behind_an_upgrade_the_target_declines_are_the_next_request() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let address = upstream(move |mut stream, head| {
        let heads = heads.clone();
        async move {
            heads.send(head).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
                .await
                .unwrap();
        }
    })
    .await;
    let front = Front::of_upstream(address);
    let next = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = front.raw(format!("{UPGRADE}{next}")).await;
    assert_eq!(answer.answers(), 2, "{answer:?}");
    let (first, second) = (within(seen.recv()).await.unwrap(), within(seen.recv()).await.unwrap());
    assert!(first.starts_with("GET /chat ") && second.starts_with("GET /next "), "{first}{second}");
}

/// Each is answered 502, and the connection is one of HTTP still.
#[tokio::test]
async fn a_switch_to_what_nobody_asked_for_is_a_bad_gateway() {
    let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for (request, answer) in [
        (plain, "connection: upgrade\r\nupgrade: websocket\r\n"),
        (UPGRADE, "connection: upgrade\r\nupgrade: telnet\r\n"),
        (UPGRADE, "connection: upgrade\r\nupgrade: websocket, telnet\r\n"),
        (UPGRADE, "connection: upgrade\r\n"),
    ] {
        let address = upstream(move |mut stream, head| async move {
            if head.starts_with("GET /next ") {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                return;
            }
            stream
                .write_all(format!("HTTP/1.1 101 Switching Protocols\r\n{answer}\r\n").as_bytes())
                .await
                .unwrap();
        })
        .await;
        let front = Front::of_upstream(address);
        let next = "GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answers = front.raw(format!("{request}{next}")).await;
        assert_eq!((answers.status(), answers.answers()), (502, 2), "{answer} {answers:?}");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_to_pass_on_is_a_request_like_any_other() {
    for (head, body) in [
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x",
            "",
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket, H2C", ""),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: HTTP/2.0", ""),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: TLS/1.0", ""),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: a\r\nupgrade: b", ""),
        ("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket", ""),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nupgrade: websocket", ""),
        ("GET / HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket", ""),
        (
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 4",
            "body",
        ),
    ] {
        let address = upstream(|mut stream, head| async move {
            let seen = head.to_ascii_lowercase();
            let clean = !seen.contains("upgrade") && !seen.contains("http2-settings");
            let status = if clean { "200 OK" } else { "500 Internal Server Error" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let front = Front::of_upstream(address);
        let mut client = front.connect().await;
        client.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        let answer = within(read_head(&mut client)).await.unwrap();
        assert!(answer.contains(" 200 OK"), "{head} -> {answer}");
    }
}

#[tokio::test]
async fn an_upgrade_to_a_target_that_refuses_connections_goes_to_another() {
    let (gone, _refusing) = refusing();
    let targets = group([("gone", tcp(gone)), ("there", tcp(upstream(echo).await))]);
    let front = Front::with_workers(1, targets);
    for _ in 0..2 {
        let mut client = upgraded(&front).await;
        client.write_all(b"x").await.unwrap();
        expect(&mut client, b"x").await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_counts_as_in_flight_and_gets_the_deregistration_delay() {
    let attributes = [("deregistration_delay.timeout_seconds", "1")];
    let targets = TargetGroup::new(TargetGroupConfig {
        health_check: HealthCheckConfig::disabled(),
        attributes: TargetGroupAttributes::from_pairs(attributes).unwrap(),
        ..TargetGroupConfig::new("sockets")
    });
    targets.register("only", tcp_patient(upstream(echo).await), HEALTHY);
    let front = Front::with_workers(1, Arc::clone(&targets));
    let mut client = upgraded(&front).await;
    assert_eq!(targets.targets()[0].counters.in_flight, 1);
    let gone = tokio::spawn(targets.deregister(&"only".into()));
    client.write_all(b"still here").await.unwrap();
    expect(&mut client, b"still here").await;
    within(gone).await.unwrap();
    assert_eq!(within(client.read(&mut [0; 8])).await.unwrap(), 0, "closed with the target");
}

#[tokio::test]
async fn a_closing_listener_waits_for_upgraded_connections_until_its_deadline() {
    let front = Front::with_workers(1, group([("only", tcp_patient(upstream(echo).await))]));
    let mut first = upgraded(&front).await;
    let mut second = upgraded(&front).await;
    let (ended, closed) = oneshot::channel();
    let listener = front.listener.clone();
    tokio::spawn(async move {
        listener.close(Duration::from_millis(500)).await;
        ended.send(()).unwrap();
    });
    first.write_all(b"x").await.unwrap();
    expect(&mut first, b"x").await;
    drop(first);
    assert_eq!(within(second.read(&mut [0; 8])).await.unwrap_or(0), 0, "cut off at the deadline");
    within(closed).await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_on_which_nothing_moves_is_closed() {
    let timeouts = Timeouts { client_idle: Duration::from_millis(200), ..Timeouts::default() };
    let balancer =
        Balancer::start(BalancerConfig { workers: 1, timeouts, ..BalancerConfig::default() }).unwrap();
    let listener = balancer.listen(any_port(), group([("only", tcp_patient(upstream(echo).await))])).unwrap();
    let front = Front { balancer, listener };
    let mut client = upgraded(&front).await;
    assert_eq!(within(client.read(&mut [0; 8])).await.unwrap_or(0), 0);
}

fn tcp_patient(address: std::net::SocketAddr) -> Arc<dyn coracle_balancer::Target> {
    Arc::new(TcpTarget::new(address, TcpTargetConfig::default()))
}
