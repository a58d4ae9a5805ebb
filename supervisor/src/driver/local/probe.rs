//! Asking a container how it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use coracle_balancer::Body;
use coracle_runtime::{Container, ImageKind};
use http::{Request, header};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sandbox::LocalSandbox;
use crate::driver::Sandbox;
use crate::model::health_check::Probe;

/// What a container sees of who asks.
const USER_AGENT: &str = concat!("Coracle-HealthCheck/", env!("CARGO_PKG_VERSION"));
/// An answer is read to its end, so that a guest is not cut off in the middle of it, but not for ever.
const MAX_ANSWER: u64 = 64 * 1024;
/// What `curl -f` takes for success.
const HEALTHY: std::ops::Range<u16> = 200..400;
/// The port of a URL that names none, of a container that maps none.
const HTTP_PORT: u16 = 80;

impl LocalSandbox {
    /// Asks once. Whoever asks sets the time limit: dropping the future ends what it started.
    pub(super) async fn ask(&self, container: &str, probe: &Probe) -> Result<(), String> {
        match probe {
            Probe::Command(words) => self.run_check(container, words).await,
            Probe::Tcp { port } => {
                let connected = TcpStream::connect(self.socket(*port)).await;
                connected.map(drop).map_err(|error| error.to_string())
            }
            Probe::Http { port, path } => {
                let handler =
                    self.images.get(container).is_some_and(|image| image.kind() == ImageKind::Handler);
                let status = match self.container(container) {
                    Some(container) if handler => call(&container, path).await?,
                    _ => {
                        let definition = self.launch.definition.content.container(container);
                        let first = definition.and_then(|definition| definition.first_port());
                        get(self.socket(port.or(first).unwrap_or(HTTP_PORT)), path).await?
                    }
                };
                if HEALTHY.contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
            }
        }
    }

    fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port)
    }

    async fn run_check(&self, container: &str, words: &[String]) -> Result<(), String> {
        let program = self.program(container, words).await?;
        let exit = self.start_program(program).await?.wait().await;
        if exit.code == Some(0) { Ok(()) } else { Err(exit.message) }
    }
}

/// A handler's status, without a socket in between.
async fn call(container: &Container, path: &str) -> Result<u16, String> {
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let response = container.handle(request).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > MAX_ANSWER {
            break;
        }
    }
    Ok(status)
}

/// A server's status, over a connection of its own.
async fn get(address: SocketAddr, path: &str) -> Result<u16, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let answer = exchange.await.map_err(|error: std::io::Error| error.to_string())?;
    status_of(&answer).ok_or_else(|| "no HTTP answer".to_owned())
}

/// The status of `HTTP/1.1 200 OK`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?;
    let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
    digits.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::status_of;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status_of(b"HTTP/1.0 500"), Some(500));
        for answer in
            [&b""[..], b"HTTP/1.1", b"HTTP/2 200", b"HTTP/1.1 20", b"HTTP/1.1 abc", b"HTTP/1.1 999 x"]
        {
            assert_eq!(status_of(answer), None, "{answer:?}");
        }
    }
}
