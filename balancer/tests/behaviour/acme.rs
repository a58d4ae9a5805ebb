//! Certificates from an authority, which asks for its challenges over real sockets.

mod authority;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coracle_balancer::{
    Acme, AcmeConfig, Balancer, BalancerConfig, CertificateNames, Certificates, Listener, ListenerConfig,
    ListenerProtocol,
};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::support::{Front, any_port, group, refusing, saying, within};
use authority::Authority;

/// A balancer with a port for challenges and one over TLS, whose certificate is kept up.
struct Edge {
    balancer: Balancer,
    http: Listener,
    https: Listener,
    keeping: JoinHandle<()>,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

fn names() -> CertificateNames {
    CertificateNames::new(["a.test".to_owned(), "B.test".to_owned()]).unwrap()
}

fn config(authority: &Authority, port: u16, storage: &Path) -> AcmeConfig {
    let mut config = AcmeConfig::new(storage);
    config.set_directory(&format!("https://localhost:{port}/directory")).unwrap();
    config.set_roots(authority.root_pem()).unwrap();
    config.contact = vec!["mailto:ops@example.test".to_owned()];
    config.first_retry = Duration::from_millis(50);
    config
}

impl Edge {
    fn start(config: AcmeConfig) -> Self {
        let acme = Acme::open(config).unwrap();
        let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
        let web = || group([("web", saying("web"))]);
        let http = balancer.listen(any_port(), acme.answered_in(web().into())).unwrap();
        let first = Certificates::new(acme.first(&names()).unwrap(), Vec::new());
        let config = ListenerConfig { protocol: ListenerProtocol::Https(first), ..any_port() };
        let https = balancer.listen(config, web()).unwrap();
        let served = https.clone();
        let keeping = tokio::spawn(async move {
            let serve = |certificate| {
                served.set_certificates(&Certificates::new(certificate, Vec::new()));
            };
            acme.keep(&names(), serve).await;
        });
        Self { balancer, http, https, keeping }
    }

    /// Whether a client that knows the authority believes this server to be `name`.
    async fn is_believed(&self, authority: &Authority, name: &'static str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root()).unwrap();
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.https.local_addr()).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
    }

    async fn until_believed(&self, authority: &Authority) {
        let believed = async {
            while !self.is_believed(authority, "a.test").await {
                tokio::task::yield_now().await;
            }
        };
        within(believed).await;
    }
}

/// An authority that serves, and an edge that it knows.
fn both(storage: &Path) -> (Arc<Authority>, Front, Edge) {
    known_to(Authority::new(), storage)
}

fn known_to(authority: Arc<Authority>, storage: &Path) -> (Arc<Authority>, Front, Edge) {
    let serving = authority.serve(SocketAddr::from(([127, 0, 0, 1], 0)));
    let edge = Edge::start(config(&authority, serving.address().port(), storage));
    authority.finds_port_80_at(edge.http.local_addr());
    (authority, serving, edge)
}

const DAY: Duration = Duration::from_secs(86_400);

/// An authority whose certificates are to be renewed when they are new.
fn short_of_life() -> Arc<Authority> {
    let authority = Authority::new();
    *authority.life.lock().unwrap() = (61 * DAY, 90 * DAY);
    authority
}

fn count(counter: &std::sync::atomic::AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

async fn until(what: impl Fn() -> bool) {
    let so = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(so).await;
}

#[tokio::test]
async fn a_certificate_is_obtained_kept_and_found_again_after_a_restart() {
    let storage = tempfile::tempdir().unwrap();
    let (authority, serving, edge) = both(&storage.path().join("acme"));
    authority.bad_nonces.store(1, Ordering::Relaxed);
    edge.until_believed(&authority).await;
    assert!(edge.is_believed(&authority, "b.test").await && !edge.is_believed(&authority, "c.test").await);
    // What is no challenge of the moment is not there, and the rest goes its way.
    let front = Front { balancer: edge.balancer.clone(), listener: edge.http.clone() };
    assert_eq!(front.get("/.well-known/acme-challenge/x").await.status(), 404);
    assert_eq!(front.get("/").await.body(), "web");

    let directory = fs::metadata(storage.path().join("acme")).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(storage.path().join("acme")).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }

    drop(edge);
    let again = Edge::start(config(&authority, serving.address().port(), &storage.path().join("acme")));
    assert!(again.is_believed(&authority, "a.test").await, "at once");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((count(&authority.accounts), count(&authority.orders)), (1, 1), "nothing was asked for");
}

#[tokio::test]
async fn one_whose_life_is_two_thirds_over_is_replaced_and_served_until_then() {
    let storage = tempfile::tempdir().unwrap();
    let (authority, _serving, edge) = known_to(short_of_life(), storage.path());
    until(|| count(&authority.certificates) >= 2).await;
    assert!(edge.is_believed(&authority, "a.test").await);
    *authority.life.lock().unwrap() = (DAY, 90 * DAY);
    let before = count(&authority.certificates);
    until(|| count(&authority.certificates) > before).await;
    assert!(edge.is_believed(&authority, "a.test").await);
    let last = count(&authority.orders);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(count(&authority.orders) <= last + 1, "one under way at most; then it is good");
}

#[tokio::test]
async fn what_the_authority_refuses_is_tried_again_and_what_is_there_stays_in_use() {
    let storage = tempfile::tempdir().unwrap();
    // To be renewed at once, which a port 80 that is not ours does not let it be.
    let (authority, _serving, edge) = known_to(short_of_life(), storage.path());
    edge.until_believed(&authority).await;
    let other = Front::of(|_| async { Ok(http::Response::new(coracle_balancer::Body::full("wrong"))) });
    authority.finds_port_80_at(other.address());
    let begun = count(&authority.orders);
    until(|| count(&authority.orders) >= begun + 3).await;
    let issued = count(&authority.certificates);
    assert!(edge.is_believed(&authority, "a.test").await);
    authority.finds_port_80_at(edge.http.local_addr());
    until(|| count(&authority.certificates) > issued).await;
}

#[tokio::test]
async fn a_rate_limit_is_kept_to() {
    let storage = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.rate_limited.store(1, Ordering::Relaxed);
    let serving = authority.serve(SocketAddr::from(([127, 0, 0, 1], 0)));
    let begun = std::time::SystemTime::now();
    let edge = Edge::start(config(&authority, serving.address().port(), storage.path()));
    authority.finds_port_80_at(edge.http.local_addr());
    edge.until_believed(&authority).await;
    // `Retry-After: 1`, and not the 50 ms it would have been.
    assert!(begun.elapsed().unwrap() >= Duration::from_secs(1));
}

#[tokio::test]
async fn while_the_authority_cannot_be_reached_the_port_is_open_all_the_same() {
    let storage = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (address, held) = refusing();
    let edge = Edge::start(config(&authority, address.port(), storage.path()));
    authority.finds_port_80_at(edge.http.local_addr());
    assert!(!edge.is_believed(&authority, "a.test").await);
    let mut plain = TcpStream::connect(edge.https.local_addr()).await.unwrap();
    plain.write_all(b"x").await.unwrap();
    drop(held);
    let _serving = authority.serve(address);
    edge.until_believed(&authority).await;
}

#[tokio::test]
async fn ended_at_any_step_of_an_order_the_next_start_obtains_one_with_the_same_account() {
    for step in ["/order", "/authorization", "/challenge", "/finalize", "/certificate"] {
        let storage = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        *authority.silent_at.lock().unwrap() = Some(step);
        let serving = authority.serve(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = config(&authority, serving.address().port(), storage.path());
        let edge = Edge::start(config.clone());
        authority.finds_port_80_at(edge.http.local_addr());
        within(authority.asked_there.notified()).await;
        drop(edge);
        // As a crash while a file was written would leave it.
        fs::write(storage.path().join("a.test-00000000.pem.new"), "half").unwrap();
        *authority.silent_at.lock().unwrap() = None;
        let again = Edge::start(config);
        authority.finds_port_80_at(again.http.local_addr());
        again.until_believed(&authority).await;
        assert_eq!(count(&authority.accounts), 1, "{step}");
    }
}

#[tokio::test]
async fn files_that_are_damaged_and_an_authority_that_has_lost_its_data_cost_no_more_than_an_order() {
    let storage = tempfile::tempdir().unwrap();
    let (authority, serving, edge) = both(storage.path());
    edge.until_believed(&authority).await;
    drop(edge);
    authority.loses_its_data();
    for file in fs::read_dir(storage.path()).unwrap().map(Result::unwrap) {
        if file.path().extension().is_some_and(|extension| extension == "pem") {
            fs::write(file.path(), "damaged").unwrap();
        }
    }
    let edge = Edge::start(config(&authority, serving.address().port(), storage.path()));
    authority.finds_port_80_at(edge.http.local_addr());
    edge.until_believed(&authority).await;
    assert_eq!(count(&authority.accounts), 2);
}

#[tokio::test]
async fn an_authority_that_nobody_vouches_for_is_not_talked_to() {
    let storage = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let serving = authority.serve(SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut untrusting = config(&authority, serving.address().port(), storage.path());
    untrusting.set_roots(Authority::new().root_pem()).unwrap();
    let edge = Edge::start(untrusting);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(count(&authority.accounts), 0);
    assert!(!edge.is_believed(&authority, "a.test").await);
}

#[test]
fn names_that_http_cannot_prove_are_refused() {
    for wrong in ["*.a.test", "", "a..test", "10.0.0.1", "-a.test", "a_b.test", "[::1]"] {
        let refused = CertificateNames::new([wrong.to_owned()]).unwrap_err();
        assert_eq!(refused.field(), "domains", "{wrong}");
    }
    assert!(CertificateNames::new([]).is_err());
    assert!(CertificateNames::new((0..101).map(|index| format!("{index}.test"))).is_err());
    assert!(AcmeConfig::new("x").set_directory("http://a/directory").is_err());
}
