//! Certificates from an authority that speaks ACME (RFC 8555), and new ones in time.
//!
//! Names are proved by HTTP-01: the authority asks for a file at port 80 of each, and [`Acme::challenges`] is the target that
//! has it. What is obtained is kept in a directory, so that a restart asks for nothing. While there is no certificate yet, or
//! the authority cannot be reached, what is there stays in use.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `store` | the directory |
//! | `order` | from a list of names to a certificate |
//! | `challenges` | what the authority asks for to believe us |
//! | `validity` | from when until when a certificate is valid |

mod challenges;
mod order;
mod store;
mod validity;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::outgoing::Outgoing;
use crate::{Certificate, CertificateError, ConfigError, RegisterOptions, Routes, TargetGroup, TargetState};
use challenges::Challenges;
pub(crate) use challenges::PATH as CHALLENGES;
pub(crate) use order::Transport;
use store::Store;
use validity::Validity;

/// Let's Encrypt, whose certificates clients know.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// RFC 8555 knows no limit; Let's Encrypt's is 100 names a certificate.
const MAX_NAMES: usize = 100;
/// After a first failure. Let's Encrypt lets five validations of a name fail in an hour.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// After many.
const LAST_RETRY: Duration = Duration::from_secs(3 * 60 * 60);
/// An authority that says when to come again may say so.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The clock is looked at so often while a certificate is good: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// For one order, from its beginning to the certificate.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);

/// Whom certificates are obtained from, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// URL of the authority's directory, `https`.
    pub directory: String,
    /// Addresses the authority may write to, such as `mailto:ops@example.com`, told when the account is made.
    pub contact: Vec<String>,
    /// Where account keys, certificates and their keys are kept, readable by their owner only.
    pub storage: PathBuf,
    /// Roots that are trusted for the directory's own certificate beside the public ones, as PEM.
    pub roots: Vec<u8>,
    /// Pause after a first failure: 60 s, doubled with each further one up to 3 hours, each up to a half longer.
    pub first_retry: Duration,
}

impl AcmeConfig {
    /// From Let's Encrypt. Whoever makes one agrees to the authority's terms of service.
    pub fn new(storage: impl Into<PathBuf>) -> Self {
        Self {
            directory: LETS_ENCRYPT.to_owned(),
            contact: Vec::new(),
            storage: storage.into(),
            roots: Vec::new(),
            first_retry: FIRST_RETRY,
        }
    }

    /// Takes another authority.
    ///
    /// # Errors
    ///
    /// It is no `https` URL.
    pub fn set_directory(&mut self, url: &str) -> Result<(), ConfigError> {
        let https =
            url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
        if !https {
            return Err(ConfigError::new("directory", url, "a URL that begins with https://"));
        }
        url.clone_into(&mut self.directory);
        Ok(())
    }

    /// Trusts more roots.
    ///
    /// # Errors
    ///
    /// There is no certificate in it.
    pub fn set_roots(&mut self, pem: Vec<u8>) -> Result<(), CertificateError> {
        if roots(&pem).is_empty() {
            return Err(CertificateError::Chain);
        }
        self.roots = pem;
        Ok(())
    }
}

fn roots(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// Names that one certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNames(Vec<String>);

impl CertificateNames {
    /// 1 to 100 DNS names, without wildcards, which HTTP-01 cannot prove.
    ///
    /// # Errors
    ///
    /// Says which is none.
    pub fn new(names: impl IntoIterator<Item = String>) -> Result<Self, ConfigError> {
        let names: Vec<_> = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // A top level of digits is an address's.
        let dns = |name: &str| {
            let last = name.rsplit('.').next().unwrap_or_default();
            name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
        };
        if let Some(wrong) = names.iter().find(|name| !dns(name)) {
            return Err(ConfigError::new("domains", wrong, "a DNS name without wildcards"));
        }
        if !(1..=MAX_NAMES).contains(&names.len()) {
            return Err(ConfigError::new("domains", names.len(), "1 to 100 names"));
        }
        Ok(Self(names))
    }

    /// Says why there is none.
    fn missed(&self, error: &AcmeError, pause: Duration) {
        let error = error as &dyn std::error::Error;
        tracing::warn!(names = ?self.0, error, again_in = ?pause, "no new certificate");
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeError {
    #[error("the directory of certificates")]
    Storage(#[from] std::io::Error),
    #[error("the authority")]
    Authority(#[from] instant_acme::Error),
    #[error("the authority refused {name}: {reason}")]
    Refused { name: String, reason: String },
    #[error("the authority offers no HTTP-01 challenge for {0}")]
    NoChallenge(String),
    #[error("the authority's certificate")]
    Certificate(#[from] CertificateError),
    #[error("the authority's certificate is not for {0}")]
    OtherNames(String),
    #[error("the authority's certificate is malformed or not valid now")]
    Validity,
    #[error("the order was not done within 5 minutes")]
    Timeout,
}

/// A certificate with the time it is valid in.
#[derive(Clone, Debug)]
struct Kept {
    certificate: Certificate,
    validity: Validity,
}

/// One account at an authority, and the certificates obtained with it. A cheap handle.
#[derive(Clone)]
pub struct Acme {
    inner: Arc<Inner>,
}

struct Inner {
    config: AcmeConfig,
    store: Store,
    transport: Transport,
    challenges: Challenges,
    answering: Arc<TargetGroup>,
    /// One order at a time: authorities count, and nobody waits for the second.
    ordering: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Acme {
    /// Makes the directory of certificates, if it is missing. Asks the authority for nothing yet.
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    pub fn open(config: AcmeConfig) -> std::io::Result<Self> {
        let store = Store::open(&config.storage)?;
        let transport = Transport::new(Outgoing::new(roots(&config.roots)));
        let challenges = Challenges::default();
        let answering = challenges.group();
        let ordering = tokio::sync::Mutex::default();
        Ok(Self { inner: Arc::new(Inner { config, store, transport, challenges, answering, ordering }) })
    }

    /// What it was opened with.
    pub fn config(&self) -> &AcmeConfig {
        &self.inner.config
    }

    /// The same rules, but that they answer the authority's questions before anything else. For the listeners that it finds at
    /// port 80 of the names.
    #[must_use]
    pub fn answered_in(&self, routes: Routes) -> Routes {
        routes.with_challenges(Arc::clone(&self.inner.answering))
    }

    /// What to serve with until [`Acme::keep`] brings the first: the certificate in the directory if there is one, which may
    /// have expired, else one that nobody trusts, signed by itself.
    ///
    /// # Errors
    ///
    /// None can be made.
    pub fn first(&self, names: &CertificateNames) -> std::io::Result<Certificate> {
        match self.inner.store.certificate(names) {
            Some(kept) => Ok(kept.certificate),
            None => order::self_signed(names),
        }
    }

    /// Keeps a certificate for these names at hand for as long as it is polled: obtains the first, and a new one when two
    /// thirds of the life of the last are over. Each is handed to `serve`.
    ///
    /// What fails is tried again, later each time ([`AcmeConfig::first_retry`]) or when the authority says.
    pub async fn keep(&self, names: &CertificateNames, serve: impl Fn(Certificate)) {
        let mut current = self.inner.store.certificate(names);
        let mut failures = 0;
        loop {
            if let Some(kept) = &current {
                while let Some(left) = kept.validity.until_renewal(SystemTime::now()) {
                    tokio::time::sleep(left.min(LOOK)).await;
                }
            }
            let ordering = self.inner.ordering.lock().await;
            let obtained = tokio::time::timeout(ORDER_TIMEOUT, self.inner.obtain(names)).await;
            drop(ordering);
            match obtained.unwrap_or(Err(AcmeError::Timeout)) {
                Ok(kept) => {
                    tracing::info!(names = ?names.0, until = ?kept.validity, "a new certificate");
                    serve(kept.certificate.clone());
                    (current, failures) = (Some(kept), 0);
                    // An authority that gives certificates which are to be renewed already is not asked all the time.
                    tokio::time::sleep(self.inner.config.first_retry).await;
                }
                Err(error) => {
                    let pause = self.inner.pause(failures);
                    failures = failures.saturating_add(1);
                    names.missed(&error, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

impl Inner {
    /// After so many failures before this one.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.config.first_retry.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        // Many that failed together, because the authority was away, are not to come again together.
        let backoff = doubled.min(LAST_RETRY).mul_f64(1.0 + fastrand::f64() / 2.0);
        self.transport.take_retry_after().map_or(backoff, |asked| backoff.max(asked.min(MAX_RETRY_AFTER)))
    }
}

impl Challenges {
    fn group(&self) -> Arc<TargetGroup> {
        let health_check = crate::HealthCheckConfig::disabled();
        let config = crate::TargetGroupConfig { health_check, ..crate::TargetGroupConfig::new("acme") };
        let group = TargetGroup::new(config);
        group.register("acme", Arc::new(self.clone()), RegisterOptions::new(TargetState::Healthy));
        group
    }
}

/// Locks what nobody panics in.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
