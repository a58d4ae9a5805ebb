use super::*;
use crate::network::lookup::SystemResolver;
use crate::network::task::MAX_OUTGOING_REQUESTS;
use crate::network::{TaskNetwork, Uplink, metadata};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Full};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const QUICK: Duration = Duration::from_millis(50);
const PATIENT: Duration = Duration::from_secs(30);

fn patient() -> Timeouts {
    Timeouts { connect: PATIENT, first_byte: PATIENT, between_bytes: PATIENT }
}

fn task_with(http: HttpClient) -> TaskNetwork {
    let uplink = Uplink::new(Arc::new(SystemResolver), Vec::new(), http);
    TaskNetwork::with_address(Ipv4Addr::new(127, 9, 9, 9), uplink)
}

fn reaching(server: SocketAddr) -> Network {
    task_with(HttpClient::default()).container(server.to_string().parse().unwrap())
}

fn request(url: &str) -> Request<WasiBody> {
    let body = Empty::<Bytes>::new().map_err(Error::from).boxed_unsync();
    Request::get(url).header("host", "test").body(body).unwrap()
}

async fn get(network: &Network, url: &str) -> Result<String, Error> {
    let answer = client::send(network, request(url), patient()).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// A server that gives each connection to `serve`, and counts them.
async fn server<F, S>(serve: S) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(tokio::net::TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream));
        }
    });
    (address, connections)
}

/// Reads a request that has no body; false at the end of the connection.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Answers each request on a connection with `answer`.
async fn answer_all<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &str) {
    while read_request(&mut stream).await {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_connection_serves_the_next_request_of_the_same_container_and_of_no_other() {
    let (address, connections) = server(async |stream| answer_all(stream, HELLO).await).await;
    let url = format!("http://{address}/");
    let task = task_with(HttpClient::default());
    let network = task.container(address.to_string().parse().unwrap());
    for _ in 0..3 {
        assert_eq!(get(&network, &url).await.unwrap(), "hello");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    let neighbour = task.container(address.to_string().parse().unwrap());
    assert_eq!(get(&neighbour, &url).await.unwrap(), "hello");
    assert_eq!(connections.load(Ordering::Relaxed), 2);
    assert!(matches!(get(&task.container(Default::default()), &url).await, Err(Error::HttpRequestDenied)));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_no_error() {
    // One answer, then the end, which the client may see only when it sends again.
    let (address, connections) = server(async |mut stream: tokio::net::TcpStream| {
        read_request(&mut stream).await;
        stream.write_all(HELLO.as_bytes()).await.ok();
    })
    .await;
    let network = reaching(address);
    for _ in 0..20 {
        assert_eq!(get(&network, &format!("http://{address}/")).await.unwrap(), "hello");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn each_wait_has_its_limit() {
    let (silent, _) = server(async |stream| {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let hasty = Timeouts { first_byte: QUICK, ..patient() };
    let error =
        client::send(&reaching(silent), request(&format!("http://{silent}/")), hasty).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");

    let (halting, _) = server(async |mut stream: tokio::net::TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.ok();
        std::future::pending::<()>().await;
    })
    .await;
    let hasty = Timeouts { between_bytes: QUICK, ..patient() };
    let answer =
        client::send(&reaching(halting), request(&format!("http://{halting}/")), hasty).await.unwrap();
    let error = answer.into_body().collect().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");

    // Nobody completes the handshake of TLS.
    let hasty = Timeouts { connect: QUICK, ..patient() };
    let error =
        client::send(&reaching(silent), request(&format!("https://{silent}/")), hasty).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionTimeout), "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let (address, _) = server(async |mut stream: tokio::net::TcpStream| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.ok();
    })
    .await;
    assert!(get(&reaching(address), &format!("http://{address}/")).await.is_err());
}

#[tokio::test]
async fn a_body_that_fails_ends_the_connection_and_not_the_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, has_arrived) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains("half") {
            received.push(stream.read_u8().await.unwrap());
        }
        arrived.send(()).unwrap();
        stream.read_to_end(&mut received).await.ok();
        String::from_utf8_lossy(&received).into_owned()
    });
    let half = stream::once(async { Ok(http_body::Frame::data(Bytes::from_static(b"half"))) });
    let failure = stream::once(async move {
        has_arrived.await.ok();
        Err(Error::InternalError(None))
    });
    let body = http_body_util::StreamBody::new(half.chain(failure)).boxed_unsync();
    let request = Request::post(format!("http://{address}/")).header("host", "test").body(body).unwrap();
    assert!(client::send(&reaching(address), request, patient()).await.is_err());
    let received = server.await.unwrap();
    assert!(!received.contains("0\r\n\r\n"), "a truncated body was ended as if it were whole: {received:?}");
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_of_a_task_wait_and_give_up_in_time() {
    let network = reaching(SocketAddr::from(([127, 0, 0, 1], 1)));
    let most = u32::try_from(MAX_OUTGOING_REQUESTS).unwrap();
    let turns = network.task().requests().clone().acquire_many_owned(most).await.unwrap();
    let begin = tokio::time::Instant::now();
    let error = get(&network, "http://127.0.0.1:1/").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    assert_eq!(begin.elapsed(), TURN_TIMEOUT);
    drop(turns);
    let error = get(&network, "http://127.0.0.1:1/").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionRefused), "{error}");
}

#[tokio::test]
async fn a_turn_is_given_back_when_the_answer_was_read_or_dropped() {
    let (address, _) = server(async |stream| answer_all(stream, HELLO).await).await;
    let network = reaching(address);
    let free = || network.task().requests().available_permits();
    let answer = client::send(&network, request(&format!("http://{address}/")), patient()).await.unwrap();
    assert_eq!(free(), MAX_OUTGOING_REQUESTS - 1);
    answer.into_body().collect().await.unwrap();
    assert_eq!(free(), MAX_OUTGOING_REQUESTS);
    drop(client::send(&network, request(&format!("http://{address}/")), patient()).await.unwrap());
    assert_eq!(free(), MAX_OUTGOING_REQUESTS);
}

#[tokio::test]
async fn https_needs_a_certificate_of_the_host_from_an_authority_that_is_trusted() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = certified.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (address, connections) = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_all(stream, HELLO).await;
            }
        }
    })
    .await;
    let url = format!("https://{address}/");
    let error = get(&reaching(address), &url).await.unwrap_err();
    assert!(matches!(error, Error::TlsCertificateError), "{error}");
    let trusting = task_with(HttpClient::trusting(vec![certificate]));
    let network = trusting.container("127.0.0.0/8".parse().unwrap());
    for _ in 0..2 {
        assert_eq!(get(&network, &url).await.unwrap(), "hello");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2, "one that failed, and one that was used twice");
    // Another of the host's names for itself is not in the certificate.
    let elsewhere = format!("https://127.0.0.2:{}/", address.port());
    assert!(get(&network, &elsewhere).await.is_err());
    // Nothing speaks TLS there.
    let (plain, _) = server(async |stream| answer_all(stream, HELLO).await).await;
    let hasty = Timeouts { connect: QUICK, ..patient() };
    assert!(client::send(&network, request(&format!("https://{plain}/")), hasty).await.is_err());
}

#[tokio::test]
async fn what_is_no_request_to_a_server_is_refused() {
    let network = reaching(SocketAddr::from(([127, 0, 0, 1], 1)));
    let error = client::send(&network, request("ftp://127.0.0.1/"), patient()).await.unwrap_err();
    assert!(matches!(error, Error::HttpProtocolError), "{error}");
    let body = Full::new(Bytes::new()).map_err(Error::from).boxed_unsync();
    let without_scheme = Request::get("/path").body(body).unwrap();
    assert!(client::send(&network, without_scheme, patient()).await.is_err());
}

#[test]
fn a_guest_may_shorten_its_timeouts_but_not_lengthen_them_for_ever() {
    let none = Timeouts::of(None);
    assert_eq!(
        (none.connect, none.first_byte, none.between_bytes),
        (CONNECT_TIMEOUT, FIRST_BYTE_TIMEOUT, BETWEEN_BYTES_TIMEOUT)
    );
    let options = RequestOptions {
        connect_timeout: Some(QUICK),
        first_byte_timeout: Some(Duration::from_secs(300)),
        between_bytes_timeout: Some(Duration::MAX),
    };
    let some = Timeouts::of(Some(options));
    assert_eq!((some.connect, some.first_byte), (QUICK, Duration::from_secs(300)));
    assert_eq!(some.between_bytes, LONGEST_TIMEOUT);
}

/// Says what it was asked for.
#[derive(Debug)]
struct Echo;

impl metadata::Metadata for Echo {
    fn answer(
        &self,
        path: &str,
        put: Option<Bytes>,
    ) -> futures_util::future::BoxFuture<'static, metadata::MetadataAnswer> {
        let body = put.unwrap_or_else(|| Bytes::from(path.to_owned()));
        Box::pin(async { metadata::MetadataAnswer { status: http::StatusCode::OK, body } })
    }

    fn takes(&self, path: &str) -> bool {
        path.starts_with("/api/")
    }

    fn listener(&self) -> Option<SocketAddr> {
        None
    }
}

#[tokio::test]
async fn the_task_metadata_endpoint_is_answered_here_and_takes_short_bodies_where_it_does() {
    let network =
        task_with(HttpClient::default()).with_metadata(Arc::new(Echo)).container("".parse().unwrap());
    let mut hooks = OutgoingHttp::new(network);
    for (method, status, length, text) in
        [("GET", 200, "7", "/v4/a/b"), ("HEAD", 200, "7", ""), ("PUT", 405, "0", "")]
    {
        let mut request = request("http://169.254.170.2/v4/a/b?x=y");
        *request.method_mut() = method.parse().unwrap();
        let sent = hooks.send_request(request, None, Box::new(std::future::ready(Ok(()))));
        let (answer, _) = Box::into_pin(sent).await.unwrap();
        assert_eq!(answer.status(), status, "{method}");
        assert_eq!(answer.headers()["content-length"], length, "{method}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, text, "{method}");
    }
    for (path, length, status) in
        [("/api/a", 4096, 200), ("/api/a", 4097, 413), ("/v4/a", 1, 405), ("/api/a", 0, 200)]
    {
        let body = Full::new(Bytes::from(vec![b'a'; length])).map_err(Error::from).boxed_unsync();
        let request = Request::put(format!("http://169.254.170.2{path}")).body(body).unwrap();
        let sent = hooks.send_request(request, None, Box::new(std::future::ready(Ok(()))));
        let (answer, _) = Box::into_pin(sent).await.unwrap();
        assert_eq!(answer.status(), status, "{path} {length}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), if status == 200 { length } else { 0 }, "{path} {length}");
    }
}
