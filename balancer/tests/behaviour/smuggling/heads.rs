//! Request lines and header fields.

use super::Then::{Exactly, Last, Passed, Refused};
use super::{NEXT_SEEN, check, row};

const PLAIN: &str = "GET / HTTP/1.1\nhost: a\n\n";

fn head(line: &str) -> Vec<u8> {
    format!("{line}\r\nhost: a\r\n\r\n").into_bytes()
}

fn fields(fields: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\n", fields, b"\r\n\r\n"].concat()
}

#[tokio::test]
async fn a_request_names_one_host_in_one_way() {
    check(vec![
        row("no Host", "GET / HTTP/1.1\r\n\r\n", Refused(400)),
        row("no Host before HTTP/1.1", "GET / HTTP/1.0\r\n\r\n", Last("GET / HTTP/1.1\n\n")),
        row("two Hosts", fields(b"host: a\r\nhost: b"), Refused(400)),
        row("the same Host twice", fields(b"host: a\r\nHost: a"), Refused(400)),
        row("two Hosts before HTTP/1.1", "GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", Refused(400)),
        row("an empty Host", fields(b"host:"), Refused(400)),
        row("a list in Host", fields(b"host: a, b"), Refused(400)),
        row("a space in Host", fields(b"host: a b"), Refused(400)),
        row("a path in Host", fields(b"host: a/b"), Refused(400)),
        row("a user in Host", fields(b"host: user@a"), Refused(400)),
        row("a fragment in Host", fields(b"host: a#b"), Refused(400)),
        row("a percent sign in Host", fields(b"host: a%2eb"), Refused(400)),
        row("two ports", fields(b"host: a:80:80"), Refused(400)),
        row("a word for a port", fields(b"host: a:b"), Refused(400)),
        row("a port alone", fields(b"host: :80"), Refused(400)),
        row("a port", fields(b"host: a:80"), Passed(vec!["GET / HTTP/1.1\nhost: a:80\n\n"])),
        row("an IPv6 address", fields(b"host: [::1]:80"), Passed(vec!["GET / HTTP/1.1\nhost: [::1]:80\n\n"])),
        row("half an IPv6 address", fields(b"host: [::1"), Refused(400)),
        row("more than an IPv6 address", fields(b"host: [::1]a"), Refused(400)),
        row("the end of an IPv6 address", fields(b"host: a]"), Refused(400)),
        row("a backslash in Host", fields(b"host: a\\b"), Refused(400)),
        row("bytes above ASCII in Host", fields(b"host: a\xc3\xa9"), Refused(400)),
        row(
            "a Host with an underscore for a dash",
            fields(b"host: a\r\nx_forwarded_for: 1.2.3.4"),
            Refused(400),
        ),
        row(
            "an absolute target",
            head("GET http://a/b?c HTTP/1.1"),
            Passed(vec!["GET /b?c HTTP/1.1\nhost: a\n\n"]),
        ),
        row("an absolute target without path", head("GET http://a HTTP/1.1"), Passed(vec![PLAIN])),
        row("an absolute target of another host", head("GET http://b/ HTTP/1.1"), Refused(400)),
        row("an absolute target of another port", head("GET http://a:81/ HTTP/1.1"), Refused(400)),
        row("an absolute target with a user", head("GET http://user@a/ HTTP/1.1"), Refused(400)),
        row("an absolute target of another scheme", head("GET ftp://a/ HTTP/1.1"), Refused(400)),
        row("an absolute target before HTTP/1.1", "GET http://a/ HTTP/1.0\r\n\r\n", Last(PLAIN)),
    ])
    .await;
}

#[tokio::test]
async fn a_request_line_has_three_parts() {
    let long_target = head(&format!("GET /{} HTTP/1.1", "x".repeat(16 * 1024)));
    let long_method = head(&format!("{} / HTTP/1.1", "X".repeat(16 * 1024)));
    check(vec![
        row("two spaces", head("GET  / HTTP/1.1"), Refused(400)),
        row("two spaces before the version", head("GET /  HTTP/1.1"), Refused(400)),
        row("a space in front", head(" GET / HTTP/1.1"), Refused(400)),
        row("a space at the end", head("GET / HTTP/1.1 "), Refused(400)),
        row("a tab", head("GET\t/ HTTP/1.1"), Refused(400)),
        row("a tab before the version", head("GET /\tHTTP/1.1"), Refused(400)),
        row("a vertical tab", head("GET /\u{b}HTTP/1.1"), Refused(400)),
        row("a space in the target", head("GET /a b HTTP/1.1"), Refused(400)),
        row("a request in the target", head("GET / HTTP/1.1 GET /b HTTP/1.1"), Refused(400)),
        row("NUL in the target", head("GET /\0 HTTP/1.1"), Refused(400)),
        row("a control character in the target", head("GET /\u{1} HTTP/1.1"), Refused(400)),
        row("DEL in the target", head("GET /\u{7f} HTTP/1.1"), Refused(400)),
        row("UTF-8 in the target", head("GET /\u{e9} HTTP/1.1"), Refused(400)),
        row("other bytes above ASCII in the target", b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n", Refused(400)),
        row("bare CR in the target", head("GET /\rx HTTP/1.1"), Refused(400)),
        row("NUL in the method", head("GET\0 / HTTP/1.1"), Refused(400)),
        row("a colon in the method", head("GET: / HTTP/1.1"), Refused(400)),
        row("no method", head("/ HTTP/1.1"), Refused(400)),
        row("a method in small letters", head("get / HTTP/1.1"), Passed(vec!["get / HTTP/1.1\nhost: a\n\n"])),
        row(
            "a method of nobody",
            head("M-SEARCH / HTTP/1.1"),
            Passed(vec!["M-SEARCH / HTTP/1.1\nhost: a\n\n"]),
        ),
        row("a method of 16 KiB", long_method, Refused(414)),
        row("a target of 16 KiB", long_target, Refused(414)),
        row("HTTP/0.9", "GET /\r\n", Refused(400)),
        row("HTTP/0.9 in words", head("GET / HTTP/0.9"), Refused(400)),
        row("HTTP/1.2", head("GET / HTTP/1.2"), Refused(400)),
        row("HTTP/2.0", head("GET / HTTP/2.0"), Refused(400)),
        row("HTTP/1", head("GET / HTTP/1"), Refused(400)),
        row("HTTP/1.10", head("GET / HTTP/1.10"), Refused(400)),
        row("HTTP/01.1", head("GET / HTTP/01.1"), Refused(400)),
        row("http/1.1", head("GET / http/1.1"), Refused(400)),
        row(
            "the preface of HTTP/2 behind a request",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Exactly(&[200], &[PLAIN]),
        ),
        row("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Refused(400)),
        row("CONNECT", head("CONNECT a:443 HTTP/1.1"), Refused(405)),
        row("CONNECT to the host", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", Refused(405)),
        row("CONNECT with a path", head("CONNECT / HTTP/1.1"), Refused(405)),
        row("an authority as target", head("GET a:80 HTTP/1.1"), Refused(400)),
        row("a word as target", head("GET a HTTP/1.1"), Refused(400)),
        row("an asterisk", head("GET * HTTP/1.1"), Refused(400)),
        row(
            "an asterisk with OPTIONS",
            head("OPTIONS * HTTP/1.1"),
            Passed(vec!["OPTIONS * HTTP/1.1\nhost: a\n\n"]),
        ),
    ])
    .await;
}

/// Rules look at the same path that the target gets.
#[tokio::test]
async fn paths_are_passed_on_as_they_are() {
    let passed = |path: &'static str, seen: &'static str| {
        row(path, head(&format!("GET {path} HTTP/1.1")), Passed(vec![seen]))
    };
    check(vec![
        passed("/a/../b//c/%2e%2e/.;x", "GET /a/../b//c/%2e%2e/.;x HTTP/1.1\nhost: a\n\n"),
        passed("/%00%0d%0a", "GET /%00%0d%0a HTTP/1.1\nhost: a\n\n"),
        passed("/a\\..\\b", "GET /a\\..\\b HTTP/1.1\nhost: a\n\n"),
        passed("//b/c", "GET //b/c HTTP/1.1\nhost: a\n\n"),
        passed("/?a=/../b?c", "GET /?a=/../b?c HTTP/1.1\nhost: a\n\n"),
        // A fragment is no part of a request target, and neither side sees it.
        passed("/a#b", "GET /a HTTP/1.1\nhost: a\n\n"),
        passed("/a?b#c?d", "GET /a?b HTTP/1.1\nhost: a\n\n"),
    ])
    .await;
}

#[tokio::test]
async fn lines_and_fields_are_what_they_are_for_everybody() {
    check(vec![
        row("an empty line in front", [b"\r\n", &head("GET / HTTP/1.1")[..]].concat(), Passed(vec![PLAIN])),
        row(
            "many empty lines in front",
            [&b"\r\n".repeat(100), &head("GET / HTTP/1.1")[..]].concat(),
            Passed(vec![PLAIN]),
        ),
        row(
            "bare LF",
            "GET / HTTP/1.1\nhost: a\nx: y\n\n",
            Passed(vec!["GET / HTTP/1.1\nhost: a\nx: y\n\n"]),
        ),
        row("bare CR between fields", fields(b"host: a\rx: y"), Refused(400)),
        row("bare CR in a value", fields(b"host: a\r\nx: a\rb"), Refused(400)),
        row("CR CR LF", fields(b"host: a\r\r\nx: y"), Refused(400)),
        row("NUL in a value", fields(b"host: a\r\nx: a\0b"), Refused(400)),
        row("a control character in a value", fields(b"host: a\r\nx: a\x01b"), Refused(400)),
        row("NUL in a name", fields(b"host: a\r\nx\0: b"), Refused(400)),
        row("a byte above ASCII in a name", fields(b"host: a\r\nx\x80: b"), Refused(400)),
        row("a space before the colon", fields(b"host: a\r\nx : y"), Refused(400)),
        row("a tab before the colon", fields(b"host: a\r\nx\t: y"), Refused(400)),
        row("a space in a name", fields(b"host: a\r\nx y: z"), Refused(400)),
        row("no name", fields(b"host: a\r\n: y"), Refused(400)),
        row("no colon", fields(b"host: a\r\nx"), Refused(400)),
        row("a space before the first name", fields(b" host: a"), Refused(400)),
        row("a folded line", fields(b"host: a\r\nx: y\r\n z"), Refused(400)),
        row("a folded line of a tab", fields(b"host: a\r\nx: y\r\n\tz"), Refused(400)),
        row("a line of a space", fields(b"host: a\r\n \r\nx: y"), Refused(400)),
        row(
            "space around a value",
            fields(b"host:a\r\nx: \t y \t"),
            Passed(vec!["GET / HTTP/1.1\nhost: a\nx: y\n\n"]),
        ),
        row("no value", fields(b"host: a\r\nx:"), Passed(vec!["GET / HTTP/1.1\nhost: a\nx: \n\n"])),
        row(
            "more colons in a value",
            fields(b"host: a\r\nx: host: b"),
            Passed(vec!["GET / HTTP/1.1\nhost: a\nx: host: b\n\n"]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn headers_have_limits() {
    let field = format!("x: {}\r\nhost: a", "x".repeat(64 * 1024));
    let block: String = (0..60).map(|index| format!("x{index}: {}\r\n", "x".repeat(1200))).collect();
    let many: String = (0..101).map(|index| format!("x{index}: x\r\n")).collect();
    check(vec![
        row("a field of 64 KiB", fields(field.as_bytes()), Refused(431)),
        row("fields of 72 KB", fields(format!("{block}host: a").as_bytes()), Refused(431)),
        row("101 fields", fields(many.trim_end().as_bytes()), Refused(431)),
    ])
    .await;
}

#[tokio::test]
async fn what_is_of_one_hop_ends_here() {
    let of = |list: &str| fields(format!("host: a\r\n{list}").as_bytes());
    check(vec![
        row("Connection: host", of("connection: host"), Refused(400)),
        row("Connection: content-length", of("connection: content-length"), Refused(400)),
        row("Connection: transfer-encoding", of("connection: x, Transfer-Encoding"), Refused(400)),
        row("Connection: close, host", of("connection: close, host"), Refused(400)),
        row("Connection: close and a field", of("connection: close, x\r\nx: y"), Last(PLAIN)),
        row(
            "Connection: fields",
            of("connection: x, keep-alive\r\nx: y\r\nkeep-alive: 5"),
            Passed(vec![PLAIN]),
        ),
        row("Connection twice", of("connection: x\r\nconnection: z\r\nx: y\r\nz: y"), Passed(vec![PLAIN])),
        row(
            "Connection: the client's address",
            of("connection: x-forwarded-for, x-forwarded-proto"),
            Passed(vec![PLAIN]),
        ),
        row("Proxy-Connection and TE", of("proxy-connection: keep-alive\r\nte: gzip"), Passed(vec![PLAIN])),
        row(
            "an upgrade to HTTP/2",
            of("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x"),
            Passed(vec![PLAIN]),
        ),
        row(
            "an upgrade that is not made, and a request behind it",
            of("connection: upgrade\r\nupgrade: websocket\r\n\r\nGET /behind HTTP/1.1\r\nhost: a"),
            Passed(vec![
                "GET / HTTP/1.1\nconnection: upgrade\nhost: a\nupgrade: websocket\n\n",
                "GET /behind HTTP/1.1\nhost: a\n\n",
            ]),
        ),
        row("close, and a request behind it", of("connection: close"), Last(PLAIN)),
        row("HTTP/1.0, and a request behind it", head("GET / HTTP/1.0"), Last(PLAIN)),
        row(
            "HTTP/1.0 kept open",
            "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
            Passed(vec![PLAIN]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_malformed_second_request_costs_the_first_nothing() {
    let first = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let then = |second: &str| format!("{first}{second}");
    check(vec![
        row("no Host", then("GET /2 HTTP/1.1\r\n\r\n"), Exactly(&[200, 400], &[PLAIN])),
        row(
            "a folded line",
            then("GET /2 HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n"),
            Exactly(&[200, 400], &[PLAIN]),
        ),
        row("garbage", then("\u{1}\u{2}\r\n\r\n"), Exactly(&[200, 400], &[PLAIN])),
        row(
            "two lengths",
            then("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 1\r\n\r\n"),
            Exactly(&[200, 400], &[PLAIN]),
        ),
        row("three at once", then(&first.repeat(2)), Exactly(&[200; 4], &[PLAIN, PLAIN, PLAIN, NEXT_SEEN])),
    ])
    .await;
}
