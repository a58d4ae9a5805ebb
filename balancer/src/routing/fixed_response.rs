//! The action that answers by itself.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{Body, ConfigError};

/// AWS: 0 to 1024 characters.
const MAX_BODY: usize = 1024;
const CONTENT_TYPES: [&str; 5] =
    ["text/plain", "text/css", "text/html", "application/javascript", "application/json"];

/// ALB's `fixed-response`: the same answer to every request.
#[derive(Clone, Debug)]
pub struct FixedResponse {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl FixedResponse {
    /// An answer with ALB's limits: a 2xx, 4xx or 5xx status, one of five content types (default `text/plain`), and at most
    /// 1024 bytes.
    ///
    /// # Errors
    ///
    /// Names the field that is out of its limits.
    pub fn new(status: u16, content_type: Option<&str>, body: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::new("FixedResponseConfig.StatusCode", status, "a 2xx, 4xx or 5xx code");
        let parsed = StatusCode::from_u16(status).ok();
        let parsed = parsed.filter(|code| matches!(code.as_u16(), 200..300 | 400..600)).ok_or_else(wrong)?;
        let content_type = content_type.unwrap_or(CONTENT_TYPES[0]);
        let known = CONTENT_TYPES.iter().find(|known| **known == content_type).ok_or_else(|| {
            let allowed = format!("one of {}", CONTENT_TYPES.join(", "));
            ConfigError::new("FixedResponseConfig.ContentType", content_type, allowed)
        })?;
        if body.len() > MAX_BODY {
            let given = format!("{} bytes", body.len());
            return Err(ConfigError::new("FixedResponseConfig.MessageBody", given, "at most 1024 bytes"));
        }
        let content_type = (!body.is_empty()).then(|| HeaderValue::from_static(known));
        Ok(Self { status: parsed, content_type, body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body.clone()));
        *response.status_mut() = self.status;
        if let Some(content_type) = &self.content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
        }
        response
    }
}
