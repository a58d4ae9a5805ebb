//! Standard output of a CGI program: a header, gathered whole, and then a body, handed on as it comes.

use super::header;
use bytes::Bytes;
use coracle_runtime_host::memory::{BODY_PIECE, BODY_PIECES};
use http::Response;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::SinkOutputStream;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

/// The longest header: what most servers allow for all fields together.
const MAX_HEADER: usize = 32 * 1024;

/// How far a program's output got.
#[derive(Clone, Debug, Default)]
pub(super) enum Ended {
    #[default]
    InHeader,
    Refused(String),
    InBody,
}

/// Tells afterwards how far it got.
pub(super) struct Progress(Arc<Mutex<Ended>>);

impl Progress {
    pub(super) fn get(&self) -> Ended {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Standard output, which one stream may have.
pub(super) struct Output(Mutex<Option<AnswerStream>>);

impl Output {
    pub(super) fn new(response: oneshot::Sender<Response<WasiBody>>) -> (Self, Progress) {
        let ended = Arc::<Mutex<Ended>>::default();
        let stream = AnswerStream { state: State::Header(Vec::new(), response), ended: ended.clone() };
        (Self(Mutex::new(Some(stream))), Progress(ended))
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink()) // for preview 3, which no module is
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(stream) => Box::new(stream),
            None => Box::new(SinkOutputStream),
        }
    }
}

struct AnswerStream {
    state: State,
    ended: Arc<Mutex<Ended>>,
}

enum State {
    Header(Vec<u8>, oneshot::Sender<Response<WasiBody>>),
    /// The body's writer, and the body, which goes on for as long as it is there.
    Body(Box<dyn OutputStream>, #[expect(dead_code, reason = "held, not read")] HostOutgoingBody),
    Closed,
}

impl AnswerStream {
    fn ended(&self, ended: Ended) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    }

    fn refuse(&mut self, why: String) -> StreamError {
        self.state = State::Closed;
        self.ended(Ended::Refused(why.clone()));
        // The program would go on in vain; the request ends here.
        StreamError::Trap(wasmtime::Error::msg(format!("the answer's header is none: {why}")))
    }

    /// The header may be complete: then the answer begins.
    fn begin(&mut self) -> StreamResult<()> {
        let State::Header(bytes, _) = &self.state else { return Ok(()) };
        let Some(end) = header::end(bytes) else {
            let too_long = bytes.len() > MAX_HEADER;
            return if too_long {
                Err(self.refuse(format!("it is longer than {MAX_HEADER} bytes")))
            } else {
                Ok(())
            };
        };
        let head = match header::parse(&bytes[..end]) {
            Ok(head) => head,
            Err(why) => return Err(self.refuse(why)),
        };
        let length = head.headers().get(http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let State::Header(bytes, response) = std::mem::replace(&mut self.state, State::Closed) else {
            return Ok(());
        };
        let (mut body, readable) =
            HostOutgoingBody::new(StreamContext::Response, length, BODY_PIECES - 1, BODY_PIECE);
        let Some(mut writer) = body.take_output_stream() else { return Err(StreamError::Closed) };
        self.ended(Ended::InBody);
        // Nobody may be there any more to take it.
        drop(response.send(head.map(|()| readable)));
        let rest = Bytes::from(bytes).slice(end..);
        let written = if rest.is_empty() { Ok(()) } else { writer.write(rest) };
        self.state = State::Body(writer, body);
        written
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for AnswerStream {
    async fn ready(&mut self) {
        if let State::Body(writer, _) = &mut self.state {
            writer.ready().await;
        }
    }
}

impl OutputStream for AnswerStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match &mut self.state {
            State::Header(header, _) => {
                header.extend_from_slice(&bytes);
                self.begin()
            }
            State::Body(writer, _) => writer.write(bytes),
            State::Closed => Err(StreamError::Closed),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        match &mut self.state {
            State::Header(..) => Ok(()),
            State::Body(writer, _) => writer.flush(),
            State::Closed => Err(StreamError::Closed),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &mut self.state {
            State::Header(header, _) => Ok(BODY_PIECE.saturating_sub(header.len()).max(1)),
            State::Body(writer, _) => writer.check_write(),
            State::Closed => Err(StreamError::Closed),
        }
    }
}
