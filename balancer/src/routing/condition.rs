//! What a rule looks at: ALB's six kinds of conditions.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use http::header::{self, HeaderName};
use http::{Request, Uri};

use super::pattern::{MAX_LENGTH, Pattern};
use crate::ConfigError;

/// AWS: "the maximum size of the name is 40 characters".
const MAX_NAME: usize = 40;
/// AWS: "the maximum size of the method is 40 characters".
const MAX_METHOD: usize = 40;

/// One condition: it holds when any of its values does.
#[derive(Clone, Debug)]
pub struct Condition(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Host(Box<[Pattern]>),
    Path(Box<[Pattern]>),
    Header(HeaderName, Box<[Pattern]>),
    Method(Box<[String]>),
    Query(Box<[Parameter]>),
    Source(Box<[Cidr]>),
}

#[derive(Clone, Debug)]
struct Parameter {
    key: Option<Pattern>,
    value: Pattern,
}

#[derive(Clone, Copy, Debug)]
struct Cidr {
    network: IpAddr,
    length: u32,
}

impl Condition {
    /// `host-header`: the name in `Host`, without its port, in any case.
    ///
    /// # Errors
    ///
    /// A value is not a host name with wildcards of at most 128 characters.
    pub fn host_header<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let allowed = "1 to 128 characters of a host name, * and ?";
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-.*?:[]_".contains(&byte);
        let host = |text| checked("HostHeaderConfig.Values", text, 1, valid, allowed).map(Pattern::any_case);
        Ok(Self(Kind::Host(values.into_iter().map(host).collect::<Result<_, _>>()?)))
    }

    /// `path-pattern`: the path, letters as they are, without the query.
    ///
    /// # Errors
    ///
    /// A value is not a path with wildcards of at most 128 characters.
    pub fn path_pattern<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let allowed = "1 to 128 characters of a path, * and ?";
        // AWS allows A-Z a-z 0-9 _-.$/~"'@:+& and the wildcards; a path may hold some more.
        let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        let path =
            |text| checked("PathPatternConfig.Values", text, 1, valid, allowed).map(Pattern::exact_case);
        Ok(Self(Kind::Path(values.into_iter().map(path).collect::<Result<_, _>>()?)))
    }

    /// `http-header`: any field of that name has such a value, in any case.
    ///
    /// # Errors
    ///
    /// The name is not one of 1 to 40 characters, is that of `Host`, or a value is not 1 to 128 visible characters.
    pub fn http_header<'a>(
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        let allowed = "a header name of 1 to 40 characters other than Host";
        let wrong = || ConfigError::new("HttpHeaderConfig.HttpHeaderName", name, allowed);
        let parsed = HeaderName::try_from(name).map_err(|_| wrong())?;
        if name.len() > MAX_NAME || parsed == header::HOST {
            return Err(wrong());
        }
        let allowed = "1 to 128 visible characters";
        let value =
            |text| checked("HttpHeaderConfig.Values", text, 1, is_visible, allowed).map(Pattern::any_case);
        Ok(Self(Kind::Header(parsed, values.into_iter().map(value).collect::<Result<_, _>>()?)))
    }

    /// `http-request-method`: exactly one of these.
    ///
    /// # Errors
    ///
    /// A value is not 1 to 40 characters of `A-Z`, `-` and `_`.
    pub fn http_request_method<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let method = |text: &str| {
            let valid = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
            let fits = (1..=MAX_METHOD).contains(&text.len()) && text.bytes().all(valid);
            let allowed = "1 to 40 characters of A-Z, - and _";
            let wrong = || ConfigError::new("HttpRequestMethodConfig.Values", text, allowed);
            fits.then(|| text.to_owned()).ok_or_else(wrong)
        };
        Ok(Self(Kind::Method(values.into_iter().map(method).collect::<Result<_, _>>()?)))
    }

    /// `query-string`: any parameter has such a value, and such a key if one is given, in any case.
    ///
    /// Compared as they stand in the request target, that is percent-encoded.
    ///
    /// # Errors
    ///
    /// A key or a value is not of at most 128 visible characters.
    pub fn query_string<'a>(
        values: impl IntoIterator<Item = (Option<&'a str>, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let pattern = |field: &'static str, text: &str, least: usize| {
            let allowed = "at most 128 visible characters";
            checked(field, text, least, is_visible, allowed).map(Pattern::any_case)
        };
        let parameter = |(key, value): (Option<&str>, &str)| {
            let key = key.map(|key| pattern("QueryStringConfig.Values.Key", key, 1)).transpose()?;
            Ok(Parameter { key, value: pattern("QueryStringConfig.Values.Value", value, 0)? })
        };
        Ok(Self(Kind::Query(values.into_iter().map(parameter).collect::<Result<_, ConfigError>>()?)))
    }

    /// `source-ip`: the client's own address lies in one of these networks. `X-Forwarded-For` is not looked at.
    ///
    /// # Errors
    ///
    /// A value is not in CIDR notation.
    pub fn source_ip<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let allowed = "a network in CIDR notation, such as 10.0.0.0/8 or 2001:db8::/32";
        let network = |text: &str| {
            Cidr::parse(text).ok_or_else(|| ConfigError::new("SourceIpConfig.Values", text, allowed))
        };
        Ok(Self(Kind::Source(values.into_iter().map(network).collect::<Result<_, _>>()?)))
    }

    /// AWS's name of what it looks at.
    pub fn field(&self) -> &'static str {
        match self.0 {
            Kind::Host(_) => "host-header",
            Kind::Path(_) => "path-pattern",
            Kind::Header(..) => "http-header",
            Kind::Method(_) => "http-request-method",
            Kind::Query(_) => "query-string",
            Kind::Source(_) => "source-ip",
        }
    }

    pub(super) fn values(&self) -> usize {
        match &self.0 {
            Kind::Host(values) | Kind::Path(values) | Kind::Header(_, values) => values.len(),
            Kind::Method(values) => values.len(),
            Kind::Query(values) => values.len(),
            Kind::Source(values) => values.len(),
        }
    }

    pub(super) fn wildcards(&self) -> usize {
        let in_all = |patterns: &[Pattern]| patterns.iter().map(Pattern::wildcards).sum();
        match &self.0 {
            Kind::Host(values) | Kind::Path(values) | Kind::Header(_, values) => in_all(values),
            Kind::Query(values) => values
                .iter()
                .map(|value| value.value.wildcards() + value.key.as_ref().map_or(0, Pattern::wildcards))
                .sum(),
            Kind::Method(_) | Kind::Source(_) => 0,
        }
    }

    /// AWS: "one or more of each of http-header and query-string", of the others at most one.
    pub(super) fn may_repeat(&self) -> bool {
        matches!(self.0, Kind::Header(..) | Kind::Query(_))
    }

    pub(super) fn matches<B>(&self, request: &Request<B>, client: IpAddr) -> bool {
        let any = |patterns: &[Pattern], text: &[u8]| patterns.iter().any(|pattern| pattern.matches(text));
        match &self.0 {
            Kind::Host(values) => host(request).is_some_and(|host| any(values, host.as_bytes())),
            Kind::Path(values) => any(values, request.uri().path().as_bytes()),
            Kind::Header(name, values) => {
                request.headers().get_all(name).iter().any(|value| any(values, value.as_bytes()))
            }
            Kind::Method(values) => values.iter().any(|method| method == request.method().as_str()),
            Kind::Query(values) => parameters(request.uri())
                .any(|(key, value)| values.iter().any(|wanted| wanted.matches(key, value))),
            Kind::Source(values) => values.iter().any(|network| network.contains(client)),
        }
    }
}

/// The name in `Host`, without its port.
pub(super) fn host<B>(request: &Request<B>) -> Option<&str> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    let port = host.rfind(':').filter(|colon| !host[*colon..].contains(']'));
    Some(&host[..port.unwrap_or(host.len())])
}

fn parameters(uri: &Uri) -> impl Iterator<Item = (&[u8], &[u8])> {
    let query = uri.query().unwrap_or_default();
    query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (key.as_bytes(), value.as_bytes())
    })
}

impl Parameter {
    fn matches(&self, key: &[u8], value: &[u8]) -> bool {
        self.key.as_ref().is_none_or(|wanted| wanted.matches(key)) && self.value.matches(value)
    }
}

impl Cidr {
    fn parse(text: &str) -> Option<Self> {
        let (network, length) = text.split_once('/')?;
        let network: IpAddr = network.parse().ok()?;
        let length = length.parse().ok().filter(|length| *length <= bits(network).1)?;
        Some(Self { network, length })
    }

    fn contains(self, address: IpAddr) -> bool {
        let ((network, width), (address, other)) = (bits(self.network), bits(address));
        // Shifting all bits out is an overflow, and a network of length 0 holds everything.
        width == other && (self.length == 0 || (network ^ address) >> (width - self.length) == 0)
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (address.into(), 128),
    }
}

fn is_visible(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// A value of `least` to 128 valid characters.
fn checked<'a>(
    field: &'static str,
    text: &'a str,
    least: usize,
    valid: impl Fn(u8) -> bool,
    allowed: &'static str,
) -> Result<&'a str, ConfigError> {
    let lengths: RangeInclusive<usize> = least..=MAX_LENGTH;
    let fits = lengths.contains(&text.len()) && text.bytes().all(valid);
    fits.then_some(text).ok_or_else(|| ConfigError::new(field, text, allowed))
}
