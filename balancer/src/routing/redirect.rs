//! The action that sends the client elsewhere.

use http::{HeaderValue, Request, Response, StatusCode, header};

use super::condition::host;
use crate::{Body, ConfigError};

/// AWS: 1 to 128 characters for host, path and query each.
const MAX_LENGTH: usize = 128;

/// ALB's `redirect`: a `Location` made of parts of the request's own URI.
///
/// Each part may name `#{protocol}`, `#{host}`, `#{port}`, `#{path}` (without its first `/`) and `#{query}` of the
/// request, and is itself by default.
#[derive(Clone, Debug)]
pub struct Redirect {
    status: StatusCode,
    /// All parts and what stands between them, in one row.
    before_query: Box<[Piece]>,
    query: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Protocol,
    Host,
    Port,
    Path,
    Query,
}

/// Where a request arrived, as far as its own header does not tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
}

/// The parts of a [`Redirect`] as ELBv2's `RedirectConfig` has them; `None` is the default.
#[derive(Clone, Copy, Debug, Default)]
struct Parts<'a> {
    protocol: Option<&'a str>,
    host: Option<&'a str>,
    port: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
}

impl Redirect {
    /// A redirect from ELBv2's `RedirectConfig`: `StatusCode` is `HTTP_301` or `HTTP_302`; `parts` are `Protocol` (`HTTP`,
    /// `HTTPS`), `Host`, `Port`, `Path` (begins with `/`) and `Query` (without `?`), at most 128 characters each.
    ///
    /// # Errors
    ///
    /// Names the field that is unknown or out of its limits. One of protocol, host, port and path must be another than
    /// the request's, or the client would be sent in a circle.
    pub fn new<'a>(
        status: &str,
        parts: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let status = match status {
            "HTTP_301" => StatusCode::MOVED_PERMANENTLY,
            "HTTP_302" => StatusCode::FOUND,
            _ => return Err(wrong("StatusCode", status, "HTTP_301 or HTTP_302")),
        };
        let mut given = Parts::default();
        for (name, value) in parts {
            let part = match name {
                "Protocol" => &mut given.protocol,
                "Host" => &mut given.host,
                "Port" => &mut given.port,
                "Path" => &mut given.path,
                "Query" => &mut given.query,
                _ => {
                    let allowed = "one of Protocol, Host, Port, Path, Query, StatusCode";
                    return Err(ConfigError::new("RedirectConfig", name, allowed));
                }
            };
            *part = Some(value);
        }
        given.compile(status)
    }

    /// The answer to this request. `None`: it names no host, or one that cannot stand in a `Location`.
    pub(crate) fn response<B>(&self, request: &Request<B>, place: Place) -> Option<Response<Body>> {
        let mut location = String::with_capacity(128);
        for piece in &self.before_query {
            piece.expand(request, place, &mut location)?;
        }
        let before = location.len();
        location.push('?');
        for piece in &self.query {
            piece.expand(request, place, &mut location)?;
        }
        if location.len() == before + 1 {
            location.truncate(before);
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).ok()?);
        Some(response)
    }
}

impl Parts<'_> {
    fn compile(self, status: StatusCode) -> Result<Redirect, ConfigError> {
        let changed = |part: Option<&str>, own: &str| part.is_some_and(|part| part != own);
        if !changed(self.protocol, "#{protocol}")
            && !changed(self.host, "#{host}")
            && !changed(self.port, "#{port}")
            && !changed(self.path, "/#{path}")
        {
            let allowed = "another place: change at least one of Protocol, Host, Port, Path";
            return Err(wrong("Location", "the request's own", allowed));
        }
        let mut pieces = match self.protocol.unwrap_or("#{protocol}") {
            "#{protocol}" => vec![Piece::Protocol],
            "HTTP" => vec![Piece::Literal("http".into())],
            "HTTPS" => vec![Piece::Literal("https".into())],
            other => return Err(wrong("Protocol", other, "HTTP, HTTPS or #{protocol}")),
        };
        pieces.push(Piece::Literal("://".into()));
        pieces.extend(template("Host", self.host.unwrap_or("#{host}"), 1)?);
        pieces.push(Piece::Literal(":".into()));
        match self.port.unwrap_or("#{port}") {
            "#{port}" => pieces.push(Piece::Port),
            port => {
                let number = port.parse::<u16>().ok().filter(|number| *number > 0);
                let number =
                    number.ok_or_else(|| wrong("Port", port, "a port from 1 to 65535 or #{port}"))?;
                pieces.push(Piece::Literal(number.to_string().into()));
            }
        }
        let path = self.path.unwrap_or("/#{path}");
        if !path.starts_with('/') {
            return Err(wrong("Path", path, "a path that begins with /"));
        }
        pieces.extend(template("Path", path, 1)?);
        let query = self.query.unwrap_or("#{query}");
        if query.starts_with('?') {
            return Err(wrong("Query", query, "a query without its ?"));
        }
        let query = template("Query", query, 0)?;
        Ok(Redirect { status, before_query: pieces.into(), query: query.into() })
    }
}

impl Piece {
    fn expand<B>(&self, request: &Request<B>, place: Place, into: &mut String) -> Option<()> {
        match self {
            Self::Literal(text) => into.push_str(text),
            Self::Protocol => into.push_str(place.protocol),
            Self::Host => into.push_str(host(request)?),
            Self::Port => into.push_str(&place.port.to_string()),
            Self::Path => into.push_str(request.uri().path().strip_prefix('/').unwrap_or("*")),
            Self::Query => into.push_str(request.uri().query().unwrap_or_default()),
        }
        Some(())
    }
}

fn template(field: &'static str, text: &str, least: usize) -> Result<Vec<Piece>, ConfigError> {
    let allowed = "at most 128 visible characters with #{protocol}, #{host}, #{port}, #{path}, #{query}";
    let wrong = || wrong(field, text, allowed);
    if !(least..=MAX_LENGTH).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((literal, named)) = rest.split_once("#{") {
        let (name, after) = named.split_once('}').ok_or_else(wrong)?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        pieces.push(match name {
            "protocol" => Piece::Protocol,
            "host" => Piece::Host,
            "port" => Piece::Port,
            "path" => Piece::Path,
            "query" => Piece::Query,
            _ => return Err(wrong()),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.into()));
    }
    Ok(pieces)
}

fn wrong(part: &str, value: &str, allowed: &'static str) -> ConfigError {
    ConfigError::new(format!("RedirectConfig.{part}"), value, allowed)
}
