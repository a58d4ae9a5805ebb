//! The header of a CGI answer: RFC 3875, 6.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// Fields that say how one connection carries a message: the server's business, not the program's.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
];

/// Where the body begins, if the header is complete: after the first line that is empty. Lines end with LF or CR LF.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            if matches!(&bytes[line..index], [] | [b'\r']) {
                return Some(index + 1);
            }
            line = index + 1;
        }
    }
    None
}

/// Reads a complete header. `Status` is the status; `Location` without one is a redirect, 302.
pub(super) fn parse(bytes: &[u8]) -> Result<Response<()>, String> {
    let mut response = Response::new(());
    let mut status = None;
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        let colon =
            line.iter().position(|byte| *byte == b':').ok_or_else(|| format!("{shown:?} has no colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            status = Some(parse_status(value).ok_or_else(|| format!("{shown:?} is no status"))?);
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| format!("{shown:?} has no valid name"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| format!("{shown:?} has no valid value"))?;
        if !HOP_BY_HOP.contains(&name) {
            response.headers_mut().append(name, value);
        }
    }
    let headers = response.headers();
    // "The response comprises ... at least one CGI-header field": Content-Type, Location or Status.
    if status.is_none()
        && !headers.contains_key(header::CONTENT_TYPE)
        && !headers.contains_key(header::LOCATION)
    {
        return Err("it has neither Content-Type nor Location nor Status".to_owned());
    }
    let redirect = if headers.contains_key(header::LOCATION) { StatusCode::FOUND } else { StatusCode::OK };
    *response.status_mut() = status.unwrap_or(redirect);
    Ok(response)
}

/// Three digits and perhaps a reason. An informational one would not be an answer.
fn parse_status(value: &[u8]) -> Option<StatusCode> {
    let digits = value.split(|byte| *byte == b' ').next()?;
    StatusCode::from_bytes(digits).ok().filter(|status| !status.is_informational())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_at_the_first_empty_line() {
        assert_eq!(end(b"a: b\n\nbody\n\n"), Some(6));
        assert_eq!(end(b"a: b\r\n\r\nbody"), Some(8));
        assert_eq!(end(b"\n"), Some(1));
        for incomplete in [&b""[..], b"a: b", b"a: b\n", b"a: b\r\n\r"] {
            assert_eq!(end(incomplete), None);
        }
    }

    #[test]
    fn fields_become_the_answers() {
        let answer =
            parse(b"Content-Type: text/plain\nStatus: 404 Not Found\nX-A: 1\nx-a: 2\nConnection: close\n\n")
                .unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()["content-type"], "text/plain");
        assert_eq!(answer.headers().get_all("x-a").iter().count(), 2);
        assert!(!answer.headers().contains_key("connection"));
        assert_eq!(parse(b"Location: /other\n\n").unwrap().status(), 302);
        assert_eq!(parse(b"Status: 201\nLocation: /made\n\n").unwrap().status(), 201);
        assert_eq!(parse(b"Content-type:text/html\r\n\r\n").unwrap().status(), 200);
    }

    #[test]
    fn what_is_no_header_is_refused_and_said_why() {
        for (header, part) in [
            (&b"hello\n\n"[..], "has no colon"),
            (b"X-A: 1\n\n", "neither Content-Type"),
            (b"\n", "neither Content-Type"),
            (b"Status: ok\n\n", "is no status"),
            (b"Status: 100 Continue\n\n", "is no status"),
            (b"Content Type: a\n\n", "no valid name"),
            (b"Content-Type: a\0b\n\n", "no valid value"),
        ] {
            let refused = parse(header).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
    }
}
