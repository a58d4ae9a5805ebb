//! Names to addresses.
//!
//! A name is looked at before it is resolved, for a question is itself a message to the outside. What it resolves to is looked at too,
//! for whoever owns the name chooses it. The addresses that pass are remembered, and while they are, they are what the guest may connect
//! to: an address that only passes for a name today is not open for ever.

use super::egress::{Egress, Ports, is_local_name, normal_name};
use super::special;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long the addresses of a name may be connected to. Resolvers do not tell how long an answer holds; programs that keep connections
/// for longer resolve again before they connect again.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// Addresses that a container may connect to by name at a time; the one that expires first makes room.
pub const MAX_ADDRESSES: usize = 1024;
/// Addresses of one name that are looked at.
const MAX_PER_NAME: usize = 64;
/// How long a lookup may take, with its wait for others.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What turns names into addresses.
pub trait Resolve: std::fmt::Debug + Send + Sync + 'static {
    /// The addresses of `name`, which is no address itself.
    fn resolve(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's own resolver: `getaddrinfo`, and so /etc/hosts and what /etc/resolv.conf names.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

/// A name leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// No pattern grants the name, or the address that was given for one.
    Denied,
    /// The name is granted, but all its addresses are such as need a pattern of their own.
    Prohibited,
    /// It is no name.
    Invalid,
    /// The resolver has no answer.
    NotFound,
    /// It did not answer in time.
    TimedOut,
}

/// The names that a container has resolved.
#[derive(Debug)]
pub(super) struct Names {
    id: u64,
    known: Mutex<HashMap<IpAddr, Grants>>,
}

/// The ports of an address, and until when: two names may lead to one address, on different ports.
type Grants = Vec<(Ports, Instant)>;

impl Default for Names {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), known: Mutex::default() }
    }
}

impl Names {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether `address` may be connected to because a name led to it.
    pub(super) fn grant(&self, address: SocketAddr) -> bool {
        let known = self.lock();
        let Some(grants) = known.get(&address.ip()) else { return false };
        let now = Instant::now();
        grants.iter().any(|(ports, until)| ports.contains(&address.port()) && *until > now)
    }

    pub(super) async fn lookup(
        &self,
        name: &str,
        egress: &Egress,
        resolver: &dyn Resolve,
        turns: &Semaphore,
    ) -> Result<Vec<IpAddr>, LookupError> {
        // Nothing is asked for an address, and it opens nothing.
        if let Some(ip) = address(name) {
            return Ok(vec![ip]);
        }
        let name = normal_name(name);
        if is_local_name(&name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        let ports = egress.ports_of(&name);
        if ports.is_empty() {
            return Err(LookupError::Denied);
        }
        let mut found = resolve(&name, resolver, turns).await?;
        found.retain(|ip| !special::is_special(*ip) || egress.grants_address_on_some_port(*ip));
        if found.is_empty() {
            return Err(LookupError::Prohibited);
        }
        self.remember(&found, &ports);
        Ok(found)
    }

    fn remember(&self, ips: &[IpAddr], ports: &[Ports]) {
        let now = Instant::now();
        let mut known = self.lock();
        for ip in ips {
            if known.len() >= MAX_ADDRESSES && !known.contains_key(ip) {
                known.retain(|_, grants| last(grants) > Some(now));
                if known.len() >= MAX_ADDRESSES
                    && let Some(first) =
                        known.iter().min_by_key(|(_, grants)| last(grants)).map(|(ip, _)| *ip)
                {
                    known.remove(&first);
                }
            }
            let grants = known.entry(*ip).or_default();
            // So there are never more of these than patterns.
            grants.retain(|(range, _)| !ports.contains(range));
            grants.extend(ports.iter().map(|range| (range.clone(), now + LIFETIME)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Grants>> {
        // Nothing that can panic is done under the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the last of these expires.
fn last(grants: &Grants) -> Option<Instant> {
    grants.iter().map(|(_, until)| *until).max()
}

/// Resolves a name for one who may reach everything.
pub(super) async fn unrestricted(
    name: &str,
    resolver: &dyn Resolve,
    turns: &Semaphore,
) -> Result<Vec<IpAddr>, LookupError> {
    match address(name) {
        Some(ip) => Ok(vec![ip]),
        None => resolve(&normal_name(name), resolver, turns).await,
    }
}

/// A name that is an address: `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]`.
fn address(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

async fn resolve(name: &str, resolver: &dyn Resolve, turns: &Semaphore) -> Result<Vec<IpAddr>, LookupError> {
    // What is no name must not get to a resolver, which may make an address of it (127.1) or search a domain for it.
    let is_name = name.len() <= 253
        && name.is_ascii()
        && name.split('.').all(|label| (1..=63).contains(&label.len()))
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !is_name {
        return Err(LookupError::Invalid);
    }
    let answer = async {
        // The semaphore is never closed.
        let _turn = turns.acquire().await;
        resolver.resolve(name.to_owned()).await
    };
    let answer = timeout(TIMEOUT, answer).await.map_err(|_| LookupError::TimedOut)?;
    let addresses = answer.map_err(|error| {
        tracing::debug!(name, %error, "a guest's name is not resolved");
        LookupError::NotFound
    })?;
    let mut distinct = Vec::new();
    for ip in addresses.into_iter().take(MAX_PER_NAME).map(|ip| ip.to_canonical()) {
        if !distinct.contains(&ip) {
            distinct.push(ip);
        }
    }
    if distinct.is_empty() { Err(LookupError::NotFound) } else { Ok(distinct) }
}

#[cfg(test)]
mod tests;
