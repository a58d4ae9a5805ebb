//! One client's connection: requests in, answers out, in turn, until either side has had enough.

use wstd::io::{self, AsyncRead as _, AsyncWrite as _};
use wstd::net::TcpStream;

use crate::request::{Framing, Head, Refusal, Request, parse_head};

const MAX_HEAD: usize = 32 * 1024;
const MAX_BODY: usize = 4 * 1024 * 1024;
const READ_SIZE: usize = 16 * 1024;

/// Serves one connection until it closes. `answer` makes a body of each request; its status is always 200.
pub async fn serve(stream: TcpStream, answer: fn(Request) -> Vec<u8>) -> io::Result<()> {
    let mut connection = Connection { stream, received: Vec::new() };
    loop {
        match connection.next_request().await? {
            Received::Closed => return Ok(()),
            Received::Refused(refusal) => {
                let status = refusal.status();
                return connection.send(status, &format!("{status}\n").into_bytes(), false, false).await;
            }
            Received::Request(request) => {
                let (keep_alive, head_only) = (request.head.keep_alive, request.head.method == "HEAD");
                let body = answer(request);
                connection.send("200 OK", &body, keep_alive, head_only).await?;
                if !keep_alive {
                    return Ok(());
                }
            }
        }
    }
}

enum Received {
    Request(Request),
    Refused(Refusal),
    Closed,
}

struct Connection {
    stream: TcpStream,
    /// Received and not parsed yet. Clients may send the next request before they have the last answer.
    received: Vec<u8>,
}

/// Why reading a request ended early.
enum Stop {
    Refused(Refusal),
    Closed,
    Io(io::Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Connection {
    async fn next_request(&mut self) -> io::Result<Received> {
        match self.read_request().await {
            Ok(request) => Ok(Received::Request(request)),
            Err(Stop::Refused(refusal)) => Ok(Received::Refused(refusal)),
            Err(Stop::Closed) => Ok(Received::Closed),
            Err(Stop::Io(error)) => Err(error),
        }
    }

    async fn read_request(&mut self) -> Result<Request, Stop> {
        let head = self.read_head().await?;
        if head.expects_continue {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = match head.framing {
            Framing::Length(length) if length > MAX_BODY => return Err(Refusal::ContentTooLarge.into()),
            Framing::Length(length) => self.take(length).await?,
            Framing::Chunked => self.read_chunks().await?,
        };
        Ok(Request { head, body })
    }

    async fn read_head(&mut self) -> Result<Head, Stop> {
        loop {
            if let Some((head, length)) = parse_head(&self.received)? {
                self.received.drain(..length);
                return Ok(head);
            }
            if self.received.len() > MAX_HEAD {
                return Err(Refusal::HeaderFieldsTooLarge.into());
            }
            self.receive().await?;
        }
    }

    /// A body in chunked encoding (RFC 9112, section 7.1). Trailer fields are read and dropped.
    async fn read_chunks(&mut self) -> Result<Vec<u8>, Stop> {
        let mut body = Vec::new();
        loop {
            let size = match httparse::parse_chunk_size(&self.received) {
                Ok(httparse::Status::Complete((line, size))) => {
                    self.received.drain(..line);
                    usize::try_from(size).map_err(|_| Refusal::ContentTooLarge)?
                }
                Ok(httparse::Status::Partial) if self.received.len() > MAX_HEAD => {
                    return Err(Refusal::BadRequest.into());
                }
                Ok(httparse::Status::Partial) => {
                    self.receive().await?;
                    continue;
                }
                Err(_) => return Err(Refusal::BadRequest.into()),
            };
            if size == 0 {
                while !self.take_line().await?.is_empty() {}
                return Ok(body);
            }
            if size > MAX_BODY - body.len() {
                return Err(Refusal::ContentTooLarge.into());
            }
            body.extend(self.take(size).await?);
            if !self.take_line().await?.is_empty() {
                return Err(Refusal::BadRequest.into());
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, Stop> {
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(self.received.drain(..length).collect())
    }

    /// Up to the next CRLF, without it.
    async fn take_line(&mut self) -> Result<Vec<u8>, Stop> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let mut line = self.take(end + 2).await?;
                line.truncate(end);
                return Ok(line);
            }
            if self.received.len() > MAX_HEAD {
                return Err(Refusal::HeaderFieldsTooLarge.into());
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), Stop> {
        let mut buffer = [0; READ_SIZE];
        match self.stream.read(&mut buffer).await? {
            0 => Err(Stop::Closed),
            read => {
                self.received.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }

    async fn send(&mut self, status: &str, body: &[u8], keep_alive: bool, head_only: bool) -> io::Result<()> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: {connection}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if !head_only {
            answer.extend_from_slice(body);
        }
        // One write: a head and a body in two would wait for each other's acknowledgement.
        self.stream.write_all(&answer).await?;
        self.stream.flush().await
    }
}
