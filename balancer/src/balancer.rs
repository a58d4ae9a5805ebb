//! The balancer: owner of the data-plane threads and of the listeners on them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::Routes;
use crate::drain::Drain;
use crate::limits::Limiter;
use crate::listener::{self, Listener, ListenerConfig, Shared};
use crate::trace::Tracer;
use crate::worker::{self, Command, Workers};

/// Threads beyond this help no machine we know, and each costs a socket per listener.
const MAX_WORKERS: usize = 256;

/// To send the last spans in, when it is shut down.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Code that runs on each data-plane thread before it serves.
pub type WorkerHook = Arc<dyn Fn() + Send + Sync>;

/// What a [`Balancer`] is started with.
#[derive(Clone)]
pub struct BalancerConfig {
    /// Data-plane threads, 1 to 256. Default: one per core this process may use.
    pub workers: usize,
    /// Time limits towards clients.
    pub timeouts: Timeouts,
    /// Runs on each data-plane thread before it serves, for example to give the thread what guests need.
    pub on_worker_start: Option<WorkerHook>,
    /// Who is told of the requests of listeners that have no tracer of their own.
    pub tracer: Option<Arc<Tracer>>,
}

/// Time limits towards clients. (Those towards targets are the target's: [`TcpTargetConfig`](crate::TcpTargetConfig).)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest time from one request to the complete header of the next, and so for a connection without a request;
    /// HTTP/2: between pings. ALB's idle timeout: 60 s.
    pub client_idle: Duration,
    /// Longest time a new connection may take to its first byte when its listener drains: 500 ms.
    pub first_byte_in_drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { client_idle: Duration::from_secs(60), first_byte_in_drain: Duration::from_millis(500) }
    }
}

impl Default for BalancerConfig {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS),
            timeouts: Timeouts::default(),
            on_worker_start: None,
            tracer: None,
        }
    }
}

impl fmt::Debug for BalancerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalancerConfig")
            .field("workers", &self.workers)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// Why the balancer cannot start or listen.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// Something listens there already.
    #[error("{address}: port in use")]
    PortInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The number of data-plane threads is out of its limits.
    #[error("workers: {0} is not from 1 to 256")]
    Workers(usize),
    /// A data-plane thread could not be started.
    #[error("cannot start a data-plane thread")]
    Start(#[source] io::Error),
    /// [`Balancer::shutdown`] was called.
    #[error("the balancer was shut down")]
    ShutDown,
}

/// Owner of the data-plane threads: each has a current-thread tokio runtime, an accept socket per listener and, per
/// target, a connection pool of its own. A cheap handle; the threads end at [`Balancer::shutdown`], or abruptly when the
/// last handle is dropped.
#[derive(Clone, Debug)]
pub struct Balancer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    workers: Workers,
    tracer: Option<Arc<Tracer>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Those not closed, and closed ones until the next `listen`.
    listeners: Vec<Listener>,
    ends: Vec<oneshot::Receiver<()>>,
    shut_down: bool,
}

impl Balancer {
    /// Starts the data-plane threads.
    ///
    /// # Errors
    ///
    /// [`BalancerError::Workers`] or [`BalancerError::Start`].
    pub fn start(config: BalancerConfig) -> Result<Self, BalancerError> {
        if !(1..=MAX_WORKERS).contains(&config.workers) {
            return Err(BalancerError::Workers(config.workers));
        }
        let (workers, ends) = worker::start(&config).map_err(BalancerError::Start)?;
        let state = State { listeners: Vec::new(), ends, shut_down: false };
        Ok(Self { inner: Arc::new(Inner { workers, tracer: config.tracer, state: Mutex::new(state) }) })
    }

    /// Binds a port and begins to accept; requests are treated by `routes`, which may be a target group all go to. The
    /// port accepts connections when this returns.
    ///
    /// # Errors
    ///
    /// [`BalancerError::PortInUse`] when another socket listens there, of this balancer or not;
    /// [`BalancerError::Bind`]; [`BalancerError::ShutDown`].
    pub fn listen(
        &self,
        config: ListenerConfig,
        routes: impl Into<Routes>,
    ) -> Result<Listener, BalancerError> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.shut_down {
            return Err(BalancerError::ShutDown);
        }
        let workers = &self.inner.workers;
        let (address, sockets) = listener::bind(config.address, workers.len())?;
        let shared = Arc::new(Shared {
            name: config.name,
            address,
            speaks: config.protocol.into(),
            proxy_protocol: config.proxy_protocol,
            x_forwarded_for: config.x_forwarded_for,
            forwarded: config.forwarded,
            limiter: ArcSwapOption::new(Limiter::new(config.limits)),
            transfer_rates: ArcSwap::from_pointee(config.transfer_rates),
            access_log: config.access_log,
            tracer: ArcSwapOption::new(config.tracer.or_else(|| self.inner.tracer.clone())),
            routes: ArcSwap::from_pointee(routes.into()),
            drain: Drain::new(),
            tasks: TaskTracker::new(),
        });
        for (worker, socket) in workers.iter().zip(sockets) {
            if !worker.send(Command::Listen(socket, Arc::clone(&shared), shared.tasks.token())) {
                // A thread has ended: the others are not to go on alone.
                shared.drain.abort();
                return Err(BalancerError::ShutDown);
            }
        }
        tracing::info!(listener = shared.name, %address, "listening");
        let listener = Listener { shared };
        state.listeners.retain(|listener| !listener.is_closed());
        state.listeners.push(listener.clone());
        Ok(listener)
    }

    /// Closes and drains all listeners within `deadline` ([`Listener::close`]), then ends the threads.
    pub async fn shutdown(&self, deadline: Duration) {
        let (listeners, ends) = {
            let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.shut_down = true;
            (std::mem::take(&mut state.listeners), std::mem::take(&mut state.ends))
        };
        future::join_all(listeners.iter().map(|listener| listener.close(deadline))).await;
        if let Some(tracer) = &self.inner.tracer {
            // The last requests' spans; whoever waits for the end does not wait for a collector that is not there.
            tokio::time::timeout(LAST_SPANS, tracer.flush()).await.ok();
        }
        self.inner.stop();
        // An error means that the thread has ended, which is all there is to know.
        future::join_all(ends).await;
    }
}

impl Inner {
    fn stop(&self) {
        for worker in self.workers.iter() {
            worker.send(Command::Stop);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
