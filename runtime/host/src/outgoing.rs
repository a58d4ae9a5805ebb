//! Requests that guests send through `wasi:http/outgoing-handler`.

use crate::memory::kept::{BODY_PIECE, BODY_PIECES};
use crate::network::Network;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::LazyLock;
use std::time::Duration;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// How long a connection may take to be made when the guest does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the answer's headers may take when the guest does not say: wasmtime's own default.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(600);
/// Idle connections kept for a host.
const IDLE_PER_HOST: usize = 32;

/// One pool for the whole process: a connection for each request would run out of ports.
static CLIENT: LazyLock<Client<HttpConnector, WasiBody>> = LazyLock::new(|| {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .build(connector)
});

/// What an instance may send. Denied unless the container has the host's network.
#[derive(Debug)]
pub struct OutgoingHttp {
    network: Network,
}

impl OutgoingHttp {
    /// What a guest with this network may send.
    pub fn new(network: Network) -> Self {
        Self { network }
    }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Io), Error>;

impl WasiHttpHooks for OutgoingHttp {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_PIECES - 1 // wasmtime adds one
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let network = self.network;
        Box::new(async move {
            if network != Network::Host {
                return Err(Error::HttpRequestDenied);
            }
            if request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
                return Err(Error::TlsProtocolError); // no TLS towards the outside yet
            }
            let timeout =
                options.and_then(|options| options.first_byte_timeout).unwrap_or(FIRST_BYTE_TIMEOUT);
            let response = tokio::time::timeout(timeout, CLIENT.request(request))
                .await
                .map_err(|_| Error::ConnectionReadTimeout)?
                .map_err(|error| {
                    if error.is_connect() { Error::ConnectionRefused } else { Error::HttpProtocolError }
                })?;
            let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
            Ok((response, Box::new(async { Ok(()) }) as Io))
        })
    }
}
