//! A data-plane thread: its own tokio runtime, accept sockets, connections and, through stripes, pools and counters.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::balancer::{BalancerConfig, Timeouts};
use crate::connection;
use crate::listener::Shared;
use crate::stripe;

/// After an accept that failed for want of file descriptors: until then some may have been closed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How many more connections than the least busy thread one may have before it hands new ones on.
const IMBALANCE: usize = 2;

/// The side of a thread that others see.
#[derive(Debug)]
pub(crate) struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    connections: CachePadded<AtomicUsize>,
}

/// The threads of a balancer.
pub(crate) type Workers = Arc<[Worker]>;

pub(crate) enum Command {
    Listen(TcpListener, Arc<Shared>, TaskTrackerToken),
    /// A connection that another thread has accepted.
    Adopt(std::net::TcpStream, SocketAddr, Arc<Shared>, TaskTrackerToken),
    Stop,
}

/// Starts the threads. Each receiver resolves when its thread has ended.
pub(crate) fn start(config: &BalancerConfig) -> io::Result<(Workers, Vec<oneshot::Receiver<()>>)> {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..config.workers).map(|_| mpsc::unbounded_channel()).unzip();
    let worker = |commands| Worker { commands, connections: CachePadded::default() };
    let workers: Workers = senders.into_iter().map(worker).collect();
    let mut ends = Vec::with_capacity(config.workers);
    for (index, commands) in receivers.into_iter().enumerate() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (alive, ended) = oneshot::channel();
        let this = This { index, workers: Arc::clone(&workers), timeouts: config.timeouts };
        let hook = config.on_worker_start.clone();
        thread::Builder::new().name(format!("balancer-{index}")).spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            stripe::assign(index);
            if let Some(hook) = hook {
                hook();
            }
            runtime.block_on(this.run(commands));
        })?;
        ends.push(ended);
    }
    Ok((workers, ends))
}

impl Worker {
    /// False if the thread has ended.
    pub(crate) fn send(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }
}

#[derive(Clone)]
struct This {
    index: usize,
    workers: Workers,
    timeouts: Timeouts,
}

impl This {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Listen(socket, listener, token) => {
                    let this = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = this.accept(socket, &listener).await {
                            tracing::error!(listener = listener.name, %error, "accepting ended");
                        }
                        drop(token);
                    });
                }
                Command::Adopt(stream, peer, listener, token) => match TcpStream::from_std(stream) {
                    Ok(stream) => self.serve(stream, peer, listener, token),
                    Err(error) => {
                        tracing::debug!(%error, "connection lost on the way to another thread");
                        self.me().connections.fetch_sub(1, Ordering::Relaxed);
                    }
                },
                Command::Stop => return,
            }
        }
    }

    /// Accepts until the listener drains, and then what the kernel has accepted for this socket already: closing it
    /// would reset those connections, although the client was told that it is connected.
    async fn accept(&self, socket: TcpListener, listener: &Arc<Shared>) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        loop {
            let accepted = tokio::select! {
                biased;
                () = listener.drain.begun() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.place(stream, peer, listener),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = listener.name, %error, "cannot accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        let socket = socket.into_std()?;
        while let Ok((stream, peer)) = socket.accept() {
            match stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                Ok(stream) => self.place(stream, peer, listener),
                Err(error) => tracing::debug!(%error, "connection lost while draining"),
            }
        }
        Ok(())
    }

    /// Serves a new connection here, or hands it to a thread with fewer.
    ///
    /// The kernel spreads connections by a hash of their addresses. With few clients and long connections that leaves
    /// one core idle beside a busy one; a hand-over costs a few microseconds once per connection.
    fn place(&self, stream: TcpStream, peer: SocketAddr, listener: &Arc<Shared>) {
        let load = |worker: &Worker| worker.connections.load(Ordering::Relaxed);
        let token = listener.tasks.token();
        let idlest = self.workers.iter().min_by_key(|worker| load(worker)).unwrap_or_else(|| self.me());
        if load(self.me()) < load(idlest) + IMBALANCE {
            self.me().connections.fetch_add(1, Ordering::Relaxed);
            return self.serve(stream, peer, Arc::clone(listener), token);
        }
        idlest.connections.fetch_add(1, Ordering::Relaxed);
        let handed_over = stream
            .into_std()
            .is_ok_and(|stream| idlest.send(Command::Adopt(stream, peer, Arc::clone(listener), token)));
        if !handed_over {
            idlest.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Serves a connection, already counted, in a task of its own.
    fn serve(&self, stream: TcpStream, peer: SocketAddr, listener: Arc<Shared>, token: TaskTrackerToken) {
        // The end of an answer must not wait for the acknowledgement of its beginning.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let counted = Counted { workers: Arc::clone(&self.workers), index: self.index };
        // Not a block that awaits it, which would have room for it twice.
        let serving = connection::serve(stream, peer, listener, self.timeouts);
        tokio::spawn(serving.map(move |()| drop((counted, token))));
    }

    fn me(&self) -> &Worker {
        &self.workers[self.index]
    }
}

/// A connection that counts, until it is dropped.
struct Counted {
    workers: Workers,
    index: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.workers[self.index].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether only the connection at hand is broken, as accept(2) tells it, and not the socket.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
