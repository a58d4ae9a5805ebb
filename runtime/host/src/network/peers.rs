//! Who sent a container datagrams, and may be answered.
//!
//! A server over UDP answers the address that asked. That is no connection that would say so, and the server has been granted nothing;
//! so for a while whoever wrote to it may be written to. Only peers on this host's loopback are remembered: others can reach no task.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The most that are remembered; the one that wrote least recently is forgotten for a new one.
const MOST: usize = 1024;
/// How long after its last datagram one may be answered.
const LIFETIME: Duration = Duration::from_secs(60);

/// Peers and when they wrote last.
#[derive(Debug, Default)]
pub(super) struct Peers {
    seen: Mutex<HashMap<SocketAddr, Instant>>,
}

impl Peers {
    pub(super) fn remember(&self, peer: SocketAddr) {
        let now = Instant::now();
        let mut seen = self.lock();
        if seen.len() >= MOST && !seen.contains_key(&peer) {
            seen.retain(|_, last| now.duration_since(*last) < LIFETIME);
            if seen.len() >= MOST
                && let Some(oldest) = seen.iter().min_by_key(|(_, last)| **last).map(|(peer, _)| *peer)
            {
                seen.remove(&oldest);
            }
        }
        seen.insert(peer, now);
    }

    pub(super) fn include(&self, peer: SocketAddr) -> bool {
        self.lock().get(&peer).is_some_and(|last| last.elapsed() < LIFETIME)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        // Nothing that can panic is done under the lock.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_may_be_answered_for_a_while_and_the_oldest_makes_room() {
        let peers = Peers::default();
        let peer = |index: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(index + 1).unwrap()));
        for index in 0..MOST {
            peers.remember(peer(index));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        peers.remember(peer(0));
        peers.remember(peer(MOST));
        assert!(peers.include(peer(0)) && peers.include(peer(MOST)));
        assert!(!peers.include(peer(1)), "the one that wrote least recently");
        assert_eq!(peers.lock().len(), MOST);
        tokio::time::advance(LIFETIME).await;
        assert!(!peers.include(peer(0)));
    }
}
