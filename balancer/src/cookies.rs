//! The cookies that bind a client to a target or a target group.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use http::header::{self, HeaderMap, HeaderValue};

/// What names a target or a group in a cookie: a keyed hash, so that a cookie tells nobody the addresses behind the
/// balancer and nobody can make up one. The key is this process's: after a restart clients are bound anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(u64);

impl Token {
    pub(crate) fn of(name: &str) -> Self {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(SECRET.hash_one(name))
    }

    /// The token in the cookie of this name, if the client sent one that could be ours.
    pub(crate) fn in_cookie(headers: &HeaderMap, name: &str) -> Option<Self> {
        let value = find(headers, name)?;
        let digits = value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(value, 16).ok().filter(|_| digits).map(Self)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Value of the first cookie of this name in `Cookie` fields.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

/// `Set-Cookie` fields for the answers of one target or group, made once when that becomes known.
#[derive(Debug)]
pub(crate) struct SetCookies {
    /// Only in answers that set this cookie themselves.
    along_with: Option<Arc<str>>,
    fields: Box<[HeaderValue]>,
}

impl SetCookies {
    /// The pair ALB sets: `name`, and `nameCORS` for requests that other sites' pages make.
    pub(crate) fn pair(name: &str, token: Token, seconds: u64) -> Self {
        let plain = format!("{name}={token}; Max-Age={seconds}; Path=/");
        let cors = format!("{name}CORS={token}; Max-Age={seconds}; Path=/; SameSite=None; Secure");
        Self { along_with: None, fields: [plain, cors].map(field).into() }
    }

    /// One that follows the application's cookie `application`.
    pub(crate) fn along_with(application: Arc<str>, name: &str, token: Token, seconds: u64) -> Self {
        let plain = format!("{name}={token}; Max-Age={seconds}; Path=/");
        Self { along_with: Some(application), fields: [field(plain)].into() }
    }

    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        if self.along_with.as_ref().is_some_and(|application| !sets(headers, application)) {
            return;
        }
        for field in &self.fields {
            headers.append(header::SET_COOKIE, field.clone());
        }
    }
}

fn field(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names are tokens, the rest is visible ASCII")
}

fn sets(headers: &HeaderMap, cookie: &str) -> bool {
    let named = |field: &HeaderValue| {
        field.to_str().is_ok_and(|text| text.split_once('=').is_some_and(|(name, _)| name.trim() == cookie))
    };
    headers.get_all(header::SET_COOKIE).iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookies: &[&'static str]) -> HeaderMap {
        cookies.iter().map(|text| (header::COOKIE, HeaderValue::from_static(text))).collect()
    }

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let token = Token::of("10.0.0.1:80");
        let cookie = HeaderValue::try_from(format!("a=b; AWSALB={token}; c=d")).unwrap();
        let headers: HeaderMap = [(header::COOKIE, cookie)].into_iter().collect();
        assert_eq!(Token::in_cookie(&headers, "AWSALB"), Some(token));
        assert_eq!(Token::in_cookie(&headers, "AWSALBCORS"), None);
        for odd in ["AWSALB=", "AWSALB=1", "AWSALB=+123456789012345", "AWSALB=zzzzzzzzzzzzzzzz", "AWSALB"] {
            assert_eq!(Token::in_cookie(&sent(&[odd]), "AWSALB"), None, "{odd}");
        }
    }

    #[test]
    fn cookies_are_found_over_all_fields() {
        let headers = sent(&["a=1; b=2", "c=3;d=4"]);
        for (name, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
            assert_eq!(find(&headers, name), Some(value));
        }
        assert_eq!(find(&headers, "e"), None);
    }
}
