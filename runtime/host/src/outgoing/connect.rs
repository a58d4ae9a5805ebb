//! A connection, with TLS or without, to an address that was checked.

use super::pool::Key;
use crate::network::Network;
use crate::network::lookup::LookupError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, WasiBody};

/// The most that an answer's header section may take of the host's memory.
const MAX_HEADER_BYTES: usize = 128 << 10;

/// The end of a connection that takes requests.
pub(super) type Sender = SendRequest<WasiBody>;

/// Connects to where `network` permits. `budget` is the time for all addresses together.
pub(super) async fn connect(
    network: &Network,
    key: &Key,
    tls: Option<TlsConnector>,
    budget: Duration,
) -> Result<Sender, Error> {
    let addresses = network.route(&key.host, key.port).await.map_err(unroutable)?;
    let stream = first_of(&addresses, budget).await?;
    // Requests are written whole; waiting for more only delays them.
    stream.set_nodelay(true).map_err(Error::Connect)?;
    let Some(tls) = tls else { return handshake(stream).await };
    let host = key.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&key.host);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    handshake(tls.connect(name, stream).await.map_err(|error| tls_failed(&error))?).await
}

/// The first of the addresses that answers. Each gets its part of the time, so that one that swallows packets does not take it all.
async fn first_of(addresses: &[SocketAddr], budget: Duration) -> Result<TcpStream, Error> {
    let part = budget / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failure = Error::DestinationNotFound;
    for address in addresses {
        failure = match timeout(part, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => unreachable(error),
            Err(_) => Error::ConnectionTimeout,
        };
    }
    Err(failure)
}

async fn handshake<S>(stream: S) -> Result<Sender, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEADER_BYTES).handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped, when the server closes, or when a request's body fails: then before the request is whole.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a guest's connection ended with an error");
        }
    });
    Ok(sender)
}

/// TLS 1.2 and 1.3 with the roots that are built in, and `more`.
pub(super) fn tls(more: &[CertificateDer<'static>]) -> TlsConnector {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let (_, unusable) = roots.add_parsable_certificates(more.iter().cloned());
    if unusable > 0 {
        tracing::warn!(unusable, "some of the additional certificate authorities cannot be used");
    }
    // The provider is named, so that it does not matter what else in the process installs one.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|config| config.with_root_certificates(roots).with_no_client_auth());
    let mut config = config.expect("ring has what TLS 1.2 and 1.3 need");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn unroutable(error: LookupError) -> Error {
    match error {
        LookupError::Denied => Error::HttpRequestDenied,
        LookupError::Prohibited => Error::DestinationIpProhibited,
        LookupError::Invalid => Error::HttpRequestUriInvalid,
        LookupError::NotFound => Error::DnsError { rcode: None, info_code: None },
        LookupError::TimedOut => Error::DnsTimeout,
    }
}

fn unreachable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::Connect(error),
    }
}

fn tls_failed(error: &io::Error) -> Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(alert_name(*alert)),
        },
        _ => Error::TlsProtocolError,
    }
}

fn alert_name(alert: AlertDescription) -> String {
    alert.as_str().map_or_else(|| format!("{alert:?}"), str::to_owned)
}
