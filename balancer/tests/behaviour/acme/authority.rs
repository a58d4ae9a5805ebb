//! A certificate authority that speaks ACME: small, and strict about what RFC 8555 asks of clients.

mod signing_request;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use coracle_balancer::{
    Balancer, BalancerConfig, Body, Certificate, Certificates, ListenerConfig, ListenerProtocol,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Front, group, target};
use signing_request::SigningRequest;

/// The authority, and what it has seen and will do.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: rcgen::Certificate,
    /// Where it finds port 80 of all names.
    http: Mutex<Option<SocketAddr>>,
    state: Mutex<State>,
    pub(super) accounts: AtomicUsize,
    pub(super) orders: AtomicUsize,
    pub(super) certificates: AtomicUsize,
    /// So many requests for an order are refused with 429.
    pub(super) rate_limited: AtomicU32,
    /// So many nonces are called bad.
    pub(super) bad_nonces: AtomicU32,
    /// A path at which it never answers.
    pub(super) silent_at: Mutex<Option<&'static str>>,
    /// Told when it is asked there.
    pub(super) asked_there: tokio::sync::Notify,
    /// How long before now certificates begin, and how long they are valid from then on.
    pub(super) life: Mutex<(Duration, Duration)>,
}

#[derive(Default)]
struct State {
    base: String,
    nonces: HashSet<String>,
    /// By URL: the public key and its thumbprint.
    accounts: HashMap<String, (Vec<u8>, String)>,
    orders: Vec<Order>,
}

struct Order {
    names: Vec<String>,
    status: &'static str,
    authorizations: Vec<&'static str>,
    chain: String,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Authority {
    pub(super) fn new() -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let root = params.self_signed(&key).unwrap();
        Arc::new(Self {
            issuer: Issuer::new(params, key),
            root,
            http: Mutex::default(),
            state: Mutex::default(),
            accounts: AtomicUsize::new(0),
            orders: AtomicUsize::new(0),
            certificates: AtomicUsize::new(0),
            rate_limited: AtomicU32::new(0),
            bad_nonces: AtomicU32::new(0),
            silent_at: Mutex::default(),
            asked_there: tokio::sync::Notify::new(),
            life: Mutex::new((Duration::from_secs(60), 90 * DAY)),
        })
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub(super) fn root_pem(&self) -> Vec<u8> {
        self.root.pem().into_bytes()
    }

    pub(super) fn finds_port_80_at(&self, address: SocketAddr) {
        *self.http.lock().unwrap() = Some(address);
    }

    /// Forgets all accounts and orders.
    pub(super) fn loses_its_data(&self) {
        let mut state = self.state.lock().unwrap();
        state.accounts.clear();
        state.orders.clear();
    }

    /// Serves at `address`, over TLS, with a certificate of its own for `localhost`.
    pub(super) fn serve(self: &Arc<Self>, address: SocketAddr) -> Front {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &self.issuer);
        let own =
            Certificate::from_pem(own.unwrap().pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let authority = Arc::clone(self);
        let answering = target(move |request| Arc::clone(&authority).answer(request));
        let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
        let protocol = ListenerProtocol::Https(Certificates::new(own, Vec::new()));
        let config = ListenerConfig { protocol, ..ListenerConfig::new("authority", address) };
        let listener = balancer.listen(config, group([("authority", answering)])).unwrap();
        let port = listener.local_addr().port();
        self.state.lock().unwrap().base = format!("https://localhost:{port}");
        Front { balancer, listener }
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if self.silent_at.lock().unwrap().is_some_and(|silent| path.starts_with(silent)) {
            self.asked_there.notify_one();
            return std::future::pending().await;
        }
        let base = self.state.lock().unwrap().base.clone();
        let at = |path: &str| format!("{base}{path}");
        let mut response = if path == "/directory" {
            let urls = json!({"newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order"),
                              "revokeCert": at("/revoke"), "keyChange": at("/key")});
            answer(200, &urls)
        } else if path == "/nonce" {
            Response::new(Body::empty())
        } else {
            match self.verified(&at(&path), &body) {
                Ok((account, payload)) => self.act(&path, &account, &payload).await,
                Err(problem) => refuse(400, problem),
            }
        };
        let nonce = format!("{:x}", fastrand::u128(..));
        response.headers_mut().insert("replay-nonce", nonce.parse().unwrap());
        self.state.lock().unwrap().nonces.insert(nonce);
        Ok(response)
    }

    /// The account that signed, and what.
    fn verified(&self, url: &str, body: &[u8]) -> Result<(String, Value), &'static str> {
        let signed: Value = serde_json::from_slice(body).map_err(|_| "malformed")?;
        let part = |name: &str| signed[name].as_str().ok_or("malformed");
        let header: Value = serde_json::from_slice(&decoded(part("protected")?)).map_err(|_| "malformed")?;
        let bad =
            self.bad_nonces.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let mut state = self.state.lock().unwrap();
        if !state.nonces.remove(header["nonce"].as_str().unwrap_or_default()) || bad.is_ok() {
            return Err("badNonce");
        }
        if header["url"] != url || header["alg"] != "ES256" {
            return Err("unauthorized");
        }
        let (account, key) = match header["kid"].as_str() {
            Some(kid) => {
                let (key, _) = state.accounts.get(kid).ok_or("accountDoesNotExist")?;
                (kid.to_owned(), key.clone())
            }
            None => self.registered(&mut state, &header["jwk"]),
        };
        let message = format!("{}.{}", part("protected")?, part("payload")?);
        let signature = decoded(part("signature")?);
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
        key.verify(message.as_bytes(), &signature).map_err(|_| "unauthorized")?;
        // Empty: POST-as-GET.
        Ok((account, serde_json::from_slice(&decoded(part("payload")?)).unwrap_or(Value::Null)))
    }

    fn registered(&self, state: &mut State, jwk: &Value) -> (String, Vec<u8>) {
        let text = |name: &str| jwk[name].as_str().unwrap();
        let key = [vec![4], decoded(text("x")), decoded(text("y"))].concat();
        // RFC 7638: the required members in their order.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text("x"), text("y"));
        let thumbprint = encoded(digest(&SHA256, canonical.as_bytes()).as_ref());
        let url = format!("{}/account/{thumbprint}", state.base);
        if state.accounts.insert(url.clone(), (key.clone(), thumbprint)).is_none() {
            self.accounts.fetch_add(1, Ordering::Relaxed);
        }
        (url, key)
    }

    async fn act(&self, path: &str, account: &str, payload: &Value) -> Response<Body> {
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let index = |part: usize| parts[part].parse::<usize>().unwrap();
        match parts[..] {
            ["account"] => {
                assert_eq!(payload["termsOfServiceAgreed"], true);
                assert_eq!(payload["contact"], json!(["mailto:ops@example.test"]));
                located(answer(201, &json!({"status": "valid"})), account.to_owned())
            }
            ["order"] => {
                let limited = |left: u32| left.checked_sub(1);
                if self.rate_limited.fetch_update(Ordering::Relaxed, Ordering::Relaxed, limited).is_ok() {
                    let mut refused = refuse(429, "rateLimited");
                    refused.headers_mut().insert("retry-after", "1".parse().unwrap());
                    return refused;
                }
                self.orders.fetch_add(1, Ordering::Relaxed);
                let names = payload["identifiers"].as_array().unwrap().iter();
                let names: Vec<_> = names.map(|it| it["value"].as_str().unwrap().to_owned()).collect();
                let authorizations = vec!["pending"; names.len()];
                let mut state = self.state.lock().unwrap();
                state.orders.push(Order { names, status: "pending", authorizations, chain: String::new() });
                let index = state.orders.len() - 1;
                located(answer(201, &state.order(index)), format!("{}/order/{index}", state.base))
            }
            ["order", _] => answer(200, &self.state.lock().unwrap().order(index(1))),
            ["authorization", ..] => {
                answer(200, &self.state.lock().unwrap().authorization(index(1), index(2)))
            }
            ["challenge", ..] => {
                let (name, token, expected) = {
                    let state = self.state.lock().unwrap();
                    let token = state.token(index(1), index(2));
                    let expected = format!("{token}.{}", state.accounts[account].1);
                    (state.orders[index(1)].names[index(2)].clone(), token, expected)
                };
                let proved = self.asked(&name, &token).await.as_deref() == Some(expected.as_str());
                let mut state = self.state.lock().unwrap();
                let order = &mut state.orders[index(1)];
                order.authorizations[index(2)] = if proved { "valid" } else { "invalid" };
                if order.authorizations.iter().all(|status| *status == "valid") {
                    order.status = "ready";
                } else if !proved {
                    order.status = "invalid";
                }
                answer(200, &state.authorization(index(1), index(2))["challenges"][0])
            }
            ["finalize", _] => {
                let mut state = self.state.lock().unwrap();
                assert_eq!(state.orders[index(1)].status, "ready");
                let request = decoded(payload["csr"].as_str().unwrap());
                state.orders[index(1)].chain = self.issued(&request, &state.orders[index(1)].names);
                state.orders[index(1)].status = "valid";
                answer(200, &state.order(index(1)))
            }
            ["certificate", _] => {
                Response::new(Body::from(self.state.lock().unwrap().orders[index(1)].chain.clone()))
            }
            _ => refuse(404, "malformed"),
        }
    }

    /// A certificate for `names`, which are those that were asked for, and the authority's own.
    fn issued(&self, request: &[u8], names: &[String]) -> String {
        let request = SigningRequest::from_der(request);
        assert!(names.iter().all(|name| request.names(name)), "not asked for all of {names:?}");
        let (before, life) = *self.life.lock().unwrap();
        let begin = SystemTime::now() - before;
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = begin.into();
        params.not_after = (begin + life).into();
        self.certificates.fetch_add(1, Ordering::Relaxed);
        params.signed_by(&request, &self.issuer).unwrap().pem() + &self.root.pem()
    }

    /// What is there at port 80 of a name.
    async fn asked(&self, name: &str, token: &str) -> Option<String> {
        let address = (*self.http.lock().unwrap())?;
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!(
            "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
    }
}

impl State {
    fn order(&self, index: usize) -> Value {
        let (base, order) = (&self.base, &self.orders[index]);
        let authorizations = 0..order.names.len();
        let mut object = json!({
            "status": order.status,
            "identifiers": order.names.iter().map(|it| json!({"type": "dns", "value": it})).collect::<Vec<_>>(),
            "authorizations":
                authorizations.map(|it| format!("{base}/authorization/{index}/{it}")).collect::<Vec<_>>(),
            "finalize": format!("{base}/finalize/{index}"),
        });
        if order.status == "valid" {
            object["certificate"] = format!("{base}/certificate/{index}").into();
        }
        object
    }

    fn authorization(&self, order: usize, index: usize) -> Value {
        let status = self.orders[order].authorizations[index];
        let mut challenge = json!({
            "type": "http-01",
            "url": format!("{}/challenge/{order}/{index}", self.base),
            "token": self.token(order, index),
            "status": status,
        });
        if status == "invalid" {
            challenge["error"] = json!({"type": "urn:ietf:params:acme:error:incorrectResponse",
                                        "detail": "not what was expected"});
        }
        let other =
            json!({"type": "dns-01", "url": format!("{}/no", self.base), "token": "x", "status": "pending"});
        json!({"identifier": {"type": "dns", "value": self.orders[order].names[index]},
               "status": status, "challenges": [challenge, other]})
    }

    fn token(&self, order: usize, index: usize) -> String {
        encoded(digest(&SHA256, format!("{}{order}/{index}", self.base).as_bytes()).as_ref())
    }
}

fn answer(status: u16, object: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(object.to_string())).unwrap()
}

fn refuse(status: u16, problem: &str) -> Response<Body> {
    answer(status, &json!({"type": format!("urn:ietf:params:acme:error:{problem}"), "detail": "no"}))
}

fn located(mut response: Response<Body>, url: String) -> Response<Body> {
    response.headers_mut().insert("location", url.parse().unwrap());
    response
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for URLs, without padding.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(group >> (18 - 6 * index)) as usize & 63]));
        }
    }
    text
}

fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut group, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|it| *it == byte).expect("base64 for URLs");
        (group, bits) = (group << 6 | u32::try_from(digit).unwrap(), bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((group >> bits).to_le_bytes()[0]);
        }
    }
    bytes
}
