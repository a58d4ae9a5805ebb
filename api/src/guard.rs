//! Keeps web pages away from the API.
//!
//! The API listens on loopback, where every page that a user's browser shows can send requests too. Two ways are known,
//! and both are closed here, before anything is parsed:
//!
//! - *Cross-site requests.* A page may send a "simple" request (a form, `fetch` in `no-cors` mode) anywhere without
//!   asking. It cannot set `X-Amz-Target`, nor a JSON content type, without a preflight (`OPTIONS`), which we never
//!   approve. Both are required of every operation. Browsers also say where they come from: an `Origin` other than
//!   ours, or `Sec-Fetch-Site: cross-site`, is refused outright.
//! - *DNS rebinding.* A page's own host name can be made to resolve to 127.0.0.1, and then the page *is* of the same
//!   origin. What gives it away is its `Host` header, which still has that name: only `localhost` and IP literals are
//!   accepted, as nobody can rebind a literal.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use http::{StatusCode, uri::Authority};

use crate::ApiError;

/// The header that names the operation of a JSON request.
pub const TARGET: &str = "x-amz-target";

/// Refuses a request that a web page could have sent.
///
/// # Errors
/// `AccessDeniedException` (HTTP 403) for a foreign `Host`, `Origin` or `Sec-Fetch-Site`.
pub fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let denied =
        |message: String| Err(ApiError::with_status(StatusCode::FORBIDDEN, "AccessDeniedException", message));

    let mut hosts = headers.get_all(HOST).iter();
    // RFC 9112 3.2: a request without, or with more than one, Host header is invalid.
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return denied("A request must have exactly one Host header.".into());
    };
    let Some(host) = authority(host) else {
        return denied("The Host header is not a host.".into());
    };
    if !is_local(host.host()) {
        return denied(format!(
            "The Host header names {host}; only localhost and IP addresses may be used to reach this API."
        ));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let same =
            origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) == Some(host.as_str());
        if !same {
            return denied("A page of another origin may not use this API.".into());
        }
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site") {
        return denied("A page of another site may not use this API.".into());
    }
    Ok(())
}

/// The operation a JSON request names, as `<service prefix>.<Operation>`.
///
/// # Errors
/// `UnsupportedMediaTypeException` (HTTP 415) for any content type but JSON's; `UnknownOperationException` for a request
/// that names no operation.
pub fn target(headers: &HeaderMap) -> Result<&str, ApiError> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let json = ["application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/json"];
    if !json.iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        return Err(ApiError::with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaTypeException",
            "The Content-Type must be application/x-amz-json-1.1.",
        ));
    }
    headers.get(TARGET).and_then(|value| value.to_str().ok()).ok_or_else(|| {
        ApiError::bad_request(
            "UnknownOperationException",
            "The X-Amz-Target header, which names the operation, is missing.",
        )
    })
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    let authority = Authority::try_from(value.as_bytes()).ok()?;
    // `user@host` is no Host header.
    (!authority.as_str().contains('@')).then_some(authority)
}

fn is_local(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    // RFC 6761 6.3: `localhost` and all names below it are loopback, and no resolver may say otherwise.
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || literal.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_host_must_be_localhost_or_an_address() {
        for host in [
            "localhost",
            "localhost:4566",
            "LOCALHOST",
            "data.localhost:1",
            "127.0.0.1:4566",
            "[::1]:4566",
            "10.0.0.7",
        ] {
            assert_eq!(check_origin(&headers(&[("host", host)])), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:4566",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "a@localhost",
        ] {
            let refused = check_origin(&headers(&[("host", host)])).expect_err(host);
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{host}");
        }
    }

    #[test]
    fn a_request_without_a_host_or_with_two_is_refused() {
        assert!(check_origin(&HeaderMap::new()).is_err());
        let mut two = headers(&[("host", "localhost")]);
        two.append(HOST, HeaderValue::from_static("127.0.0.1"));
        assert!(check_origin(&two).is_err());
    }

    #[test]
    fn a_page_of_another_origin_is_refused_and_our_own_is_not() {
        let from = |name, value| check_origin(&headers(&[("host", "localhost:4566"), (name, value)]));
        assert!(from("origin", "http://localhost:4566").is_ok());
        assert!(from("sec-fetch-site", "same-origin").is_ok());
        for origin in ["http://evil.example", "null", "http://localhost:8080", "https://localhost:4566"] {
            assert!(from("origin", origin).is_err(), "{origin}");
        }
        assert!(from("sec-fetch-site", "cross-site").is_err());
    }

    #[test]
    fn only_a_json_content_type_names_an_operation() {
        let of = |media_type| {
            target(&headers(&[("content-type", media_type), (TARGET, "Ecs.ListTasks")])).map(str::to_owned)
        };
        assert_eq!(of("application/x-amz-json-1.1").as_deref(), Ok("Ecs.ListTasks"));
        assert_eq!(of("application/json; charset=utf-8").as_deref(), Ok("Ecs.ListTasks"));
        // What a form or a `no-cors` fetch of a foreign page can send.
        for simple in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
        {
            assert_eq!(of(simple).expect_err(simple).status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let no_target = target(&headers(&[("content-type", "application/json")])).map(str::to_owned);
        assert_eq!(no_target.expect_err("no target").code, "UnknownOperationException");
    }
}
