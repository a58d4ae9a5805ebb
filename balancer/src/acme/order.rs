//! From a list of names to a certificate.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Collected, Full};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, KeyPair};

use super::{AcmeError, CertificateNames, Inner, Kept, lock};
use crate::Certificate;
use crate::outgoing::Outgoing;

/// How the authority is asked whether it is done: after 0.25 s, then later each time.
const POLL: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

impl Inner {
    /// A new certificate, which is in the directory when this is done. Broken off at any moment it leaves nothing that the next
    /// try could not begin anew with.
    pub(super) async fn obtain(&self, names: &CertificateNames) -> Result<Kept, AcmeError> {
        let identifiers: Vec<_> = names.iter().map(|name| Identifier::Dns(name.to_owned())).collect();
        let order = NewOrder::new(&identifiers);
        let mut order = match self.account().await?.new_order(&order).await {
            // An authority that has lost its data, as one for tests does with each start.
            Err(instant_acme::Error::Api(problem)) if is(&problem, "accountDoesNotExist") => {
                self.store.forget_account(&self.config.directory)?;
                self.account().await?.new_order(&order).await?
            }
            order => order?,
        };
        // Dropped at the end: until then the authority may ask.
        let _answered = self.prove(&mut order).await?;
        if order.poll_ready(&POLL).await? != OrderStatus::Ready {
            return Err(refusal(&mut order).await);
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&POLL).await?;
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes())?;
        if let Some(missing) = names.iter().find(|name| !certificate.names().iter().any(|it| it == name)) {
            return Err(AcmeError::OtherNames(missing.to_owned()));
        }
        let pem = format!("{}\n{key}", chain.trim_end());
        let kept = Kept::from_pem(pem.as_bytes()).ok_or(AcmeError::Validity)?;
        if !kept.validity.contains(SystemTime::now()) {
            return Err(AcmeError::Validity);
        }
        self.store.put_certificate(names, &pem)?;
        Ok(kept)
    }

    /// The account that is kept, or a new one, which is kept before anything is done with it.
    async fn account(&self) -> Result<Account, AcmeError> {
        let builder = Account::builder_with_http(Box::new(self.transport.clone()));
        let directory = &self.config.directory;
        if let Some(credentials) = self.store.account(directory) {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact: Vec<_> = self.config.contact.iter().map(String::as_str).collect();
        // Whoever made the configuration has agreed to them.
        let account =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&account, directory.clone(), None).await?;
        self.store.put_account(directory, &credentials)?;
        Ok(account)
    }

    /// Has the answers ready that prove the names, and tells the authority to ask for them.
    async fn prove(&self, order: &mut Order) -> Result<Vec<super::challenges::Answered>, AcmeError> {
        let mut answered = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                // Proved a while ago.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => return Err(AcmeError::Refused { name, reason: format!("{status:?}") }),
            }
            let challenge = authorization.challenge(ChallengeType::Http01);
            let Some(mut challenge) = challenge else { return Err(AcmeError::NoChallenge(name)) };
            let key_authorization = challenge.key_authorization();
            answered.push(self.challenges.answer(&challenge.token, key_authorization.as_str()));
            challenge.set_ready().await?;
        }
        Ok(answered)
    }
}

/// What the authority says about the name that it would not vouch for.
async fn refusal(order: &mut Order) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return AcmeError::Refused { name, reason: problem.to_string() };
        }
    }
    AcmeError::Refused { name: "the order".to_owned(), reason: "without a reason".to_owned() }
}

fn is(problem: &Problem, kind: &str) -> bool {
    problem.r#type.as_deref().and_then(|kind| kind.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

/// A certificate that nobody trusts, for the time until there is another.
pub(super) fn self_signed(names: &CertificateNames) -> io::Result<Certificate> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let params = CertificateParams::new(names.0.clone()).map_err(io::Error::other)?;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    Certificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
        .map_err(io::Error::other)
}

/// How the authority is talked to.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    outgoing: Outgoing,
    /// Of the last answer that was an error and said when to come again.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Transport {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        Self { outgoing, retry_after: Arc::default() }
    }

    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        lock(&self.retry_after).take()
    }

    fn note(&self, response: &Response<Bytes>) {
        if response.status().is_client_error() || response.status().is_server_error() {
            let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            *lock(&self.retry_after) = seconds;
        }
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let transport = self.clone();
        Box::pin(async move {
            let other = |error| instant_acme::Error::Other(error);
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await.map(Collected::to_bytes);
            let sent = transport.outgoing.send(Request::from_parts(parts, body)).await;
            let response = sent.map_err(|error| other(error.into()))?;
            transport.note(&response);
            Ok(BytesResponse::from(response.map(Full::new)))
        })
    }
}
