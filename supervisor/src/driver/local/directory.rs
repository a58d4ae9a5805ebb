//! The names of this process's services: a snapshot that requests read, made anew when a name comes or goes.
//!
//! Where a name's requests go is not in it: that is the routing of its service's listener, which changes by itself, and behind it are the balancer's
//! target groups. So who finds a service gets the same targets, by the same algorithm and with the same counters, as a client of its listener.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use coracle_balancer::{Body, Forward};
use coracle_runtime::network::discovery::{Content, Discovery, Found, Service};
use futures_util::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use http_body_util::BodyExt;

use crate::model::service_connect::Offer;

/// Where a service's requests go now.
pub(super) type Routing = Arc<ArcSwap<Forward>>;

/// How one of the ports is reached that a service offers.
#[derive(Clone)]
pub(super) enum Way {
    /// As the service's requests are.
    Main(Routing),
    /// By another port, which has no requests that would wait for a task: they wait at the main one.
    Other { routing: Routing, main: Routing },
}

/// All names.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// By the ARN of the target group that the service was published with.
    entries: Mutex<BTreeMap<String, Vec<Arc<Entry>>>>,
    table: Arc<ArcSwap<Table>>,
}

/// A port that a service offers.
struct Entry {
    offer: Offer,
    full_name: Arc<str>,
    way: Way,
}

/// What is looked into.
#[derive(Debug, Default)]
struct Table {
    namespaces: HashMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    by_name: HashMap<String, Vec<Arc<Named>>>,
    entries: Vec<Arc<Named>>,
}

/// A service under one of its names, with the ports that belong to it.
#[derive(Debug)]
struct Named {
    entry: Arc<Entry>,
    ports: Vec<u16>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entry").field(&self.full_name).finish()
    }
}

impl Way {
    fn routing(&self) -> &Routing {
        match self {
            Self::Main(routing) | Self::Other { routing, .. } => routing,
        }
    }

    /// At a port where nothing waits for the first task of a service that sleeps, until that is there, or it is clear that none comes.
    async fn wait(&self, client: IpAddr) {
        if let Self::Other { routing, main } = self
            && routing.load().addresses_now().is_empty()
        {
            main.load_full().addresses(client).await;
        }
    }
}

impl Directory {
    /// Has a service found by what it offers, and by nothing else.
    pub(super) fn announce(&self, arn: &str, offers: Vec<(Offer, Way)>) {
        let entry = |(offer, way): (Offer, Way)| Entry { full_name: offer.full_name().into(), offer, way };
        let offered: Vec<_> = offers.into_iter().map(entry).map(Arc::new).collect();
        self.change(|entries| match offered.is_empty() {
            true => entries.remove(arn),
            false => entries.insert(arn.to_owned(), offered),
        });
    }

    /// Has it found no more.
    pub(super) fn withdraw(&self, arn: &str) {
        self.change(|entries| entries.remove(arn));
    }

    /// What a task of a namespace finds, or one of none.
    pub(super) fn view(&self, namespace: Option<String>) -> Arc<dyn Discovery> {
        Arc::new(View { table: Arc::clone(&self.table), namespace })
    }

    fn change<R>(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<Arc<Entry>>>) -> R) {
        // Held to the end: tables follow each other in order.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entries);
        self.table.store(Arc::new(Table::of(entries.values().flatten())));
    }
}

impl Table {
    fn of<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> Self {
        let mut table = Self::default();
        for entry in entries {
            let namespace = table.namespaces.entry(entry.offer.namespace.clone()).or_default();
            let named = Arc::new(Named { entry: Arc::clone(entry), ports: entry.offer.ports() });
            let mut names = vec![entry.full_name.to_string()];
            names.extend(entry.offer.aliases.iter().map(|alias| alias.name.clone()));
            names.dedup();
            for name in names {
                namespace.by_name.entry(name).or_default().push(Arc::clone(&named));
            }
            namespace.entries.push(named);
        }
        for namespace in table.namespaces.values_mut() {
            // A name of several services has of each only the ports that it was given.
            for (name, several) in namespace.by_name.iter_mut().filter(|(_, named)| named.len() > 1) {
                for named in several {
                    let aliases = named.entry.offer.aliases.iter();
                    let ports = aliases.filter(|alias| alias.name == *name).map(|alias| alias.port).collect();
                    *named = Arc::new(Named { entry: Arc::clone(&named.entry), ports });
                }
            }
        }
        table
    }
}

impl Named {
    fn found(self: &Arc<Self>, near: bool) -> Found {
        let service: Arc<dyn Service> = Arc::clone(self) as Arc<dyn Service>;
        Found { near, name: Arc::clone(&self.entry.full_name), service }
    }

    /// Where a task of it listens that clients reach at `address`, by its own port or, `by_alias`, one of a name.
    fn actual(&self, address: SocketAddr, by_alias: bool) -> Option<SocketAddr> {
        let is_its = |port: u16| self.entry.offer.aliases.iter().any(|alias| alias.port == port);
        if by_alias && !is_its(address.port()) {
            return None;
        }
        let tasks = self.entry.way.routing().load().addresses_now();
        let mut here = tasks.into_iter().filter(|task| task.ip() == address.ip());
        here.find(|task| by_alias || task.port() == address.port())
    }
}

impl Service for Named {
    fn ports(&self) -> &[u16] {
        &self.ports
    }

    fn addresses(&self, client: IpAddr) -> BoxFuture<'static, Vec<SocketAddr>> {
        let entry = Arc::clone(&self.entry);
        async move {
            entry.way.wait(client).await;
            entry.way.routing().load_full().addresses(client).await
        }
        .boxed()
    }

    fn answer(&self, request: Request<Content>, client: IpAddr) -> BoxFuture<'static, Response<Content>> {
        let entry = Arc::clone(&self.entry);
        async move {
            entry.way.wait(client).await;
            let answer = entry.way.routing().load_full().answer(request.map(Body::boxed), client);
            answer.await.map(BodyExt::boxed_unsync)
        }
        .boxed()
    }
}

/// The table as one task sees it.
#[derive(Debug)]
struct View {
    table: Arc<ArcSwap<Table>>,
    namespace: Option<String>,
}

impl View {
    fn is_own(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace)
    }
}

impl Discovery for View {
    fn find(&self, name: &str) -> Vec<Found> {
        let table = self.table.load();
        let own = self.namespace.as_ref().and_then(|own| table.namespaces.get(own));
        if let Some(named) = own.and_then(|own| own.by_name.get(name)) {
            return named.iter().map(|named| named.found(true)).collect();
        }
        // In full: the first label is the service's, the rest its namespace.
        let namespace = name.split_once('.').and_then(|(_, namespace)| table.namespaces.get(namespace));
        let named = namespace.and_then(|namespace| namespace.by_name.get(name)).into_iter().flatten();
        named.filter(|named| *named.entry.full_name == *name).map(|named| named.found(false)).collect()
    }

    fn at(&self, address: SocketAddr) -> Option<(SocketAddr, Found)> {
        let table = self.table.load();
        let mut namespaces: Vec<_> = table.namespaces.iter().collect();
        // The own one first: what is near in one way is not far in another.
        namespaces.sort_by_key(|(name, _)| !self.is_own(name));
        let named = namespaces
            .into_iter()
            .flat_map(|(name, namespace)| namespace.entries.iter().map(|named| (self.is_own(name), named)));
        let named: Vec<_> = named.collect();
        // A port that is one task's own is nobody's alias.
        [false, true].into_iter().find_map(|by_alias| {
            let mut found = named
                .iter()
                .filter_map(|(near, named)| Some((named.actual(address, by_alias)?, named.found(*near))));
            found.next()
        })
    }
}

#[cfg(test)]
mod tests;
