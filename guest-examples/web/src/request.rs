//! What a client sent, parsed: request line, the header fields that decide the framing, body.

/// One whole request.
pub struct Request {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Request {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.head.target.split('?').next().unwrap_or_default()
    }
}

/// What stands before the body, as far as this server cares.
pub struct Head {
    pub method: String,
    pub target: String,
    /// Whether the client wants to send another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    pub framing: Framing,
}

/// How the length of the body is told (RFC 9112, section 6.3).
pub enum Framing {
    Length(usize),
    Chunked,
}

/// Why a request is refused. The connection cannot go on: where the next request begins is unknown.
pub enum Refusal {
    BadRequest,
    ContentTooLarge,
    HeaderFieldsTooLarge,
    NotImplemented,
}

impl Refusal {
    pub fn status(&self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
        }
    }
}

/// The head at the start of `bytes` and its length, or `None` while it is not complete.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeaderFieldsTooLarge),
        Err(_) => return Err(Refusal::BadRequest),
    };
    let mut head = Head {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        // HTTP/1.1 keeps a connection unless told otherwise, 1.0 closes it.
        keep_alive: parsed.version == Some(1),
        expects_continue: false,
        framing: Framing::Length(0),
    };
    let mut content_length = None;
    for field in parsed.headers {
        let value = std::str::from_utf8(field.value).map_err(|_| Refusal::BadRequest)?.trim();
        match field.name.to_ascii_lowercase().as_str() {
            "connection" => {
                for option in value.split(',').map(str::trim) {
                    if option.eq_ignore_ascii_case("close") {
                        head.keep_alive = false;
                    } else if option.eq_ignore_ascii_case("keep-alive") {
                        head.keep_alive = true;
                    }
                }
            }
            "expect" => head.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "content-length" => {
                let length = parse_length(value)?;
                // Two lengths that differ are how requests are smuggled.
                if content_length.replace(length).is_some_and(|other| other != length) {
                    return Err(Refusal::BadRequest);
                }
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.framing = Framing::Chunked,
            "transfer-encoding" => return Err(Refusal::NotImplemented),
            _ => {}
        }
    }
    match (&head.framing, content_length) {
        // RFC 9112, section 6.1: both at once are to be treated as an error.
        (Framing::Chunked, Some(_)) => return Err(Refusal::BadRequest),
        (Framing::Length(_), Some(length)) => head.framing = Framing::Length(length),
        (_, None) => {}
    }
    Ok(Some((head, length)))
}

/// `1*DIGIT`, and nothing that `str::parse` allows besides.
fn parse_length(value: &str) -> Result<usize, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::BadRequest);
    }
    value.parse().map_err(|_| Refusal::ContentTooLarge)
}
