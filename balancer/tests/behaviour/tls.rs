//! TLS towards clients: names, protocols, and certificates that change.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use coracle_balancer::{
    Balancer, BalancerConfig, Body, Certificate, CertificateError, Certificates, HealthCheckConfig,
    ListenerConfig, ListenerProtocol, ProtocolVersion, RegisterOptions, Target, TargetGroup,
    TargetGroupConfig, TargetState, TcpTarget, TcpTargetConfig,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Front, get, group, target, upstream, within};

/// A certificate for these names, and what a client sees of it.
pub(crate) fn certificate(names: &[&str]) -> (Certificate, CertificateDer<'static>) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    (Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap(), made.cert.der().clone())
}

/// A client that looks at certificates instead of trusting them.
#[derive(Debug)]
struct Looking;

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) async fn connect(address: SocketAddr, name: &str, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Looking))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Tells how the request came in.
fn telling() -> Arc<dyn Target> {
    target(|request: Request<Body>| async move {
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let text = format!("{} {}", header("x-forwarded-proto"), header("host"));
        Ok(Response::new(Body::full(text)))
    })
}

fn https(certificates: Certificates) -> Front {
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let config = ListenerConfig {
        protocol: ListenerProtocol::Https(certificates),
        ..ListenerConfig::new("https", SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    let listener = balancer.listen(config, group([("only", telling())])).unwrap();
    Front { balancer, listener }
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate_and_else_it_is_the_default() {
    let (default, default_shown) = certificate(&["default.test"]);
    let (exact, exact_shown) = certificate(&["a.test", "www.b.test"]);
    let (wildcard, wildcard_shown) = certificate(&["*.b.test"]);
    let front = https(Certificates::new(default, vec![exact, wildcard]));
    for (name, expected) in [
        ("default.test", &default_shown),
        ("a.test", &exact_shown),
        ("A.TEST", &exact_shown),
        ("www.b.test", &exact_shown),
        ("api.b.test", &wildcard_shown),
        ("x.api.b.test", &default_shown),
        ("b.test", &default_shown),
        ("unknown.test", &default_shown),
        ("127.0.0.1", &default_shown),
    ] {
        let stream = connect(front.address(), name, &[]).await;
        assert_eq!(&shown(&stream), expected, "{name}");
    }
}

#[tokio::test]
async fn alpn_decides_between_http2_and_http1_and_requests_say_https() {
    let front = https(Certificates::new(certificate(&["a.test"]).0, vec![]));
    let stream = connect(front.address(), "a.test", &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = within(client.send_request(get("https://test/"))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), Bytes::from("https test"));

    for (alpn, agreed) in [(&[&b"http/1.1"[..]][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let stream = connect(front.address(), "a.test", alpn).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = within(client.send_request(get("/"))).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), Bytes::from("https test"));
    }
}

#[tokio::test]
async fn certificates_change_without_closing_a_connection() {
    let ((old, old_shown), (new, new_shown)) = (certificate(&["a.test"]), certificate(&["a.test"]));
    let front = https(Certificates::new(old, vec![]));
    let before = connect(front.address(), "a.test", &[]).await;
    assert_eq!(shown(&before), old_shown);
    assert!(front.listener.set_certificates(&Certificates::new(new, vec![])));
    let after = connect(front.address(), "a.test", &[]).await;
    assert_eq!(shown(&after), new_shown);
    let (mut client, connection) = http1::handshake(TokioIo::new(before)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(within(client.send_request(get("/"))).await.unwrap().status(), 200);
    let plain = Front::new(group([]));
    assert!(!plain.listener.set_certificates(&Certificates::new(certificate(&["a.test"]).0, vec![])));
}

#[tokio::test]
async fn a_client_without_tls_gets_no_answer_in_http() {
    let front = https(Certificates::new(certificate(&["a.test"]).0, vec![]));
    let answer = front.raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.answers(), 0, "{answer:?}");
}

#[tokio::test]
async fn certificates_that_cannot_be_served_with_are_refused() {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let addresses = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let refused =
        |chain: &str, key: &str| Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
    let key = made.signing_key.serialize_pem();
    assert!(matches!(refused("", &key), CertificateError::Chain));
    assert!(matches!(refused(&made.cert.pem(), "x"), CertificateError::Key));
    let mismatch = refused(&made.cert.pem(), &other.signing_key.serialize_pem());
    assert!(matches!(mismatch, CertificateError::Mismatch(_)), "{mismatch}");
    let nameless = refused(&addresses.cert.pem(), &addresses.signing_key.serialize_pem());
    assert!(matches!(nameless, CertificateError::NoNames), "{nameless}");
}

#[tokio::test]
async fn what_is_inside_of_tls_is_passed_on_as_it_is() {
    let echo = upstream(|mut stream, head| async move {
        stream.write_all(head.to_ascii_uppercase().as_bytes()).await.unwrap();
    })
    .await;
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let config = ListenerConfig {
        protocol: ListenerProtocol::Tls(Certificates::new(certificate(&["a.test"]).0, vec![])),
        ..ListenerConfig::new("tls", SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    let listener = balancer.listen(config, group([("only", crate::support::tcp(echo))])).unwrap();
    let mut stream = connect(listener.local_addr(), "a.test", &[b"h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "what is inside is not ours to know");
    stream.write_all(b"anything\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "ANYTHING\r\n\r\n");
}

/// An HTTPS server with a certificate that nobody has signed.
fn https_server() -> SocketAddr {
    let front = https(Certificates::new(certificate(&["self.signed.test"]).0, vec![]));
    let address = front.address();
    // Serves as long as the test runs.
    std::mem::forget(front);
    address
}

#[tokio::test]
async fn targets_may_be_talked_to_and_checked_over_tls() {
    let address = https_server();
    for protocol in [ProtocolVersion::Http1, ProtocolVersion::Http2] {
        let config = TcpTargetConfig { protocol, tls: true, ..TcpTargetConfig::default() };
        let health_check = HealthCheckConfig::from_settings([("protocol", "HTTPS")]).unwrap();
        let targets = TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("tls") });
        let mut changes = targets.changes();
        targets.register("only", Arc::new(TcpTarget::new(address, config)), RegisterOptions::default());
        while targets.targets()[0].state != TargetState::Healthy {
            within(changes.changed()).await.unwrap();
        }
        let answer = Front::with_workers(1, targets).get("/").await;
        assert_eq!((answer.status(), answer.body()), (200, "https test"), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_target_without_tls_is_a_bad_gateway_to_one_who_wants_it() {
    let plain = upstream(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
    })
    .await;
    let timeout = std::time::Duration::from_millis(500);
    let config = TcpTargetConfig { tls: true, connect_timeout: timeout, ..TcpTargetConfig::default() };
    let target: Arc<dyn Target> = Arc::new(TcpTarget::new(plain, config));
    let answer = Front::with_workers(1, group([("plain", target)])).get("/").await;
    assert!([502, 504].contains(&answer.status()), "{answer:?}");
}
