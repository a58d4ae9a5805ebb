//! Keep-alive connections to one target, of one data-plane thread.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};

use super::TcpTargetConfig;
use super::patience::Patience;
use crate::coalesce::Coalesced;
use crate::connection::MAX_BUFFERED;
use crate::{Body, BoxError, tls};

/// The connections without a request, the last used at the end: it is the least likely to have been closed, and the
/// others get old enough to be dropped.
///
/// The mutex is there for the threads outside the data plane, which share a stripe; on a data-plane thread it is never
/// contended, and nobody ever waits for it (`try_lock`): whoever finds it taken does without the pool.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    pub(super) config: TcpTargetConfig,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<(Connection, Instant)>,
    /// A task is there that drops connections when they get too old.
    swept: bool,
}

/// A connection to a target, without its socket, which a task of its own drives.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    pub(super) patience: Patience,
}

pub(super) enum ConnectError {
    Timeout,
    Refused(BoxError),
}

impl Pool {
    pub(super) fn new(address: SocketAddr, config: TcpTargetConfig) -> Self {
        Self { address, config, idle: Mutex::default() }
    }

    /// A connection that was open when last looked at.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.try_lock().ok()?;
        let now = Instant::now();
        while let Some((mut connection, since)) = idle.connections.pop() {
            if now.duration_since(since) >= self.config.keep_alive {
                // All others are older.
                idle.connections.clear();
                return None;
            }
            if connection.sender.is_ready() {
                connection.patience.begin(now);
                return Some(connection);
            }
        }
        None
    }

    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        let refused = |error: BoxError| ConnectError::Refused(error);
        let opened = time::timeout(self.config.connect_timeout, self.open());
        let sender = opened.await.map_err(|_elapsed| ConnectError::Timeout)?.map_err(refused)?;
        Ok(Connection { sender, patience: Patience::new(self.config.idle_timeout) })
    }

    async fn open(&self) -> Result<SendRequest<Body>, BoxError> {
        let stream = TcpStream::connect(self.address).await?;
        // A request goes out in one write already; Nagle would only delay the chunks of an upload.
        stream.set_nodelay(true)?;
        if self.config.tls {
            handshake(tls::to_target(stream, false).await?).await
        } else {
            handshake(stream).await
        }
    }

    fn put(self: &Arc<Self>, connection: Connection) {
        if !connection.sender.is_ready() {
            return;
        }
        let Ok(mut idle) = self.idle.try_lock() else { return };
        if idle.connections.len() >= self.config.max_idle {
            return;
        }
        idle.connections.push((connection, Instant::now()));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.config));
        }
    }

    /// Drops what is too old. False if nothing is left, and with it the sweep.
    fn drop_old(&self) -> bool {
        let Ok(mut idle) = self.idle.try_lock() else { return true };
        let keep_alive = self.config.keep_alive;
        idle.connections
            .retain(|(connection, since)| !connection.sender.is_closed() && since.elapsed() < keep_alive);
        idle.swept = !idle.connections.is_empty();
        idle.swept
    }
}

async fn handshake<I>(stream: I) -> Result<SendRequest<Body>, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFERED);
    let (sender, connection) = builder.handshake(Coalesced::new(TokioIo::new(stream))).await?;
    // Ends when `sender` and the body of its answer are dropped, or the target closes.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to target ended");
        }
    });
    Ok(sender)
}

/// Closes connections nobody asks for again, so that a target without traffic holds no sockets.
async fn sweep(pool: Weak<Pool>, config: TcpTargetConfig) {
    loop {
        time::sleep(config.keep_alive).await;
        match pool.upgrade() {
            Some(pool) if pool.drop_old() => {}
            _ => return,
        }
    }
}

/// A connection in use. Given back when its answer has been read to the end, closed when it is dropped before.
#[derive(Debug)]
pub(super) struct Taken {
    connection: Connection,
    pool: Arc<Pool>,
}

impl Taken {
    pub(super) fn new(connection: Connection, pool: Arc<Pool>) -> Self {
        Self { connection, pool }
    }

    pub(super) fn give_back(self) {
        self.pool.put(self.connection);
    }
}
