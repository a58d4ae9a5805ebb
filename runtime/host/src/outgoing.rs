//! Requests that guests send: `wasi:http` of preview 2 and 3.
//!
//! All go through one [`HttpClient`]. It asks the container's [`Network`] where a host may be reached, connects to just these addresses, and
//! keeps connections for the next request of the same container. A connection is never shared by containers: what one was allowed to
//! connect to, another need not be.
//!
//! A request to a service that the task finds by name does not leave the process: `discovered`.
//!
//! - `client`: the way of one request.
//! - `discovered`: that of one to a service.
//! - `connect`: a connection, with TLS or without.
//! - `pool`: connections that wait for another request.
//! - `body`: an answer's body, as it comes.

mod body;
mod client;
mod connect;
mod discovered;
mod pool;

pub use client::HttpClient;
pub use discovered::MAX_HOPS;

use crate::memory::kept::{BODY_PIECE, BODY_PIECES};
use crate::network::discovery::Destination;
use crate::network::{Network, metadata};
use discovered::Hops;
use http::Request;
use std::time::Duration;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// How long a connection may take to be made, TLS included, when the guest does not say.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the answer's headers may take when the guest does not say.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the answer's body may pause when the guest does not say.
pub const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(60);
/// The most that a guest may say for any of these: wasmtime's own default.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a request may take from its start to the last byte of its answer.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a request waits for its turn when the task has too many under way.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The time a request may take.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Timeouts {
    fn of(options: Option<RequestOptions>) -> Self {
        let options = options.unwrap_or_default();
        let within =
            |wanted: Option<Duration>, default: Duration| wanted.unwrap_or(default).min(LONGEST_TIMEOUT);
        Self {
            connect: within(options.connect_timeout, CONNECT_TIMEOUT),
            first_byte: within(options.first_byte_timeout, FIRST_BYTE_TIMEOUT),
            between_bytes: within(options.between_bytes_timeout, BETWEEN_BYTES_TIMEOUT),
        }
    }
}

/// What an instance may send. Which fields a guest may set, and which an answer may bring, is wasmtime's to decide, as in its own client.
#[derive(Debug)]
pub struct OutgoingHttp {
    network: Network,
    /// Calls that led to what the instance is at work on.
    hops: Hops,
}

impl OutgoingHttp {
    /// What a guest with this network may send.
    pub fn new(network: Network) -> Self {
        Self { network, hops: Hops::default() }
    }

    /// The instance begins to answer a request: what it sends from now on follows from that.
    pub(crate) fn begin<B>(&mut self, request: &Request<B>) {
        self.hops = Hops::of(request.extensions());
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
        let network = self.network.clone();
        if let Some(metadata) = network.metadata(&request) {
            return Box::new(async move {
                let response = metadata::answer(&*metadata, request).await;
                Ok((response, Box::new(std::future::ready(Ok(()))) as Io))
            });
        }
        let (destination, hops) = (network.service_of(&request), self.hops);
        Box::new(async move {
            let timeouts = Timeouts::of(options);
            let response = match destination {
                Destination::Service(service) => {
                    discovered::send(&network, service, request, timeouts, hops).await?
                }
                Destination::Closed => return Err(Error::ConnectionRefused),
                Destination::Elsewhere => client::send(&network, request, timeouts).await?,
            };
            // The connection is driven by a task of its own, so there is nothing left to wait for.
            Ok((response, Box::new(std::future::ready(Ok(()))) as Io))
        })
    }
}

#[cfg(test)]
mod tests;
