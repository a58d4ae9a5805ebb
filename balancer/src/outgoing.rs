//! Requests of the balancer's own: to a collector of traces, to a certificate authority. Few, so each has a connection of its
//! own; and over TLS only to servers that can prove who they are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::BoxError;

/// For one request, from the look-up of its host to the last byte of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer answers are none of those we ask for.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutgoingError {
    #[error("{0} is not a URL that begins with http:// or https:// and names a host")]
    Url(Uri),
    #[error("cannot connect to {host}:{port}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no answer of an HTTP server")]
    Http(#[source] hyper::Error),
    #[error("the answer is longer than 1 MiB")]
    TooLong,
    #[error("the answer was broken off")]
    Broken(#[source] BoxError),
    #[error("no answer within 10 s")]
    Timeout,
}

/// Sends requests to servers whose certificates are valid by the public authorities and some more.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    tls: Arc<ClientConfig>,
}

impl Outgoing {
    /// `more`: roots that are trusted beside the public ones. Those that are malformed are not.
    pub(crate) fn new(more: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(more);
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring knows all versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: Arc::new(tls) }
    }

    /// The whole answer, whatever its status.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError> {
        let sent = tokio::time::timeout(TIMEOUT, self.exchange(request));
        sent.await.unwrap_or(Err(OutgoingError::Timeout))
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError> {
        let url = std::mem::take(request.uri_mut());
        let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
            return Err(OutgoingError::Url(url));
        };
        let secure = *scheme == Scheme::HTTPS;
        if !secure && *scheme != Scheme::HTTP {
            return Err(OutgoingError::Url(url));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let named = HeaderValue::from_str(authority.as_str()).expect("an authority is visible ASCII");
        request.headers_mut().insert(header::HOST, named);
        let path = url.path_and_query().cloned();
        *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
        let failed = |source| OutgoingError::Connect { host: host.clone(), port, source };
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(failed)?;
        if !secure {
            return over(stream, request).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|_no_name| OutgoingError::Url(url.clone()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(failed)?;
        over(stream, request).await
    }
}

async fn over<I>(io: I, request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(OutgoingError::Http)?;
    let exchange = async move {
        let response = sender.send_request(request.map(Full::new)).await.map_err(OutgoingError::Http)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { OutgoingError::TooLong } else { OutgoingError::Broken(error) }
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    // Driven here and not by a task of its own, which could outlive a request that was given up.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => {
            // What it has read of the answer is there all the same; and the error, if any, is the exchange's as well.
            drop(ended);
            exchange.await
        }
    }
}
