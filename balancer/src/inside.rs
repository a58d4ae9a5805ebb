//! Requests from inside this process, to the targets that a listener's requests go to.
//!
//! There is no client's connection here and no listener with its rules and limits. What a request meets behind those is the same: it is checked and
//! rewritten, waits where its group holds requests, is picked a target by the group's algorithm, counted, and tried on the others where it did
//! not arrive. So is what it gets: the balancer's own answer where no target gave one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode};

use crate::fields::Fields;
use crate::headers::{self, Forwarded};
use crate::proxy::{self, AnswerBody};
use crate::routing::Forward;
use crate::target_group::{Asking, InFlight};
use crate::{Body, answer, rules};

/// The port of a request whose target names none.
const DEFAULT_PORT: u16 = 80;

impl Forward {
    /// Answers a request of `client`, always. Its target is absolute, `http://host/path`, or it has a `Host`. Dropping the future, or the body of
    /// its answer, means that the client has gone.
    pub async fn answer(self: Arc<Self>, mut request: Request<Body>, client: IpAddr) -> Response<Body> {
        let port = request.uri().port_u16().unwrap_or(DEFAULT_PORT);
        if let Some(authority) = request.uri().authority()
            && request.uri().scheme() == Some(&Scheme::HTTP)
            && !request.headers().contains_key(http::header::HOST)
            && let Ok(host) = authority.as_str().try_into()
        {
            request.headers_mut().insert(http::header::HOST, host);
        }
        let fields = Fields::of(request.headers());
        if let Err(refusal) = rules::check(&request, fields) {
            tracing::debug!(refusal.reason, "request from inside refused");
            return answer::page(refusal.status);
        }
        headers::prepare_request(&mut request, fields, &Forwarded::inside(client, port));
        let asking = Asking { headers: request.headers(), client };
        let claim = match self.pick(&asking) {
            Ok(claim) => claim,
            Err(Some(group)) if group.holds() => {
                // A copy: a request's body cannot be looked at by two threads, and this may move between them while it waits.
                let headers = request.headers().clone();
                match group.wait(&Asking { headers: &headers, client }).await {
                    Some(claim) => claim,
                    None => return answer::page(StatusCode::SERVICE_UNAVAILABLE),
                }
            }
            Err(_) => return answer::page(StatusCode::SERVICE_UNAVAILABLE),
        };
        let is_head = request.method() == Method::HEAD;
        let (claim, response) = match claim.call(request).await {
            Ok(response) => (claim, response),
            Err(error) => match proxy::elsewhere(claim, error).await {
                Ok(answered) => answered,
                Err(own) => return own.map(Body::boxed),
            },
        };
        pass_on(claim, response, is_head)
    }

    /// Where programs connect by themselves to the targets that requests go to. Where there is none and the group holds requests, it waits for the
    /// first as a request does, and counts as one.
    pub async fn addresses(self: Arc<Self>, client: IpAddr) -> Vec<SocketAddr> {
        let now = self.addresses_now();
        if !now.is_empty() {
            return now;
        }
        let headers = http::HeaderMap::new();
        let asking = Asking { headers: &headers, client };
        let waiting = match self.pick(&asking) {
            Err(Some(group)) if group.holds() => group,
            _ => return now,
        };
        drop(waiting.wait(&asking).await);
        self.addresses_now()
    }

    /// [`addresses`](Self::addresses) without a wait.
    pub fn addresses_now(&self) -> Vec<SocketAddr> {
        self.with_requests().flat_map(|group| group.reached_at()).collect()
    }
}

fn pass_on(claim: InFlight, mut response: Response<Body>, is_head: bool) -> Response<Body> {
    if !proxy::accept(&claim, &mut response) {
        return answer::page(StatusCode::BAD_GATEWAY);
    }
    if is_head {
        // Over a connection nothing of it would be sent.
        return response.map(|_unsent| Body::empty());
    }
    response.map(|body| Body::boxed(AnswerBody::claimed(body, claim)))
}
