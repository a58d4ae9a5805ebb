//! HTTP-01: files that the authority asks for, at the names that it is asked to vouch for (RFC 8555, 8.3).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::lock;
use crate::{Body, Target, TargetError};

/// Where they are asked for, with the token behind it.
pub(crate) const PATH: &str = "/.well-known/acme-challenge/";

/// Key authorizations by token, of orders under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Challenges(Arc<Mutex<HashMap<String, String>>>);

/// An answer that is there until this is dropped.
#[derive(Debug)]
pub(super) struct Answered {
    challenges: Challenges,
    token: String,
}

impl Challenges {
    pub(super) fn answer(&self, token: &str, key_authorization: &str) -> Answered {
        lock(&self.0).insert(token.to_owned(), key_authorization.to_owned());
        Answered { challenges: self.clone(), token: token.to_owned() }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        lock(&self.challenges.0).remove(&self.token);
    }
}

impl Target for Challenges {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        let token = request.uri().path().strip_prefix(PATH).unwrap_or_default();
        let asked = matches!(*request.method(), Method::GET | Method::HEAD);
        let key_authorization = if asked { lock(&self.0).get(token).cloned() } else { None };
        let mut response = Response::new(Body::empty());
        match key_authorization {
            Some(text) => {
                let kind = HeaderValue::from_static("application/octet-stream");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                *response.body_mut() = Body::from(text);
            }
            None => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        std::future::ready(Ok(response)).boxed()
    }
}
