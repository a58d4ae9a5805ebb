//! Datagrams to a host port, forwarded to a task, and the answers back.
//!
//! Each client has a socket of its own towards the task, so that the answer to it can be told from the others'.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Clients of one host port at a time; datagrams of others are dropped until one has been silent for long enough.
const MAX_CLIENTS: usize = 256;
/// A client that neither sends nor is sent anything for as long is forgotten.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest datagram there is.
const LONGEST: usize = 65_535;

/// Binds `host` and forwards to `task` until the task is aborted.
pub(super) async fn forward(host: SocketAddr, task: SocketAddr) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let socket = UdpSocket::bind(host).await?;
    let bound = socket.local_addr()?;
    Ok((bound, tokio::spawn(receive(Arc::new(socket), task))))
}

/// A client's way to the task.
struct Client {
    task: Arc<UdpSocket>,
    /// Whether it sent something since this was looked at last.
    is_active: Arc<AtomicBool>,
}

async fn receive(host: Arc<UdpSocket>, task: SocketAddr) {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    // They end with this loop: dropping the set aborts them.
    let mut returning = JoinSet::new();
    let mut datagram = vec![0; LONGEST];
    loop {
        while let Some(ended) = returning.try_join_next() {
            if let Ok(client) = ended {
                clients.remove(&client);
            }
        }
        // An error tells of an earlier datagram that did not arrive, which is none of our business.
        let Ok((length, from)) = host.recv_from(&mut datagram).await else { continue };
        if !clients.contains_key(&from) {
            if clients.len() >= MAX_CLIENTS {
                continue;
            }
            let Ok(socket) = connected(task).await else { continue };
            let client = Client { task: Arc::new(socket), is_active: Arc::default() };
            let (socket, is_active) = (Arc::clone(&client.task), Arc::clone(&client.is_active));
            returning.spawn(give_back(socket, Arc::clone(&host), from, is_active));
            clients.insert(from, client);
        }
        if let Some(client) = clients.get(&from) {
            client.is_active.store(true, Ordering::Relaxed);
            // A datagram that cannot be sent is lost, as datagrams are.
            client.task.send(&datagram[..length]).await.ok();
        }
    }
}

async fn connected(task: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(task).await?;
    Ok(socket)
}

/// Sends the task's answers to a client until there is silence; its result is the client.
async fn give_back(
    task: Arc<UdpSocket>,
    host: Arc<UdpSocket>,
    client: SocketAddr,
    is_active: Arc<AtomicBool>,
) -> SocketAddr {
    let mut datagram = vec![0; LONGEST];
    loop {
        match timeout(SILENCE, task.recv(&mut datagram)).await {
            Ok(Ok(length)) => {
                host.send_to(&datagram[..length], client).await.ok();
            }
            // Nobody listens in the task yet, or any more.
            Ok(Err(_)) => {}
            Err(_) if is_active.swap(false, Ordering::Relaxed) => {}
            Err(_) => return client,
        }
    }
}
