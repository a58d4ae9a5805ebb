//! The body of an answer, as it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use httparse::Status;
use tokio::time::Instant;

use super::head::MAX_FIELDS;
use super::{AnswerError, FIRST_READ, Lean, Line};
use crate::BoxError;
use crate::tcp_target::body::Stalled;
use crate::tcp_target::pool::Pool;

/// Longest line with the size of a chunk.
const MAX_CHUNK_LINE: usize = 4 * 1024;
/// hyper's number.
const MAX_TRAILERS: usize = 16 * 1024;

/// The body of a target's answer. Holds the connection and gives it back at the end.
pub(crate) struct LeanBody {
    line: Option<Box<Line>>,
    framing: Framing,
    /// Where the connection goes, if it may be used again.
    pool: Option<Arc<Pool<Lean>>>,
    waiting: bool,
    failure: Option<BoxError>,
}

impl LeanBody {
    pub(super) fn new(line: Box<Line>, framing: Framing, pool: Option<Arc<Pool<Lean>>>) -> Self {
        let mut body = Self { line: Some(line), framing, pool, waiting: false, failure: None };
        body.finish_if_ended();
        body
    }

    fn finish_if_ended(&mut self) {
        if matches!(self.framing, Framing::Ended)
            && let (Some(mut line), Some(pool)) = (self.line.take(), self.pool.take())
        {
            line.room = FIRST_READ;
            // What is left in it is more than the answer, and seen by the pool.
            if line.read.is_empty() && line.read.capacity() > FIRST_READ {
                line.read = BytesMut::new();
            }
            pool.put(Lean(line));
        }
    }

    /// Breaks off, but lets what came before it, the head of the answer for one, be sent first: all of it may have come at once.
    fn fail(
        &mut self,
        cx: &Context<'_>,
        error: impl Into<BoxError>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.line = None;
        self.failure = Some(error.into());
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl http_body::Body for LeanBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let Some(line) = &mut this.line else { return Poll::Ready(this.failure.take().map(Err)) };
            match this.framing.next(&mut line.read) {
                Ok(Some(frame)) => {
                    this.finish_if_ended();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) if matches!(this.framing, Framing::Ended) => {
                    this.finish_if_ended();
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(error) => return this.fail(cx, error),
            }
            match line.poll_fill(cx) {
                Poll::Ready(Ok(0)) if matches!(this.framing, Framing::UntilClose) => {
                    (this.line, this.framing) = (None, Framing::Ended);
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => return this.fail(cx, AnswerError::Cut),
                Poll::Ready(Ok(_)) => this.waiting = false,
                Poll::Ready(Err(error)) => return this.fail(cx, error),
                Poll::Pending => {
                    if !std::mem::replace(&mut this.waiting, true) {
                        line.patience.begin(Instant::now());
                    }
                    ready!(line.patience.poll_lost(cx));
                    let stalled = Stalled(line.patience.timeout());
                    return this.fail(cx, stalled);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.line.is_none() && self.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Ended => SizeHint::with_exact(0),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }
}

/// How a body goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are still to come; at least one.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Ended,
}

/// What comes next in a body of chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    /// So many bytes of a chunk; at least one.
    Data(u64),
    /// The line's end behind a chunk.
    End,
    Trailers,
}

impl Framing {
    pub(super) const fn length(length: u64) -> Self {
        if length == 0 { Self::Ended } else { Self::Length(length) }
    }

    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// Takes the next frame out of what was read. Nothing: more has to be read, or the body has ended.
    pub(super) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Frame<Bytes>>, AnswerError> {
        loop {
            if read.is_empty() {
                return Ok(None);
            }
            match self {
                Self::Ended => return Ok(None),
                Self::UntilClose => return Ok(Some(Frame::data(read.split().freeze()))),
                Self::Length(left) => {
                    let data = up_to(*left, read);
                    *self = Self::length(*left - data.len() as u64);
                    return Ok(Some(Frame::data(data)));
                }
                Self::Chunked(chunk @ Chunk::Size) => match size(read)? {
                    None => return Ok(None),
                    Some(0) => *chunk = Chunk::Trailers,
                    Some(size) => *chunk = Chunk::Data(size),
                },
                Self::Chunked(chunk) => match chunk {
                    Chunk::Size => {}
                    Chunk::Data(left) => {
                        let data = up_to(*left, read);
                        *left -= data.len() as u64;
                        if *left == 0 {
                            *chunk = Chunk::End;
                        }
                        return Ok(Some(Frame::data(data)));
                    }
                    Chunk::End => match &**read {
                        [b'\r'] => return Ok(None),
                        [b'\r', b'\n', ..] => {
                            read.advance(2);
                            *chunk = Chunk::Size;
                        }
                        _ => return Err(AnswerError::Chunk),
                    },
                    Chunk::Trailers => {
                        let Some(trailers) = trailers(read)? else { return Ok(None) };
                        *self = Self::Ended;
                        return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                    }
                },
            }
        }
    }
}

fn up_to(most: u64, read: &mut BytesMut) -> Bytes {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(read.len());
    read.split_to(length).freeze()
}

/// Takes the line with the size of a chunk.
fn size(read: &mut BytesMut) -> Result<Option<u64>, AnswerError> {
    // httparse takes a line without digits for a zero.
    if !read.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(AnswerError::Chunk);
    }
    match httparse::parse_chunk_size(read) {
        // A bare LF within an extension ends the line for some readers, and there another message would begin.
        Ok(Status::Complete((length, size))) if !read[..length - 1].contains(&b'\n') => {
            read.advance(length);
            Ok(Some(size))
        }
        Ok(Status::Partial) if read.len() < MAX_CHUNK_LINE => Ok(None),
        _ => Err(AnswerError::Chunk),
    }
}

/// Takes what stands behind the last chunk.
fn trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, AnswerError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(read, &mut fields) {
        Ok(Status::Complete((length, fields))) => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(field.value);
                let (Ok(name), Ok(value)) = (name, value) else { return Err(AnswerError::Trailers) };
                trailers.append(name, value);
            }
            read.advance(length);
            Ok(Some(trailers))
        }
        Ok(Status::Partial) if read.len() < MAX_TRAILERS => Ok(None),
        _ => Err(AnswerError::Trailers),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What was read: data, trailers, and what is left behind the end.
    type Read = (Vec<u8>, Option<HeaderMap>, Option<Vec<u8>>);

    /// Reads `pieces` that come one after the other.
    fn read(framing: Framing, pieces: &[&[u8]]) -> Result<Read, AnswerError> {
        let (mut framing, mut buffer) = (framing, BytesMut::new());
        let (mut data, mut trailers) = (Vec::new(), None);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(frame) = framing.next(&mut buffer)? {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(other) => trailers = other.into_trailers().ok(),
                }
            }
        }
        let left = (framing == Framing::Ended).then(|| buffer.to_vec());
        Ok((data, trailers, left))
    }

    #[test]
    fn a_body_of_chunks_ends_at_its_last_one() {
        let text = b"4;name=value\r\nfour\r\nA\r\n0123456789\r\n0\r\nx-sum: 14\r\n\r\nbehind";
        let (data, trailers, left) = read(Framing::chunked(), &[text]).unwrap();
        assert_eq!(data, b"four0123456789");
        assert_eq!(trailers.unwrap()["x-sum"], "14");
        assert_eq!(left.unwrap(), b"behind");
        let (data, trailers, left) = read(Framing::chunked(), &[b"0\r\n\r\n"]).unwrap();
        assert_eq!((data, trailers, left), (Vec::new(), None, Some(Vec::new())));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            &b"\r\n"[..],
            b";\r\n",
            b"-1\r\nx\r\n",
            b"0x4\r\nfour\r\n",
            b"4 4\r\nfour\r\n",
            b"4\nfour\r\n",
            b"4;a\nb\r\nfour\r\n",
            b"4\r\nfourX\r\n",
            b"4\r\nfour\n0\r\n\r\n",
            b"11111111111111111\r\n",
            b"0\r\nno colon\r\n\r\n",
        ] {
            let read = read(Framing::chunked(), &[text]);
            assert!(read.is_err(), "{:?}: {read:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn lines_without_end_are_refused() {
        let endless = |start: &str, length| [start.as_bytes(), &b"x".repeat(length)].concat();
        assert!(read(Framing::chunked(), &[&endless("4;", MAX_CHUNK_LINE)]).is_err());
        assert!(read(Framing::chunked(), &[&endless("0\r\nx: ", MAX_TRAILERS)]).is_err());
        assert!(read(Framing::chunked(), &[&endless("4;", 100)]).is_ok());
    }

    proptest! {
        /// However the network cuts an answer up, it is the same answer.
        #[test]
        fn pieces_make_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            trailer in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(if trailer { b"0\r\nx: y\r\n\r\n" } else { b"0\r\n\r\n" });
            let data = chunks.concat();
            for (framing, text) in [(Framing::length(data.len() as u64), &data), (Framing::chunked(), &text)] {
                let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
                places.extend([0, text.len()]);
                places.sort_unstable();
                let pieces: Vec<_> = places.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
                let chunked = matches!(framing, Framing::Chunked(_));
                let (read, trailers, left) = read(framing, &pieces).unwrap();
                prop_assert_eq!(&read, &data);
                prop_assert_eq!(trailers.is_some(), chunked && trailer);
                prop_assert_eq!(left, Some(Vec::new()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(Framing::chunked(), &[&text]));
        }
    }
}
