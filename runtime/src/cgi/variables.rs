//! A request as a CGI program sees it: RFC 3875, 4.1.

use http::request::Parts;
use http::{HeaderMap, Version, header};
use http_body::Body;
use std::collections::BTreeMap;
use wasmtime_wasi_http::WasiBody;

/// The meta-variables of a request. The program is the whole site: `SCRIPT_NAME` is empty and `PATH_INFO` the path.
pub(super) fn of(head: &Parts, body: &WasiBody) -> Vec<(String, String)> {
    let mut variables: BTreeMap<String, String> = fields(&head.headers);
    let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default();
    let (name, port) = split_port(host);
    set("GATEWAY_INTERFACE", "CGI/1.1".to_owned());
    set("SERVER_SOFTWARE", concat!("coracle/", env!("CARGO_PKG_VERSION")).to_owned());
    set("SERVER_PROTOCOL", protocol(head.version).to_owned());
    set("SERVER_NAME", if name.is_empty() { "localhost" } else { name }.to_owned());
    set("SERVER_PORT", port.unwrap_or("80").to_owned());
    set("REQUEST_METHOD", head.method.as_str().to_owned());
    set("REQUEST_URI", head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned());
    set("SCRIPT_NAME", String::new());
    set("PATH_INFO", decoded(head.uri.path()));
    set("QUERY_STRING", head.uri.query().unwrap_or_default().to_owned());
    set("REMOTE_ADDR", client(&head.headers).unwrap_or("127.0.0.1").to_owned());
    // "The server MUST set this meta-variable if and only if the request is accompanied by a message-body entity": one that is
    // streamed has no length yet, and is read to its end.
    if let Some(length) = body.size_hint().exact()
        && (length > 0 || head.headers.contains_key(header::CONTENT_LENGTH))
    {
        set("CONTENT_LENGTH", length.to_string());
    }
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        set("CONTENT_TYPE", String::from_utf8_lossy(kind.as_bytes()).into_owned());
    }
    variables.into_iter().collect()
}

/// `HTTP_NAME` for each header field that says more than another variable does.
fn fields(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for name in headers.keys() {
        // Proxy: a client must not choose the program's HTTP_PROXY, which its HTTP library may obey (CVE-2016-5385).
        // An underscore: X_A and X-A would be one variable, and a client could pass off the one as the other.
        if [header::CONTENT_LENGTH, header::CONTENT_TYPE].contains(name)
            || name == "proxy"
            || name.as_str().contains('_')
        {
            continue;
        }
        let separator = if name == header::COOKIE { "; " } else { ", " };
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let value = values.collect::<Vec<_>>().join(separator);
        let name = name.as_str().to_ascii_uppercase().replace('-', "_");
        variables.insert(format!("HTTP_{name}"), value);
    }
    variables
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        // Not within the brackets of an IPv6 address.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() => {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// Who connected, as the balancer has it: the last address is the one that it added itself.
fn client(headers: &HeaderMap) -> Option<&str> {
    let chain = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    chain.rsplit(',').next().map(str::trim).filter(|address| !address.is_empty())
}

/// Without its percent encoding, except where what it stands for cannot be in the environment.
fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = path.get(index + 1..index + 3).filter(|_| bytes[index] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|byte| *byte != 0) {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt, Full};

    fn variables(request: http::request::Builder, body: &'static str) -> BTreeMap<String, String> {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        of(&head, &body).into_iter().collect()
    }

    #[test]
    fn a_request_is_told_as_the_rfc_says() {
        let request = Request::post("/a%20b%2Fc%00?x=1&y=%20")
            .header("host", "example.org:8080")
            .header("content-type", "text/plain")
            .header("x-forwarded-for", "10.0.0.1, 127.0.0.9")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("accept", "text/html")
            .header("accept", "*/*")
            .header("proxy", "http://evil")
            .header("x_forwarded_for", "1.1.1.1");
        let variables = variables(request, "four");
        for (name, value) in [
            ("REQUEST_METHOD", "POST"),
            ("PATH_INFO", "/a b/c%00"),
            ("QUERY_STRING", "x=1&y=%20"),
            ("REQUEST_URI", "/a%20b%2Fc%00?x=1&y=%20"),
            ("SCRIPT_NAME", ""),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REMOTE_ADDR", "127.0.0.9"),
            ("CONTENT_LENGTH", "4"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_ACCEPT", "text/html, */*"),
            ("HTTP_X_FORWARDED_FOR", "10.0.0.1, 127.0.0.9"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        for name in ["HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
            assert_eq!(variables.get(name), None, "{name}");
        }
    }

    #[test]
    fn a_request_without_a_body_has_no_length() {
        let variables = variables(Request::get("/").header("host", "[::1]"), "");
        assert_eq!(variables.get("CONTENT_LENGTH"), None);
        assert_eq!((variables["SERVER_NAME"].as_str(), variables["SERVER_PORT"].as_str()), ("[::1]", "80"));
    }
}
