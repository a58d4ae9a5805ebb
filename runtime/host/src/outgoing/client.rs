//! The way of one request.

use super::body::AnswerBody;
use super::connect::{self, Sender};
use super::pool::{Key, Pool};
use super::{TOTAL_TIMEOUT, TURN_TIMEOUT, Timeouts};
use crate::network::Network;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, WasiBody};

/// The one client of a process. A handle: clones share their connections.
#[derive(Clone, Default)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    pool: Arc<Pool>,
    more_roots: Vec<CertificateDer<'static>>,
    /// Made when the first https request comes: parsing the roots takes a moment.
    tls: OnceLock<TlsConnector>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpClient").field("pool", &self.inner.pool).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client that trusts these certificate authorities, too. Those of Mozilla's list are built in, so that a host needs no list of
    /// its own.
    pub fn trusting(more_roots: Vec<CertificateDer<'static>>) -> Self {
        Self { inner: Arc::new(Inner { more_roots, ..Inner::default() }) }
    }

    /// [`trusting`](Self::trusting) the certificates of a PEM file.
    ///
    /// # Errors
    /// The file cannot be read, or has something other than PEM in it.
    pub fn trusting_file(path: &Path) -> io::Result<Self> {
        let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        certificates.map(Self::trusting).map_err(io::Error::other)
    }

    fn tls(&self) -> &TlsConnector {
        self.inner.tls.get_or_init(|| connect::tls(&self.inner.more_roots))
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.inner.pool
    }
}

/// Sends a request as far as `network` permits, and gives the answer's head and its body as it comes.
pub(super) async fn send(
    network: &Network,
    request: Request<WasiBody>,
    timeouts: Timeouts,
) -> Result<Response<WasiBody>, Error> {
    let deadline = Instant::now() + TOTAL_TIMEOUT;
    let (key, mut request) = prepare(network, request)?;
    let turn = turn(network.task().requests()).await?;
    let client = network.http();
    loop {
        let (mut sender, is_used) = match client.pool().take(&key) {
            Some(sender) => (sender, true),
            None => (connect(network, &key, timeouts).await?, false),
        };
        let answer = timeout(timeouts.first_byte, sender.try_send_request(request)).await;
        match answer.map_err(|_| Error::ConnectionReadTimeout)? {
            Ok(response) => {
                let pool = client.pool().clone();
                let connection = (sender, key, pool);
                let body = |incoming| {
                    AnswerBody::new(incoming, timeouts.between_bytes, deadline, Some(connection), turn)
                        .boxed_unsync()
                };
                return Ok(response.map(body));
            }
            Err(mut refused) => match refused.take_message() {
                // The server closed a connection that waited: nothing of the request was sent.
                Some(unsent) if is_used => request = unsent,
                _ => return Err(Error::from(refused.into_error())),
            },
        }
    }
}

/// Where a request goes, and the request in the form that an origin server expects: without scheme and authority.
fn prepare(network: &Network, mut request: Request<WasiBody>) -> Result<(Key, Request<WasiBody>), Error> {
    let uri = request.uri();
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(Error::HttpProtocolError),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(Error::HttpRequestUriInvalid)?;
    let host = host.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let key = Key { network: network.id(), tls, host, port };
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    Ok((key, request))
}

/// Waits for a turn of the task's, but neither long nor in a long queue.
pub(super) async fn turn(requests: &Arc<Semaphore>) -> Result<Turn, Error> {
    if let Ok(turn) = requests.clone().try_acquire_owned() {
        return Ok(turn);
    }
    let waited = timeout(TURN_TIMEOUT, requests.clone().acquire_owned()).await;
    waited.map_err(|_| Error::ConnectionLimitReached)?.map_err(|_| Error::ConnectionLimitReached)
}

/// Counts a request until its answer was read.
pub(super) type Turn = OwnedSemaphorePermit;

async fn connect(network: &Network, key: &Key, timeouts: Timeouts) -> Result<Sender, Error> {
    let tls = key.tls.then(|| network.http().tls().clone());
    let connected = timeout(timeouts.connect, connect::connect(network, key, tls, timeouts.connect)).await;
    connected.map_err(|_| Error::ConnectionTimeout)?
}
