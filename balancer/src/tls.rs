//! TLS: certificates by server name towards clients, exchanged without a restart; and towards targets.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use webpki::EndEntityCert;

/// What a client may choose by ALPN, the preferred first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Agrees with the target at the other end of `stream` on keys, and with `http2` on HTTP/2.
pub(crate) async fn to_target(stream: TcpStream, http2: bool) -> std::io::Result<TlsStream<TcpStream>> {
    static CONFIGS: LazyLock<[Arc<ClientConfig>; 2]> =
        LazyLock::new(|| [client_config(b"http/1.1"), client_config(b"h2")]);
    // Targets are addresses: there is no name to send.
    let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
    TlsConnector::from(Arc::clone(&CONFIGS[usize::from(http2)])).connect(name, stream).await
}

fn client_config(protocol: &[u8]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("ring knows both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// Takes any certificate of a target. "The load balancer does not validate these certificates" (ALB's guide): targets are
/// addresses that whoever configures the balancer vouches for, and mostly show self-signed certificates. Against those who
/// only listen it protects, against one who stands between us and the target it does not.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain is not PEM, or there is no certificate in it.
    #[error("no certificate in the chain: expected PEM that begins with the server's own")]
    Chain,
    /// The key is not PEM, or of no kind that is known.
    #[error("no private key: expected PEM with a PKCS#8, PKCS#1 or SEC1 key")]
    Key,
    /// The key is not the certificate's, or the certificate is malformed.
    #[error("the private key does not go with the certificate")]
    Mismatch(#[source] rustls::Error),
    /// The certificate names no host.
    #[error("the certificate has no DNS name among its subject alternative names")]
    NoNames,
}

/// A certificate with its chain, its private key and the names it is for.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Certificate {
    /// From PEM: the chain, the server's own certificate first, and the key.
    ///
    /// # Errors
    ///
    /// Says what of it cannot be used.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_malformed| CertificateError::Chain)?;
        let own = chain.first().ok_or(CertificateError::Chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_malformed| CertificateError::Key)?;
        let names: Vec<_> = EndEntityCert::try_from(own)
            .map_err(|_malformed| CertificateError::Chain)?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        if names.is_empty() {
            return Err(CertificateError::NoNames);
        }
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(CertificateError::Mismatch)?;
        Ok(Self { key: Arc::new(key), names })
    }

    /// The DNS names it is for, in small letters; one may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The certificates of a listener. The first is the default one, as on ALB: for clients that name no server, or one that no
/// certificate is for.
#[derive(Clone, Debug)]
pub struct Certificates {
    default: Certificate,
    others: Vec<Certificate>,
}

impl Certificates {
    /// A default certificate and any number of others.
    pub const fn new(default: Certificate, others: Vec<Certificate>) -> Self {
        Self { default, others }
    }

    /// What handshakes are made with. `alpn`: HTTP is spoken inside.
    pub(crate) fn server_config(&self, alpn: bool) -> Arc<ServerConfig> {
        let resolver = Resolver::new(self);
        let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("ring knows both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        if alpn {
            config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        }
        Arc::new(config)
    }
}

/// Finds a certificate in one or two look-ups, whatever their number.
#[derive(Debug)]
struct Resolver {
    default: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// Under what follows the `*.`.
    wildcards: HashMap<String, Arc<CertifiedKey>>,
}

impl Resolver {
    fn new(certificates: &Certificates) -> Self {
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for certificate in std::iter::once(&certificates.default).chain(&certificates.others) {
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcards, parent),
                    None => (&mut exact, name.as_str()),
                };
                // Of two for one name the first.
                names.entry(name.to_owned()).or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        Self { default: Arc::clone(&certificates.default.key), exact, wildcards }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        // rustls has made it small letters. A wildcard is for exactly one label (RFC 6125, 6.4.3).
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcards.get(parent));
        self.exact.get(name).or_else(wildcard)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(named.unwrap_or(&self.default)))
    }
}
