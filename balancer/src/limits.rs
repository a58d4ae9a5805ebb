//! What one client, and all clients of a listener together, may ask for.
//!
//! A listener without limits has no [`Limiter`], and a connection of it looks at nothing here. With limits a request takes
//! no lock either: what belongs to a client is looked up once per connection, and is atomics from then on.

mod body;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use tokio::time::Instant;

pub(crate) use body::{LimitedBody, TooLong};

/// Clients beyond this number are forgotten as soon as they have no connection, whatever rate they are due.
const MAX_CLIENTS: usize = 100_000;

/// Limits of a listener; `None` is without limit. A client is an IPv4 address or an IPv6 network of 64 bits, which is what
/// one customer gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once; more are closed before anything is read from them.
    pub connections: Option<u32>,
    /// The same of one client.
    pub connections_per_client: Option<u32>,
    /// Requests without the last byte of their answer at once; more are answered 503.
    pub requests: Option<u32>,
    /// The same of one client; more are answered 429.
    pub requests_per_client: Option<u32>,
    /// Requests over time; more are answered 503.
    pub rate: Option<Rate>,
    /// The same of one client; more are answered 429.
    pub rate_per_client: Option<Rate>,
    /// Bytes of a request's body; more are answered 413, and the target sees a request that was broken off.
    pub body: Option<u64>,
    /// Bytes of a request's header block; more are answered 431. 64 KiB without.
    pub header_bytes: Option<u32>,
    /// Fields of a request's header in HTTP/1; more are answered 431. 100 without.
    pub header_fields: Option<u32>,
}

/// Requests over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, 1 to 1,000,000 a second.
    pub per_second: u32,
    /// At once after a pause, at least 1.
    pub burst: u32,
}

impl Rate {
    fn interval(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.clamp(1, 1_000_000))
    }
}

/// The limits of a listener and who has taken how much of them.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    start: Instant,
    all: Taken,
    clients: Mutex<HashMap<IpAddr, Arc<Taken>>>,
}

#[derive(Debug, Default)]
struct Taken {
    connections: AtomicU32,
    requests: AtomicU32,
    /// When the next request would be due if they came evenly, in nanoseconds from the limiter's start (the "theoretical
    /// arrival time" of the generic cell rate algorithm): a token bucket in one number.
    due: AtomicU64,
}

impl Taken {
    fn take(counter: &AtomicU32, limit: Option<u32>) -> bool {
        let limit = limit.unwrap_or(u32::MAX);
        let more = |taken: u32| (taken < limit).then(|| taken + 1);
        counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn conforms(&self, rate: Option<Rate>, now: u64) -> bool {
        let Some(rate) = rate else { return true };
        let (interval, burst) = (rate.interval(), u64::from(rate.burst.max(1)));
        let next = |due: u64| {
            let next = due.max(now) + interval;
            (next - now <= interval * burst).then_some(next)
        };
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Limiter {
    /// `None`: there is nothing to watch.
    pub(crate) fn new(limits: Limits) -> Option<Arc<Self>> {
        let unlimited = limits == Limits::default();
        let limiter = || {
            Arc::new(Self { limits, start: Instant::now(), all: Taken::default(), clients: Mutex::default() })
        };
        (!unlimited).then(limiter)
    }

    /// Lets a connection in. `None`: it is one too many.
    pub(crate) fn connect(self: &Arc<Self>, client: IpAddr) -> Option<Connected> {
        if !Taken::take(&self.all.connections, self.limits.connections) {
            return None;
        }
        let key = network(client);
        let limits = &self.limits;
        let watched = limits.connections_per_client.is_some()
            || limits.requests_per_client.is_some()
            || limits.rate_per_client.is_some();
        let client = watched.then(|| Arc::clone(self.clients().entry(key).or_default()));
        let mut connected = Connected { limiter: Arc::clone(self), client: None, key };
        if let Some(client) = client {
            if !Taken::take(&client.connections, limits.connections_per_client) {
                return None; // dropping what was connected gives the listener's share back
            }
            connected.client = Some(client);
        }
        Some(connected)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Taken>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a client that has no connection, unless it still owes time for the requests it made.
    fn forget(&self, key: IpAddr) {
        let now = self.now();
        let mut clients = self.clients();
        let idle = |taken: &Taken| taken.connections.load(Ordering::Relaxed) == 0;
        let owes = |taken: &Taken| taken.due.load(Ordering::Relaxed) > now;
        if clients.get(&key).is_some_and(|taken| idle(taken) && !owes(taken)) {
            clients.remove(&key);
        } else if clients.len() > MAX_CLIENTS {
            clients.retain(|_, taken| !idle(taken));
        }
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// A connection that was let in, until it is dropped.
#[derive(Debug)]
pub(crate) struct Connected {
    limiter: Arc<Limiter>,
    client: Option<Arc<Taken>>,
    key: IpAddr,
}

impl Connected {
    pub(crate) fn limits(&self) -> &Limits {
        &self.limiter.limits
    }

    /// Lets a request in, or says what it is answered with.
    pub(crate) fn request(self: &Arc<Self>) -> Result<Permit, StatusCode> {
        let (limiter, limits) = (&self.limiter, &self.limiter.limits);
        // The client's own limits first: what it may not have is not taken from the others.
        let mut permit = Permit { connected: Arc::clone(self), of_client: false, of_all: false };
        let now = limiter.now();
        if let Some(client) = &self.client {
            permit.of_client = Taken::take(&client.requests, limits.requests_per_client);
            if !permit.of_client || !client.conforms(limits.rate_per_client, now) {
                return Err(StatusCode::TOO_MANY_REQUESTS);
            }
        }
        permit.of_all = Taken::take(&limiter.all.requests, limits.requests);
        if !permit.of_all || !limiter.all.conforms(limits.rate, now) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        Ok(permit)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.limiter.all.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client.take() {
            client.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.limiter.forget(self.key);
    }
}

/// A request that was let in, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    connected: Arc<Connected>,
    of_client: bool,
    of_all: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.of_all {
            self.connected.limiter.all.requests.fetch_sub(1, Ordering::Relaxed);
        }
        if let (true, Some(client)) = (self.of_client, &self.connected.client) {
            client.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_limits_there_is_no_limiter() {
        assert!(Limiter::new(Limits::default()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_burst_in_and_then_one_at_a_time() {
        let rate_per_client = Some(Rate { per_second: 10, burst: 3 });
        let limiter = Limiter::new(Limits { rate_per_client, ..Limits::default() }).unwrap();
        let client = Arc::new(limiter.connect(address("10.0.0.1")).unwrap());
        let let_in = || (0..10).filter(|_| client.request().is_ok()).count();
        assert_eq!(let_in(), 3);
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(let_in(), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(let_in(), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(let_in(), 3, "no more than a burst is saved up");
        assert_eq!(client.request().unwrap_err(), StatusCode::TOO_MANY_REQUESTS);
    }

    #[tokio::test(start_paused = true)]
    async fn another_connection_does_not_make_another_client() {
        let rate_per_client = Some(Rate { per_second: 1, burst: 1 });
        let limits = Limits { rate_per_client, connections_per_client: Some(2), ..Limits::default() };
        let limiter = Limiter::new(limits).unwrap();
        let connect = |text| limiter.connect(address(text)).map(Arc::new);
        let first = connect("2001:db8::1").unwrap();
        assert!(first.request().is_ok());
        drop(first);
        let (second, _third) = (connect("2001:db8::2").unwrap(), connect("2001:db8::3").unwrap());
        assert!(second.request().is_err(), "one network of 64 bits");
        assert!(connect("2001:db8::4").is_none());
        assert!(connect("2001:db8:0:1::1").unwrap().request().is_ok());
        drop((second, _third));
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(connect("2001:db8::1"));
        assert!(limiter.clients().is_empty() || limiter.clients().len() == 1);
    }

    #[tokio::test]
    async fn what_is_taken_is_given_back() {
        let limits = Limits { connections: Some(1), requests: Some(1), ..Limits::default() };
        let limiter = Limiter::new(limits).unwrap();
        for _ in 0..3 {
            let connected = Arc::new(limiter.connect(address("10.0.0.1")).unwrap());
            assert!(limiter.connect(address("10.0.0.2")).is_none());
            for _ in 0..3 {
                let _permit = connected.request().unwrap();
                assert_eq!(connected.request().unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
            }
        }
    }
}
