//! Keep-alive connections to one target, of one data-plane thread.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};

use http::{Request, Response};
use tokio::time::{self, Instant};

use super::body::Progress;
use super::stream::Stream;
use super::{SendError, TcpTargetConfig};
use crate::{Body, BoxError};

/// A connection for one request after the other.
pub(super) trait Connection: Send + Sized + 'static {
    fn over(stream: Stream, config: &TcpTargetConfig) -> impl Future<Output = Result<Self, BoxError>> + Send;

    /// Whether the last answer has left it fit for another request.
    fn is_idle(&self) -> bool;

    /// Whether it is still open after it lay idle, as far as is known without waiting.
    fn is_open(&mut self) -> bool;

    /// What is waited for from now on is of another request.
    fn begin(&mut self, now: Instant);

    /// Sends a request and waits for its answer. The answer's body gives the connection back.
    fn send(
        self,
        pool: &Arc<Pool<Self>>,
        request: Request<Body>,
        progress: Option<&Progress>,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + Send;
}

/// The connections without a request, the last used at the end: it is the least likely to have been closed, and the
/// others get old enough to be dropped.
///
/// The mutex is there for the threads outside the data plane, which share a stripe; on a data-plane thread it is never
/// contended, and nobody ever waits for it (`try_lock`): whoever finds it taken does without the pool.
#[derive(Debug)]
pub(super) struct Pool<C> {
    address: SocketAddr,
    pub(super) config: TcpTargetConfig,
    idle: Mutex<Idle<C>>,
}

#[derive(Debug)]
struct Idle<C> {
    connections: Vec<(C, Instant)>,
    /// A task is there that drops connections when they get too old.
    swept: bool,
}

pub(super) enum ConnectError {
    Timeout,
    Refused(BoxError),
}

impl<C: Connection> Pool<C> {
    pub(super) fn new(address: SocketAddr, config: TcpTargetConfig) -> Self {
        Self { address, config, idle: Mutex::new(Idle { connections: Vec::new(), swept: false }) }
    }

    /// A connection that was open when last looked at.
    pub(super) fn take(&self) -> Option<C> {
        let mut idle = self.idle.try_lock().ok()?;
        let now = Instant::now();
        while let Some((mut connection, since)) = idle.connections.pop() {
            if now.duration_since(since) >= self.config.keep_alive {
                // All others are older.
                idle.connections.clear();
                return None;
            }
            if connection.is_open() {
                connection.begin(now);
                return Some(connection);
            }
        }
        None
    }

    pub(super) async fn connect(&self) -> Result<C, ConnectError> {
        let opened = time::timeout(self.config.connect_timeout, self.open()).await;
        opened.map_err(|_elapsed| ConnectError::Timeout)?.map_err(ConnectError::Refused)
    }

    async fn open(&self) -> Result<C, BoxError> {
        C::over(Stream::open(self.address, self.config.tls).await?, &self.config).await
    }

    pub(super) fn put(self: &Arc<Self>, connection: C) {
        if !connection.is_idle() {
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
            .retain_mut(|(connection, since)| since.elapsed() < keep_alive && connection.is_open());
        idle.swept = !idle.connections.is_empty();
        idle.swept
    }
}

/// Closes connections nobody asks for again, so that a target without traffic holds no sockets.
async fn sweep<C: Connection>(pool: Weak<Pool<C>>, config: TcpTargetConfig) {
    loop {
        time::sleep(config.keep_alive).await;
        match pool.upgrade() {
            Some(pool) if pool.drop_old() => {}
            _ => return,
        }
    }
}
