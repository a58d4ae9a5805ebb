//! Connections that are passed on as they are, and who they are from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    Balancer, BalancerConfig, Body, HealthCheckConfig, ListenerConfig, ListenerProtocol, Target, TargetGroup,
    TargetGroupAttributes, TargetGroupConfig,
};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Front, HEALTHY, any_port, group, refusing, saying, target, tcp, within};

fn front(config: ListenerConfig, group: Arc<TargetGroup>) -> Front {
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let listener = balancer.listen(config, group).unwrap();
    Front { balancer, listener }
}

fn passing(group: Arc<TargetGroup>) -> Front {
    front(ListenerConfig { protocol: ListenerProtocol::Tcp, ..any_port() }, group)
}

/// A server that sends back what it gets, and says bye when the other side has ended.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await.ok();
                writer.write_all(b"bye").await.ok();
            });
        }
    });
    address
}

async fn exchange(front: &Front, bytes: &[u8]) -> Vec<u8> {
    let mut client = front.connect().await;
    client.write_all(bytes).await.ok();
    client.shutdown().await.ok();
    let mut back = Vec::new();
    within(client.read_to_end(&mut back)).await.ok();
    back
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_way_ends_by_itself() {
    let front = passing(group([("only", tcp(echo().await))]));
    assert_eq!(exchange(&front, b"\0\xffanything").await, b"\0\xffanythingbye");
}

#[tokio::test]
async fn the_server_may_speak_first() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = passing(group([("only", tcp(listener.local_addr().unwrap()))]));
    let mut client = front.connect().await;
    let (mut server, _) = within(listener.accept()).await.unwrap();
    server.write_all(b"220 ready").await.unwrap();
    let mut banner = [0; 9];
    within(client.read_exact(&mut banner)).await.unwrap();
    assert_eq!(&banner, b"220 ready");
    drop(client);
    assert_eq!(within(server.read(&mut [0; 1])).await.unwrap_or(0), 0, "ends with the client");
}

#[tokio::test]
async fn a_target_that_refuses_or_has_no_socket_is_passed_over() {
    let (gone, _refusing) = refusing();
    let targets = group([("gone", tcp(gone)), ("task", saying("no socket")), ("echo", tcp(echo().await))]);
    let front = passing(Arc::clone(&targets));
    for _ in 0..3 {
        assert_eq!(exchange(&front, b"x").await, b"xbye");
    }
    let nobody = passing(group([]));
    assert_eq!(exchange(&nobody, b"x").await, b"", "closed");
}

#[tokio::test]
async fn connections_get_the_time_to_drain() {
    let front = passing(group([("only", tcp(echo().await))]));
    let mut client = front.connect().await;
    client.write_all(b"x").await.unwrap();
    let mut byte = [0];
    within(client.read_exact(&mut byte)).await.unwrap();
    let listener = front.listener.clone();
    let closing = tokio::spawn(async move { listener.close(Duration::from_millis(500)).await });
    client.write_all(b"y").await.unwrap();
    within(client.read_exact(&mut byte)).await.unwrap();
    assert_eq!(&byte, b"y");
    assert_eq!(within(client.read(&mut byte)).await.unwrap_or(0), 0, "cut off at the deadline");
    within(closing).await.unwrap();
}

#[tokio::test]
async fn a_target_is_told_the_client_if_its_group_says_so() {
    for (key, v2) in [("proxy_protocol_v2.enabled", true), ("coracle.proxy_protocol_v1.enabled", false)] {
        let targets = TargetGroup::new(TargetGroupConfig {
            health_check: HealthCheckConfig::disabled(),
            attributes: TargetGroupAttributes::from_pairs([(key, "true")]).unwrap(),
            ..TargetGroupConfig::new("told")
        });
        targets.register("only", tcp(echo().await), HEALTHY);
        let front = passing(targets);
        let mut client = TcpStream::connect(front.address()).await.unwrap();
        let (from, to) = (client.local_addr().unwrap(), front.address());
        client.write_all(b"data").await.unwrap();
        client.shutdown().await.unwrap();
        let mut back = Vec::new();
        within(client.read_to_end(&mut back)).await.unwrap();
        let expected = if v2 {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
            header.extend(from.port().to_be_bytes());
            header.extend(to.port().to_be_bytes());
            header
        } else {
            format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port()).into_bytes()
        };
        assert_eq!(back, [&expected[..], b"databye"].concat());
    }
}

fn telling_client() -> Arc<dyn Target> {
    target(|request: Request<Body>| async move {
        let client = request.headers()["x-forwarded-for"].to_str().unwrap().to_owned();
        Ok(Response::new(Body::full(client)))
    })
}

#[tokio::test]
async fn a_proxy_in_front_tells_the_client() {
    let front =
        front(ListenerConfig { proxy_protocol: true, ..any_port() }, group([("only", telling_client())]));
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x12\x34\0\x50";
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n"[..], "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (v2, "192.0.2.1"),
    ] {
        let answer = front.raw([header, request.as_bytes()].concat()).await;
        assert_eq!((answer.status(), answer.body()), (200, client));
    }
    let unannounced = front.raw(request).await;
    assert_eq!(unannounced.answers(), 0, "{unannounced:?}");
}
