//! What the tests stand on: targets made from closures, raw clients and raw upstreams, and a deadline for each wait.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_balancer::{
    Balancer, BalancerConfig, Body, HealthCheckConfig, Listener, ListenerConfig, RegisterOptions, Target,
    TargetError, TargetGroup, TargetGroupConfig, TargetState, TcpTarget, TcpTargetConfig,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// No wait of a test is longer: what takes more has hung.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const HEALTHY: RegisterOptions = RegisterOptions::new(TargetState::Healthy);

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("the event the test waits for did not come")
}

pub(crate) type Answer = Result<Response<Body>, TargetError>;

struct FnTarget<F>(F);

impl<F, Fut> Target for FnTarget<F>
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Answer> {
        (self.0)(request).boxed()
    }
}

/// An in-process target that is `answer`.
pub(crate) fn target<F, Fut>(answer: F) -> Arc<dyn Target>
where
    F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    Arc::new(FnTarget(answer))
}

/// An in-process target that answers 200 with `text`.
pub(crate) fn saying(text: &'static str) -> Arc<dyn Target> {
    target(move |_| async move { Ok(Response::new(Body::full(text))) })
}

pub(crate) fn group(targets: impl IntoIterator<Item = (&'static str, Arc<dyn Target>)>) -> Arc<TargetGroup> {
    // Without health checks, or targets would see requests that the test did not make.
    let health_check = HealthCheckConfig::disabled();
    let group = TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("test") });
    for (id, target) in targets {
        group.register(id, target, HEALTHY);
    }
    group
}

/// A balancer with one listener.
pub(crate) struct Front {
    pub(crate) balancer: Balancer,
    pub(crate) listener: Listener,
}

impl Front {
    pub(crate) fn new(group: Arc<TargetGroup>) -> Self {
        Self::with_workers(2, group)
    }

    pub(crate) fn with_workers(workers: usize, group: Arc<TargetGroup>) -> Self {
        let balancer = Balancer::start(BalancerConfig { workers, ..BalancerConfig::default() }).unwrap();
        let listener = balancer.listen(any_port(), group).unwrap();
        Self { balancer, listener }
    }

    /// In front of one in-process target.
    pub(crate) fn of<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request<Body>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        Self::new(group([("only", target(answer))]))
    }

    /// In front of one TCP target with short timeouts.
    pub(crate) fn of_upstream(address: SocketAddr) -> Self {
        Self::with_workers(1, group([("only", tcp(address))]))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address())).await.unwrap()
    }

    /// Sends bytes over a connection of their own and reads until it is closed.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Raw {
        let mut stream = self.connect().await;
        // The balancer may refuse before it has read everything.
        within(stream.write_all(request.as_ref())).await.ok();
        let mut bytes = Vec::new();
        within(stream.read_to_end(&mut bytes)).await.ok();
        Raw { text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// `GET path` over a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Raw {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")).await
    }

    pub(crate) async fn client(&self) -> http1::SendRequest<Body> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn h2_client(
        &self,
    ) -> (http2::SendRequest<Body>, tokio::task::JoinHandle<hyper::Result<()>>) {
        let io = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        (sender, tokio::spawn(connection))
    }
}

pub(crate) fn any_port() -> ListenerConfig {
    ListenerConfig::new("test", SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// What came back over a connection until it ended.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) text: String,
}

impl Raw {
    /// Status of the first answer; 0 if there was none.
    pub(crate) fn status(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(crate) fn answers(&self) -> usize {
        self.text.matches("HTTP/1.").count()
    }
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "test").body(Body::empty()).unwrap()
}

pub(crate) async fn bytes_of(response: Response<hyper::body::Incoming>) -> Bytes {
    within(response.into_body().collect()).await.unwrap().to_bytes()
}

pub(crate) fn tcp(address: SocketAddr) -> Arc<dyn Target> {
    let config = TcpTargetConfig {
        connect_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        ..TcpTargetConfig::default()
    };
    Arc::new(TcpTarget::new(address, config))
}

/// A TCP server of which each connection is one run of `serve`, after the head of the first request was read.
pub(crate) async fn upstream<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream, String) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(head) = read_head(&mut stream).await {
                tokio::spawn(serve(stream, head));
            }
        }
    });
    address
}

/// An address that refuses connections for as long as the socket is held: bound, so that nobody else gets it, and not
/// listening.
pub(crate) fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// Reads up to the empty line; `None` at the end of the connection.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}
