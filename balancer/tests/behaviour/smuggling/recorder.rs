//! A target that writes down what it is sent. It reads messages as strictly as RFC 9112 lets a server be, and independently
//! of the balancer's own parser.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";

/// The target and its record.
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    messages: UnboundedReceiver<String>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (record, messages) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, record.clone()));
            }
        });
        Self { address, messages, accepting }
    }

    /// All messages in the order of their arrival, once the connections have ended.
    pub(super) async fn finish(mut self) -> Vec<String> {
        self.accepting.abort();
        let mut all = Vec::new();
        while let Some(message) = self.messages.recv().await {
            all.push(message);
        }
        all
    }
}

async fn serve(stream: TcpStream, record: UnboundedSender<String>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut message = Message::default();
        match message.read(&mut stream).await {
            Ok(true) => {
                record.send(message.shown()).unwrap();
                let body: &[u8] = if message.head.starts_with(b"HEAD ") { b"" } else { b"ok" };
                if stream.write_all(&[OK, body].concat()).await.is_err() {
                    return;
                }
            }
            Ok(false) => return,
            Err(why) => return record.send(format!("{why}: {}", message.shown())).unwrap(),
        }
    }
}

#[derive(Default)]
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

/// Why a message is none.
type Flaw = &'static str;
/// The connection has ended before the message.
pub(super) const CUT: Flaw = "CUT OFF";

impl Message {
    /// False at the end of a connection.
    async fn read(&mut self, stream: &mut BufReader<TcpStream>) -> Result<bool, Flaw> {
        while !self.head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut self.head).await.unwrap_or(0) == 0 {
                return if self.head.is_empty() { Ok(false) } else { Err(CUT) };
            }
        }
        let lines = self.lines();
        let field = |name: &str| {
            let mut values =
                lines.iter().filter_map(|line| line.split_once(": ")).filter(|(key, _)| *key == name);
            (values.next().map(|(_, value)| value.to_owned()), values.next().is_some())
        };
        match (field("content-length"), field("transfer-encoding")) {
            ((None, _), (None, _)) => {}
            ((Some(length), false), (None, _)) => {
                let length = length.parse().map_err(|_| "MALFORMED LENGTH")?;
                self.read_body(stream, length).await?;
            }
            ((None, _), (Some(coding), false)) if coding == "chunked" => self.read_chunks(stream).await?,
            _ => return Err("FRAMED IN SEVERAL WAYS"),
        }
        Ok(true)
    }

    async fn read_body(&mut self, stream: &mut BufReader<TcpStream>, length: usize) -> Result<(), Flaw> {
        let read = stream.take(length as u64).read_to_end(&mut self.body).await.unwrap_or(0);
        if read == length { Ok(()) } else { Err(CUT) }
    }

    async fn read_chunks(&mut self, stream: &mut BufReader<TcpStream>) -> Result<(), Flaw> {
        loop {
            let line = self.body.len();
            stream.read_until(b'\n', &mut self.body).await.map_err(|_| CUT)?;
            let size = self.body[line..].strip_suffix(b"\r\n").ok_or(CUT)?;
            let size = std::str::from_utf8(size).map_err(|_| "MALFORMED CHUNK")?;
            let size = usize::from_str_radix(size, 16).map_err(|_| "MALFORMED CHUNK")?;
            if size == 0 {
                break;
            }
            self.read_body(stream, size + 2).await?;
            if !self.body.ends_with(b"\r\n") {
                return Err("MALFORMED CHUNK");
            }
        }
        // Trailers, up to the empty line.
        loop {
            let line = self.body.len();
            stream.read_until(b'\n', &mut self.body).await.map_err(|_| CUT)?;
            match &self.body[line..] {
                b"\r\n" => return Ok(()),
                b"" => return Err(CUT),
                _ => {}
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let head = String::from_utf8_lossy(&self.head);
        head.trim_end_matches("\r\n").split("\r\n").map(str::to_owned).collect()
    }

    /// With the header fields in the order of the alphabet, without those that are tested elsewhere, and `\n` for `\r\n`
    /// in the head.
    fn shown(&self) -> String {
        let mut lines = self.lines();
        let first = lines.remove(0);
        lines.retain(|line| !line.starts_with("x-forwarded-"));
        lines.sort_unstable();
        format!("{first}\n{}\n\n{}", lines.join("\n"), String::from_utf8_lossy(&self.body))
            .replace("\n\n\n", "\n\n")
    }
}
