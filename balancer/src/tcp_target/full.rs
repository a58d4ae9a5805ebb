//! Any request over HTTP/1.1, with hyper: bodies and upgrades too.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::body::{Held, Progress, UpstreamBody};
use super::patience::Patience;
use super::pool::{Connection, Pool};
use super::stream::Stream;
use super::{SendError, TcpTargetConfig, answered};
use crate::coalesce::Coalesced;
use crate::connection::MAX_BUFFERED;
use crate::{Body, BoxError};

/// A connection without its socket, which a task of its own drives.
#[derive(Debug)]
pub(super) struct Full {
    sender: SendRequest<Body>,
    patience: Patience,
}

impl Connection for Full {
    async fn over(stream: Stream, config: &TcpTargetConfig) -> Result<Self, BoxError> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFERED);
        let (sender, connection) = builder.handshake(Coalesced::new(TokioIo::new(stream))).await?;
        // Ends when `sender` and the body of its answer are dropped, or the target closes.
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to target ended");
            }
        });
        Ok(Self { sender, patience: Patience::new(config.idle_timeout) })
    }

    fn is_idle(&self) -> bool {
        self.sender.is_ready()
    }

    fn is_open(&mut self) -> bool {
        self.sender.is_ready()
    }

    fn begin(&mut self, now: Instant) {
        self.patience.begin(now);
    }

    async fn send(
        mut self,
        pool: &Arc<Pool<Self>>,
        request: Request<Body>,
        progress: Option<&Progress>,
    ) -> Result<Response<Body>, SendError> {
        let answer = self.sender.try_send_request(request);
        let response = answered(answer, &mut self.patience, progress).await?;
        // The connection is not HTTP's any more: it goes to whoever asks for it, never back to the pool.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(|_empty| Body::empty()));
        }
        let idle_timeout = pool.config.idle_timeout;
        let taken = Held::Pooled(Taken { connection: self, pool: Arc::clone(pool) });
        Ok(response.map(|body| Body::upstream(UpstreamBody::new(body, taken, idle_timeout))))
    }
}

/// A connection in use. Given back when its answer has been read to the end, closed when it is dropped before.
#[derive(Debug)]
pub(super) struct Taken {
    connection: Full,
    pool: Arc<Pool<Full>>,
}

impl Taken {
    pub(super) fn give_back(self) {
        self.pool.put(self.connection);
    }
}
