//! AWS's REST JSON protocol: the operation is named by method and path, and its input is in path, query and body.
//!
//! What a page of another site could send without asking ("simple" requests) changes nothing here: `PUT` and `DELETE` are never simple, and a `POST` must have
//! JSON's content type, which makes it none. A `GET` reads, and the page is not shown the answer.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use crate::ApiError;

/// One of AWS's services, spoken in REST JSON.
#[async_trait]
pub trait RestService: Send + Sync + 'static {
    /// The first segment of its paths, such as `schedules`.
    fn root(&self) -> &'static str;

    /// Runs the operation that the request names, and returns the JSON to answer with.
    async fn call(&self, request: RestRequest) -> Result<Bytes, ApiError>;
}

/// A request, taken apart.
#[derive(Debug, Clone)]
pub struct RestRequest {
    /// Its method.
    pub method: Method,
    /// The segments of its path behind the service's root, decoded.
    pub path: Vec<String>,
    /// Its query, decoded, in the order it came in.
    pub query: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl RestRequest {
    /// Takes a request apart.
    ///
    /// # Errors
    /// `ValidationException` for a percent sign that encodes nothing, or bytes that are no UTF-8.
    pub(crate) fn new(method: Method, uri: &Uri, body: Bytes) -> Result<Self, ApiError> {
        let path =
            uri.path().split('/').skip(2).map(|segment| decode(segment, false)).collect::<Result<_, _>>()?;
        Ok(Self { method, path, query: pairs(uri.query().unwrap_or_default())?, body })
    }

    /// The operation's input: the body's members, with those of path and query put to them.
    ///
    /// # Errors
    /// `SerializationException` for a body that is no JSON object, `ValidationException` for a member that is given twice.
    pub fn input<'a>(&self, members: impl IntoIterator<Item = (&'a str, Value)>) -> Result<Bytes, ApiError> {
        let mut input: Map<String, Value> = match self.body.trim_ascii() {
            b"" => Map::new(),
            body => serde_json::from_slice(body).map_err(|error| {
                ApiError::bad_request(
                    "SerializationException",
                    format!("The body is no JSON object: {error}."),
                )
            })?,
        };
        for (name, value) in members {
            if input.insert(name.to_owned(), value).is_some() {
                let message = format!("{name} is part of the path and must not be in the body.");
                return Err(ApiError::bad_request("ValidationException", message));
            }
        }
        Ok(Value::Object(input).to_string().into())
    }

    /// The value of a parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The services of one API port that speak REST JSON, by the first segment of the path.
#[derive(Default, Clone)]
pub(crate) struct RestServices(Vec<Arc<dyn RestService>>);

impl RestServices {
    pub(crate) fn add(&mut self, service: impl RestService) {
        self.0.push(Arc::new(service));
    }

    /// The service whose paths begin as this one does.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<dyn RestService>> {
        let root = path.strip_prefix('/')?.split('/').next()?;
        self.0.iter().find(|service| service.root() == root).cloned()
    }
}

impl fmt::Debug for RestServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|service| service.root())).finish()
    }
}

/// Refuses a body that a page of another site could have sent.
///
/// # Errors
/// `UnsupportedMediaTypeException` (HTTP 415) for a `POST` without JSON's content type.
pub(crate) fn check_media_type(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    if method != Method::POST {
        return Ok(());
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::with_status(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaTypeException",
        "The Content-Type must be application/json.",
    ))
}

/// The pairs of a query or a form, decoded, in the order they came in.
///
/// # Errors
/// `ValidationException` for a percent sign that encodes nothing, or bytes that are no UTF-8.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, ApiError> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name, true)?, decode(value, true)?))
    });
    decoded.collect()
}

fn decode(text: &str, plus_is_space: bool) -> Result<String, ApiError> {
    let wrong =
        || ApiError::bad_request("ValidationException", "The path or the query is not encoded as URLs are.");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let value = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                value.ok_or_else(wrong)?
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart_and_decoded() {
        let uri: Uri = "/schedules/a%20b/c+d?groupName=x%2Fy+z&flag".parse().unwrap();
        let take_apart = |uri: &Uri| RestRequest::new(Method::GET, uri, Bytes::new());
        let request = take_apart(&uri).unwrap();
        assert_eq!(request.path, ["a b", "c+d"]);
        assert_eq!(request.query, [("groupName".into(), "x/y z".into()), ("flag".into(), String::new())]);
        for wrong in ["/schedules/%", "/schedules/%4", "/schedules/%zz", "/schedules/%ff"] {
            assert_eq!(take_apart(&wrong.parse().unwrap()).expect_err(wrong).code, "ValidationException");
        }
    }

    #[test]
    fn the_input_is_the_body_with_what_the_path_says() {
        let request = |body: &'static str| RestRequest {
            method: Method::POST,
            path: vec!["nightly".into()],
            query: Vec::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let name = || [("Name", Value::from("nightly"))];
        let input =
            |body| request(body).input(name()).map(|input| String::from_utf8(input.to_vec()).unwrap());
        assert_eq!(input("").as_deref(), Ok(r#"{"Name":"nightly"}"#));
        assert_eq!(input(r#"{"State":"ENABLED"}"#).as_deref(), Ok(r#"{"Name":"nightly","State":"ENABLED"}"#));
        assert_eq!(input("[1]").expect_err("an array").code, "SerializationException");
        assert_eq!(input(r#"{"Name":"other"}"#).expect_err("twice").code, "ValidationException");
    }
}
