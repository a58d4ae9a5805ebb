//! Guests that try the network: where they may be, whom they may reach, and what they are told where they may not.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

#[expect(dead_code, reason = "shared with tests that use the rest")]
mod support;

use coracle_runtime::network::lookup::Resolve;
use coracle_runtime::network::task::MAX_SOCKETS;
use coracle_runtime::{
    Container, ContainerSpec, HttpClient, Image, Network, Output, RingLog, Runtime, RuntimeConfig,
    TaskNetwork, Uplink,
};
use futures_util::future::BoxFuture;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use support::{DEADLINE, guests};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// The probes of preview 2 and 3.
const PROBES: [&str; 2] = ["netprobe", "netprobe-p3"];

/// An address that no other test has, of this process or another.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | (high & 0x7f), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Answers for the names of these tests.
#[derive(Debug)]
struct Answers;

impl Resolve for Answers {
    fn resolve(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let answer = match name.as_str() {
            "rebound.example" => Ok(vec![IpAddr::from([127, 0, 0, 1]), "::1".parse().unwrap()]),
            "metadata.example" => Ok(vec![IpAddr::from([169, 254, 169, 254])]),
            "mapped.example" => Ok(vec!["::ffff:127.0.0.1".parse().unwrap()]),
            "mixed.example" => Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1])]),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A runtime that compiles each probe once.
struct Host {
    runtime: Runtime,
    images: [Image; 2],
}

impl Host {
    fn new() -> Self {
        let config = RuntimeConfig { guest_threads: Some(1), ..RuntimeConfig::default() };
        let runtime = Runtime::new(config).unwrap();
        let image = |guest| runtime.load_file(&guests().join(format!("{guest}.wasm"))).unwrap();
        Self { images: PROBES.map(image), runtime }
    }

    fn image(&self, guest: &str) -> &Image {
        &self.images[PROBES.iter().position(|probe| *probe == guest).unwrap()]
    }
}

struct Task {
    address: Ipv4Addr,
    network: TaskNetwork,
}

impl Task {
    fn new() -> Self {
        Self::reserving(Vec::new())
    }

    fn reserving(reserved: Vec<SocketAddr>) -> Self {
        let uplink = Uplink::new(Arc::new(Answers), reserved, HttpClient::default());
        let address = own_address();
        Self { address, network: TaskNetwork::with_address(address, uplink) }
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.into(), port)
    }

    fn network(&self, egress: &str) -> Network {
        self.network.container(egress.parse().unwrap())
    }
}

fn spec(network: Network, operation: &str) -> ContainerSpec {
    let args = operation.split(' ').map(str::to_owned).collect();
    ContainerSpec { args, network, ..ContainerSpec::named("probe") }
}

/// What the probe says of its operations, a line for each.
async fn probe(host: &Host, guest: &str, network: Network, operations: &str) -> Vec<String> {
    let log = Arc::new(RingLog::new(1000, 1 << 20));
    let spec = ContainerSpec { output: Output::Log(log.clone()), ..spec(network, operations) };
    let container = host.runtime.start(host.image(guest), spec).await.unwrap();
    let ended = timeout(DEADLINE, container.wait()).await;
    let lines: Vec<String> = log.since(0).into_iter().map(|(_, line)| line.message).collect();
    let exit = ended.unwrap_or_else(|_| panic!("{operations} does not end: {lines:?}"));
    assert_eq!(exit.code, Some(0), "{operations}: {} {lines:?}", exit.message);
    // Without the operation's own words.
    let told = lines
        .into_iter()
        .map(|line| line.split_once(": ").map_or_else(|| line.clone(), |(_, told)| told.to_owned()));
    told.collect()
}

async fn probe_one(host: &Host, guest: &str, network: Network, operation: &str) -> String {
    probe(host, guest, network, operation).await.join("\n")
}

/// Starts a probe that listens, and waits until it does.
async fn serve(host: &Host, guest: &str, network: Network, operation: &str) -> Container {
    let log = Arc::new(RingLog::new(1000, 1 << 20));
    let spec = ContainerSpec { output: Output::Log(log.clone()), ..spec(network, operation) };
    let container = host.runtime.start(host.image(guest), spec).await.unwrap();
    let listens = async {
        loop {
            let lines: Vec<String> = log.since(0).into_iter().map(|(_, line)| line.message).collect();
            if lines.iter().any(|line| line.starts_with("listening on")) {
                return;
            }
            assert!(container.exit().is_none(), "{operation}: {lines:?}");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, listens).await.expect("it listens");
    container
}

/// A service of the host's that sends back what it gets, on a port of its own.
async fn echo_at(ip: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 100];
            let read = timeout(std::time::Duration::from_millis(200), stream.read(&mut bytes)).await;
            if let Ok(Ok(length @ 1..)) = read {
                stream.write_all(&bytes[..length]).await.ok();
            }
            kept.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn wildcards_and_localhost_are_bound_at_the_tasks_address_and_nothing_else_is() {
    let (host, task) = (Host::new(), Task::new());
    for guest in PROBES {
        for transport in ["tcp-bind", "udp-bind"] {
            for wanted in ["0.0.0.0:7001", "127.0.0.1:7001", "[::]:7001", "[::1]:7001"] {
                let told = probe_one(&host, guest, task.network(""), &format!("{transport} {wanted}")).await;
                assert_eq!(told, format!("bound to {}", task.at(7001)), "{guest} {transport} {wanted}");
            }
            let random = probe_one(&host, guest, task.network(""), &format!("{transport} 0.0.0.0:0")).await;
            assert!(random.starts_with(&format!("bound to {}:", task.address)), "{random}");
            let other = own_address();
            for elsewhere in
                [format!("{other}:7001"), "192.0.2.1:7001".to_owned(), "[2001:db8::1]:7001".to_owned()]
            {
                let told =
                    probe_one(&host, guest, task.network("*"), &format!("{transport} {elsewhere}")).await;
                assert_eq!(told, "error access-denied", "{guest} {transport} {elsewhere}");
            }
        }
    }
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let told = probe_one(&host, "netprobe-p3", task.network(""), &format!("tcp-listen {wildcard}")).await;
        assert!(told.starts_with(&format!("listening on {}:", task.address)), "{wildcard}: {told}");
    }
}

#[tokio::test]
async fn containers_of_a_task_find_each_other_at_localhost() {
    for (server, client) in [("netprobe", "netprobe-p3"), ("netprobe-p3", "netprobe")] {
        let (host, task) = (Host::new(), Task::new());
        let tcp = serve(&host, server, task.network(""), "tcp-serve 0.0.0.0:7002").await;
        let udp = serve(&host, server, task.network(""), "udp-serve 127.0.0.1:7002").await;
        for localhost in ["127.0.0.1", "[::1]", "0.0.0.0", &task.address.to_string()] {
            let told =
                probe_one(&host, client, task.network(""), &format!("tcp-reach {localhost}:7002 hi")).await;
            assert!(told.starts_with("hi from 127.0.0.1:7002"), "{client} {localhost}: {told}");
        }
        for egress in ["", "192.0.2.1:53"] {
            let told = probe_one(&host, client, task.network(egress), "udp-send 127.0.0.1:7002 hi").await;
            assert_eq!(told, "hi from 127.0.0.1:7002", "{client} with {egress:?}");
        }
        tcp.stop(DEADLINE).await;
        udp.stop(DEADLINE).await;
        // Its sockets go a moment after it has ended, and until then connections are reset.
        let refused = async {
            while probe_one(&host, "netprobe", task.network(""), "tcp-connect 127.0.0.1:7002 hi").await
                != "error connection-refused"
            {}
        };
        timeout(DEADLINE, refused).await.expect("a refusal after the server has ended");
    }
}

#[tokio::test]
async fn a_server_answers_whoever_on_the_host_asks_it() {
    for guest in PROBES {
        let (host, task) = (Host::new(), Task::new());
        let _tcp = serve(&host, guest, task.network(""), "tcp-serve [::]:7003").await;
        let _udp = serve(&host, guest, task.network(""), "udp-serve 0.0.0.0:7003").await;
        let mut stream = TcpStream::connect(task.at(7003)).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"hello");

        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"hello", task.at(7003)).await.unwrap();
        let (length, from) = timeout(DEADLINE, client.recv_from(&mut answer)).await.unwrap().unwrap();
        assert_eq!((&answer[..length], from), (&b"hello"[..], task.at(7003)), "{guest}");
    }
}

#[tokio::test]
async fn the_host_and_other_tasks_are_out_of_reach_unless_their_addresses_are_granted() {
    let (host, task, other) = (Host::new(), Task::new(), Task::new());
    let of_host = echo_at(Ipv4Addr::LOCALHOST).await;
    // What a program that listens on all of the host's addresses looks like from inside a task.
    let of_host_at_task = echo_at(task.address).await;
    let _other = serve(&host, "netprobe", other.network(""), "tcp-serve 0.0.0.0:7004").await;
    let _other_udp = serve(&host, "netprobe", other.network(""), "udp-serve 0.0.0.0:7004").await;
    for guest in PROBES {
        for egress in ["", "*", "*.example,example.com"] {
            let connect = async |target: SocketAddr| {
                let operation = match guest {
                    "netprobe" => format!("tcp-connect {target} hi"),
                    _ => format!("tcp-streams {target} 1"),
                };
                probe_one(&host, guest, task.network(egress), &operation).await
            };
            for target in [of_host, of_host_at_task] {
                assert!(connect(target).await.contains("connection-refused"), "{guest} {target} {egress:?}");
            }
            let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), of_host.port());
            let told = connect(mapped).await;
            assert!(told.contains("connection-refused"), "{guest} {mapped} {egress:?}: {told}");
            for target in ["127.0.0.2:4566", "169.254.169.254:80", "[fe80::1]:80"] {
                let told = connect(target.parse().unwrap()).await;
                assert!(told.contains("access-denied"), "{guest} {target} {egress:?}: {told}");
            }
            assert!(connect(other.at(7004)).await.contains("access-denied"), "{guest} {egress:?}");
            let told =
                probe_one(&host, guest, task.network(egress), &format!("udp-send {} hi", other.at(7004)))
                    .await;
            assert_eq!(told, "error access-denied", "{guest} {egress:?}");
        }
        let granted = |address: SocketAddr| task.network(&address.to_string());
        for target in [of_host, other.at(7004)] {
            let told = probe_one(&host, guest, granted(target), &format!("tcp-reach {target} hi")).await;
            assert!(told.starts_with(&format!("hi from {target}")), "{guest} {target}: {told}");
        }
        let told =
            probe_one(&host, guest, granted(other.at(7004)), &format!("udp-send {} hi", other.at(7004)))
                .await;
        assert_eq!(told, format!("hi from {}", other.at(7004)), "{guest}");
    }
}

#[tokio::test]
async fn the_hosts_api_is_reached_only_by_its_very_address() {
    let host = Host::new();
    let api = echo_at(Ipv4Addr::LOCALHOST).await;
    let task = Task::reserving(vec![api]);
    let operation = format!("tcp-connect {api} hi then http http://{api}/");
    let told = probe(&host, "netprobe", task.network("127.0.0.0/8"), &operation).await;
    assert_eq!(told, ["error access-denied", "error HttpRequestDenied"]);
    let told =
        probe_one(&host, "netprobe", task.network(&api.to_string()), &format!("tcp-connect {api} hi")).await;
    assert!(told.starts_with("hi from"), "{told}");
}

#[tokio::test]
async fn names_are_resolved_only_where_granted_and_never_lead_to_the_host() {
    let (host, task) = (Host::new(), Task::new());
    for guest in PROBES {
        for (egress, name, told) in [
            ("", "mixed.example", "error access-denied"),
            ("other.example", "mixed.example", "error access-denied"),
            ("*", "rebound.example", "error access-denied"),
            ("rebound.example", "rebound.example", "error access-denied"),
            ("metadata.example", "metadata.example", "error access-denied"),
            ("*.example", "mapped.example", "error access-denied"),
            ("*.example", "mixed.example", "192.0.2.1"),
            ("*.example", "none.example", "error name-unresolvable"),
            ("*", "a b", "error invalid-argument"),
            ("", "localhost", "127.0.0.1"),
            ("", "192.0.2.7", "192.0.2.7"),
        ] {
            // Arguments are told apart by spaces.
            let operation = format!("resolve {}", name.replace(' ', "\u{a0}"));
            let found = probe_one(&host, guest, task.network(egress), &operation).await;
            assert_eq!(found, told, "{guest} {name} with {egress:?}");
        }
        let told = probe_one(&host, guest, Network::none(), "resolve mixed.example").await;
        assert_eq!(told, "error access-denied", "{guest} without a network");
    }
}

#[tokio::test]
async fn a_name_opens_its_addresses_to_sockets_where_these_are_granted_too() {
    let (host, task) = (Host::new(), Task::new());
    let of_host = echo_at(Ipv4Addr::LOCALHOST).await;
    let egress = format!("rebound.example,{of_host}");
    let operations = format!("resolve rebound.example then tcp-connect {of_host} hi");
    let told = probe(&host, "netprobe", task.network(&egress), &operations).await;
    assert_eq!(told[0], "127.0.0.1");
    assert!(told[1].starts_with("hi from"), "{told:?}");
    // Without a grant of its own, an address is as closed after the lookup as before.
    let operations = "resolve mixed.example then tcp-connect 127.0.0.2:80 hi";
    let told = probe(&host, "netprobe", task.network("mixed.example"), operations).await;
    assert_eq!(told, ["192.0.2.1", "error access-denied"]);
}

#[tokio::test]
async fn without_a_network_there_is_nothing_and_with_the_hosts_everything() {
    let host = Host::new();
    let of_host = echo_at(Ipv4Addr::LOCALHOST).await;
    for guest in PROBES {
        for operation in ["tcp-bind 0.0.0.0:0", "udp-bind 127.0.0.1:0", "tcp-reach 127.0.0.1:80 hi"] {
            let told = probe_one(&host, guest, Network::none(), operation).await;
            assert_eq!(told, "error access-denied", "{guest} {operation}");
        }
        let told = probe_one(&host, guest, Network::none(), &format!("http http://{of_host}/")).await;
        assert!(told.to_lowercase().replace('-', "").contains("httprequestdenied"), "{guest}: {told}");
        let told = probe_one(&host, guest, Network::host(), &format!("tcp-reach {of_host} hi")).await;
        assert!(told.starts_with(&format!("hi from {of_host}")), "{guest}: {told}");
        let told = probe_one(&host, guest, Network::host(), "tcp-bind 127.0.0.1:0").await;
        assert!(told.starts_with("bound to 127.0.0.1:"), "{guest}: {told}");
    }
}

#[tokio::test]
async fn requests_go_where_they_are_granted() {
    let (host, task) = (Host::new(), Task::new());
    let server = http_server().await;
    for guest in PROBES {
        let request = async |egress: &str, host_name: &str| {
            let url = format!("http http://{host_name}/path");
            let told = probe_one(&host, guest, task.network(egress), &url).await;
            told.to_lowercase().replace('-', "")
        };
        let at = server.to_string();
        assert_eq!(request(&at, &at).await, format!("200 get /path at {at}"), "{guest}");
        assert_eq!(request("", &at).await, "error httprequestdenied", "{guest}");
        assert_eq!(request("127.0.0.1:1", &at).await, "error httprequestdenied", "{guest}");
        let name = format!("rebound.example:{}", server.port());
        assert_eq!(request("other.example", &name).await, "error httprequestdenied", "{guest}");
        assert_eq!(request("*", &name).await, "error destinationipprohibited", "{guest}");
        assert_eq!(
            request(&format!("*.example,{at}"), &name).await,
            format!("200 get /path at {name}"),
            "{guest}"
        );
        assert_eq!(request("*", "none.example").await, "error dnserror", "{guest}");
        assert_eq!(request("127.0.0.1:1", "127.0.0.1:1").await, "error connectionrefused", "{guest}");
    }
    // A neighbour at localhost.
    let _port = task.network.open(coracle_runtime::network::task::Transport::Tcp, 7005);
    let listener = TcpListener::bind(task.at(7005)).await.unwrap();
    serve_http(listener);
    let told = probe_one(&host, "netprobe", task.network(""), "http http://localhost:7005/ body").await;
    assert_eq!(told, "200 POST / at localhost:7005 body");
}

#[tokio::test]
async fn a_request_whose_body_fails_never_looks_like_a_whole_one() {
    let (host, task) = (Host::new(), Task::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        // To the end of the connection, which comes without an answer.
        stream.read_to_end(&mut bytes).await.ok();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let operation = format!("http-broken http://{server}/");
    let told = probe_one(&host, "netprobe", task.network(&server.to_string()), &operation).await;
    assert!(told.starts_with("error"), "{told}");
    let received = timeout(DEADLINE, received).await.expect("the connection ends").unwrap();
    // How much of it is sent before it fails, is chance.
    assert!(!received.contains("0\r\n\r\n"), "a truncated body was ended as if it were whole: {received:?}");
}

#[tokio::test]
async fn a_task_cannot_take_every_descriptor_of_the_process() {
    allow_many_descriptors();
    let (host, task) = (Host::new(), Task::new());
    for guest in PROBES {
        let told = probe_one(&host, guest, task.network(""), "sockets 1100").await;
        assert_eq!(told, "1024 then new-socket-limit, again 1024 then new-socket-limit", "{guest}");
    }
    // The streams of preview 3 outlive their sockets, and hold the descriptors.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.push(stream);
        }
    });
    let operation = format!("tcp-streams {server} 1100");
    let told = probe_one(&host, "netprobe-p3", task.network(&server.to_string()), &operation).await;
    assert_eq!(told, "1024 then new-socket-limit, then one more");
}

#[tokio::test]
async fn connections_past_the_limit_are_closed_when_they_are_accepted() {
    allow_many_descriptors();
    let (host, task) = (Host::new(), Task::new());
    let _server = serve(&host, "netprobe", task.network(""), "tcp-serve 0.0.0.0:7006").await;
    let mut connections = Vec::new();
    for _ in 0..MAX_SOCKETS + 10 {
        let mut connection = TcpStream::connect(task.at(7006)).await.unwrap();
        // The server keeps it.
        connection.write_all(b"hold").await.ok();
        connections.push(connection);
    }
    // The socket that listens is one as well.
    for connection in &mut connections[MAX_SOCKETS - 1..] {
        let end = timeout(DEADLINE, connection.read(&mut [0])).await.expect("it is closed");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    for connection in &mut connections[..MAX_SOCKETS - 1] {
        let pending = connection.try_read(&mut [0]);
        assert!(matches!(&pending, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "{pending:?}");
    }
}

/// More than a task may have, whatever the shell allows.
fn allow_many_descriptors() {
    let nofile = rustix::process::Resource::Nofile;
    let limit = rustix::process::getrlimit(nofile);
    rustix::process::setrlimit(nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
}

async fn http_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_http(listener);
    address
}

/// Answers with what it was asked, and the body it got.
fn serve_http(listener: TcpListener) {
    use http_body_util::{BodyExt, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    let answer = async |request: http::Request<Incoming>| {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        let head = format!("{} {} at {}", request.method(), request.uri(), host.unwrap_or_default());
        let body = request.into_body().collect().await?.to_bytes();
        let text = format!("{head} {}", String::from_utf8_lossy(&body));
        Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(text.trim_end().to_owned()))))
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service_fn(answer)));
        }
    });
}
