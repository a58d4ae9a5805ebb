//! Connections to a host port, forwarded to a task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Connections of one host port; more wait in the kernel's queue. A task may have as many sockets.
pub(super) const MAX_CONNECTIONS: usize = 1024;
/// How long a task may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed for want of file descriptors: until then some may have been closed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Of each direction of a connection.
const BUFFER: usize = 16 << 10;

/// Binds `host` and forwards to `task` until the task is aborted.
pub(super) async fn forward(host: SocketAddr, task: SocketAddr) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(host).await?;
    let bound = listener.local_addr()?;
    Ok((bound, tokio::spawn(accept(listener, task))))
}

async fn accept(listener: TcpListener, task: SocketAddr) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // They end with this loop: dropping the set aborts them.
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => {
                connections.spawn(async move {
                    let _permit = permit;
                    if let Err(error) = carry(client, task).await {
                        tracing::debug!(%task, %error, "a forwarded connection ended with an error");
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a host port cannot accept");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn carry(mut client: TcpStream, task: SocketAddr) -> io::Result<()> {
    let mut server = timeout(CONNECT_TIMEOUT, TcpStream::connect(task)).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
    Ok(())
}
